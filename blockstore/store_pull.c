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
//      version_fill's one worker waits before each pack until nobody else needs the link, and as long as its rate
//      demands.
//   3. What was fetched but could not be kept ends the pull (-ENOSPC): going on would download for nothing.
//   4. WORKERS threads work on a pack each, and one lists; `mutex` guards the counters, the first failure and the next
//      pack's number. The caller's thread alone calls `progress`, and does nothing else, so that a person who cancels
//      is heard whatever a source does.
#include "blockstore/store_pull.h"
#include "base/cleanup.h"
#include "base/io.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define WORKERS 4u
#define ROUNDS 3u
#define PROGRESS_MS 100
#define QUIET_NS 1000000000ull // without a reader's miss, before version_fill goes on
#define QUIET_LOOK_NS 200000000ull

// --- the workers ---------------------------------------------------------------------------------------------------

static void end_work(struct pull *p)
{
    pthread_mutex_lock(&p->mutex);
    p->working--;
    pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->mutex);
}

static bool is_over(struct pull *p)
{
    pthread_mutex_lock(&p->mutex);
    bool stop = p->stop;
    pthread_mutex_unlock(&p->mutex);
    return stop || atomic_load(&p->v->cancelled);
}

static void wait_for_quiet(struct pull *p)
{
    struct store *s = p->v->store;
    while (p->v->at_leisure && !is_over(p)) {
        uint64_t now = io_monotonic_ns(), until = now + QUIET_LOOK_NS;
        struct timespec t = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
        pthread_mutex_lock(&s->mutex);
        bool quiet = !s->arriving && now - s->missed_ns >= QUIET_NS && now >= p->wait_ns;
        if (!quiet)
            pthread_cond_timedwait(&s->stream_changed, &s->mutex, &t);
        pthread_mutex_unlock(&s->mutex);
        if (quiet)
            return;
    }
}

static void *list_packs(void *context)
{
    struct pull *p = context;
    struct error error = {.text = ""};
    wait_for_quiet(p);
    int r = store_list_packs(p->v, 0, &p->list, &error);
    if (r < 0)
        store_pull_fail(p, r, &error);
    end_work(p);
    return NULL;
}

static void *list_window(void *context)
{
    struct pull *p = context;
    struct error error = {.text = ""};
    int r = store_list_window(p->v, &p->list, p->first, &p->window, &error);
    if (r < 0)
        store_pull_fail(p, r, &error);
    end_work(p);
    return NULL;
}

static void *pull_packs(void *context)
{
    struct pull *p = context;
    pthread_mutex_lock(&p->mutex);
    while (!p->stop && p->next < p->window.count) {
        size_t pack = p->window.first + p->next++, first = p->next_chunk, end = first;
        while (end < p->window.chunk_count && p->window.chunks[end].pack == pack)
            end++;
        p->next_chunk = end;
        pthread_mutex_unlock(&p->mutex);
        wait_for_quiet(p);
        const uint64_t begun = io_monotonic_ns(), before = p->fetched;
        store_pull_pack(p, &p->list.packs[pack], p->window.chunks + first, end - first);
        if (p->v->at_leisure && p->v->fill_rate)
            p->wait_ns = begun + (p->fetched - before) * 1000000000 / p->v->fill_rate;
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    end_work(p);
    return NULL;
}

static void report(struct pull *p)
{
    pthread_mutex_lock(&p->mutex);
    uint64_t have = p->have < p->all ? p->have : p->all, all = p->all;
    pthread_mutex_unlock(&p->mutex);
    struct error error;
    if (p->progress && p->progress(p->context, have, all) != 0)
        version_cancel(p->v); // whoever waits for a source is not to wait any longer
    if (atomic_load(&p->v->cancelled))
        store_pull_fail(p, error_set(&error, ECANCELED, "cancelled"), &error);
}

// Has `count` threads do the work, and waits for them. Returns the first failure.
static int run_workers(struct pull *p, unsigned count, void *(*work)(void *p), struct error *error)
{
    pthread_t threads[WORKERS];
    unsigned started = 0;

    p->working = count;
    while (started < count && pthread_create(&threads[started], NULL, work, p) == 0)
        started++;
    if (started == 0) {
        p->working = 1;
        work(p);
    }
    pthread_mutex_lock(&p->mutex);
    p->working -= started > 0 ? count - started : 0;
    while (p->working > 0) {
        uint64_t until = io_monotonic_ns() + PROGRESS_MS * 1000000ull;
        struct timespec t = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
        pthread_cond_timedwait(&p->ended, &p->mutex, &t);
        pthread_mutex_unlock(&p->mutex);
        report(p);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    report(p);
    if (p->result < 0 && error)
        *error = p->error;
    return p->result;
}

static int pull_window(struct pull *p, struct error *error)
{
    uint64_t before = p->have;
    for (unsigned round = 0; round < ROUNDS; round++) {
        p->have = before; // checking counts what is there anew
        p->next = p->next_chunk = 0;
        p->missing = 0;
        int r = run_workers(p, p->v->at_leisure ? 1 : WORKERS, pull_packs, error);
        if (r < 0 || p->missing == 0)
            return r;
    }
    return store_pull_not_kept(p, error);
}

// --- the whole -----------------------------------------------------------------------------------------------------

static int pull_windows(struct pull *p, struct error *error)
{
    int r = 0;
    for (; p->first < p->list.pack_count && r == 0; p->first += p->window.count) {
        p->window = (struct list_window){0};
        r = run_workers(p, 1, list_window, error);
        if (r == 0) {
            p->all = 0;
            for (size_t i = 0; i < p->list.pack_count; i++)
                p->all += p->list.packs[i].bytes;
            r = pull_window(p, error);
        }
        store_free_window(&p->window); // of a listing that was cancelled at its end, too
    }
    return r;
}

static int pull_listed(struct pull *p, struct error *error)
{
    for (size_t i = 0; i < p->list.pack_count; i++) {
        // An upper bound: chunks that several leaves refer to are counted once only when their window is listed.
        uint64_t bytes = p->list.packs[i].bytes;
        p->all += bytes < p->list.packs[i].size ? bytes : p->list.packs[i].size;
    }
    if (p->all > cache_limit(p->v->store->cache))
        return store_pull_not_kept(p, error);
    return pull_windows(p, error);
}

static int list_objects(const struct pull *p, struct sha256 **ret_objects, size_t *ret_count, struct error *error)
{
    const struct manifest_logo *logo = &p->v->manifest->logo;
    struct sha256 *objects = malloc((p->list.pack_count + 2) * sizeof(*objects));
    if (!objects)
        return error_set(error, ENOMEM, "out of memory");
    objects[0] = p->v->name;
    for (size_t i = 0; i < p->list.pack_count; i++)
        objects[i + 1] = p->list.packs[i].name;
    *ret_objects = objects;
    *ret_count = p->list.pack_count + 1;
    // No boot needs it, so it is not fetched; but what brought it here (an import) keeps it.
    if (logo->type != MANIFEST_LOGO_NONE && cache_has_object(p->v->store->cache, &logo->object))
        objects[(*ret_count)++] = logo->object;
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
            return store_pull_not_kept(p, error);
    }
    free(bytes);
    return 0;
}

int version_pull(struct version *v, int (*progress)(void *context, uint64_t have, uint64_t all), void *context,
                 struct sha256 **ret_objects, size_t *ret_count, struct error *error)
{
    if (!v->store->cache)
        return error_set(error, EINVAL, "there is no cache to pull into");
    if (v->lease < 0)
        v->lease = cache_lease(v->store->cache, &v->name); // until it is closed: whoever pins it does so before
    struct pull p = {.v = v, .progress = progress, .context = context};
    pthread_condattr_t attributes;
    pthread_mutex_init(&p.mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&p.ended, &attributes);
    pthread_condattr_destroy(&attributes);
    int r = run_workers(&p, 1, list_packs, error);
    if (r == 0)
        r = pull_listed(&p, error);
    if (r == 0)
        r = keep_manifest(&p, error);
    if (r == 0)
        r = list_objects(&p, ret_objects, ret_count, error);
    store_free_list(&p.list);
    pthread_cond_destroy(&p.ended);
    pthread_mutex_destroy(&p.mutex);
    return r;
}

int version_fill(struct version *v, uint64_t rate, int (*progress)(void *context, uint64_t have, uint64_t all),
                 void *context, struct sha256 **ret_objects, size_t *ret_count, struct error *error)
{
    v->at_leisure = true;
    v->fill_rate = rate;
    return version_pull(v, progress, context, ret_objects, ret_count, error);
}
