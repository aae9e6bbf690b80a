// One pack of the stream on its way (store_stream.h): bytes from the network into its buffer, chunks from its buffer to
// readers, and the whole, once it has its hash, to the cache.
//
// A reader that lacks a chunk of the pack takes it from the buffer (rule 1), waits for it, or overtakes: it asks for
// the chunk itself. It overtakes if the stream would take more than OVERTAKE_FACTOR times as long as a request of its
// own, by what the stream has measured; if the stream has stalled, or is held up by another version's; and if it has
// waited for WAIT_MAXIMUM_NS, or a third of its waiting time, so that a source that trickles costs a reader no more.
#include "base/io.h"
#include "blockstore/store_stream.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define MS 1000000ull
#define SECOND 1000000000ull
#define RESTARTS_MAXIMUM 3u
#define PATIENCE_NS (10 * SECOND) // then it is an outage
#define DEADLINE_NS (3600 * SECOND)
#define RATE_WINDOW_NS (20 * MS)
#define LEAD_FIRST (512u << 10) // while nothing was measured
#define LEAD_MINIMUM (128u << 10)
#define LEAD_MAXIMUM (2u << 20)
#define OVERTAKE_FACTOR 2u
#define WAIT_MAXIMUM_NS (3 * SECOND)
#define LOOK_AGAIN_NS (20 * MS)
#define STALL_FIRST_NS SECOND // without a byte; connecting takes a few round trips
#define STALL_NS (250 * MS)

// --- buffers, with the mutex held ----------------------------------------------------------------------------------

static void put_buffer(struct stream_buffer *b)
{
    if (--b->users > 0)
        return;
    free(b->bytes);
    free(b);
}

void stream_pack_forget(struct stream_pack *p)
{
    if (p->buffer)
        put_buffer(p->buffer);
    p->buffer = NULL;
    p->arrived = 0;
    p->wrong = false;
}

// --- bytes arrive --------------------------------------------------------------------------------------------------

uint64_t stream_lead(const struct stream *st)
{
    if (st->rate == 0)
        return LEAD_FIRST;
    uint64_t lead = st->rate * (st->latency_ns / 1000) / 1000000;
    return lead < LEAD_MINIMUM ? LEAD_MINIMUM : lead > LEAD_MAXIMUM ? LEAD_MAXIMUM : lead;
}

static bool others_arrive(const struct stream_pack *p)
{
    for (unsigned i = 0; i < STORE_STREAM_THREADS; i++) {
        const struct stream_pack *other = &p->stream->packs[i];
        if (other != p && other->asked && other->arrived > 0 && other->arrived < other->size)
            return true;
    }
    return false;
}

static void measure(struct stream_pack *p, bool first, size_t n, uint64_t now)
{
    struct stream *st = p->stream;
    if (first) {
        uint64_t latency = now - p->asked_ns;
        st->latency_ns = st->latency_ns && st->latency_ns < latency ? (st->latency_ns * 7 + latency) / 8 : latency;
    }
    // A moment in which nothing arrived, because nothing was to be sent or readers had the link, says nothing.
    if ((first && !others_arrive(p)) || now - st->window_ns > 5 * RATE_WINDOW_NS) {
        st->window_ns = now;
        st->window_bytes = 0;
        return;
    }
    st->window_bytes += n;
    uint64_t ns = now - st->window_ns;
    if (ns < RATE_WINDOW_NS)
        return;
    uint64_t rate = st->window_bytes * SECOND / ns;
    st->rate = st->rate ? (st->rate * 3 + rate) / 4 : rate;
    if (st->rate == 0)
        st->rate = 1;
    st->window_ns = now;
    st->window_bytes = 0;
}

static struct stream_buffer *new_buffer(uint32_t size)
{
    struct stream_buffer *b = io->malloc(sizeof(*b));
    if (!b)
        return NULL;
    *b = (struct stream_buffer){.users = 1, .bytes = io->malloc(size)};
    if (b->bytes)
        return b;
    free(b);
    return NULL;
}

static void restart(void *context)
{
    struct stream_pack *p = context;
    struct store *s = p->stream->version->store;
    pthread_mutex_lock(&s->mutex);
    p->restarts += p->arrived > 0;
    atomic_fetch_add(&s->stream_wasted, p->arrived);
    stream_pack_forget(p);
    p->asked_ns = p->progress_ns = io_monotonic_ns();
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static int sink(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct stream_pack *p = context;
    struct stream *st = p->stream;
    struct store *s = st->version->store;
    bool first = !p->buffer; // which this thread alone changes while an attempt runs
    if (offset > p->size || n > p->size - offset)
        return -EBADMSG;
    if (p->restarts > RESTARTS_MAXIMUM)
        return -EIO;
    struct stream_buffer *b = first ? new_buffer(p->size) : p->buffer;
    if (!b)
        return -ENOMEM;
    memcpy(b->bytes + offset, bytes, n);
    atomic_fetch_add(&s->stream_bytes, n);
    uint64_t now = io_monotonic_ns();
    pthread_mutex_lock(&s->mutex);
    int r = st->stop ? -ECANCELED : 0;
    p->buffer = b;
    p->arrived = (uint32_t)(offset + n);
    p->progress_ns = now;
    measure(p, first, n, now);
    for (struct store_chunk *c = s->wanted.first, *after; c; c = after) {
        after = c->list_after;
        if (!p->wrong && sha256_equal(&c->ref.pack.name, &p->name) && c->ref.offset + c->ref.length <= p->arrived)
            store_set_state(s, c, CHUNK_UNCHECKED);
    }
    if (p->size - p->arrived <= stream_lead(st))
        pthread_cond_broadcast(&s->stream_changed);
    pthread_mutex_unlock(&s->mutex);
    return r;
}

static int verify(void *context, struct error *error)
{
    struct stream_pack *p = context;
    struct store *s = p->stream->version->store;
    int r = cache_stream_restart(p->file);
    if (r == 0 && p->buffer)
        r = cache_stream_add(p->file, p->buffer->bytes, p->arrived);
    if (r == 0)
        r = cache_stream_finish(p->file);
    if (r >= 0) {
        p->kept = r;
        return 0;
    }
    atomic_fetch_add(&s->wrong, 1);
    return error_set(error, EBADMSG, "the bytes do not match the pack's name");
}

int stream_pack_fetch(struct stream_pack *p)
{
    struct version *v = p->stream->version;
    char path[80];
    int r = cache_stream_new(v->store->cache, &p->name, p->size, &p->file);
    if (r < 0)
        return r;
    if (cache_stream_keeps(p->file)) {
        struct mirrors_job job = {.path = path,
                                  .maximum = p->size,
                                  .priority = SOURCE_STREAM,
                                  .restart = restart,
                                  .sink = sink,
                                  .verify = verify,
                                  .context = p,
                                  .patience_ns = PATIENCE_NS};
        store_object_path(&p->name, path);
        r = mirrors_fetch(v->mirrors, &job, 1, io_monotonic_ns() + DEADLINE_NS);
        if (r < 0)
            atomic_fetch_add(&v->store->stream_wasted, p->arrived); // by the last attempt
    } else {
        r = -ENOSPC; // it would be fetched for nothing
    }
    cache_stream_free(p->file);
    p->file = NULL;
    return r < 0 ? r : p->kept;
}

// --- readers -------------------------------------------------------------------------------------------------------

static struct stream_pack *find_arriving(const struct store *s, const struct sha256 *pack)
{
    for (struct stream_pack *p = s->arriving; p; p = p->next)
        if (sha256_equal(&p->name, pack))
            return p;
    return NULL;
}

static bool has_bytes(const struct stream_pack *p, const struct chunk_reference *ref)
{
    return p->buffer && !p->wrong && (uint64_t)ref->offset + ref->length <= p->arrived;
}

int store_stream_load(struct store *s, const struct store_chunk *c, struct decoded *ret, struct error *error)
{
    struct stream_buffer *b = NULL;
    pthread_mutex_lock(&s->mutex);
    struct stream_pack *p = find_arriving(s, &c->ref.pack.name);
    if (p && has_bytes(p, &c->ref)) {
        b = p->buffer;
        b->users++;
    }
    pthread_mutex_unlock(&s->mutex);
    if (!b)
        return -ENOENT;
    int r = store_decode(c->kind, c->level, &c->ref, b->bytes + c->ref.offset, ret, error);
    if (r == 0)
        atomic_fetch_add(&s->in_stream, 1);
    pthread_mutex_lock(&s->mutex);
    if (r == -EBADMSG) {
        p = find_arriving(s, &c->ref.pack.name);
        if (p && p->buffer == b)
            p->wrong = true;
        atomic_fetch_add(&s->wrong, 1);
        r = -ENOENT; // its reader asks for it, and the pack's own hash says whose fault it is
    }
    put_buffer(b);
    pthread_mutex_unlock(&s->mutex);
    return r;
}

static bool has_stalled(const struct stream_pack *p, uint64_t now)
{
    const struct stream *st = p->stream;
    uint64_t limit = p->buffer || st->latency_ns ? STALL_NS + 2 * st->latency_ns : STALL_FIRST_NS;
    return now > p->progress_ns && now - p->progress_ns > limit;
}

// What of its packs a stream has asked for, `before` one of them (NULL: all), and has not got. False if one stalled.
static bool sum_asked(const struct stream *st, const struct stream_pack *before, uint64_t now, uint64_t *ret_bytes)
{
    *ret_bytes = 0;
    for (unsigned i = 0; i < STORE_STREAM_THREADS; i++) {
        const struct stream_pack *p = &st->packs[i];
        if (!p->asked || p == before || (before && p->asked_ns > before->asked_ns))
            continue;
        if (has_stalled(p, now))
            return false;
        *ret_bytes += p->size - p->arrived;
    }
    return true;
}

// It asks for nothing: what comes next is on its way to another version, or there is no memory for it, or no thread.
static bool is_held_up(const struct stream *st, uint64_t now)
{
    for (unsigned i = 0; i < STORE_STREAM_THREADS; i++)
        if (st->packs[i].asked)
            return false;
    return now > st->idle_ns && now - st->idle_ns > STALL_NS;
}

// How many bytes arrive before the chunk's last one. False if it is none of the stream's, or must not be waited for.
static bool sum_ahead(const struct version *v, const struct chunk_reference *ref, uint64_t now,
                      const struct stream **ret_stream, uint64_t *ret_bytes)
{
    const struct stream_pack *p = find_arriving(v->store, &ref->pack.name);
    const struct stream *st = p ? p->stream : v->stream;
    uint64_t end = (uint64_t)ref->offset + ref->length, before;
    *ret_stream = st;
    if (p) {
        if (p->wrong || has_stalled(p, now) || !sum_asked(st, p, now, &before))
            return false;
        *ret_bytes = before + (end > p->arrived ? end - p->arrived : 0);
        return true;
    }
    if (!st || st->stop || st->paused > 0 || is_held_up(st, now) || !sum_asked(st, NULL, now, &before))
        return false;
    for (unsigned i = st->next; i < v->manifest->boot_count; i++) {
        const struct manifest_boot *line = &v->manifest->boot[i];
        bool passed_over = line->size > STORE_STREAM_PACK_MAXIMUM;
        if (sha256_equal(&line->pack, &ref->pack.name)) {
            *ret_bytes = before + end;
            return !passed_over;
        }
        before += passed_over ? 0 : line->size;
    }
    return false;
}

bool store_stream_is_running(const struct version *v)
{
    const struct stream *st = v->stream;
    if (!st || st->stop || st->paused > 0)
        return false;
    for (unsigned i = 0; i < STORE_STREAM_THREADS; i++)
        if (st->packs[i].asked)
            return true;
    return st->next < v->manifest->boot_count;
}

bool store_stream_lists(const struct version *v, const struct sha256 *pack)
{
    if (find_arriving(v->store, pack))
        return true;
    for (unsigned i = v->stream && !v->stream->stop ? v->stream->next : UINT32_MAX; i < v->manifest->boot_count; i++)
        if (sha256_equal(&v->manifest->boot[i].pack, pack))
            return true;
    return false;
}

static uint64_t longest_wait(const struct store *s)
{
    uint64_t share = s->wait_seconds * SECOND / 3;
    return share < WAIT_MAXIMUM_NS ? share : WAIT_MAXIMUM_NS;
}

enum stream_way store_stream_find(const struct version *v, const struct chunk_reference *ref, bool hurry,
                                  uint64_t begun_ns, uint64_t *look_again_ns)
{
    const struct stream_pack *p = find_arriving(v->store, &ref->pack.name);
    if (!p && !v->stream)
        return STREAM_NEVER;
    if (p && has_bytes(p, ref))
        return STREAM_HERE;
    const struct stream *st;
    uint64_t ahead, now = io_monotonic_ns(), wait_ns = LOOK_AGAIN_NS;
    if ((hurry && now - begun_ns > longest_wait(v->store)) || !sum_ahead(v, ref, now, &st, &ahead))
        return STREAM_NEVER;
    if (st->rate > 0) {
        // Where ranges are ignored, a request brings the whole pack.
        uint64_t own = p && mirrors_ignore_ranges(v->mirrors) ? ref->pack.size : ref->length;
        wait_ns = ahead * SECOND / st->rate;
        if (hurry && wait_ns > OVERTAKE_FACTOR * (st->latency_ns + own * SECOND / st->rate))
            return STREAM_NEVER;
    }
    wait_ns = wait_ns < LOOK_AGAIN_NS ? LOOK_AGAIN_NS : wait_ns > STALL_NS ? STALL_NS : wait_ns;
    if (now + wait_ns < *look_again_ns)
        *look_again_ns = now + wait_ns;
    return STREAM_SOON;
}
