// The work of version_pull on one pack: what is missing of it, and how it is fetched (rules 1 to 3 of store_pull.c).
//
//   check every chunk on the disk by its hash → missing: most of the pack ──▶ the whole, through a cache_stream
//                                                        some of it ────────▶ store_get_chunks, a batch at a time
//
// Each task belongs to one worker; what is shared, in struct pull, is touched under its mutex only.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/store_pull.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define WHOLE_PERCENT 75u
#define SLOW_BYTES_PER_SECOND (128u << 10) // a transfer may take the waiting time and its bytes at this rate

// What a worker does: the chunks of one pack.
struct task {
    struct pull *p;
    const struct list_pack *pack;
    const struct list_chunk *chunks;
    size_t count;
    bool *missing;
    uint64_t missing_bytes, missing_count;
    unsigned char *stored; // room for the largest chunk
};

void store_pull_fail(struct pull *p, int result, const struct error *error)
{
    pthread_mutex_lock(&p->mutex);
    if (p->result == 0) {
        p->result = result;
        p->error = *error;
    }
    p->stop = true;
    pthread_mutex_unlock(&p->mutex);
}

static void add_have(struct pull *p, uint64_t bytes)
{
    pthread_mutex_lock(&p->mutex);
    p->have += bytes;
    pthread_mutex_unlock(&p->mutex);
}

static bool stopped(struct pull *p)
{
    pthread_mutex_lock(&p->mutex);
    bool stop = p->stop;
    pthread_mutex_unlock(&p->mutex);
    return stop;
}

static uint64_t patient_deadline(const struct pull *p, uint64_t bytes)
{
    return store_deadline(p->v->store) + bytes * 1000000000 / SLOW_BYTES_PER_SECOND;
}

// --- one pack ------------------------------------------------------------------------------------------------------

static void check_chunks(struct task *t)
{
    struct store *s = t->p->v->store;
    for (size_t i = 0; i < t->count && !stopped(t->p); i++) {
        const struct list_chunk *c = &t->chunks[i];
        int r = cache_read(s->cache, &t->pack->name, c->offset, t->stored, c->length);
        if (r == 0) {
            struct sha256 actual = sha256_of(t->stored, c->length);
            r = sha256_equal(&actual, &c->name) ? 0 : -EBADMSG;
        }
        if (r == 0) {
            add_have(t->p, c->length);
            continue;
        }
        if (r != -ENOENT)
            cache_distrust(s->cache, &t->pack->name);
        if (r == -EBADMSG)
            atomic_fetch_add(&s->wrong, 1);
        t->missing[i] = true;
        t->missing_bytes += c->length;
        t->missing_count++;
    }
}

struct whole {
    struct task *t;
    struct cache_stream *stream;
    bool begun, kept;
    bool received; // anything, in any attempt
};

static void whole_restart(void *context)
{
    struct whole *w = context;
    w->begun = false;
}

static int whole_sink(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct whole *w = context;
    (void)offset; // the whole is asked for, and comes in order
    int r = stopped(w->t->p) ? -ECANCELED : 0;
    if (r == 0 && !w->begun)
        r = cache_stream_restart(w->stream);
    w->begun = w->received = true;
    return r < 0 ? r : cache_stream_add(w->stream, bytes, n);
}

static int whole_verify(void *context, struct error *error)
{
    struct whole *w = context;
    int r = cache_stream_finish(w->stream);
    w->kept = r == 0;
    if (r != -EBADMSG)
        return 0;
    atomic_fetch_add(&w->t->p->v->store->wrong, 1);
    return error_set(error, EBADMSG, "the bytes do not match the pack's name");
}

int store_pull_not_kept(struct pull *p, struct error *error)
{
    struct cache *cache = p->v->store->cache;
    char need[32], limit[32];
    int why = cache_write_failure(cache);
    return error_set(error, ENOSPC,
                     "the cache %s does not keep what is fetched (%s); this version needs %s, the cache's limit is %s: "
                     "free space there, raise the limit, or name another cache with RONDO_CACHE",
                     cache_folder(cache), why ? strerror(-why) : "it is too small", text_format_size(p->all, need),
                     text_format_size(cache_limit(cache), limit));
}

// *ret_slow: some of it came, but not all in its time.
static int fetch_whole(struct task *t, bool *ret_slow, struct error *error)
{
    struct version *v = t->p->v;
    char path[80];
    struct whole w = {.t = t};
    int r = cache_stream_new(v->store->cache, &t->pack->name, t->pack->size, &w.stream);
    if (r < 0)
        return error_set(error, -r, "out of memory");
    store_object_path(&t->pack->name, path);
    struct mirrors_job job = {.path = path,
                              .maximum = t->pack->size,
                              .priority = SOURCE_FILL,
                              .restart = whole_restart,
                              .sink = whole_sink,
                              .verify = whole_verify,
                              .context = &w,
                              .patience_ns = (uint64_t)v->store->wait_seconds * 1000000000};
    r = mirrors_fetch(v->mirrors, &job, 1, patient_deadline(t->p, t->pack->size));
    cache_stream_free(w.stream);
    *ret_slow = w.received && error_is_network(r);
    if (r < 0)
        return error_set(error, -r, "%s", job.error.text);
    if (!w.kept)
        return store_pull_not_kept(t->p, error);
    add_have(t->p, t->missing_bytes);
    return 0;
}

// Fetches missing chunks of one kind and level, at most a batch of them.
static int fetch_batch(struct task *t, const struct chunk_reference *refs, unsigned count,
                       const struct list_chunk *like, struct error *error)
{
    struct version *v = t->p->v;
    struct store_chunk *chunks[STORE_BATCH_MAXIMUM];
    uint64_t bytes = 0;
    if (count == 0)
        return 0;
    pthread_mutex_lock(&v->store->mutex);
    for (unsigned i = 0; i < count; i++) {
        bytes += refs[i].length;
        store_forget_chunk(v->store, (enum chunk_kind)like->kind,
                           &refs[i].name); // memory has it, but the disk lacks it
    }
    pthread_mutex_unlock(&v->store->mutex);
    int r = store_get_chunks(v, (enum chunk_kind)like->kind, like->level, refs, count, patient_deadline(t->p, bytes),
                             chunks, error);
    if (r < 0)
        return r;
    store_put_chunks(v->store, chunks, count);
    if (cache_read(v->store->cache, &t->pack->name, refs[0].offset, t->stored, refs[0].length) < 0) {
        // At leisure others are at work: it may be out of a pack that is on its way to the disk. The next round tells.
        bool may_come = v->at_leisure && cache_write_failure(v->store->cache) == 0;
        return may_come ? 0 : store_pull_not_kept(t->p, error);
    }
    add_have(t->p, bytes);
    return 0;
}

static int fetch_chunks(struct task *t, struct error *error)
{
    struct chunk_reference refs[STORE_BATCH_MAXIMUM];
    const struct list_chunk *like = NULL;
    unsigned n = 0;
    int r = 0;
    for (size_t i = 0; i < t->count && r == 0; i++) {
        const struct list_chunk *c = &t->chunks[i];
        if (!t->missing[i])
            continue;
        if (n > 0 && (n == STORE_BATCH_MAXIMUM || c->kind != like->kind || c->level != like->level)) {
            r = stopped(t->p) ? -ECANCELED : fetch_batch(t, refs, n, like, error);
            n = 0;
        }
        like = c;
        refs[n++] = (struct chunk_reference){.name = c->name,
                                             .pack = {.name = t->pack->name, .size = t->pack->size},
                                             .offset = c->offset,
                                             .length = c->length};
    }
    return r < 0 ? r : fetch_batch(t, refs, n, like, error);
}

static int fetch_missing(struct task *t, struct error *error)
{
    struct version *v = t->p->v;
    char hex[SHA256_HEX_SIZE];
    if (!v->mirrors)
        return error_set(error, ENOENT, "%llu chunks of pack %s are not in the cache, and there is no source",
                         (unsigned long long)t->missing_count, sha256_to_hex(&t->pack->name, hex));
    if (t->missing_bytes * 100 >= (uint64_t)t->pack->size * WHOLE_PERCENT || mirrors_ignore_ranges(v->mirrors)) {
        bool slow = false;
        int r = fetch_whole(t, &slow, error);
        if (!slow || mirrors_ignore_ranges(v->mirrors))
            return r;
    }
    return fetch_chunks(t, error);
}

void store_pull_pack(struct pull *p, const struct list_pack *pack, const struct list_chunk *chunks, size_t count)
{
    struct error error = {0};
    struct task t = {.p = p, .pack = pack, .chunks = chunks, .count = count};
    t.missing = calloc(count ? count : 1, sizeof(*t.missing));
    t.stored = malloc(PAGE_STORED_MAXIMUM);
    int r = 0;
    if (t.missing && t.stored)
        check_chunks(&t);
    else
        r = error_set(&error, ENOMEM, "out of memory");
    if (t.missing_count > 0 && !stopped(p)) {
        pthread_mutex_lock(&p->mutex);
        p->missing += t.missing_count;
        pthread_mutex_unlock(&p->mutex);
        r = fetch_missing(&t, &error);
        p->fetched += p->v->at_leisure ? t.missing_bytes : 0;
    }
    if (r < 0)
        store_pull_fail(p, r, &error);
    free(t.missing);
    free(t.stored);
}
