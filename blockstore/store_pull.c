// version_pull: fetches what the cache lacks of a version, pack by pack, with a few packs in flight.
//
//   list the packs (fetches all pages of the map) → for each window of packs: rounds of
//       for each pack: check every chunk on the disk by its hash → fetch what is missing
//   until a round finds nothing missing. So the last round is the proof that all is there.
//
//   1. A pack is fetched whole, through a cache_stream, when WHOLE_PERCENT of it are missing, or when ranges are
//      ignored; else its missing chunks go through store_get_chunks, in the order of the pack, which coalesces and
//      caches them.
//   2. A whole pack that does not arrive in its time is fetched by chunks instead: each of those that arrives is kept,
//      so a slow link gets on. But where nothing arrives at all, the store's waiting time is enough.
//   3. What was fetched but could not be kept ends the pull (-ENOSPC): going on would download for nothing.
//   4. WORKERS threads work on a pack each; `mutex` guards the counters, the first failure and the next pack's number.
//      The caller's thread alone calls `progress`.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define WORKERS 4u
#define WHOLE_PERCENT 75u
#define ROUNDS 3u
#define SLOW_BYTES_PER_SECOND (128u << 10) // a transfer may take the waiting time and its bytes at this rate
#define PROGRESS_MS 100

struct pull {
    struct version *v;
    struct version_list list;
    struct list_window window;

    pthread_mutex_t mutex;
    pthread_cond_t ended; // a worker
    size_t next;          // pack of the window, to be worked on; and its first chunk
    size_t next_chunk;
    unsigned working;
    uint64_t have, all; // stored bytes
    uint64_t missing;   // chunks that this round found missing
    bool stop;
    int result; // the first failure
    struct error error;
};

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

static void fail(struct pull *p, int result, const struct error *error)
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

static int not_kept(struct pull *p, struct error *error)
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
        return not_kept(t->p, error);
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
    if (cache_read(v->store->cache, &t->pack->name, refs[0].offset, t->stored, refs[0].length) < 0)
        return not_kept(t->p, error);
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

static void work_on_pack(struct pull *p, const struct list_pack *pack, const struct list_chunk *chunks, size_t count)
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
    }
    if (r < 0)
        fail(p, r, &error);
    free(t.missing);
    free(t.stored);
}

// --- the workers ---------------------------------------------------------------------------------------------------

static void *work(void *context)
{
    struct pull *p = context;
    pthread_mutex_lock(&p->mutex);
    while (!p->stop && p->next < p->window.count) {
        size_t pack = p->window.first + p->next++, first = p->next_chunk, end = first;
        while (end < p->window.chunk_count && p->window.chunks[end].pack == pack)
            end++;
        p->next_chunk = end;
        pthread_mutex_unlock(&p->mutex);
        work_on_pack(p, &p->list.packs[pack], p->window.chunks + first, end - first);
        pthread_mutex_lock(&p->mutex);
    }
    p->working--;
    pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static void report(struct pull *p, int (*progress)(void *context, uint64_t have, uint64_t all), void *context)
{
    pthread_mutex_lock(&p->mutex);
    uint64_t have = p->have < p->all ? p->have : p->all, all = p->all;
    pthread_mutex_unlock(&p->mutex);
    struct error error;
    if (progress && progress(context, have, all) != 0)
        fail(p, error_set(&error, ECANCELED, "cancelled"), &error);
    if (atomic_load(&p->v->cancelled))
        fail(p, error_set(&error, ECANCELED, "cancelled"), &error);
}

// Every pack of the window once, by all workers.
static void run_round(struct pull *p, int (*progress)(void *context, uint64_t have, uint64_t all), void *context)
{
    pthread_t threads[WORKERS];
    unsigned started = 0;

    p->next = p->next_chunk = 0;
    p->missing = 0;
    p->working = WORKERS;
    while (started < WORKERS && pthread_create(&threads[started], NULL, work, p) == 0)
        started++;
    if (started == 0) {
        p->working = 1;
        work(p);
        return;
    }
    pthread_mutex_lock(&p->mutex);
    p->working -= WORKERS - started;
    while (p->working > 0) {
        uint64_t until = io_monotonic_ns() + PROGRESS_MS * 1000000ull;
        struct timespec t = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
        pthread_cond_timedwait(&p->ended, &p->mutex, &t);
        pthread_mutex_unlock(&p->mutex);
        report(p, progress, context);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

static int pull_window(struct pull *p, int (*progress)(void *context, uint64_t have, uint64_t all), void *context,
                       struct error *error)
{
    uint64_t before = p->have;
    for (unsigned round = 0; round < ROUNDS; round++) {
        p->have = before; // checking counts what is there anew
        run_round(p, progress, context);
        report(p, progress, context);
        if (p->result < 0) {
            if (error)
                *error = p->error;
            return p->result;
        }
        if (p->missing == 0)
            return 0;
    }
    return not_kept(p, error);
}

// --- the whole -----------------------------------------------------------------------------------------------------

static int pull_windows(struct pull *p, int (*progress)(void *context, uint64_t have, uint64_t all), void *context,
                        struct error *error)
{
    int r = 0;
    for (size_t first = 0; first < p->list.pack_count && r == 0; first += p->window.count) {
        p->window = (struct list_window){0};
        r = store_list_window(p->v, &p->list, first, &p->window, error);
        if (r < 0)
            return r;
        p->all = 0;
        for (size_t i = 0; i < p->list.pack_count; i++)
            p->all += p->list.packs[i].bytes;
        r = pull_window(p, progress, context, error);
        store_free_window(&p->window);
    }
    return r;
}

static int list_objects(const struct pull *p, struct sha256 **ret_objects, size_t *ret_count, struct error *error)
{
    struct sha256 *objects = malloc((p->list.pack_count + 1) * sizeof(*objects));
    if (!objects)
        return error_set(error, ENOMEM, "out of memory");
    objects[0] = p->v->name;
    for (size_t i = 0; i < p->list.pack_count; i++)
        objects[i + 1] = p->list.packs[i].name;
    *ret_objects = objects;
    *ret_count = p->list.pack_count + 1;
    return 0;
}

// The manifest is the version's first object: whatever became of it since it was opened, it must be there.
static int keep_manifest(struct pull *p, struct error *error)
{
    struct cache *cache = p->v->store->cache;
    void *bytes;
    size_t n;
    if (cache_get_object(cache, &p->v->name, MANIFEST_SIZE_MAXIMUM, &bytes, &n) < 0) {
        cache_put_object(cache, &p->v->name, p->v->bytes, p->v->size);
        int r = cache_get_object(cache, &p->v->name, MANIFEST_SIZE_MAXIMUM, &bytes, &n);
        if (r < 0)
            return not_kept(p, error);
    }
    free(bytes);
    return 0;
}

int version_pull(struct version *v, int (*progress)(void *context, uint64_t have, uint64_t all), void *context,
                 struct sha256 **ret_objects, size_t *ret_count, struct error *error)
{
    if (!v->store->cache)
        return error_set(error, EINVAL, "there is no cache to pull into");
    struct pull p = {.v = v};
    pthread_condattr_t attributes;
    int r = store_list_packs(v, &p.list, error);
    if (r < 0)
        return r;
    pthread_mutex_init(&p.mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&p.ended, &attributes);
    pthread_condattr_destroy(&attributes);
    for (size_t i = 0; i < p.list.pack_count; i++) {
        // An upper bound: chunks that several leaves refer to are counted once only when their window is listed.
        uint64_t bytes = p.list.packs[i].bytes;
        p.all += bytes < p.list.packs[i].size ? bytes : p.list.packs[i].size;
    }
    if (p.all > cache_limit(v->store->cache))
        r = not_kept(&p, error);
    if (r == 0)
        r = pull_windows(&p, progress, context, error);
    if (r == 0)
        r = keep_manifest(&p, error);
    if (r == 0)
        r = list_objects(&p, ret_objects, ret_count, error);
    store_free_list(&p.list);
    pthread_cond_destroy(&p.ended);
    pthread_mutex_destroy(&p.mutex);
    return r;
}
