// rondo tag: makes, moves or removes a tag of an image, in a site's directory.
//
//   forward    (to a version with a higher serial than the tag's present one)   the catalog's tag line changes
//   back       the old version's content is published again ─▶ the tag names that
//
// Whoever followed the tag has seen the newer version, and a version that comes after it must have a higher serial:
// nobody can then tell readers an old state for a new one (FORMATS, "Catalog"). So going back is a publication like any
// other: the old manifest with a serial, a date, a parent and a version name of its own, signed by whoever does it. It
// names the same pages and packs; nothing is stored. What another publisher made is read and hashed first, since the
// next version believes the tables of packs that we signed for (blockstore/parent.h).
//
// Interrupted at any point, the old catalog or the new one stands; a manifest that none names yet is harmless.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/parent.h"
#include "client/publisher.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

struct request {
    const char *site, *name, *tag, *version;
    const char *key_path, *site_key_path, *expires_text;
    const char *again; // --version: what the content that is published again is called; NULL: found
    int64_t expires;
    bool remove;
};

// "12.5+1", or the first such name that is free. What was published again once before, "12.5+1", goes on counting.
static int find_free_version(const struct catalog *c, const struct catalog_image *old, char *ret, size_t capacity,
                             struct error *error)
{
    const struct catalog_image *taken;
    const char *plus = strrchr(old->version, '+');
    uint64_t number;
    size_t length = strlen(old->version);
    if (plus && text_parse_u64(slice_of(plus + 1), UINT32_MAX, &number))
        length = (size_t)(plus - old->version);
    for (unsigned n = 1; n <= c->image_count + c->tag_count + 1; n++) {
        if (snprintf(ret, capacity, "%.*s+%u", (int)length, old->version, n) >= (int)capacity)
            break;
        if (catalog_find(c, old->name, ret, &taken, NULL) == -ENOENT)
            return 0;
    }
    return error_set(error, ENAMETOOLONG, "a name for %s %s, published again, must be given with --version", old->name,
                     old->version);
}

static int choose_version(const struct request *q, const struct catalog *c, const struct catalog_image *old,
                          char ret[static CATALOG_NAME_SIZE], struct error *error)
{
    const struct catalog_image *taken;
    if (!q->again)
        return find_free_version(c, old, ret, CATALOG_NAME_SIZE, error);
    if (catalog_find(c, q->name, q->again, &taken, NULL) != -ENOENT)
        return error_set(error, EEXIST, "there is a %s %s already; choose another --version", q->name, q->again);
    snprintf(ret, CATALOG_NAME_SIZE, "%s", q->again); // verb_tag has checked it
    return 0;
}

// The content of *old as the newest version: its manifest stored, its line in the catalog. The tag latest, which
// catalog_add_image moves, is put back.
static int publish_again(const struct request *q, struct publisher_change *p, const struct catalog_image *old,
                         struct catalog_image *ret, struct error *error)
{
    struct catalog_image image = {.serial = catalog_newest_serial(&p->catalog, q->name) + 1}, latest;
    const struct catalog_image *found, *newest = catalog_newest_image(&p->catalog, q->name);
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    struct key_public public;
    int r = catalog_find(&p->catalog, q->name, NULL, &found, error);
    if (r < 0)
        return r;
    latest = *found;
    r = choose_version(q, &p->catalog, old, image.version, error);
    if (r < 0)
        return r;
    CLEANUP_FREE struct manifest *m = malloc(sizeof(*m));
    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    r = site_catalog_read_manifest(p->site, old, m, error);
    if (r < 0)
        return r;
    key_public_of(p->key, &public);
    if (memcmp(m->publisher, public.bytes, sizeof(m->publisher)) != 0) {
        cli_progress("checking all of %s %s, which another key signed", m->name, m->version);
        r = parent_check(p->site, m, error);
        cli_progress_end();
    }
    if (r < 0)
        return r;
    snprintf(image.name, sizeof(image.name), "%s", q->name);
    snprintf(m->version, sizeof(m->version), "%s", image.version);
    m->serial = image.serial;
    m->has_parent = true;
    m->parent = newest->manifest;
    m->created = io_realtime_seconds();
    memcpy(m->publisher, public.bytes, sizeof(m->publisher));
    r = publisher_sign_manifest(m, p->key, &file, error);
    if (r == 0)
        r = site_put_object(p->site, file.data, file.size, &image.manifest, error);
    if (r == 0)
        r = catalog_add_image(&p->catalog, &image, error);
    if (r == 0)
        r = catalog_set_tag(&p->catalog, q->name, "latest", latest.version, error);
    if (r == 0)
        *ret = image;
    return r;
}

static int move(const struct request *q, struct publisher_change *p, struct error *error)
{
    struct catalog *c = &p->catalog;
    struct catalog_image before = {.serial = 0}, after;
    const struct catalog_image *found;
    if (catalog_find(c, q->name, q->tag, &found, NULL) == 0)
        before = *found;
    int r = catalog_set_tag(c, q->name, q->tag, q->version, error); // says what is wrong with either, first of all
    if (r == 0)
        r = catalog_find(c, q->name, q->version, &found, error);
    if (r < 0)
        return r;
    after = *found;
    const bool back = after.serial < before.serial;
    if (q->again && !back)
        return error_set(error, EINVAL,
                         "--version: %s %s is not older than what %s names, so nothing is published again", q->name,
                         q->version, q->tag);
    if (strcmp(before.version, after.version) == 0) {
        fprintf(stderr, "rondo: %s:%s is %s already\n", q->name, q->tag, after.version);
        printf("%s\n", after.version);
        return 0;
    }
    if (back)
        r = publish_again(q, p, found, &after, error);
    if (r == 0 && back)
        r = catalog_set_tag(c, q->name, q->tag, after.version, error);
    if (r == 0)
        r = publisher_sign_catalog(p->site, c, p->site_key, q->expires, error);
    if (r < 0)
        return r;
    if (back)
        fprintf(stderr,
                "rondo: %s %s is older than %s, which %s named: its content is published again as %s (serial %llu)\n",
                q->name, q->version, before.version, q->tag, after.version, (unsigned long long)after.serial);
    else
        fprintf(stderr, "rondo: %s:%s is %s now\n", q->name, q->tag, after.version);
    printf("%s\n", after.version);
    return 0;
}

static int take_away(const struct request *q, struct publisher_change *p, struct error *error)
{
    int r = catalog_remove_tag(&p->catalog, q->name, q->tag, error);
    if (r == 0)
        r = publisher_sign_catalog(p->site, &p->catalog, p->site_key, q->expires, error);
    if (r == 0)
        fprintf(stderr, "rondo: %s has no tag %s any more; its versions stay\n", q->name, q->tag);
    return r;
}

static int change(const struct request *q, struct error *error)
{
    struct publisher_change p;
    int r = publisher_begin(q->site, q->key_path, q->site_key_path, &p, error);
    if (r == 0)
        r = publisher_check_key(&p, q->name, error);
    if (r == 0)
        r = q->remove ? take_away(q, &p, error) : move(q, &p, error);
    publisher_end(&p);
    return r;
}

int verb_tag(int argc, char **argv)
{
    struct request q = {.expires = CATALOG_EXPIRES_DEFAULT};
    const struct option options[] = {{"key", OPTION_TEXT, &q.key_path},  {"site-key", OPTION_TEXT, &q.site_key_path},
                                     {"version", OPTION_TEXT, &q.again}, {"expires", OPTION_TEXT, &q.expires_text},
                                     {"remove", OPTION_FLAG, &q.remove}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 3, 4, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (operands != (q.remove ? 3 : 4))
        return cli_usage("tag", q.remove ? "--remove takes a tag, and no version" : "an argument is missing");
    if (!q.key_path)
        return cli_usage("tag", "--key KEYFILE is needed");
    if (q.remove && q.again)
        return cli_usage("tag", "--version has no meaning with --remove");
    if (q.again && !text_is_version_name(slice_of(q.again)))
        return cli_usage("tag", "--version \"%s\": letters, digits, dot, dash, underscore, plus", q.again);
    if (q.expires_text && !publisher_parse_duration(q.expires_text, &q.expires))
        return cli_usage("tag", "--expires takes a time like 90d or 12h, not \"%s\"", q.expires_text);
    q.site = argv[1];
    q.name = argv[2];
    q.tag = argv[3];
    q.version = argv[4];
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = change(&q, &error);
    return cli_end(r, &error);
}
