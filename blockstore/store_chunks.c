// How a thread gets its chunks: the loop that every read goes through, with any number of other threads in it.
//
// Each turn, with the mutex held, looks at all of the request's chunks and does the first of these that applies:
//
//   a chunk is UNCHECKED      take all such as LOADING; without the mutex, look for each on the disk
//   a chunk FAILED            give up; or, if that failure was not about our sources and our time, begin anew with it
//   all are READY             done
//   one failed a moment ago   fail again, if the store remembers failures (store_failures.c)
//   one is WANTED             nobody fetches it, and the stream does not bring it soon (store_stream.h): take it, and
//   every WANTED chunk near it in its pack (of this or
//                             another request), as one fetch; take further such groups up to the version's limit;
//                             without the mutex, run them side by side
//   otherwise                 somebody else is at work on ours: wait
//
//   1. A chunk is taken by exactly one thread (store.h rules 1 and 2), which sees it through to READY or FAILED, so
//      nobody waits for a thread that has left.
//   2. While a pack is sent as a whole, its WANTED chunks are not asked for again: they become UNCHECKED when it has
//      arrived (rule 3).
//   3. Who reads ahead (`ahead`) takes one chunk after the other from the disk, so that a reader who comes along does
//      not wait for a row of them, and asks the network for nothing while requests enough are in flight, nor (-EAGAIN)
//      unless a reader of this version had to wait for it of late: where the cache has all that is read, as in a
//      second boot, more than that is not worth a request.
//   4. The mutex is not held during I/O, hashing, decoding or waiting (rule 4): load_all and store_run_fetches run
//      without it, on chunks that are LOADING or FETCHING and so are this thread's alone.
#include "blockstore/store_chunks.h"
#include "base/io.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define AHEAD_FETCHES 2u                   // of a version's requests in flight, with which reading ahead begins no more
#define AHEAD_AFTER_NS (5ull * 1000000000) // a miss, for so long

// --- from the disk -------------------------------------------------------------------------------------------------

// Takes the mutex for each result; called without it.
static void load_all(struct store_request *q, struct store_chunk *const *mine, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct decoded d;
        struct error error = {0};
        int r = store_stream_load(q->s, mine[i], &d, &error);
        if (r == -ENOENT) {
            r = store_load_chunk(q->s, mine[i], &d, &error);
            if (r == 0)
                atomic_fetch_add(&q->s->in_cache, 1);
        }
        pthread_mutex_lock(&q->s->mutex);
        if (r == 0)
            store_publish_chunk(q->s, mine[i], &d);
        else if (r != -ENOENT)
            store_fail_chunk(q->s, mine[i], r == -EPROTO ? -EBADMSG : r, &error);
        pthread_mutex_unlock(&q->s->mutex);
    }
    // Those that must be fetched become WANTED together, so that they are coalesced. But a pack may have come to stand
    // on the disk since one was not found there.
    pthread_mutex_lock(&q->s->mutex);
    for (unsigned i = 0; i < count; i++)
        if (mine[i]->state == CHUNK_LOADING)
            store_set_state(q->s, mine[i], q->arrivals == q->s->arrivals ? CHUNK_WANTED : CHUNK_UNCHECKED);
    pthread_mutex_unlock(&q->s->mutex);
}

// --- the steps of a turn, with the mutex held ----------------------------------------------------------------------

static int look_up(struct store_request *q)
{
    for (unsigned i = 0; i < q->count; i++) {
        if (q->chunks[i])
            continue;
        struct store_chunk *c = store_find_chunk(q->s, q->kind, &q->refs[i].name);
        if (c) {
            store_hold_chunk(q->s, c);
            if (!q->ahead)
                store_want_chunk(q->s, c);
            if (c->state == CHUNK_READY)
                atomic_fetch_add(&q->s->in_memory, 1);
        } else {
            c = store_add_chunk(q->s, q->v, q->kind, q->level, &q->refs[i]);
            if (!c) {
                error_set(q->error, ENOMEM, "out of memory");
                return -ENOMEM;
            }
            c->ahead = q->ahead;
        }
        q->chunks[i] = c;
    }
    return 0;
}

static unsigned take_unchecked(struct store_request *q, struct store_chunk **mine)
{
    unsigned n = 0;
    q->arrivals = q->s->arrivals;
    for (unsigned i = 0; i < q->count && (n == 0 || !q->ahead); i++)
        if (q->chunks[i]->state == CHUNK_UNCHECKED) {
            store_adopt_chunk(q, i);
            store_set_state(q->s, q->chunks[i], CHUNK_LOADING);
            mine[n++] = q->chunks[i];
        }
    return n;
}

static bool worth_another_try(const struct store_request *q, const struct store_chunk *c)
{
    if (c->owner != q->v)
        return true;                                                          // other sources
    return error_is_network(c->result) && c->tried_until_ns < q->deadline_ns; // whoever tried had less time
}

// 1: all are READY; 0: not yet; or the failure. Failed ones that deserve it are looked up anew.
static int judge(struct store_request *q)
{
    char hex[SHA256_HEX_SIZE];
    int all = 1;
    for (unsigned i = 0; i < q->count; i++) {
        struct store_chunk *c = q->chunks[i];
        if (c->state != CHUNK_READY)
            all = 0;
        else if (q->kind == CHUNK_PAGE && c->page.level != q->level)
            return error_set(q->error, EBADMSG, "the map page %s stands at two levels: this version is damaged",
                             sha256_to_hex(&c->ref.name, hex));
        if (c->state != CHUNK_FAILED)
            continue;
        if (worth_another_try(q, c)) {
            store_release_chunk(q->s, c);
            q->chunks[i] = NULL;
            continue;
        }
        if (error_is_network(c->result) && !q->ahead)
            store_note_failures(q->v, q->chunks, q->count);
        if (q->error && c->error)
            *q->error = *c->error;
        else
            error_set(q->error, -c->result, "chunk %s: %s", sha256_to_hex(&c->ref.name, hex), strerror(-c->result));
        return c->result;
    }
    return all;
}

static void fail_offline(struct store_request *q)
{
    for (unsigned i = 0; i < q->count; i++) {
        char chunk[SHA256_HEX_SIZE], pack[SHA256_HEX_SIZE];
        struct error error;
        if (q->chunks[i]->state != CHUNK_WANTED)
            continue;
        store_adopt_chunk(q, i);
        error_set(&error, ENOENT,
                  "chunk %s (of pack %s) is not in the cache, or damaged there, and there is no source to fetch it "
                  "from: go online, or `rondo pull` the image before going offline",
                  sha256_to_hex(&q->refs[i].name, chunk), sha256_to_hex(&q->refs[i].pack.name, pack));
        store_fail_chunk(q->s, q->chunks[i], -ENOENT, &error);
    }
}

static bool missed_of_late(const struct version *v)
{
    return v->missed_ns != 0 && io_monotonic_ns() - v->missed_ns < AHEAD_AFTER_NS;
}

static bool any_wanted(const struct store_request *q)
{
    for (unsigned i = 0; i < q->count; i++)
        if (q->chunks[i]->state == CHUNK_WANTED)
            return true;
    return false;
}

static void wait_for_change(struct store_request *q)
{
    uint64_t ns = q->look_again_ns < q->deadline_ns ? q->look_again_ns : q->deadline_ns;
    struct timespec until = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    pthread_cond_timedwait(&q->s->changed, &q->s->mutex, &until);
}

// --- the loop ------------------------------------------------------------------------------------------------------

// With the mutex held. 1: all are READY; 0: turn again; or the failure.
static int turn(struct store_request *q)
{
    struct store_chunk *mine[STORE_BATCH_MAXIMUM];
    struct fetch *fetches[STORE_JOBS_MAXIMUM];
    char hex[SHA256_HEX_SIZE];

    if (atomic_load(&q->v->cancelled))
        return error_set(q->error, ECANCELED, "cancelled");
    int r = look_up(q);
    if (r < 0)
        return r;
    unsigned n = take_unchecked(q, mine);
    if (n > 0) {
        pthread_mutex_unlock(&q->s->mutex);
        load_all(q, mine, n);
        pthread_mutex_lock(&q->s->mutex);
        return 0;
    }
    r = judge(q);
    if (r != 0)
        return r;
    for (unsigned i = 0; i < q->count; i++)
        if (!q->chunks[i])
            return 0; // to be looked up anew
    const struct store_chunk *failed = store_find_failed(q->v, q->chunks, q->count, q->begun_ns);
    if (failed)
        return error_set(q->error, ENETUNREACH, "chunk %s did not arrive in time a moment ago, either",
                         sha256_to_hex(&failed->ref.name, hex));
    bool late = io_monotonic_ns() >= q->deadline_ns;
    q->look_again_ns = UINT64_MAX;
    if (any_wanted(q) && !late) {
        if (!q->v->mirrors) {
            fail_offline(q);
            return 0;
        }
        if (store_find_arrived(q))
            return 0;
        if (q->ahead && !missed_of_late(q->v))
            return -EAGAIN;
        n = q->ahead && q->v->fetch_count >= AHEAD_FETCHES ? 0 : store_take_fetches(q, fetches, &r);
        if (n > 0) {
            if (!q->ahead)
                q->v->missed_ns = io_monotonic_ns();
            pthread_mutex_unlock(&q->s->mutex);
            store_run_fetches(q->v, fetches, n, q->deadline_ns);
            pthread_mutex_lock(&q->s->mutex);
            return 0;
        }
        if (r < 0)
            return error_set(q->error, -r, "out of memory");
    }
    if (late) {
        for (unsigned i = 0; i < q->count; i++) {
            if (q->chunks[i]->state == CHUNK_READY)
                continue;
            if (!q->ahead)
                store_note_failures(q->v, q->chunks, q->count);
            return error_set(q->error, ENETUNREACH, "chunk %s did not arrive in time from any source",
                             sha256_to_hex(&q->refs[i].name, hex));
        }
    }
    wait_for_change(q);
    return 0;
}

static int get_chunks(struct store_request *q, struct store_chunk **ret)
{
    int r = 0;
    q->s = q->v->store;
    q->begun_ns = io_monotonic_ns();
    for (unsigned i = 0; i < q->count && r == 0; i++)
        r = store_check_reference(q->kind, &q->refs[i], q->error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&q->s->mutex);
    while (r == 0)
        r = turn(q);
    for (unsigned i = 0; i < q->count && r < 0; i++)
        if (q->chunks[i])
            store_release_chunk(q->s, q->chunks[i]);
    pthread_mutex_unlock(&q->s->mutex);
    if (r < 0)
        return r;
    memcpy(ret, q->chunks, q->count * sizeof(struct store_chunk *));
    return 0;
}

int store_get_chunks(struct version *v, enum chunk_kind kind, unsigned level, const struct chunk_reference *refs,
                     unsigned count, uint64_t deadline_ns, struct store_chunk **ret, struct error *error)
{
    struct store_request q = {
        .v = v, .kind = kind, .level = level, .refs = refs, .count = count, .deadline_ns = deadline_ns, .error = error};
    return get_chunks(&q, ret);
}

int store_get_chunks_ahead(struct version *v, enum chunk_kind kind, unsigned level, const struct chunk_reference *refs,
                           unsigned count, struct store_chunk **ret)
{
    struct store_request q = {.v = v,
                              .kind = kind,
                              .level = level,
                              .ahead = true,
                              .refs = refs,
                              .count = count,
                              .deadline_ns = store_deadline(v->store)};
    return get_chunks(&q, ret);
}

void store_put_chunks(struct store *s, struct store_chunk **chunks, unsigned count)
{
    pthread_mutex_lock(&s->mutex);
    for (unsigned i = 0; i < count; i++)
        if (chunks[i])
            store_release_chunk(s, chunks[i]);
    pthread_mutex_unlock(&s->mutex);
}
