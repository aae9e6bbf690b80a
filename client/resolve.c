// See resolve.h. The order of the checks is the chain of trust: nothing of a catalog is used before its signature and
// its key were found right, nothing of a manifest before its hash and its signature were, and no chunk is asked for
// before all of that.
#include "client/resolve.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path.h"
#include "catalog/signed.h"
#include "client/cli.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

// A second attempt is made only after a quick failure: who was silent until the transport gave up will be so again, and
// the remembered catalog can serve.
#define CATALOG_QUICK_SECONDS 3
#define UNREACHABLE_SECONDS 4 // to wait for anything else of a site of which the catalog could just not be had

struct fetched {
    struct buf bytes; // empty if not modified
    char etag[128];
    bool not_modified;
};

static int collect(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct buf *b = context;
    if (offset != b->size)
        return -EBADMSG;
    return buf_append(b, bytes, n) == -E2BIG ? -EBADMSG : 0;
}

// One attempt, and a second one where a kept connection or a passing fault may have been the reason.
static int fetch_catalog(struct store *store, const char *site, const char *etag, struct fetched *ret,
                         struct error *error)
{
    struct source *source;
    int r = source_open(store_transport(store), site, &source, error);
    if (r < 0)
        return r;
    uint64_t end = io_monotonic_ns() + CATALOG_QUICK_SECONDS * 1000000000ull;
    if (source_is_remote(source))
        cli_progress("asking %s", site);
    for (unsigned attempt = 0;; attempt++) {
        buf_clear(&ret->bytes);
        struct source_request request = {.path = "catalog.rondo",
                                         .maximum = CATALOG_SIZE_MAXIMUM,
                                         .if_etag = etag && *etag ? etag : NULL,
                                         .sink = collect,
                                         .context = &ret->bytes};
        source_start(source, &request);
        source_wait(source, &request);
        r = request.result;
        ret->not_modified = request.not_modified;
        snprintf(ret->etag, sizeof(ret->etag), "%s", request.etag);
        if (r < 0 && error)
            *error = request.error;
        if (!error_is_network(r) || attempt == 1 || io_monotonic_ns() > end)
            break;
    }
    cli_progress_end();
    source_close(source);
    return r;
}

static int load_shard(struct store *store, const char *site, const struct catalog_shard *shard, bool offline,
                      struct catalog *c, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    char hex[SHA256_HEX_SIZE], path[128];
    struct cache *cache = store_cache(store);
    sha256_to_hex(&shard->object, hex);
    if (cache && cache_get_object(cache, &shard->object, CATALOG_SHARD_MAXIMUM, &bytes, &size) == 0)
        return catalog_parse_shard(c, shard, bytes, size, error);
    if (offline)
        return error_set(error, ENOENT, "a part of the catalog of %s (%.12s…) was never fetched; go online once", site,
                         hex);
    struct source *source;
    int r = source_open(store_transport(store), site, &source, error);
    if (r < 0)
        return r;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(shard->size);
    snprintf(path, sizeof(path), "objects/%.2s/%s", hex, hex);
    struct source_request request = {.path = path, .maximum = shard->size, .sink = collect, .context = &b};
    source_start(source, &request);
    source_wait(source, &request);
    source_close(source);
    if (request.result < 0) {
        if (error)
            *error = request.error;
        return request.result;
    }
    struct sha256 hash = sha256_of(b.data, b.size);
    if (b.size != shard->size || !sha256_equal(&hash, &shard->object))
        return error_set(error, EBADMSG, "a part of the catalog of %s is not what its signed head names (%.12s…)", site,
                         hex);
    if (cache)
        cache_put_object(cache, &shard->object, b.data, b.size);
    return catalog_parse_shard(c, shard, b.data, b.size, error);
}

// All that a look-up of `name` needs (NULL: everything).
static int load_shards(struct store *store, const char *site, const char *name, bool offline, struct catalog *c,
                       struct error *error)
{
    const struct catalog_shard *wanted = name ? catalog_find_shard(c, name) : NULL;
    int r = 0;
    for (unsigned i = 0; i < c->shard_count && r == 0; i++)
        if (!name || &c->shards[i] == wanted) {
            struct catalog_shard shard = c->shards[i]; // parsing may move the arrays
            r = load_shard(store, site, &shard, offline, c, error);
        }
    return r;
}

struct decision {
    struct trust *trust;
    struct trust_request request;
    const char *site;
    int64_t now;
};

// Verifies and asks trust about these bytes of a catalog.
static int accept(struct decision *d, const void *bytes, size_t n, struct catalog *ret, bool *ret_fresh,
                  struct error *error)
{
    char key[KEY_TEXT_SIZE];
    struct trust_verdict verdict;
    struct catalog c;
    int r = catalog_open(bytes, n, &c, error);
    if (r < 0)
        return error_prefix(error, r, "the catalog of %s", d->site);
    r = trust_check(d->trust, &d->request, &c, &verdict, error);
    if (r < 0) {
        catalog_free(&c);
        return r;
    }
    if (verdict.first_contact)
        fprintf(stderr,
                "rondo: first contact with %s, whose key is %s\n"
                "rondo: it is remembered; another key will be refused. To pin it: …#%s\n",
                d->site, key_to_text(&c.site_key, key), key);
    if (verdict.clock_wrong)
        log_warning("your clock says %s, which is before a date that %s has signed: is it right?",
                    text_format_time(d->now, (char[32]){0}), d->site);
    else if (!verdict.fresh)
        log_warning("the catalog of %s expired on %s: what it names may be old", d->site,
                    text_format_time(c.expires, (char[32]){0}));
    *ret = c;
    *ret_fresh = verdict.fresh;
    return 0;
}

// The remembered catalog, verified and trusted as if it had just come.
static int use_remembered(struct decision *d, const void *bytes, size_t n, struct catalog *ret, bool *ret_fresh,
                          struct error *error)
{
    if (!bytes)
        return error_set(error, ENETUNREACH, "%s was never seen, so it cannot be used without a network", d->site);
    return accept(d, bytes, n, ret, ret_fresh, error);
}

// A recent catalog serves without asking the site if *may_be_recent, which then stays true. A directory costs nothing
// to ask.
// For the next minute, and for when the site cannot be reached. Without it everything still works: a full disk is no
// reason to refuse what has just been verified.
static void remember(struct decision *d, const void *bytes, size_t n, const char *etag)
{
    struct error error = {.text = ""};
    if (trust_save_catalog(d->trust, d->site, bytes, n, etag, d->now, &error) < 0)
        log_warning("the catalog of %s is not remembered: %s", d->site, error.text);
}

static int get_catalog(struct store *store, struct decision *d, const struct resolve_options *options,
                       bool *may_be_recent, struct catalog *ret, bool *ret_fresh, struct error *error)
{
    CLEANUP_FREE void *known = NULL;
    size_t known_size = 0;
    int64_t checked = 0;
    char etag[128] = "";
    int r = trust_load_catalog(d->trust, d->site, &known, &known_size, etag, &checked, error);
    if (r < 0 && r != -ENOENT)
        return r;
    if (options->offline) {
        *may_be_recent = false;
        return use_remembered(d, known, known_size, ret, ret_fresh, error);
    }
    if (known && *may_be_recent && !options->for_update && !address_is_directory(d->site) && d->now >= checked &&
        d->now - checked < RESOLVE_CATALOG_SECONDS && accept(d, known, known_size, ret, ret_fresh, NULL) == 0)
        return 0;
    *may_be_recent = false;
    struct fetched fetched = {.bytes = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM)};
    r = fetch_catalog(store, d->site, known ? etag : NULL, &fetched, error);
    if (error_is_network(r) && known && !options->for_update) {
        log_warning("%s; going on with the catalog of %s", error->text, text_format_time(checked, (char[32]){0}));
        store_set_wait(store, UNREACHABLE_SECONDS);
        r = use_remembered(d, known, known_size, ret, ret_fresh, error);
    } else if (r == 0 && fetched.not_modified) {
        r = use_remembered(d, known, known_size, ret, ret_fresh, error);
        if (r == 0)
            remember(d, known, known_size, etag);
    } else if (r == 0) {
        r = accept(d, fetched.bytes.data, fetched.bytes.size, ret, ret_fresh, error);
        if (r == 0)
            remember(d, fetched.bytes.data, fetched.bytes.size, fetched.etag);
    } else if (r == -ENOENT) {
        r = error_set(error, ENOENT, "%s has no catalog.rondo, so it is no site of images", d->site);
    }
    buf_free(&fetched.bytes);
    return r;
}

static int begin_decision(struct decision *d, const struct configuration *configuration, const char *site,
                          const struct key_public *pin, const struct resolve_options *options, struct error *error)
{
    char home[PATH_TEXT_SIZE];
    *d = (struct decision){.site = site, .now = io_realtime_seconds()};
    d->request = (struct trust_request){.site = site,
                                        .pin = pin,
                                        .require_pin = options->require_pin || configuration->require_pin,
                                        .require_fresh = options->require_fresh,
                                        .for_update = options->for_update,
                                        .now = d->now};
    int r = path_make(PATH_HOME, home, error);
    return r < 0 ? r : trust_open(home, &d->trust, error);
}

int resolve_catalog(struct store *store, const struct configuration *configuration, const char *site,
                    const struct resolve_options *options, struct catalog *ret, bool *ret_fresh, struct error *error)
{
    struct decision d;
    struct catalog c;
    bool may_be_recent = true;
    int r = begin_decision(&d, configuration, site, NULL, options, error);
    if (r < 0)
        return r;
    r = get_catalog(store, &d, options, &may_be_recent, &c, ret_fresh, error);
    trust_close(d.trust);
    if (r < 0)
        return r;
    r = load_shards(store, site, NULL, options->offline, &c, error);
    if (r < 0)
        catalog_free(&c);
    else
        *ret = c;
    return r;
}

static int list_sources(struct resolved *r, const struct catalog *c)
{
    r->sources = calloc(1 + c->mirror_count, sizeof(*r->sources));
    if (!r->sources)
        return -ENOMEM;
    for (unsigned i = 0; i < 1 + c->mirror_count && i < MIRRORS_MAXIMUM; i++) {
        r->sources[i] = strdup(i == 0 ? r->address.site : c->mirrors[i - 1]);
        if (!r->sources[i])
            return -ENOMEM;
        r->source_count++;
    }
    return 0;
}

// Does the manifest say what the catalog's line says of it, and may its signer publish that name?
static int check_manifest(const struct resolved *r, const struct catalog *c, const struct catalog_image *image,
                          struct version *v, struct error *error)
{
    const struct manifest *m = version_manifest(v);
    struct key_public signer = {.id = {0}};
    struct slice text;
    size_t n;
    const void *bytes = version_manifest_bytes(v, &n);
    memcpy(signer.bytes, m->publisher, sizeof(signer.bytes));
    int code = signed_verify(bytes, n, &signer, &text, error);
    if (code < 0)
        return error_prefix(error, code, "the manifest of %s", image->name);
    char key[KEY_TEXT_SIZE];
    if (!catalog_allows(c, &signer, image->name))
        return error_set(error, EKEYREJECTED, "%s of %s is signed by %s, which may not publish that name there",
                         image->name, r->address.site, key_to_text(&signer, key));
    if (strcmp(m->name, image->name) != 0 || strcmp(m->version, image->version) != 0 || m->serial != image->serial)
        return error_set(error, EBADMSG,
                         "the catalog of %s says %s %s (serial %llu), but the manifest is of %s %s (%llu)",
                         r->address.site, image->name, image->version, (unsigned long long)image->serial, m->name,
                         m->version, (unsigned long long)m->serial);
    return 0;
}

int resolve_explain_offline(int result, unsigned source_count, const char *site, const char *name, const char *version,
                            struct error *error)
{
    if (result != -ENOENT || source_count > 0)
        return result;
    return error_set(error, ENETUNREACH, "%s %s is not, or not whole, in the cache: rondo pull %s%s:%s, with a network",
                     name, version, site, name, version);
}

static int open_manifest(struct store *store, struct resolved *r, const struct catalog *c,
                         const struct catalog_image *image, struct error *error)
{
    struct version *v;
    int code = version_open(store, &r->manifest, (const char *const *)r->sources, r->source_count, &v, error);
    if (code < 0) {
        error_prefix(error, code, "%s %s", image->name, image->version);
        return resolve_explain_offline(code, r->source_count, r->address.site, image->name, image->version, error);
    }
    code = check_manifest(r, c, image, v, error);
    if (code == 0) {
        r->description = malloc(sizeof(*r->description));
        if (r->description)
            *r->description = *version_manifest(v);
        else
            code = error_set(error, ENOMEM, "out of memory");
    }
    version_close(v);
    return code;
}

static const struct catalog_image *newest(const struct catalog *c, const char *name)
{
    const struct catalog_image *best = NULL;
    for (unsigned i = 0; i < c->image_count; i++)
        if (strcmp(c->images[i].name, name) == 0 && (!best || c->images[i].serial > best->serial))
            best = &c->images[i];
    return best;
}

static int find_image(struct decision *d, struct resolved *r, const struct catalog *c, const struct catalog_image **ret,
                      struct error *error)
{
    const struct catalog_image *found;
    int code = 0;
    if (r->address.has_manifest && !r->address.selector[0]) {
        // The address names the version by its hash: any line of that name with this hash will do.
        found = NULL;
        for (unsigned i = 0; i < c->image_count && !found; i++)
            if (strcmp(c->images[i].name, r->address.name) == 0 &&
                sha256_equal(&c->images[i].manifest, &r->address.manifest))
                found = &c->images[i];
        if (!found)
            return error_set(error, ENOENT, "%s does not offer that version of %s any more", r->address.site,
                             r->address.name);
    } else {
        code = catalog_find(c, r->address.name, r->address.selector, &found, error);
        if (code < 0)
            return error_prefix(error, code, "%s", r->address.site);
        if (r->address.has_manifest && !sha256_equal(&found->manifest, &r->address.manifest))
            return error_set(error, EBADMSG, "%s:%s of %s is not the version that the address pins by its hash",
                             r->address.name, r->address.selector, r->address.site);
    }
    code = trust_check_serial(d->trust, c, r->address.name, newest(c, r->address.name)->serial, error);
    if (code == 0)
        *ret = found;
    return code;
}

// One pass over the chain. Leaves *r to be freed by the caller, whatever it returns.
static int resolve_once(struct store *store, struct decision *d, const struct resolve_options *options,
                        bool *may_be_recent, struct resolved *r, struct error *error)
{
    struct catalog c;
    const struct catalog_image *image = NULL;
    int code = get_catalog(store, d, options, may_be_recent, &c, &r->fresh, error);
    if (code < 0)
        return code;
    code = load_shards(store, r->address.site, r->address.name, options->offline, &c, error);
    if (code == 0)
        code = find_image(d, r, &c, &image, error);
    if (code == 0) {
        r->manifest = image->manifest;
        code = options->offline ? 0 : list_sources(r, &c);
        if (code < 0)
            error_set(error, -code, "out of memory");
    }
    if (code == 0)
        code = open_manifest(store, r, &c, image, error);
    catalog_free(&c);
    return code;
}

int resolve_image(struct store *store, const struct configuration *configuration, const char *address,
                  const struct resolve_options *options, struct resolved *ret, struct error *error)
{
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    const char *site = getenv("RONDO_SITE");
    struct resolved resolved = {.source_count = 0};
    struct decision d;
    bool may_be_recent = true;
    if (!site || !*site)
        site = configuration->site[0] ? configuration->site : NULL;
    int r = address_parse(address, site, folder ? folder : "/", &resolved.address, error);
    if (r == 0)
        r = begin_decision(&d, configuration, resolved.address.site,
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
    trust_close(d.trust);
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
    free(r->description);
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
