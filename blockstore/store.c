// Stores and versions: opening and closing. A version begins with its manifest, whose hash is the name that it is
// opened by; nothing else is fetched before it is read.
//
//   1. A store outlives its versions, a version its reads: the callers see to that (store.h), and so none of these
//      pointers is counted.
//   2. A manifest comes from the cache, else from the sources, each of which is tried until one gives the right bytes.
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

// Whoever opens a version has nothing running yet that would suffer from an error: a source that is down is told soon.
#define MANIFEST_PATIENCE_NS (10ull * 1000000000)

uint64_t store_deadline(const struct store *s)
{
    return io_monotonic_ns() + (uint64_t)s->wait_seconds * 1000000000;
}

void store_set_wait(struct store *s, unsigned seconds)
{
    s->wait_seconds = seconds;
}

void store_object_path(const struct sha256 *name, char text[static 80])
{
    char hex[SHA256_HEX_SIZE];
    sha256_to_hex(name, hex);
    snprintf(text, 80, "objects/%.2s/%s", hex, hex);
}

// --- stores --------------------------------------------------------------------------------------------------------

static void init_locks(struct store *s)
{
    pthread_condattr_t attributes;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attributes);
    pthread_cond_init(&s->stream_changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

int store_new(const struct store_options *options, struct store **ret, struct error *error)
{
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(error, ENOMEM, "out of memory");
    init_locks(s);
    s->wait_seconds = options->wait_seconds ? options->wait_seconds : STORE_WAIT_SECONDS;
    size_t lowest = options->chunk_memory ? options->chunk_memory : STORE_CHUNK_MEMORY;
    store_memory_init(&s->memory, lowest,
                      options->adaptive && !options->chunk_memory ? STORE_CHUNK_MEMORY_MAXIMUM : lowest);
    s->pools[0].limit = lowest;
    s->pools[1].limit = STORE_PAGE_MEMORY;
    store_prepare_helpers(s, options->adaptive);
    int r = 0;
    if (options->remember_failures && !(s->failures = calloc(1, sizeof(*s->failures))))
        r = error_set(error, ENOMEM, "out of memory");
    if (r == 0)
        r = transport_new(&s->transport, error);
    if (r == 0 && options->cache_folder)
        r = cache_open(options->cache_folder, options->cache_limit, &s->cache, error);
    if (r < 0) {
        store_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    store_end_helpers(s);
    store_free_table(s);
    if (s->transport)
        transport_free(s->transport);
    cache_close(s->cache);
    free(s->failures);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->stream_changed);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

struct cache *store_cache(struct store *s)
{
    return s->cache;
}

struct transport *store_transport(struct store *s)
{
    return s->transport;
}

void store_count(struct store *s, struct store_counts *ret)
{
    struct store_counts counts = {.chunks_memory = atomic_load(&s->in_memory),
                                  .chunks_cache = atomic_load(&s->in_cache),
                                  .chunks_fetched = atomic_load(&s->fetched),
                                  .chunks_ahead = atomic_load(&s->ahead),
                                  .chunks_ahead_wasted = atomic_load(&s->ahead_wasted),
                                  .chunks_stream = atomic_load(&s->in_stream),
                                  .chunks_overtaken = atomic_load(&s->overtaken),
                                  .stream_bytes = atomic_load(&s->stream_bytes),
                                  .stream_wasted = atomic_load(&s->stream_wasted),
                                  .wrong = atomic_load(&s->wrong)};
    transport_count(s->transport, &counts.network);
    *ret = counts;
}

// --- the manifest --------------------------------------------------------------------------------------------------

struct manifest_fetch {
    struct store *s;
    const struct sha256 *name;
    struct buf bytes;
};

static void restart_manifest(void *context)
{
    struct manifest_fetch *f = context;
    buf_clear(&f->bytes);
}

static int sink_manifest(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct manifest_fetch *f = context;
    (void)offset; // the whole is asked for, and comes in order
    return buf_append(&f->bytes, bytes, n);
}

static int verify_manifest(void *context, struct error *error)
{
    struct manifest_fetch *f = context;
    char hex[SHA256_HEX_SIZE];
    struct sha256 actual = sha256_of(f->bytes.data, f->bytes.size);
    if (sha256_equal(&actual, f->name))
        return 0;
    atomic_fetch_add(&f->s->wrong, 1);
    return error_set(error, EBADMSG, "the bytes do not match the manifest's name %s", sha256_to_hex(f->name, hex));
}

static int fetch_manifest(struct version *v, struct error *error)
{
    char path[80];
    struct manifest_fetch f = {.s = v->store, .name = &v->name, .bytes = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM)};
    store_object_path(&v->name, path);
    struct mirrors_job job = {.path = path,
                              .maximum = MANIFEST_SIZE_MAXIMUM,
                              .restart = restart_manifest,
                              .sink = sink_manifest,
                              .verify = verify_manifest,
                              .context = &f,
                              .patience_ns = MANIFEST_PATIENCE_NS};
    int r = mirrors_fetch(v->mirrors, &job, 1, store_deadline(v->store));
    if (r < 0) {
        buf_free(&f.bytes);
        return error_set(error, -r, "%s", job.error.text);
    }
    v->size = f.bytes.size;
    v->bytes = TAKE_PTR(f.bytes.data);
    if (v->store->cache)
        cache_put_object(v->store->cache, &v->name, v->bytes, v->size);
    return 0;
}

static int get_manifest(struct version *v, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    int r = -ENOENT;
    if (v->store->cache)
        r = cache_get_object(v->store->cache, &v->name, MANIFEST_SIZE_MAXIMUM, &v->bytes, &v->size);
    if (r == -ENOENT && v->mirrors)
        r = fetch_manifest(v, error);
    else if (r == -ENOENT)
        error_set(error, ENOENT, "manifest %s is not in the cache, and there is no source to fetch it from",
                  sha256_to_hex(&v->name, hex));
    else if (r < 0)
        error_set(error, -r, "cannot read manifest %s: %s", sha256_to_hex(&v->name, hex), strerror(-r));
    if (r < 0)
        return r;
    v->manifest = malloc(sizeof(*v->manifest));
    if (!v->manifest)
        return error_set(error, ENOMEM, "out of memory");
    r = manifest_parse(v->bytes, v->size, v->manifest, error);
    return r < 0 ? error_prefix(error, r, "manifest %s", sha256_to_hex(&v->name, hex)) : 0;
}

// --- versions ------------------------------------------------------------------------------------------------------

int version_open(struct store *s, const struct sha256 *manifest, const char *const *addresses, unsigned count,
                 struct version **ret, struct error *error)
{
    struct version *v = calloc(1, sizeof(*v));
    if (!v)
        return error_set(error, ENOMEM, "out of memory");
    v->store = s;
    v->name = *manifest;
    v->lease = -1;
    int r = count > 0 ? mirrors_new(s->transport, addresses, count, &v->mirrors, error) : 0;
    if (r == 0)
        r = get_manifest(v, error);
    if (r < 0) {
        version_close(v);
        return r;
    }
    *ret = v;
    return 0;
}

void version_close(struct version *v)
{
    if (!v)
        return;
    store_end_ahead(v);
    store_stream_end(v);
    pthread_mutex_lock(&v->store->mutex);
    store_forget_failures(v);
    pthread_mutex_unlock(&v->store->mutex);
    if (v->mirrors)
        mirrors_free(v->mirrors);
    if (v->lease >= 0)
        cache_end_lease(v->store->cache, &v->name, v->lease);
    free(v->manifest);
    free(v->bytes);
    free(v);
}

const struct manifest *version_manifest(const struct version *v)
{
    return v->manifest;
}

const struct sha256 *version_name(const struct version *v)
{
    return &v->name;
}

const void *version_manifest_bytes(const struct version *v, size_t *ret_size)
{
    *ret_size = v->size;
    return v->bytes;
}

void version_cancel(struct version *v)
{
    atomic_store(&v->cancelled, true);
    if (v->mirrors)
        mirrors_cancel(v->mirrors);
    pthread_mutex_lock(&v->store->mutex);
    pthread_cond_broadcast(&v->store->changed);
    pthread_cond_broadcast(&v->store->stream_changed);
    pthread_mutex_unlock(&v->store->mutex);
}
