// From an address to a catalog that may be used (see resolve.h): fetched or remembered, verified, trusted.
//
//   recent? ──yes──▶ remembered
//      │ no
//      ▼
//   the site ──right──▶ trusted, remembered
//      │ silent, wrong, stale, expired
//      ▼
//   the mirrors that its last catalog named ──one is right──▶ trusted, remembered, said aloud
//      │ none
//      ▼
//   silent: the remembered one, with a warning (never for updates); otherwise the site's failure
//
// Mirrors are asked in the site's name: key, number and date are judged by what is known of the site, so that they can
// be of use, but cannot deceive. A changed key is told at once, whatever mirrors say.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path.h"
#include "client/cli.h"
#include "client/resolve_private.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define UNREACHABLE_SECONDS 4 // to wait for anything else of a site of which the catalog could just not be had
#define MIRRORS_SECONDS 15    // of asking mirrors for a catalog
#define SHARD_SECONDS 15      // to wait for a part of a catalog

// --- shards --------------------------------------------------------------------------------------------------------

struct shard_fetch {
    const struct catalog_shard *shard;
    struct buf bytes;
};

static int collect_shard(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct shard_fetch *f = context;
    return resolve_collect(&f->bytes, offset, bytes, n);
}

static void restart_shard(void *context)
{
    struct shard_fetch *f = context;
    buf_clear(&f->bytes);
}

static int verify_shard(void *context, struct error *error)
{
    struct shard_fetch *f = context;
    struct sha256 hash = sha256_of(f->bytes.data, f->bytes.size);
    return f->bytes.size == f->shard->size && sha256_equal(&hash, &f->shard->object)
               ? 0
               : error_set(error, EBADMSG, "it is not what the catalog's signed head names");
}

static int fetch_shard(struct store *store, const char *site, const struct catalog *c, struct shard_fetch *f,
                       struct error *error)
{
    char hex[SHA256_HEX_SIZE], path[128];
    const char *addresses[MIRRORS_MAXIMUM] = {site};
    unsigned count = 1;
    struct mirrors *mirrors;
    for (unsigned i = 0; i < c->mirror_count && count < MIRRORS_MAXIMUM; i++)
        addresses[count++] = c->mirrors[i];
    int r = mirrors_new(store_transport(store), addresses, count, &mirrors, error);
    if (r < 0)
        return r;
    sha256_to_hex(&f->shard->object, hex);
    snprintf(path, sizeof(path), "objects/%.2s/%s", hex, hex);
    struct mirrors_job job = {.path = path,
                              .maximum = f->shard->size,
                              .restart = restart_shard,
                              .sink = collect_shard,
                              .verify = verify_shard,
                              .context = f};
    r = mirrors_fetch(mirrors, &job, 1, io_monotonic_ns() + SHARD_SECONDS * 1000000000ull);
    mirrors_free(mirrors);
    return r < 0 ? error_set(error, -r, "a part of the catalog of %s: %s", site, job.error.text) : 0;
}

static int load_shard(struct store *store, const char *site, const struct catalog_shard *shard, bool offline,
                      struct catalog *c, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    char hex[SHA256_HEX_SIZE];
    struct cache *cache = store_cache(store);
    if (cache && cache_get_object(cache, &shard->object, CATALOG_SHARD_MAXIMUM, &bytes, &size) == 0)
        return catalog_parse_shard(c, shard, bytes, size, error);
    if (offline)
        return error_set(error, ENONET, "a part of the catalog of %s (%.12s…) was never fetched; go online once", site,
                         sha256_to_hex(&shard->object, hex));
    struct shard_fetch f = {.shard = shard, .bytes = BUF_WITH_MAXIMUM(shard->size)};
    int r = fetch_shard(store, site, c, &f, error);
    if (r == 0 && cache)
        cache_put_object(cache, &shard->object, f.bytes.data, f.bytes.size);
    if (r == 0)
        r = catalog_parse_shard(c, shard, f.bytes.data, f.bytes.size, error);
    buf_free(&f.bytes);
    return r;
}

int resolve_load_shards(struct store *store, const char *site, const char *name, bool offline, struct catalog *c,
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

// --- trust ---------------------------------------------------------------------------------------------------------

int resolve_accept(struct resolve_decision *d, const void *bytes, size_t n, const struct resolve_place *from,
                   struct catalog *ret, bool *ret_fresh, struct error *error)
{
    char key[KEY_TEXT_SIZE];
    struct trust_verdict verdict;
    struct catalog c;
    int r = catalog_open(bytes, n, &c, error);
    if (r < 0)
        return error_prefix(error, r, "the catalog of %s", d->site);
    r = resolve_get_roots(d, &c, from, error);
    if (r == 0)
        r = trust_look(d->trust, &d->request, &c, &verdict, error);
    if (r != 0) {
        catalog_free(&c);
        return r;
    }
    if (verdict.first_contact)
        fprintf(stderr, "rondo: first contact with %s, whose key is %s\n", d->site, key_to_text(&c.site_key, key));
    d->first_contact = verdict.first_contact;
    if (verdict.rotated)
        fprintf(stderr, "rondo: the key of %s is now %s: the keys known before vouch for it (root %u)\n", d->site,
                key_to_text(&c.site_key, key), c.root_number);
    if (verdict.clock_wrong)
        log_warning("your clock says %s, which is before a date that %s has signed: is it right?",
                    text_format_time(d->now, (char[32]){0}), d->site);
    else if (!verdict.fresh)
        log_warning("the catalog of %s expired on %s: what it names may be old", d->site,
                    text_format_time(c.expires, (char[32]){0}));
    buf_clear(&d->signed_bytes);
    r = buf_append(&d->signed_bytes, bytes, n);
    if (r < 0) {
        catalog_free(&c);
        return error_set(error, -r, "out of memory");
    }
    *ret = c;
    *ret_fresh = verdict.fresh;
    return 0;
}

// The remembered catalog, verified and trusted as if it had just come.
static int use_remembered(struct resolve_decision *d, const void *bytes, size_t n, struct catalog *ret, bool *ret_fresh,
                          struct error *error)
{
    if (!bytes)
        return error_set(error, ENONET,
                         "%s was never seen, so it cannot be used without a network: give the command without "
                         "--offline, or take a version of it in with rondo import",
                         d->site);
    return resolve_accept(d, bytes, n, NULL, ret, ret_fresh, error);
}

// One that was fetched; its bytes are kept for when its versions were looked at, to be remembered then: for the next
// minute, and for when the site cannot be reached.
static int accept_fetched(struct resolve_decision *d, const void *bytes, size_t n, const char *etag,
                          const struct resolve_place *place, struct catalog *ret, bool *ret_fresh, struct error *error)
{
    int r = resolve_accept(d, bytes, n, place, ret, ret_fresh, error);
    if (r < 0)
        return r;
    buf_clear(&d->accepted);
    if (buf_append(&d->accepted, bytes, n) < 0) {
        catalog_free(ret);
        return error_set(error, ENOMEM, "no memory for the catalog of %s", d->site);
    }
    snprintf(d->accepted_etag, sizeof(d->accepted_etag), "%s", etag);
    return 0;
}

int resolve_settle(struct resolve_decision *d, const struct catalog *c, const char *name, uint64_t newest_serial,
                   struct error *error)
{
    char key[KEY_TEXT_SIZE];
    int r = trust_settle(d->trust, &d->request, c, name, newest_serial, error);
    if (r < 0)
        return r;
    if (d->first_contact)
        fprintf(stderr, "rondo: it is remembered; another key will be refused. To pin it: …#%s\n",
                key_to_text(&c->site_key, key));
    d->first_contact = false;
    struct error why = {.text = ""};
    if (d->accepted.size)
        r = trust_save_catalog(d->trust, d->site, d->accepted.data, d->accepted.size, d->accepted_etag, d->now, &why);
    if (r == 0)
        return 0;
    // What is pulled shall run without its site, which takes the catalog. All else works without it: a full disk is no
    // reason to refuse what has just been verified.
    if (d->request.for_update)
        return error_set(error, -r, "the catalog of %s cannot be remembered: %s", d->site, why.text);
    log_warning("the catalog of %s is not remembered: %s", d->site, why.text);
    return 0;
}

// True for failures after which another place may have the right catalog. A changed key is none of them: that must be
// told.
static bool may_be_elsewhere(int r)
{
    return error_is_network(r) || r == -EBADMSG || r == -ESTALE || r == -EKEYEXPIRED || r == -ENOENT;
}

static int ask_mirrors(struct store *store, struct resolve_decision *d, const void *known, size_t known_size,
                       const struct error *reason, struct catalog *ret, bool *ret_fresh)
{
    struct catalog last;
    int r = known ? catalog_open(known, known_size, &last, NULL) : -ENOENT;
    if (r < 0)
        return r;
    uint64_t end = io_monotonic_ns() + MIRRORS_SECONDS * 1000000000ull;
    r = -ENOENT;
    for (unsigned i = 0; i < last.mirror_count && r < 0 && io_monotonic_ns() < end; i++) {
        const struct resolve_place mirror = {.store = store, .address = last.mirrors[i]};
        struct resolve_fetched fetched = {.bytes = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM)};
        struct error why = {.text = ""};
        r = resolve_fetch(&mirror, "catalog.rondo", NULL, false, &fetched, &why);
        if (r == 0)
            r = accept_fetched(d, fetched.bytes.data, fetched.bytes.size, "", &mirror, ret, ret_fresh, &why);
        if (r == 0)
            log_warning("%s; its catalog comes from the mirror %s", reason->text, last.mirrors[i]);
        else
            log_info("mirror %s: %s", last.mirrors[i], why.text);
        buf_free(&fetched.bytes);
    }
    catalog_free(&last);
    return r;
}

// What the site itself gives.
static int ask_site(struct store *store, struct resolve_decision *d, const void *known, size_t known_size,
                    const char *etag, bool patient, struct catalog *ret, bool *ret_fresh, struct error *error)
{
    const struct resolve_place site = {.store = store, .address = d->site};
    struct resolve_fetched fetched = {.bytes = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM)};
    int r = resolve_fetch(&site, "catalog.rondo", known ? etag : NULL, patient, &fetched, error);
    bool old = r == 0 && fetched.not_modified;
    const void *bytes = old ? known : fetched.bytes.data;
    size_t n = old ? known_size : fetched.bytes.size;
    if (r == -ENOENT)
        error_set(error, ENOENT, "%s has no catalog.rondo, so it is no site of images", d->site);
    if (old && !known)
        r = error_set(error, EBADMSG, "%s says that a catalog has not changed which was never fetched", d->site);
    if (r == 0)
        r = accept_fetched(d, bytes, n, old ? etag : fetched.etag, &site, ret, ret_fresh, error);
    buf_free(&fetched.bytes);
    return r;
}

int resolve_get_catalog(struct store *store, struct resolve_decision *d, const struct resolve_options *options,
                        bool *may_be_recent, struct catalog *ret, bool *ret_fresh, struct error *error)
{
    CLEANUP_FREE void *known = NULL;
    size_t known_size = 0;
    int64_t checked = 0;
    char etag[128] = "";
    struct error reason = {.text = ""};
    int r = trust_load_catalog(d->trust, d->site, &known, &known_size, etag, &checked, error);
    if (r < 0 && r != -ENOENT)
        return r;
    if (options->offline) {
        *may_be_recent = false;
        return use_remembered(d, known, known_size, ret, ret_fresh, error);
    }
    if (known && *may_be_recent && !options->for_update && !address_is_directory(d->site) && d->now >= checked &&
        d->now - checked < RESOLVE_CATALOG_SECONDS &&
        resolve_accept(d, known, known_size, NULL, ret, ret_fresh, NULL) == 0)
        return 0;
    *may_be_recent = false;
    r = ask_site(store, d, known, known_size, etag, !known || options->for_update, ret, ret_fresh, &reason);
    if (r == 0 || (may_be_elsewhere(r) && ask_mirrors(store, d, known, known_size, &reason, ret, ret_fresh) == 0))
        return 0;
    if (error_is_network(r) && known && !options->for_update) {
        log_warning("%s; going on with the catalog of %s", reason.text, text_format_time(checked, (char[32]){0}));
        store_set_wait(store, UNREACHABLE_SECONDS);
        return use_remembered(d, known, known_size, ret, ret_fresh, error);
    }
    return error_set(error, -r, "%s", reason.text);
}

int resolve_begin(struct resolve_decision *d, const struct configuration *configuration, const char *site,
                  const struct key_public *pin, const struct resolve_options *options, struct error *error)
{
    char home[PATH_TEXT_SIZE];
    *d = (struct resolve_decision){.site = site,
                                   .now = io_realtime_seconds(),
                                   .accepted = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM),
                                   .signed_bytes = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM)};
    d->request = (struct trust_request){.site = site,
                                        .pin = pin,
                                        .require_pin = options->require_pin || configuration->require_pin,
                                        .require_fresh = options->require_fresh,
                                        .for_update = options->for_update,
                                        .now = d->now};
    int r = path_make(PATH_HOME, home, error);
    return r < 0 ? r : trust_open(home, &d->trust, error);
}

void resolve_end(struct resolve_decision *d)
{
    trust_close(d->trust);
    buf_free(&d->accepted);
    buf_free(&d->signed_bytes);
    resolve_drop_roots(d);
}

int resolve_catalog(struct store *store, const struct configuration *configuration, const char *site,
                    const struct resolve_options *options, struct catalog *ret, bool *ret_fresh, struct error *error)
{
    struct resolve_decision d;
    struct catalog c = {.number = 0};
    bool may_be_recent = true;
    int r = resolve_begin(&d, configuration, site, options->pin, options, error);
    if (r < 0)
        return r;
    r = resolve_get_catalog(store, &d, options, &may_be_recent, &c, ret_fresh, error);
    if (r == 0)
        r = resolve_load_shards(store, site, NULL, options->offline, &c, error);
    if (r == 0)
        r = resolve_settle(&d, &c, options->name, options->name ? catalog_newest_serial(&c, options->name) : 0, error);
    resolve_end(&d);
    if (r < 0)
        catalog_free(&c);
    else
        *ret = c;
    return r;
}
