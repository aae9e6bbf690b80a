// The store's own threads: they read ahead (store.h, rule 8), and give memory back when nobody has read for a while
// (rule 5). Only adaptive stores have any; they start when there is something to do for them, and stay.
//
//   store_note_read ─(a window is to be filled)─▶ queue ─▶ a helper: look up, load or fetch, let go
//
//   1. A range is queued if there is room in the queue and in the memory for what nobody has wanted yet; else the
//      stream's next read asks again.
//   2. Reading ahead that fails is told to nobody. The version then reads nothing ahead for PAUSE_NS, unless it was
//      only not worth a request (-EAGAIN, store_chunks.c, 3).
//   3. A version that is closed takes its ranges out of the queue and cancels what is in progress; `busy` says that a
//      helper still has it in its hands.
//   4. What a boot reads next its profile knows better: behind a boot pack's block only boot packs are read ahead,
//      and nothing while the stream brings them: that would be at its cost.
//
// The store's mutex guards the queue and the helpers; a helper has it only between two ranges.
#include "base/io.h"
#include "base/log.h"
#include "base/thread.h"
#include "blockstore/blocks.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define HELPERS_MINIMUM 2u // one waits for the network, another decodes
#define HELPER_STACK (256u << 10)
#define PAUSE_NS (5ull * 1000000000)
#define IDLE_NS (STORE_IDLE_SECONDS * 1000000000ull)

void store_prepare_helpers(struct store *s, bool adaptive)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->helpers.wanted, &attributes);
    pthread_condattr_destroy(&attributes);
    long processors = adaptive ? sysconf(_SC_NPROCESSORS_ONLN) : 0;
    if (processors > STORE_HELPERS_MAXIMUM)
        processors = STORE_HELPERS_MAXIMUM;
    s->helpers.maximum = !adaptive ? 0 : processors < (long)HELPERS_MINIMUM ? HELPERS_MINIMUM : (unsigned)processors;
}

// --- reading ahead -------------------------------------------------------------------------------------------------

static bool is_boot_pack(const struct version *v, const struct sha256 *pack)
{
    for (unsigned i = 0; i < v->manifest->boot_count; i++)
        if (sha256_equal(&v->manifest->boot[i].pack, pack))
            return true;
    return false;
}

// Whether the range follows on a block of a boot pack. `w` is room for the answer.
static int follows_boot(const struct ahead_job *job, struct store_window *w, bool *ret)
{
    struct version *v = job->version;
    if (v->manifest->boot_count == 0 || job->offset < BLOCK_SIZE)
        return 0;
    uint64_t block = job->offset / BLOCK_SIZE - 1;
    int r = store_gather_window(v, job->member, &block, block + 1, true, w, NULL);
    if (r == 0 && w->ref_count > 0)
        *ret = is_boot_pack(v, &w->refs[0].pack.name);
    return r;
}

static void leave_out_ordinary_packs(const struct version *v, struct store_window *w)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < w->ref_count; i++)
        if (is_boot_pack(v, &w->refs[i].pack.name))
            w->refs[kept++] = w->refs[i];
    w->ref_count = kept;
}

static int read_ahead(const struct ahead_job *job)
{
    struct store_window w;
    struct store_chunk *chunks[STORE_BATCH_MAXIMUM];
    uint64_t end_block = (job->offset + job->length + BLOCK_SIZE - 1) / BLOCK_SIZE;
    bool boot = false;
    int r = follows_boot(job, &w, &boot);
    for (uint64_t block = job->offset / BLOCK_SIZE; r == 0 && block < end_block;) {
        r = store_gather_window(job->version, job->member, &block, end_block, true, &w, NULL);
        if (r == 0 && boot)
            leave_out_ordinary_packs(job->version, &w);
        if (r < 0 || w.ref_count == 0)
            continue;
        r = store_get_chunks_ahead(job->version, CHUNK_DATA, 0, w.refs, w.ref_count, chunks);
        if (r == 0)
            store_put_chunks(job->version->store, chunks, w.ref_count);
    }
    return r;
}

// With the mutex, which it gives up meanwhile.
static void do_job(struct store_helper *h)
{
    struct store *s = h->store;
    struct store_helpers *all = &s->helpers;
    struct ahead_job job = all->jobs[all->first];
    all->first = (all->first + 1) % STORE_AHEAD_JOBS;
    all->queued--;
    h->busy = job.version;
    pthread_mutex_unlock(&s->mutex);
    int r = read_ahead(&job);
    pthread_mutex_lock(&s->mutex);
    if (r < 0 && r != -EAGAIN)
        job.version->ahead_pause_ns = io_monotonic_ns() + PAUSE_NS;
    h->busy = NULL;
    pthread_cond_broadcast(&s->changed);
}

// --- giving memory back --------------------------------------------------------------------------------------------

// When that is due, should nobody read till then; 0: there is nothing to give back.
static uint64_t relax_at(const struct store *s)
{
    return s->memory.limit > s->memory.lowest ? s->read_ns + IDLE_NS : 0;
}

// With the mutex, which others get in between.
static void relax(struct store *s)
{
    while (store_relax_memory(s)) {
        pthread_mutex_unlock(&s->mutex);
        pthread_mutex_lock(&s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    blocks_trim();
    pthread_mutex_lock(&s->mutex);
}

// --- the threads ---------------------------------------------------------------------------------------------------

static void wait_for_work(struct store *s, uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
    s->helpers.waiting++;
    if (until_ns == 0)
        pthread_cond_wait(&s->helpers.wanted, &s->mutex);
    else
        pthread_cond_timedwait(&s->helpers.wanted, &s->mutex, &until);
    s->helpers.waiting--;
}

static void *help(void *context)
{
    struct store_helper *h = context;
    struct store *s = h->store;
    pthread_mutex_lock(&s->mutex);
    while (!s->helpers.ending) {
        uint64_t relax_ns = relax_at(s);
        if (s->helpers.queued > 0)
            do_job(h);
        else if (relax_ns != 0 && io_monotonic_ns() >= relax_ns)
            relax(s);
        else
            wait_for_work(s, relax_ns);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

void store_want_helpers(struct store *s)
{
    struct store_helpers *all = &s->helpers;
    if (all->waiting > 0) {
        pthread_cond_signal(&all->wanted);
        return;
    }
    if (all->count == all->maximum)
        return; // who ends its work looks for more
    struct store_helper *h = &all->list[all->count];
    h->store = s;
    int r = thread_start(&h->thread, HELPER_STACK, help, h);
    if (r == 0)
        all->count++;
    else
        log_warning("no thread to read ahead: %s", strerror(-r));
}

void store_end_helpers(struct store *s)
{
    pthread_mutex_lock(&s->mutex);
    s->helpers.ending = true;
    pthread_cond_broadcast(&s->helpers.wanted);
    pthread_mutex_unlock(&s->mutex);
    for (unsigned i = 0; i < s->helpers.count; i++)
        pthread_join(s->helpers.list[i].thread, NULL);
    pthread_cond_destroy(&s->helpers.wanted);
}

// --- versions ------------------------------------------------------------------------------------------------------

// Bytes that may still be read ahead, given what is queued and what nobody has wanted yet.
static uint64_t room(const struct store *s)
{
    const struct store_helpers *all = &s->helpers;
    uint64_t used = s->ahead_bytes, most = (uint64_t)s->pools[0].limit * STORE_AHEAD_PERCENT / 100;
    for (unsigned i = 0; i < all->queued; i++)
        used += all->jobs[(all->first + i) % STORE_AHEAD_JOBS].length;
    return used < most && all->queued < STORE_AHEAD_JOBS ? most - used : 0;
}

// Queues as much of a range as there is room for, which is what it returns. With the mutex.
static uint64_t queue(struct version *v, unsigned member, uint64_t offset, uint64_t length)
{
    struct store_helpers *all = &v->store->helpers;
    uint64_t most = room(v->store), taken = length < most ? length : most;
    if (taken < AHEAD_FIRST && taken < length)
        return 0;
    if (store_stream_is_running(v))
        return 0;
    if (v->ahead_pause_ns != 0 && io_monotonic_ns() < v->ahead_pause_ns)
        return 0;
    all->jobs[(all->first + all->queued++) % STORE_AHEAD_JOBS] =
        (struct ahead_job){.version = v, .member = member, .offset = offset, .length = taken};
    return taken;
}

void store_note_read(struct version *v, unsigned member, uint64_t offset, uint64_t n)
{
    struct store *s = v->store;
    uint64_t from, length;
    if (s->helpers.maximum == 0)
        return;
    uint64_t now = io_monotonic_ns();
    pthread_mutex_lock(&s->mutex);
    s->read_ns = now;
    struct ahead_stream *stream =
        ahead_note_read(&v->streams, member, v->manifest->members[member].size, offset, n, &from, &length);
    uint64_t taken = stream ? queue(v, member, from, length) : 0;
    if (taken > 0) {
        stream->asked = from + taken;
        store_want_helpers(s);
    }
    pthread_mutex_unlock(&s->mutex);
}

static bool is_busy(const struct version *v)
{
    const struct store_helpers *all = &v->store->helpers;
    for (unsigned i = 0; i < all->count; i++)
        if (all->list[i].busy == v)
            return true;
    return false;
}

void store_end_ahead(struct version *v)
{
    struct store *s = v->store;
    struct store_helpers *all = &s->helpers;
    pthread_mutex_lock(&s->mutex);
    unsigned kept = 0;
    for (unsigned i = 0; i < all->queued; i++) {
        struct ahead_job *job = &all->jobs[(all->first + i) % STORE_AHEAD_JOBS];
        if (job->version != v)
            all->jobs[(all->first + kept++) % STORE_AHEAD_JOBS] = *job;
    }
    all->queued = kept;
    if (is_busy(v)) {
        pthread_mutex_unlock(&s->mutex);
        version_cancel(v);
        pthread_mutex_lock(&s->mutex);
        while (is_busy(v))
            pthread_cond_wait(&s->changed, &s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
}
