// See resolve.h. The order of the checks is the chain of trust: nothing of a catalog is used before its signature and
// its key were found right, nothing of a manifest before its hash and its signature were, and no chunk is asked for
// before all of that.
#include "base/cleanup.h"
#include "base/path.h"
#include "catalog/signer.h"
#include "client/resolve_private.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static int add_source(struct resolved *r, const char *address)
{
    if (r->source_count == MIRRORS_MAXIMUM)
        return 0;
    r->sources[r->source_count] = strdup(address);
    if (!r->sources[r->source_count])
        return -ENOMEM;
    r->source_count++;
    return 0;
}

// A folder that is not there, such as a stick that is not plugged in, is none to ask; nor is a URL, offline.
static void add_other(struct resolve_others *others, const char *address, bool offline, bool tell)
{
    if (others->count == RESOLVE_OTHERS_MAXIMUM || (offline && !address_is_directory(address)))
        return;
    if (!address_is_directory(address) || access(address, X_OK) == 0)
        snprintf(others->list[others->count++], CATALOG_URL_SIZE, "%s", address);
    else if (tell)
        fprintf(stderr, "rondo: the source %s cannot be opened (%s); going on without it\n", address, strerror(errno));
}

int resolve_list_others(const struct configuration *configuration, const struct option_list *named, bool offline,
                        struct resolve_others *ret, struct error *error)
{
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    char address[CATALOG_URL_SIZE];
    if (named->count > RESOLVE_OTHERS_MAXIMUM)
        return error_set(error, EINVAL, "--source: at most %u are possible", RESOLVE_OTHERS_MAXIMUM);
    ret->count = 0;
    for (unsigned i = 0; i < named->count; i++) {
        int r = address_parse_site(named->values[i], folder ? folder : "/", address, error);
        if (r < 0)
            return error_prefix(error, r, "--source");
        add_other(ret, address, offline, true);
    }
    for (unsigned i = 0; i < configuration->source_count; i++)
        add_other(ret, configuration->sources[i], offline, false);
    return 0;
}

// Everybody whom the objects may be asked of.
static int list_sources(struct resolved *r, const struct resolve_options *options, const struct catalog *c)
{
    r->sources = calloc(MIRRORS_MAXIMUM, sizeof(*r->sources));
    int code = r->sources ? 0 : -ENOMEM;
    for (unsigned i = 0; options->others && i < options->others->count && code == 0; i++)
        code = add_source(r, options->others->list[i]);
    r->other_count = r->source_count;
    if (code == 0 && !options->offline)
        code = add_source(r, r->address.site);
    for (unsigned i = 0; i < c->mirror_count && code == 0 && !options->offline; i++)
        code = add_source(r, c->mirrors[i]);
    return code;
}

int resolve_check_manifest(const char *site, const struct catalog *c, const struct catalog_image *image,
                           const struct version *v, struct error *error)
{
    const struct manifest *m = version_manifest(v);
    const struct key_public signer = signer_of(m);
    size_t n;
    const void *bytes = version_manifest_bytes(v, &n);
    int code = signer_check(m, bytes, n, error);
    if (code < 0)
        return error_prefix(error, code, "the manifest of %s", image->name);
    char key[KEY_TEXT_SIZE];
    if (catalog_revokes(c, &signer))
        return error_set(
            error, EKEYREJECTED,
            "%s %s of %s is signed by %s, which the site has revoked: it may not be what its name says. Ask "
            "the site's owner for a newer version",
            image->name, image->version, site, key_to_text(&signer, key));
    if (!catalog_allows(c, &signer, image->name))
        return error_set(error, EKEYREJECTED, "%s of %s is signed by %s, which may not publish that name there",
                         image->name, site, key_to_text(&signer, key));
    if (strcmp(m->name, image->name) != 0 || strcmp(m->version, image->version) != 0 || m->serial != image->serial)
        return error_set(error, EBADMSG,
                         "the catalog of %s says %s %s (serial %llu), but the manifest is of %s %s (%llu)", site,
                         image->name, image->version, (unsigned long long)image->serial, m->name, m->version,
                         (unsigned long long)m->serial);
    return 0;
}

int resolve_explain_offline(int result, bool offline, const char *site, const char *name, const char *version,
                            struct error *error)
{
    if (result != -ENOENT || !offline)
        return result;
    struct buf word CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ADDRESS_WORD_MAXIMUM);
    if (address_append_word(&word, site, name, version) < 0)
        return error_set(error, ENOMEM, "out of memory");
    return error_set(error, ENONET, "%s %s is not, or not whole, in the cache: rondo pull %s, with a network", name,
                     version, buf_text(&word));
}

int resolve_open_version(struct store *store, const struct resolved *r, const struct catalog *c,
                         const struct catalog_image *image, unsigned source_count, struct version **ret,
                         struct error *error)
{
    struct version *v;
    int code = version_open(store, &image->manifest, (const char *const *)r->sources, source_count, &v, error);
    if (code < 0) {
        error_prefix(error, code, "%s %s", image->name, image->version);
        return resolve_explain_offline(code, source_count == 0, r->address.site, image->name, image->version, error);
    }
    code = resolve_check_manifest(r->address.site, c, image, v, error);
    if (code == 0)
        *ret = v;
    else
        version_close(v);
    return code;
}

static int open_manifest(struct store *store, struct resolved *r, const struct catalog *c,
                         const struct catalog_image *image, bool connect_ahead, struct error *error)
{
    struct version *v = NULL;
    if (connect_ahead)
        transport_connect_ahead(store_transport(store));
    int code = resolve_open_version(store, r, c, image, r->source_count, &v, error);
    transport_take_ahead(store_transport(store), &r->ahead);
    if (code < 0)
        return code;
    r->description = malloc(sizeof(*r->description));
    if (r->description)
        *r->description = *version_manifest(v);
    version_close(v);
    return r->description ? 0 : error_set(error, ENOMEM, "out of memory");
}

int resolve_pin_pulled(struct cache *cache, const struct sha256 *manifest, const struct sha256 *shard,
                       struct sha256 **objects, size_t count, struct error *error)
{
    if (!sha256_is_zero(shard)) {
        struct sha256 *more = realloc(*objects, (count + 1) * sizeof(**objects));
        if (!more)
            return error_set(error, ENOMEM, "out of memory");
        more[count++] = *shard;
        *objects = more;
        if (!cache_has_object(cache, shard))
            return error_set(error, ENOSPC,
                             "the cache %s does not keep a part of the site's catalog: free space there, raise the "
                             "limit, or name another cache with RONDO_CACHE",
                             cache_folder(cache));
    }
    return cache_pin(cache, manifest, CACHE_OWNER_PULL, *objects, count, error);
}

static int find_image(const struct resolved *r, const struct catalog *c, const struct catalog_image **ret,
                      struct error *error)
{
    const struct catalog_image *found = NULL;
    if (r->address.has_manifest && !r->address.selector[0]) {
        // The address names the version by its hash: any line of that name with this hash will do.
        for (unsigned i = 0; i < c->image_count && !found; i++)
            if (strcmp(c->images[i].name, r->address.name) == 0 &&
                sha256_equal(&c->images[i].manifest, &r->address.manifest))
                found = &c->images[i];
        if (!found)
            return error_set(error, ENOENT, "%s does not offer that version of %s any more", r->address.site,
                             r->address.name);
    } else {
        int code = catalog_find(c, r->address.name, r->address.selector, &found, error);
        if (code < 0)
            return error_prefix(error, code, "%s", r->address.site);
        if (r->address.has_manifest && !sha256_equal(&found->manifest, &r->address.manifest))
            return error_set(error, EBADMSG, "%s:%s of %s is not the version that the address pins by its hash",
                             r->address.name, r->address.selector, r->address.site);
    }
    *ret = found;
    return 0;
}

// One pass over the chain. Leaves *r to be freed by the caller, whatever it returns.
static int resolve_once(struct store *store, struct resolve_decision *d, const struct resolve_options *options,
                        bool *may_be_recent, struct resolved *r, struct error *error)
{
    struct catalog c = {.number = 0};
    const struct catalog_image *image = NULL;
    int code = resolve_get_catalog(store, d, options, may_be_recent, &c, &r->fresh, error);
    if (code < 0)
        return code;
    const struct catalog_shard *shard = catalog_find_shard(&c, r->address.name);
    r->shard = shard ? *shard : (struct catalog_shard){.size = 0};
    code = resolve_load_shards(store, r->address.site, r->address.name, options->offline, &c, error);
    if (code == 0)
        code = find_image(r, &c, &image, error);
    if (image && !options->look_only)
        code = resolve_settle(d, &c, r->address.name, catalog_newest_serial(&c, r->address.name), error);
    else if (!image && !options->look_only) // that it could not be found, or not be told, says nothing against it
        resolve_settle(d, &c, NULL, 0, NULL);
    if (code == 0 && image) {
        r->manifest = image->manifest;
        r->offline = options->offline;
        r->catalog = d->signed_bytes;
        d->signed_bytes.data = NULL;
        buf_free(&d->signed_bytes);
        code = list_sources(r, options, &c);
        if (code < 0)
            error_set(error, -code, "out of memory");
        else if (!options->all_versions)
            code = open_manifest(store, r, &c, image, options->connect_ahead, error);
    }
    if (code == 0 && options->all_versions)
        r->versions = c;
    else
        catalog_free(&c);
    return code;
}

int resolve_image(struct store *store, const struct configuration *configuration, const char *address,
                  const struct resolve_options *options, struct resolved *ret, struct error *error)
{
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    const char *site = getenv("RONDO_SITE");
    struct resolved resolved = {.source_count = 0};
    struct resolve_decision d;
    bool may_be_recent = true;
    if (!site || !*site)
        site = configuration->site[0] ? configuration->site : NULL;
    int r = address_parse(address, site, folder ? folder : "/", &resolved.address, error);
    if (r == 0)
        r = resolve_begin(&d, configuration, resolved.address.site,
                          resolved.address.has_key ? &resolved.address.key : NULL, options, error);
    if (r < 0)
        return r;
    r = resolve_once(store, &d, options, &may_be_recent, &resolved, error);
    if (r == -ENOENT && may_be_recent) { // it may have been published since the catalog was checked
        struct address parsed = resolved.address;
        resolve_free(&resolved);
        resolved.address = parsed;
        may_be_recent = false;
        r = resolve_once(store, &d, options, &may_be_recent, &resolved, error);
    }
    resolve_end(&d);
    if (r < 0)
        resolve_free(&resolved);
    else
        *ret = resolved;
    return r;
}

void resolve_free(struct resolved *r)
{
    for (unsigned i = 0; i < r->source_count; i++)
        free(r->sources[i]);
    free(r->sources);
    buf_free(&r->catalog);
    free(r->description);
    catalog_free(&r->versions);
    transport_close_ahead(&r->ahead);
    *r = (struct resolved){.source_count = 0};
}

int resolve_open_store(const struct configuration *configuration, struct store **ret, struct error *error)
{
    char cache[PATH_TEXT_SIZE];
    int r = path_make(PATH_CACHE, cache, error);
    if (r < 0)
        return r;
    struct store_options options = {
        .cache_folder = cache, .cache_limit = configuration->cache_size, .wait_seconds = configuration->outage_seconds};
    return store_new(&options, ret, error);
}
