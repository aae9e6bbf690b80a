// rondo mirror SITE DIR [IMAGE...]: a copy of a site that any web server can serve, and that is brought up to date by
// the same command.
//
//   catalog: verified, trusted ─▶ its shards ─▶ for each version: manifest verified ─▶ packs ─▶ manifest ─▶ catalog
//
// 1. A reader of DIR never sees a reference to something that is not there: what is named comes before what names it.
// 2. What is in DIR and hashes to its name is not fetched again; an interrupted mirror goes on where it was.
// 3. DIR is locked as by a publisher, and stays a copy of one site: another site's catalog, or a newer one of the same
//    site, is not replaced. (A new key makes it no other site: root statements vouch for it.)
// 4. With some images chosen, the catalog, signed as a whole, still names all. Who asks the mirror for another one is
//    told that it is not there, and finds it at the mirrors that the catalog names, if there are any.
//
// Nothing goes through the cache, which is smaller than a site; what it has whole is taken from there.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/object_copy.h"
#include "client/cli.h"
#include "client/images.h"
#include "client/mirror_roots.h"
#include "client/resolve_private.h"
#include "client/site_pages.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

struct mirror_verb {
    const char *folder; // DIR, as it was given
    char address[CATALOG_URL_SIZE];
    char folder_address[CATALOG_URL_SIZE]; // DIR, as a source
    char cache_address[PATH_TEXT_SIZE];
    struct images images; // without a cache
    struct resolve_decision decision;
    struct catalog catalog;
    struct site *site;
    const char *sources[MIRRORS_MAXIMUM]; // DIR, the cache, other places, the site, its mirrors
    unsigned source_count;
    struct object_copy copy;
    struct pack_set *packs; // of all versions so far
    unsigned versions;
};

static void report(void *context, uint64_t bytes)
{
    char text[32];
    (void)context;
    cli_progress("%s are here", text_format_size(bytes, text));
}

// --- what there is to copy -----------------------------------------------------------------------------------------

// Rule 3.
static int check_folder(struct mirror_verb *m, bool *ret_same, struct error *error)
{
    struct catalog there CLEANUP(catalog_free) = {.number = 0};
    CLEANUP_FREE void *bytes = NULL;
    char path[PATH_TEXT_SIZE];
    const struct buf *now = &m->decision.signed_bytes;
    size_t n = 0;
    *ret_same = false;
    int r = path_format(path, sizeof(path), "%scatalog.rondo", m->folder_address);
    if (r == 0)
        r = io_read_file(AT_FDCWD, path, CATALOG_SIZE_MAXIMUM, &bytes, &n);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return error_set(error, -r, "cannot read %s: %s", path, strerror(-r));
    r = catalog_open(bytes, n, &there, error);
    if (r < 0)
        return error_prefix(error, r, "%s, which is there already", path);
    const bool same_key = key_equal(&there.site_key, &m->catalog.site_key);
    if ((!same_key && there.root_number >= m->catalog.root_number) ||
        memcmp(there.id, m->catalog.id, sizeof(there.id)) != 0)
        return error_set(error, EINVAL, "%s holds another site than %s; name another folder", m->folder, m->address);
    if (same_key && there.number > m->catalog.number)
        return error_set(error, ESTALE, "%s holds a newer catalog (number %llu) than %s has (%llu)", m->folder,
                         (unsigned long long)there.number, m->address, (unsigned long long)m->catalog.number);
    *ret_same = n > 0 && bytes && n == now->size && memcmp(bytes, now->data, n) == 0;
    return 0;
}

static void add_source(struct mirror_verb *m, const char *address)
{
    if (m->source_count < MIRRORS_MAXIMUM)
        m->sources[m->source_count++] = address;
}

static int list_sources(struct mirror_verb *m, struct error *error)
{
    const struct resolve_others *others = &m->images.others;
    struct error why;
    char cache[PATH_TEXT_SIZE];
    add_source(m, m->folder_address);
    if (path_find(PATH_CACHE, cache, &why) == 0 && access(cache, X_OK) == 0 &&
        path_format(m->cache_address, sizeof(m->cache_address), "%s", cache) == 0)
        add_source(m, m->cache_address);
    for (unsigned i = 0; i < others->count; i++)
        add_source(m, others->list[i]);
    add_source(m, m->address);
    for (unsigned i = 0; i < m->catalog.mirror_count; i++)
        add_source(m, m->catalog.mirrors[i]);
    return mirrors_new(store_transport(m->images.store), m->sources, m->source_count, &m->copy.mirrors, error);
}

static int copy_from(struct mirror_verb *m, const struct pack_set *objects, size_t first, struct error *error)
{
    return object_copy_run(&m->copy, objects, first, pack_set_count(objects), error);
}

static int read_shard(struct mirror_verb *m, const struct catalog_shard *shard, struct error *error)
{
    CLEANUP_FREE void *bytes = io->malloc(shard->size ? shard->size : 1);
    int fd CLEANUP_CLOSE = site_open_object(m->site, &shard->object);
    int r = !bytes ? -ENOMEM : fd < 0 ? fd : io_read_full(fd, bytes, shard->size, 0);
    if (r < 0)
        return error_set(error, -r, "cannot read a part of the catalog in %s: %s", m->folder, strerror(-r));
    return catalog_parse_shard(&m->catalog, shard, bytes, shard->size, error);
}

static int copy_shards(struct mirror_verb *m, struct error *error)
{
    struct pack_set *shards CLEANUP(pack_set_free) = NULL;
    int r = pack_set_new(&shards, error);
    for (unsigned i = 0; i < m->catalog.shard_count && r >= 0; i++)
        r = pack_set_put(shards, &(struct whole_object){m->catalog.shards[i].object, m->catalog.shards[i].size}, error);
    if (r >= 0)
        r = copy_from(m, shards, 0, error);
    for (unsigned i = 0; i < m->catalog.shard_count && r == 0; i++) {
        const struct catalog_shard shard = m->catalog.shards[i]; // parsing may move the arrays
        r = read_shard(m, &shard, error);
    }
    return r;
}

// --- versions ------------------------------------------------------------------------------------------------------

static int put_manifest(struct mirror_verb *m, const struct version *v, struct error *error)
{
    struct whole_object manifest = {.name = *version_name(v)};
    size_t n;
    const void *bytes = version_manifest_bytes(v, &n);
    manifest.size = (uint32_t)n;
    bool had = m->copy.target.has(m->copy.target.context, &manifest);
    m->copy.had += had;
    m->copy.copied += !had;
    *(had ? &m->copy.had_bytes : &m->copy.copied_bytes) += n;
    return had ? 0 : site_put_object(m->site, bytes, n, &manifest.name, error);
}

static int copy_version(struct mirror_verb *m, const struct catalog_image *image, struct error *error)
{
    struct version *v;
    size_t first = pack_set_count(m->packs);
    int r = version_open(m->images.store, &image->manifest, m->sources, m->source_count, &v, error);
    if (r < 0)
        return error_prefix(error, r, "%s %s", image->name, image->version);
    r = resolve_check_manifest(m->address, &m->catalog, image, v, error);
    if (r == 0)
        r = pack_set_add_first(m->packs, v, error);
    if (r == 0)
        r = copy_from(m, m->packs, first, error); // with these here, the map is read from here
    first = pack_set_count(m->packs);
    if (r == 0)
        r = pack_set_add(m->packs, v, error);
    if (r == 0)
        r = copy_from(m, m->packs, first, error);
    if (r == 0)
        r = put_manifest(m, v, error);
    version_close(v);
    m->versions += r == 0;
    return r < 0 ? error_prefix(error, r, "%s %s", image->name, image->version) : 0;
}

// NAME means all versions of that name, NAME:TAG or NAME:VERSION one.
static bool is_chosen(const struct catalog *c, const struct catalog_image *image, const char *choice)
{
    const struct catalog_image *found;
    size_t n = strcspn(choice, ":");
    if (strlen(image->name) != n || strncmp(image->name, choice, n) != 0)
        return false;
    return choice[n] == '\0' || (catalog_find(c, image->name, choice + n + 1, &found, NULL) == 0 && found == image);
}

static int check_choice(const struct catalog *c, const char *choice, struct error *error)
{
    const struct catalog_image *found;
    char name[CATALOG_NAME_SIZE];
    size_t n = strcspn(choice, ":");
    if (!text_is_image_name((struct slice){.at = choice, .length = n}) ||
        (choice[n] == ':' && !text_is_version_name(slice_of(choice + n + 1))))
        return error_set(error, EINVAL, "\"%s\" is no name of an image: NAME, NAME:TAG or NAME:VERSION", choice);
    snprintf(name, sizeof(name), "%.*s", (int)n, choice);
    return catalog_find(c, name, choice[n] ? choice + n + 1 : NULL, &found, error);
}

static int check_choices(const struct mirror_verb *m, char *const *choices, unsigned count, struct error *error)
{
    int r = 0;
    for (unsigned k = 0; k < count && r == 0; k++)
        r = check_choice(&m->catalog, choices[k], error);
    return r;
}

static int copy_versions(struct mirror_verb *m, char *const *choices, unsigned count, struct error *error)
{
    const struct catalog *c = &m->catalog;
    int r = pack_set_new(&m->packs, error);
    for (unsigned i = 0; i < c->image_count && r == 0; i++) {
        bool chosen = count == 0;
        for (unsigned k = 0; k < count && !chosen; k++)
            chosen = is_chosen(c, &c->images[i], choices[k]);
        if (chosen)
            r = copy_version(m, &c->images[i], error);
    }
    return r;
}

// From the site; where it is silent or lacks them, from its mirrors, as its catalog may have come from one, too.
static int copy_roots(struct mirror_verb *m, struct error *error)
{
    const struct catalog *c = &m->catalog;
    struct error why = {.text = ""};
    int r = mirror_roots(m->site, &(struct resolve_place){m->images.store, m->address}, c, error);
    if (r == 0 || r == -ENOSPC)
        return r;
    for (unsigned i = 0; i < c->mirror_count; i++)
        if (mirror_roots(m->site, &(struct resolve_place){m->images.store, c->mirrors[i]}, c, &why) == 0)
            return 0;
    return r;
}

// --- the whole -----------------------------------------------------------------------------------------------------

static int get_catalog(struct mirror_verb *m, struct error *error)
{
    const struct resolve_options *options = &m->images.resolve;
    bool fresh, may_be_recent = false;
    int r = resolve_begin(&m->decision, &m->images.configuration, m->address, NULL, options, error);
    if (r < 0)
        return r;
    r = resolve_get_catalog(m->images.store, &m->decision, options, &may_be_recent, &m->catalog, &fresh, error);
    return r < 0 ? r : resolve_settle(&m->decision, &m->catalog, NULL, 0, error);
}

static int mirror(struct mirror_verb *m, char *const *choices, unsigned count, struct error *error)
{
    char copied[32], had[32];
    bool same = false;
    int r = get_catalog(m, error);
    if (r == 0 && m->catalog.shard_count == 0) // before a folder is made; with shards, these lie in it
        r = check_choices(m, choices, count, error);
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: mirroring %s to %s\n", m->address, m->folder);
    r = site_open(m->folder, &m->site, error);
    if (r == 0)
        r = check_folder(m, &same, error);
    if (r == 0)
        r = list_sources(m, error);
    if (r < 0)
        return r;
    m->copy.target = object_copy_to_site(m->site);
    m->copy.wait_seconds = m->images.configuration.outage_seconds;
    m->copy.progress = report;
    r = copy_shards(m, error);
    if (r == 0)
        r = check_choices(m, choices, count, error);
    if (r == 0)
        r = copy_versions(m, choices, count, error);
    if (r == 0)
        r = copy_roots(m, error);
    if (r == 0 && !same)
        r = site_put_catalog(m->site, m->decision.signed_bytes.data, m->decision.signed_bytes.size, error);
    if (r == 0)
        site_pages_refresh(m->site);
    cli_progress_end();
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: %s in %s: %s in %s fetched, %s in %llu were there\n", TEXT_COUNT(m->versions, "version"),
            m->folder, text_format_size(m->copy.copied_bytes, copied), TEXT_COUNT(m->copy.copied, "object"),
            text_format_size(m->copy.had_bytes, had), (unsigned long long)m->copy.had);
    return 0;
}

static int parse_operands(struct mirror_verb *m, const char *site, const char *folder, struct error *error)
{
    CLEANUP_FREE char *here = getcwd(NULL, 0);
    struct stat a, b;
    int r = address_parse_site(site, here ? here : "/", m->address, error);
    if (r == 0)
        r = address_parse_site(folder, here ? here : "/", m->folder_address, error);
    if (r < 0)
        return r;
    if (!address_is_directory(m->folder_address))
        return error_set(error, EINVAL, "%s is no folder: a mirror is written to one on this machine", folder);
    if (stat(m->address, &a) == 0 && stat(m->folder_address, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return error_set(error, EINVAL, "%s is the site itself; name another folder", folder);
    m->folder = folder;
    return 0;
}

int verb_mirror(int argc, char **argv)
{
    struct mirror_verb m = {.images = {.resolve = {.for_update = true}, .without_cache = true}};
    const struct option options[] = {{"require-pin", OPTION_FLAG, &m.images.resolve.require_pin},
                                     {"source", OPTION_LIST, &m.images.named},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 2, 1000, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_cancel_on_signals(); // whatever is cut short is swept, or gone on with, by the next one
    r = parse_operands(&m, argv[1], argv[2], &error);
    if (r == 0)
        r = images_open(&m.images, &error);
    if (r < 0)
        return cli_fail(r, &error);
    r = mirror(&m, argv + 3, operands - 2, &error);
    pack_set_free(&m.packs);
    mirrors_free(m.copy.mirrors);
    site_close(m.site);
    resolve_end(&m.decision);
    catalog_free(&m.catalog);
    images_close(&m.images);
    return cli_end(r, &error);
}
