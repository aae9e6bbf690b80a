// Catalogs whose key is elsewhere (rondo-server --queue): what was taken in waits, and the text of the catalog that
// lists all of it lies ready to be signed.
//
//   pending/versions   a line "<name> <version> <serial> <manifest's sha256> <tag>" each ("-": no tag), in their order;
//                      of a version that is listed, or has a line above, it is the tag that waits
//   pending/catalog    the text: rondo sign, or minisign -S, signs it; rondo publish --signed FILE --to DIR puts it in
//                      the place of the catalog
//
// 1. The list is the truth, and is written first; the text is made anew from it and the site's catalog at each change,
//    also if the catalog is changed by other hands, since it can only be the next after the one that stands.
// 2. A line is believed no longer than it would be taken in: what the catalog lists meanwhile leaves the list; so does,
//    with a line of the log, a version that cannot follow what it lists, whose key may not publish it any more, or that
//    is not whole any more. One of these in the text, and its owner could not put any of it in its place.
//    A publisher's lines have OWN_MAXIMUM bytes at most: whoever hands in tag after tag shuts nobody else out.
// 3. What they all need is on a list of unfinished objects (site_list_packs) of the site, under a name that no image
//    can have: so no collection takes it while it waits. It is made anew with the text.
//
// All of it under the site's lock.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path.h"
#include "catalog/signer.h"
#include "server/keeper_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define PENDING_FOLDER "pending"
#define PENDING_VERSIONS PENDING_FOLDER "/versions"
#define PENDING_CATALOG PENDING_FOLDER "/catalog"
#define WAITING "+waiting" // the list of rule 3
#define LINE_MAXIMUM 512u
#define OWN_MAXIMUM (64u << 10) // some 400 versions and tags; the list holds those of 16 such publishers
#define PENDING_MODE 0600

struct pending {
    struct catalog_image image;
    char tag[CATALOG_NAME_SIZE]; // "-": none
};

struct pending_walk {
    struct site *site;
    struct catalog *catalog; // what waits is added to it
    bool anew;               // the list of rule 3 was ended, and everything is looked for
    struct needs *found;     // of that, what was found; NULL: nothing yet
    // Whose lines are counted; NULL: nobody's. And how many bytes they have.
    const struct key_public *publisher;
    size_t own;
    struct sha256 counted; // the last line's manifest, and whether it is the publisher's
    bool is_own;
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

// --- what still waits ----------------------------------------------------------------------------------------------

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    return site_read_page(context, ref, to, error);
}

// Puts the objects of a set, from number `from` on, on the list of rule 3, but those of another set.
static int keep_objects(struct site *site, const struct needs *needs, size_t from, const struct needs *but,
                        struct error *error)
{
    const size_t count = needs_count(needs);
    CLEANUP_FREE struct pack_reference *list = calloc(count - from + 1, sizeof *list); // of tables this knows nothing
    unsigned n = 0;

    if (!list)
        return error_set(error, ENOMEM, "out of memory");
    for (size_t i = from; i < count; i++) {
        const struct needs_object object = needs_get(needs, i);
        if (!but || !needs_has(but, &object.name))
            list[n++] = (struct pack_reference){.name = object.name, .size = object.size};
    }
    return n > 0 ? site_list_packs(site, WAITING, list, n, error) : 0;
}

static int check_objects(struct site *site, const struct needs *needs, size_t from, struct error *error)
{
    char hex[SHA256_HEX_SIZE];

    for (size_t i = from; i < needs_count(needs); i++) {
        const struct needs_object object = needs_get(needs, i);
        int fd CLEANUP_CLOSE = site_open_object(site, &object.name);
        if (fd == -ENOENT)
            return error_set(error, EBADMSG, "object %.16s… is not in the site any more",
                             sha256_to_hex(&object.name, hex));
    }
    return 0;
}

// And keeps it from collection. What versions above need as well was found already; but not if that of one was not.
static int check_whole(struct pending_walk *w, const struct catalog_image *image, const struct manifest *m,
                       struct error *error)
{
    int r = w->found ? 0 : needs_new(&w->found, error);
    if (r < 0)
        return r;
    const size_t from = needs_count(w->found);
    r = needs_add_version(w->found, &image->manifest, m, read_page, w->site, NULL, error);
    if (r == 0)
        r = check_objects(w->site, w->found, from, error);
    if (r == 0)
        r = keep_objects(w->site, w->found, from, NULL, error);
    if (r < 0) {
        needs_free(w->found);
        w->found = NULL;
    }
    return r;
}

static int check_version(struct pending_walk *w, const struct catalog_image *image, struct error *error)
{
    CLEANUP_FREE struct manifest *m = malloc(sizeof *m);

    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    int r = site_catalog_read_manifest(w->site, image, m, error);
    if (r < 0)
        return r;
    const struct key_public signer = signer_of(m);
    if (!catalog_allows(w->catalog, &signer, image->name))
        return error_set(error, EKEYREJECTED, "its publisher's key may not publish it any more");
    return w->anew ? check_whole(w, image, m, error) : 0;
}

// A tag of a version that is listed, or waits in a line above. 0: it is there already, or names a newer one.
static int add_tag(struct catalog *c, const struct pending *p, struct error *error)
{
    const struct catalog_image *tagged;

    if (strcmp(p->tag, "-") == 0 ||
        (catalog_find(c, p->image.name, p->tag, &tagged, NULL) == 0 && tagged->serial >= p->image.serial))
        return 0;
    int r = catalog_set_tag(c, p->image.name, p->tag, p->image.version, error);
    return r < 0 ? r : 1;
}

// 1: it waits on; 0: it does not, for nothing is left of it to be listed; −errno: it does not, or cannot be looked at.
static int add_line(struct pending_walk *w, struct pending *p, struct error *error)
{
    const struct catalog_image *there;
    struct error why = {.text = ""};

    if (catalog_find(w->catalog, p->image.name, p->image.version, &there, NULL) == 0 &&
        sha256_equal(&there->manifest, &p->image.manifest))
        return add_tag(w->catalog, p, error);
    int r = check_version(w, &p->image, error);
    if (r == 0)
        r = catalog_add_image(w->catalog, &p->image, error);
    if (r < 0)
        return r;
    r = add_tag(w->catalog, p, &why);
    if (r < 0) {
        log_warning("%s %s waits for the site's key without its tag %s: %s", p->image.name, p->image.version, p->tag,
                    why.text);
        (void)snprintf(p->tag, sizeof p->tag, "-");
    }
    return 1;
}

static bool is_about_the_version(int r)
{
    return r == -ENOENT || r == -EBADMSG || r == -EKEYREJECTED || r == -EINVAL || r == -EEXIST;
}

static int append_line(struct buf *to, const struct pending *p)
{
    char hex[SHA256_HEX_SIZE];

    return buf_append_format(to, "%s %s %llu %s %s\n", p->image.name, p->image.version,
                             (unsigned long long)p->image.serial, sha256_to_hex(&p->image.manifest, hex), p->tag);
}

// Whether the publisher signed the manifest. One that cannot be read is nobody's.
static int find_owner(struct pending_walk *w, const struct catalog_image *image, struct error *error)
{
    CLEANUP_FREE struct manifest *m = malloc(sizeof *m);
    struct error why = {.text = ""};

    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    w->counted = image->manifest;
    w->is_own = false;
    if (catalog_allows(w->catalog, w->publisher, image->name) &&
        site_catalog_read_manifest(w->site, image, m, &why) == 0) {
        const struct key_public signer = signer_of(m);
        w->is_own = key_equal(&signer, w->publisher);
    }
    return 0;
}

static int take_line(struct keeper *k, struct pending_walk *w, struct pending *p, struct error *error)
{
    struct error why = {.text = ""};

    int r = add_line(w, p, &why);
    if (is_about_the_version(r)) {
        log_warning("%s %s, which waited for the site's key, does not wait any more: %s", p->image.name,
                    p->image.version, why.text[0] ? why.text : strerror(-r));
        return 0;
    }
    if (r < 0)
        return error_set(error, -r, "%s %s, which waits for the site's key, cannot be looked at: %s", p->image.name,
                         p->image.version, why.text);
    const size_t before = k->pending.size;
    if (r > 0 && append_line(&k->pending, p) < 0)
        return error_set(error, ENOMEM, "out of memory");
    r = w->publisher && !sha256_equal(&w->counted, &p->image.manifest) ? find_owner(w, &p->image, error) : 0;
    if (r == 0 && w->is_own)
        w->own += k->pending.size - before;
    return r;
}

static int walk(struct keeper *k, struct pending_walk *w, struct error *error)
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
        struct pending p = {.tag = ""};
        if (!parse_line(line, &p))
            return error_set(error, EIO, PENDING_VERSIONS ", line %u: not a version that waits", lines.line);
        r = take_line(k, w, &p, error);
        if (r < 0)
            return r;
    }
    return r < 0 ? error_set(error, EIO, PENDING_VERSIONS ", line %u: not a line", lines.line) : 0;
}

int keeper_pending_add(struct taking *t, struct error *error)
{
    struct pending_walk w = {.site = t->site, .catalog = &t->catalog, .publisher = &t->key};

    int r = walk(t->keeper, &w, error);
    t->waiting = w.own;
    return r;
}

int keeper_pending_check_room(const struct taking *t, struct error *error)
{
    return t->waiting <= OWN_MAXIMUM - LINE_MAXIMUM
               ? 0
               : error_set(error, ENOSPC,
                           "too many versions and tags of yours wait for the site's key: the next ones can come when "
                           "its owner has signed those");
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

struct listed {
    struct needs *needs;
    struct error *error;
};

static int note_listed(void *context, const struct pack_reference *pack)
{
    struct listed *l = context;

    return needs_add(l->needs, &pack->name, pack->size, l->error);
}

static int keep_version(const struct taking *t, struct error *error)
{
    struct listed listed = {.error = error};

    int r = needs_new(&listed.needs, error);
    if (r == 0)
        r = site_walk_list(t->site, WAITING, note_listed, &listed, error);
    if (r == 0)
        r = keep_objects(t->site, t->needs, 0, listed.needs, error);
    needs_free(listed.needs);
    return r;
}

int keeper_pending_put(struct taking *t, struct error *error)
{
    struct keeper *k = t->keeper;
    const struct manifest *m = t->manifest;
    struct pending p = {.image = {.serial = m->serial, .manifest = t->name}};

    (void)snprintf(p.image.name, sizeof p.image.name, "%s", m->name);
    (void)snprintf(p.image.version, sizeof p.image.version, "%s", m->version);
    (void)snprintf(p.tag, sizeof p.tag, "%s", t->tag[0] ? t->tag : "-");
    if (io->mkdirat(k->state, PENDING_FOLDER, 0700) < 0 && errno != EEXIST)
        return error_set(error, errno, "cannot make " PENDING_FOLDER " in the state folder: %m");
    if (append_line(&k->pending, &p) < 0)
        return error_set(error, ENOSPC, "too many versions wait for the site's key");
    int r = t->needs ? keep_version(t, error) : 0; // else its tag alone is new
    return r < 0 ? r : write_pending(k, t->site, &t->catalog, error);
}

static int refresh(struct keeper *k, struct site *site, struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct pending_walk w = {.site = site, .catalog = &c, .anew = true};

    int r = site_catalog_read(site, &c, error);
    if (r == 0)
        r = site_end_list(site, WAITING, error);
    if (r == 0)
        r = walk(k, &w, error);
    needs_free(w.found);
    if (r < 0)
        return r;
    if (k->pending.size > 0)
        return write_pending(k, site, &c, error);
    io->unlinkat(k->state, PENDING_CATALOG, 0); // nothing waits any more
    io->unlinkat(k->state, PENDING_VERSIONS, 0);
    return 0;
}

// The catalog's file as it was before the last refresh that worked.
static bool is_followed(const struct keeper *k, const struct stat *st)
{
    return st->st_ino == k->catalog_inode && st->st_mtim.tv_sec == k->catalog_time.tv_sec &&
           st->st_mtim.tv_nsec == k->catalog_time.tv_nsec;
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
    if (is_followed(k, &st))
        return;
    int r = site_open(k->options.site, &site, &error);
    if (r == -EBUSY)
        return; // the next time
    if (r == 0) {
        r = refresh(k, site, &error);
        site_close(site);
    }
    if (r < 0 && !k->refresh_failed) // once: it is tried again every few seconds
        log_error("what waits for the site's key is not up to date: %s", error.text);
    k->refresh_failed = r < 0;
    if (r < 0)
        return;
    k->catalog_inode = st.st_ino;
    k->catalog_time = st.st_mtim;
}
