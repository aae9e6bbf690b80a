// rondo import FILE: a version that rondo export wrote comes into the cache, as if it had been pulled from its site.
//
//   description ─▶ roots ─▶ catalog: signature, and trust in the site that it says it is of (key, number, date) ─▶
//   shard ─▶ the image's line ─▶ manifest: hash, signature, publisher ─▶ packs, each hashed before it stands in the
//   cache ─▶ all that the map names is there, and nothing else came ─▶ catalog and key remembered, version pinned
//
// 1. The file is believed in nothing: the chain is the one of resolve.h, but that no site is asked.
// 2. A catalog that is older than what was seen changes nothing. The version may still be had, if the newer catalog
//    that is remembered names it, too.
// 3. Until the last step, a failure takes back every object that came to stand in the cache by this file.
#include "base/cleanup.h"
#include "base/log.h"
#include "client/cli.h"
#include "client/images.h"
#include "client/import_objects.h"
#include "client/resolve_private.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

struct import {
    struct images images;
    struct archive_reader archive;
    struct archive_description about;
    struct resolve_decision decision;
    struct catalog catalog; // that vouches for the version: the file's, or a newer one that is remembered
    bool remembered;
    const struct catalog_image *image; // its line
    struct version *version;
    int lease;           // of it, so that nothing of what came is evicted meanwhile
    struct sha256 shard; // zero: none
    struct import_objects objects;
};

// --- the chain -----------------------------------------------------------------------------------------------------

static int read_description(struct import *i, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    struct archive_entry e = {.size = 0};
    char site[CATALOG_URL_SIZE];
    int r = archive_next(&i->archive, &e, error);
    if (r < 0 || (r == 1 && e.kind != ARCHIVE_DESCRIPTION) || r == 0)
        return r < 0 && r != -EBADMSG ? r : error_set(error, EBADMSG, "it is nothing that rondo export wrote");
    r = archive_read_all(&i->archive, &e, ARCHIVE_DESCRIPTION_MAXIMUM, &bytes, error);
    if (r == 0)
        r = archive_parse_description(bytes, e.size, &i->about, error);
    if (r == 0 && (address_parse_site(i->about.site, "/", site, NULL) < 0 || strcmp(site, i->about.site) != 0))
        r = error_set(error, EBADMSG, "the site that it says it is of has no proper address");
    return r == 0 && i->about.bytes > cache_limit(store_cache(i->images.store))
               ? import_objects_not_kept(&i->objects, error)
               : r;
}

// Rule 2: after `older`, the failure that the file's own catalog met, and which stands if nothing can be had this way.
static int use_remembered(struct import *i, int older, bool *fresh)
{
    CLEANUP_FREE void *known = NULL;
    size_t size;
    char etag[128];
    int64_t checked;
    struct error why;
    if (older != -ESTALE ||
        trust_load_catalog(i->decision.trust, i->about.site, &known, &size, etag, &checked, &why) < 0 ||
        resolve_accept(&i->decision, known, size, NULL, &i->catalog, fresh, &why) < 0 ||
        resolve_load_shards(i->images.store, i->about.site, i->about.name, true, &i->catalog, &why) < 0)
        return older;
    i->remembered = true;
    return 0;
}

static bool find_line(struct import *i)
{
    for (unsigned k = 0; k < i->catalog.image_count; k++) {
        const struct catalog_image *image = &i->catalog.images[k];
        if (strcmp(image->name, i->about.name) == 0 && strcmp(image->version, i->about.version) == 0 &&
            sha256_equal(&image->manifest, &i->about.manifest)) {
            i->image = image;
            return true;
        }
    }
    return false;
}

// Root statements, each of the next number, and the beginning of the catalog behind them. Trust decides about both.
static int read_roots(struct import *i, struct archive_entry *ret, struct error *error)
{
    struct resolve_decision *d = &i->decision;
    struct trust_roots *roots = &d->request.roots;
    int r;
    d->roots = calloc(ROOT_NUMBER_MAXIMUM, sizeof(*d->roots));
    if (!d->roots)
        return error_set(error, ENOMEM, "out of memory");
    roots->files = d->roots;
    while ((r = archive_next(&i->archive, ret, error)) == 1 && ret->kind == ARCHIVE_ROOT) {
        CLEANUP_FREE void *bytes = NULL;
        struct buf *file = &d->roots[roots->count];
        if (roots->count > 0 && ret->root != roots->first + roots->count)
            return error_set(error, EBADMSG, "root %u is not where it should be", ret->root);
        r = archive_read_all(&i->archive, ret, ROOT_SIZE_MAXIMUM, &bytes, error);
        if (r < 0)
            return r;
        *file = (struct buf)BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
        if (buf_append(file, bytes, ret->size) < 0)
            return error_set(error, ENOMEM, "out of memory");
        roots->first = roots->count++ ? roots->first : ret->root;
    }
    if (r < 0)
        return r;
    return r == 1 && ret->kind == ARCHIVE_CATALOG ? 0 : error_set(error, EBADMSG, "it has no catalog");
}

static int read_catalog(struct import *i, bool *fresh, struct buf *ret_bytes, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    CLEANUP_FREE void *shard_bytes = NULL;
    struct catalog own CLEANUP(catalog_free) = {.number = 0};
    struct archive_entry e;
    size_t size = 0;
    int r = read_roots(i, &e, error);
    if (r < 0)
        return r;
    r = archive_read_all(&i->archive, &e, CATALOG_SIZE_MAXIMUM, &bytes, error);
    if (r == 0 && buf_append(ret_bytes, bytes, e.size) < 0)
        r = error_set(error, ENOMEM, "out of memory");
    if (r == 0)
        r = catalog_open(bytes, e.size, &own, error);
    if (r < 0)
        return r;
    r = resolve_accept(&i->decision, bytes, e.size, NULL, &i->catalog, fresh, error);
    int older = r;
    if (r < 0 && (r = use_remembered(i, older, fresh)) < 0)
        return r;
    const struct catalog_shard *found = catalog_find_shard(&own, i->about.name);
    if (found) {
        const struct catalog_shard shard = *found; // parsing may move the arrays
        r = import_objects_read(&i->objects, &shard.object, CATALOG_SHARD_MAXIMUM, &shard_bytes, &size, error);
        if (r == 0 && !i->remembered)
            r = catalog_parse_shard(&i->catalog, &shard, shard_bytes, size, error);
        if (r < 0)
            return r;
        i->shard = shard.object;
    }
    bool named = find_line(i);
    if (named && i->remembered)
        log_warning(
            "its catalog is older than what was seen of %s; the newer one is used, which names this version, too",
            i->about.site);
    if (named)
        return 0;
    return i->remembered ? older
                         : error_set(error, EBADMSG, "its catalog does not name %s %s as the version that it holds",
                                     i->about.name, i->about.version);
}

static int read_manifest(struct import *i, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    i->lease = cache_lease(store_cache(i->images.store), &i->about.manifest);
    int r = import_objects_read(&i->objects, &i->about.manifest, MANIFEST_SIZE_MAXIMUM, &bytes, &size, error);
    if (r == 0)
        r = version_open(i->images.store, &i->about.manifest, NULL, 0, &i->version, error);
    if (r == -ENOENT) // what was put there a moment ago
        return import_objects_not_kept(&i->objects, error);
    return r < 0 ? r : resolve_check_manifest(i->about.site, &i->catalog, i->image, i->version, error);
}

// --- the end -------------------------------------------------------------------------------------------------------

static int report_check(void *context, uint64_t have, uint64_t all)
{
    char have_text[32], all_text[32];
    (void)context;
    cli_progress("checked %s of %s", text_format_size(have, have_text), text_format_size(all, all_text));
    return cli_interrupted() ? -ECANCELED : 0;
}

// What the site has signed is remembered for when it cannot be asked; but not as if it had been asked just now.
static int remember(struct import *i, const struct buf *bytes, struct error *error)
{
    CLEANUP_FREE void *known = NULL;
    size_t size;
    char etag[128];
    int64_t checked;
    struct catalog last CLEANUP(catalog_free) = {.number = 0};
    struct resolve_decision *d = &i->decision;
    int r = resolve_settle(d, &i->catalog, i->about.name, catalog_newest_serial(&i->catalog, i->about.name), error);
    if (r < 0 || i->remembered)
        return r;
    if (trust_load_catalog(d->trust, d->site, &known, &size, etag, &checked, NULL) == 0 &&
        catalog_open(known, size, &last, NULL) == 0 && last.root_number >= i->catalog.root_number &&
        last.number >= i->catalog.number)
        return 0;
    return trust_save_catalog(d->trust, d->site, bytes->data, bytes->size, "",
                              i->catalog.issued - RESOLVE_CATALOG_SECONDS, error);
}

static int keep(struct import *i, const struct buf *bytes, struct error *error)
{
    CLEANUP_FREE struct sha256 *objects = NULL;
    size_t count;
    int r = version_pull(i->version, report_check, NULL, &objects, &count, error);
    cli_progress_end();
    if (r == -ENOENT) // all of it was there, and some is gone
        return import_objects_not_kept(&i->objects, error);
    if (r == 0)
        r = remember(i, bytes, error);
    return r < 0 ? r
                 : resolve_pin_pulled(store_cache(i->images.store), &i->about.manifest, &i->shard, &objects, count,
                                      error);
}

static int import(struct import *i, struct error *error)
{
    struct buf bytes CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf word CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ADDRESS_WORD_MAXIMUM);
    char size[32], hex[SHA256_HEX_SIZE];
    bool fresh;
    int r = read_description(i, error);
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: %s %s from %s\n", i->about.name, i->about.version, i->about.site);
    r = resolve_begin(&i->decision, &i->images.configuration, i->about.site, NULL, &i->images.resolve, error);
    if (r < 0)
        return r;
    r = read_catalog(i, &fresh, &bytes, error);
    if (r == 0)
        r = read_manifest(i, error);
    if (r == 0)
        r = import_objects_read_packs(&i->objects, error);
    if (r == 0)
        r = import_objects_check_packs(&i->objects, i->version, error);
    if (r == 0)
        r = keep(i, &bytes, error);
    resolve_end(&i->decision);
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: took in %s; it runs offline now", text_format_size(i->objects.bytes, size));
    if (address_append_word(&word, i->about.site, i->about.name, i->about.version) == 0)
        fprintf(stderr, ": rondo run --offline %s", buf_text(&word));
    fputc('\n', stderr);
    printf("%s\n", sha256_to_hex(&i->about.manifest, hex));
    return 0;
}

int verb_import(int argc, char **argv)
{
    struct import i = {.images = {.resolve = {.offline = true}},
                       .lease = -1,
                       .archive = {.fd = STDIN_FILENO, .cancelled = cli_interrupted}};
    const struct option options[] = {{"require-fresh", OPTION_FLAG, &i.images.resolve.require_fresh},
                                     {"require-pin", OPTION_FLAG, &i.images.resolve.require_pin},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    const bool stream = strcmp(argv[1], "-") == 0;
    if (!stream && (i.archive.fd = open(argv[1], O_RDONLY | O_CLOEXEC)) < 0) {
        r = error_set(&error, errno, "cannot open %s: %s", argv[1], strerror(errno));
        return cli_fail(r, &error);
    }
    r = images_open(&i.images, &error);
    if (r == 0) {
        i.objects = (struct import_objects){.store = i.images.store,
                                            .archive = &i.archive,
                                            .about = &i.about,
                                            .placed = BUF_WITH_MAXIMUM((size_t)256 << 20)};
        cli_catch_signals(); // from here on there are objects to take away
        r = import(&i, &error);
        if (r < 0)
            error_prefix(&error, r, "%s", stream ? "standard input" : argv[1]);
        version_close(i.version);
        cache_end_lease(store_cache(i.images.store), &i.about.manifest, i.lease);
        if (r < 0)
            import_objects_take_back(&i.objects);
        import_objects_free(&i.objects);
        catalog_free(&i.catalog);
    }
    images_close(&i.images);
    if (!stream)
        close(i.archive.fd);
    return cli_end(r, &error);
}
