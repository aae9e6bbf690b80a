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
#include "base/io.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define CANDIDATES_MAXIMUM 256u            // WANTED chunks that one turn looks at
#define AHEAD_FETCHES 2u                   // of a version's requests in flight, with which reading ahead begins no more
#define AHEAD_AFTER_NS (5ull * 1000000000) // a miss, for so long

struct request {
    struct version *v;
    struct store *s;
    enum chunk_kind kind;
    unsigned level;
    bool ahead; // nobody waits for them
    const struct chunk_reference *refs;
    unsigned count;
    uint64_t begun_ns, deadline_ns;
    uint64_t look_again_ns; // when the stream may have turned out to be late
    unsigned arrivals;      // of the store, when chunks were taken to look for them on the disk
    struct store_chunk *chunks[STORE_BATCH_MAXIMUM]; // held, or NULL
    struct error *error;
};

// --- from the disk -------------------------------------------------------------------------------------------------

// Takes the mutex for each result; called without it.
static void load_all(struct request *q, struct store_chunk *const *mine, unsigned count)
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

static int look_up(struct request *q)
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

// A chunk that nobody is at work on is taken with this request's own reference, whoever asked for it first.
static void adopt(struct request *q, unsigned i)
{
    q->chunks[i]->ref = q->refs[i];
    q->chunks[i]->level = q->level;
    q->chunks[i]->owner = q->v;
}

static unsigned take_unchecked(struct request *q, struct store_chunk **mine)
{
    unsigned n = 0;
    q->arrivals = q->s->arrivals;
    for (unsigned i = 0; i < q->count && (n == 0 || !q->ahead); i++)
        if (q->chunks[i]->state == CHUNK_UNCHECKED) {
            adopt(q, i);
            store_set_state(q->s, q->chunks[i], CHUNK_LOADING);
            mine[n++] = q->chunks[i];
        }
    return n;
}

static bool worth_another_try(const struct request *q, const struct store_chunk *c)
{
    if (c->owner != q->v)
        return true;                                                          // other sources
    return error_is_network(c->result) && c->tried_until_ns < q->deadline_ns; // whoever tried had less time
}

// 1: all are READY; 0: not yet; or the failure. Failed ones that deserve it are looked up anew.
static int judge(struct request *q)
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

static bool pack_is_coming(const struct version *v, const struct sha256 *pack)
{
    for (const struct fetch *f = v->fetches; f; f = f->next)
        if (f->whole && sha256_equal(&f->pack.name, pack))
            return true;
    return false;
}

static bool may_take(struct request *q, const struct store_chunk *c)
{
    return c->state == CHUNK_WANTED && c->owner == q->v && !pack_is_coming(q->v, &c->ref.pack.name) &&
           store_stream_find(q->v, &c->ref, !q->ahead, q->begun_ns, &q->look_again_ns) == STREAM_NEVER;
}

// What has arrived in the stream between the look at the disk and now. True if there is any.
static bool find_arrived(struct request *q)
{
    bool any = false;
    for (unsigned i = 0; i < q->count; i++)
        if (q->chunks[i]->state == CHUNK_WANTED &&
            store_stream_find(q->v, &q->refs[i], !q->ahead, q->begun_ns, &q->look_again_ns) == STREAM_HERE) {
            store_set_state(q->s, q->chunks[i], CHUNK_UNCHECKED);
            any = true;
        }
    return any;
}

static int compare_places(const void *pa, const void *pb)
{
    const struct store_chunk *a = *(struct store_chunk *const *)pa, *b = *(struct store_chunk *const *)pb;
    int r = memcmp(&a->ref.pack.name, &b->ref.pack.name, SHA256_SIZE);
    return r ? r : (a->ref.offset > b->ref.offset) - (a->ref.offset < b->ref.offset);
}

// WANTED chunks: this request's own, marked, then others of the same version; sorted by their places.
static unsigned gather(struct request *q, struct store_chunk **ret)
{
    unsigned n = 0;
    for (unsigned i = 0; i < q->count; i++) {
        if (q->chunks[i]->state != CHUNK_WANTED || q->chunks[i]->mark == q)
            continue;
        adopt(q, i);
        if (!may_take(q, q->chunks[i]))
            continue;
        q->chunks[i]->mark = q;
        ret[n++] = q->chunks[i];
    }
    if (n == 0)
        return 0;
    for (struct store_chunk *c = q->s->wanted.first; c && n < CANDIDATES_MAXIMUM; c = c->list_after)
        if (c->mark != q && may_take(q, c))
            ret[n++] = c;
    qsort(ret, n, sizeof(struct store_chunk *), compare_places);
    return n;
}

// How many of the sorted chunks, from the first, belong into one request.
static unsigned group_length(struct store_chunk *const *sorted, unsigned n, bool whole)
{
    const struct chunk_reference *first = &sorted[0]->ref;
    uint64_t end = (uint64_t)first->offset + first->length;
    unsigned i = 1;
    for (; i < n; i++) {
        const struct chunk_reference *ref = &sorted[i]->ref;
        uint64_t ref_end = (uint64_t)ref->offset + ref->length;
        if (!sha256_equal(&ref->pack.name, &first->pack.name))
            break;
        if (!whole && (ref->offset > end + STORE_GAP_MAXIMUM || ref_end > first->offset + STORE_REQUEST_MAXIMUM))
            break;
        end = ref_end > end ? ref_end : end;
    }
    return i;
}

// Makes fetches out of WANTED chunks, each with at least one of our own.
static unsigned take_fetches(struct request *q, struct fetch **ret, int *ret_failure)
{
    struct store_chunk *sorted[CANDIDATES_MAXIMUM];
    bool whole = mirrors_ignore_ranges(q->v->mirrors);
    unsigned n = gather(q, sorted), fetches = 0;

    for (unsigned at = 0, length; at < n && q->v->fetch_count < STORE_JOBS_MAXIMUM; at += length) {
        length = group_length(sorted + at, n - at, whole);
        bool ours = false;
        for (unsigned i = at; i < at + length; i++)
            ours |= sorted[i]->mark == q;
        if (!ours)
            continue;
        ret[fetches] = store_new_fetch(q->v, sorted + at, length, whole, q->deadline_ns);
        if (!ret[fetches]) {
            *ret_failure = -ENOMEM;
            break;
        }
        for (unsigned i = at; i < at + length; i++)
            atomic_fetch_add(&q->s->overtaken, store_stream_lists(q->v, &sorted[i]->ref.pack.name));
        fetches++;
    }
    for (unsigned i = 0; i < n; i++)
        sorted[i]->mark = NULL;
    return fetches;
}

static void fail_offline(struct request *q)
{
    for (unsigned i = 0; i < q->count; i++) {
        char chunk[SHA256_HEX_SIZE], pack[SHA256_HEX_SIZE];
        struct error error;
        if (q->chunks[i]->state != CHUNK_WANTED)
            continue;
        adopt(q, i);
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

static bool any_wanted(const struct request *q)
{
    for (unsigned i = 0; i < q->count; i++)
        if (q->chunks[i]->state == CHUNK_WANTED)
            return true;
    return false;
}

static void wait_for_change(struct request *q)
{
    uint64_t ns = q->look_again_ns < q->deadline_ns ? q->look_again_ns : q->deadline_ns;
    struct timespec until = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    pthread_cond_timedwait(&q->s->changed, &q->s->mutex, &until);
}

// --- the loop ------------------------------------------------------------------------------------------------------

// With the mutex held. 1: all are READY; 0: turn again; or the failure.
static int turn(struct request *q)
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
        if (find_arrived(q))
            return 0;
        if (q->ahead && !missed_of_late(q->v))
            return -EAGAIN;
        n = q->ahead && q->v->fetch_count >= AHEAD_FETCHES ? 0 : take_fetches(q, fetches, &r);
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

static int get_chunks(struct request *q, struct store_chunk **ret)
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
    struct request q = {
        .v = v, .kind = kind, .level = level, .refs = refs, .count = count, .deadline_ns = deadline_ns, .error = error};
    return get_chunks(&q, ret);
}

int store_get_chunks_ahead(struct version *v, enum chunk_kind kind, unsigned level, const struct chunk_reference *refs,
                           unsigned count, struct store_chunk **ret)
{
    struct request q = {.v = v,
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
