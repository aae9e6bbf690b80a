// Catalogs whose key is elsewhere (rondo-server --queue): what was taken in waits, and the text of the catalog that
// lists all of it lies ready to be signed.
//
//   pending/versions   a line "<name> <version> <serial> <manifest's sha256> <tag>" each ("-": no tag), in their order
//   pending/catalog    the text: rondo sign, or minisign -S, signs it; rondo publish --signed FILE --to DIR puts it in
//                      the place of the catalog
//
// The list is the truth, and is written first; the text is made anew from it and the site's catalog at each change,
// also if the catalog is changed by other hands, since it can only be the next after the one that stands. A
// version that the catalog lists meanwhile, or that cannot follow what it lists, leaves the list. The packs of all of
// them lie in the site, where no collection takes them within the grace time (blockstore/site_collect.h).
//
// All of it under the site's lock.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path.h"
#include "blockstore/site_collect.h"
#include "server/keeper_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define PENDING_FOLDER "pending"
#define PENDING_VERSIONS PENDING_FOLDER "/versions"
#define PENDING_CATALOG PENDING_FOLDER "/catalog"
#define LINE_MAXIMUM 512u
#define PENDING_MODE 0600

struct pending {
    struct catalog_image image;
    char tag[CATALOG_NAME_SIZE]; // "-": none
};

static bool copy_name(struct slice from, char to[static CATALOG_NAME_SIZE])
{
    (void)snprintf(to, CATALOG_NAME_SIZE, "%.*s", SLICE_ARGUMENTS(from));
    return from.length > 0 && from.length < CATALOG_NAME_SIZE;
}

static bool parse_line(struct slice line, struct pending *ret)
{
    struct slice name = slice_cut_word(&line), version = slice_cut_word(&line), serial = slice_cut_word(&line);
    struct slice manifest = slice_cut_word(&line);

    return copy_name(name, ret->image.name) && copy_name(version, ret->image.version) &&
           text_parse_u64(serial, UINT64_MAX, &ret->image.serial) &&
           sha256_from_hex(manifest.at, manifest.length, &ret->image.manifest) && copy_name(line, ret->tag);
}

static int add_line(struct catalog *c, const struct pending *p, struct error *error)
{
    const struct catalog_image *there;

    if (catalog_find(c, p->image.name, p->image.version, &there, NULL) == 0)
        return -EEXIST;
    int r = catalog_add_image(c, &p->image, error);
    if (r == 0 && strcmp(p->tag, "-") != 0)
        r = catalog_set_tag(c, p->image.name, p->tag, p->image.version, error);
    return r;
}

int keeper_pending_add(struct keeper *k, struct catalog *c, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size = 0;
    struct slice line;

    buf_clear(&k->pending);
    int r = io_read_file(k->state, PENDING_VERSIONS, k->pending.maximum, &bytes, &size);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return error_set(error, -r, "what waits for the site's key cannot be read: %s", strerror(-r));
    struct text_reader lines = text_reader_over(bytes, size, LINE_MAXIMUM);
    while ((r = text_next_line(&lines, &line)) > 0) {
        struct pending p;
        if (!parse_line(line, &p))
            return error_set(error, EIO, PENDING_VERSIONS ", line %u: not a version that waits", lines.line);
        if (add_line(c, &p, NULL) == 0)
            r = buf_append_format(&k->pending, "%.*s\n", SLICE_ARGUMENTS(line));
        if (r < 0)
            return error_set(error, -r, "out of memory");
    }
    return r < 0 ? error_set(error, EIO, PENDING_VERSIONS ", line %u: not a line", lines.line) : 0;
}

bool keeper_pending_has(const struct keeper *k, const struct sha256 *manifest)
{
    char hex[SHA256_HEX_SIZE];

    return strstr(buf_text(&k->pending), sha256_to_hex(manifest, hex)) != NULL;
}

// The list first, then the text that is made from it.
static int write_pending(struct keeper *k, struct site *site, struct catalog *c, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);

    int r = site_catalog_format(site, c, c->expires - c->issued, &text, error);
    if (r < 0)
        return r;
    r = io_replace_file(k->state, PENDING_VERSIONS, k->pending.data, k->pending.size, PENDING_MODE);
    if (r == 0)
        r = io_replace_file(k->state, PENDING_CATALOG, text.data, text.size, PENDING_MODE);
    return r < 0 ? error_set(error, -r, "what waits for the site's key cannot be written: %s", strerror(-r)) : 0;
}

int keeper_pending_put(struct taking *t, struct error *error)
{
    struct keeper *k = t->keeper;
    const struct manifest *m = t->manifest;
    char hex[SHA256_HEX_SIZE];

    if (io->mkdirat(k->state, PENDING_FOLDER, 0700) < 0 && errno != EEXIST)
        return error_set(error, errno, "cannot make " PENDING_FOLDER " in the state folder: %m");
    int r = buf_append_format(&k->pending, "%s %s %llu %s %s\n", m->name, m->version, (unsigned long long)m->serial,
                              sha256_to_hex(&t->name, hex), t->tag[0] ? t->tag : "-");
    if (r < 0)
        return error_set(error, ENOSPC, "too many versions wait for the site's key");
    r = site_renew_grace(t->site, t->needs, error);
    return r < 0 ? r : write_pending(k, t->site, &t->catalog, error);
}

static int refresh(struct keeper *k, struct site *site, struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};

    int r = site_catalog_read(site, &c, error);
    if (r == 0)
        r = keeper_pending_add(k, &c, error);
    if (r < 0)
        return r;
    if (k->pending.size > 0)
        return write_pending(k, site, &c, error);
    io->unlinkat(k->state, PENDING_CATALOG, 0); // nothing waits any more
    io->unlinkat(k->state, PENDING_VERSIONS, 0);
    return 0;
}

void keeper_pending_refresh(struct keeper *k)
{
    struct error error = {.text = ""};
    struct site *site;
    struct stat st;
    char path[PATH_TEXT_SIZE];

    if (fstatat(k->state, PENDING_VERSIONS, &st, 0) < 0 ||
        path_format(path, sizeof path, "%s/catalog.rondo", k->options.site) < 0 || fstatat(AT_FDCWD, path, &st, 0) < 0)
        return; // nothing waits
    if (st.st_ino == k->catalog_inode && st.st_mtim.tv_sec == k->catalog_time.tv_sec &&
        st.st_mtim.tv_nsec == k->catalog_time.tv_nsec)
        return;
    int r = site_open(k->options.site, &site, &error);
    if (r == -EBUSY)
        return; // the next time
    if (r == 0) {
        r = refresh(k, site, &error);
        site_close(site);
    }
    if (r < 0)
        log_error("what waits for the site's key is not up to date: %s", error.text);
    k->catalog_inode = st.st_ino;
    k->catalog_time = st.st_mtim;
}
