// Fetching: which source is asked, when, and what its answer says about it. The rules are numbered in mirrors.h, the
// locks are told in mirrors_private.h.
//
// A job, within mirrors_fetch (one thread; the transport's thread only sets `ended`):
//
//            choose()               done()            settle()
//   WAITING ──────────→ RUNNING ──────────→ (ended) ──────────→ OVER: delivered and verified, refused by every
//      ↑  back-off, or every source is left alone         │          source, sink failed, cancelled, deadline
//      └──────────────────────────────────────────────────┘ failed, other sources or a later time remain
//
// Each job goes in rounds: in one round every source that has not refused it is asked at most once, the healthy
// ones first; between rounds it waits.

#include "blockstore/mirrors.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/mirrors_private.h"
#include "blockstore/transport_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum state { WAITING, RUNNING, OVER };

struct attempt {
    struct mirrors *mirrors;
    struct fetch *fetch;
    struct mirrors_job *job;
    struct source_request request;
    enum state state;
    bool ended;          // mutex
    bool ending;         // was cancelled by us
    unsigned mirror;     // that was asked last
    uint64_t started;    // when
    uint64_t fed;        // when an attempt last ended that had delivered bytes; at first, when the job began
    uint64_t not_before; // the round's back-off
    unsigned rounds;     // that failed
    unsigned recoveries; // of the mirrors, when the back-off began
    unsigned asked;      // bits: the mirrors asked in this round
    unsigned refused;    // bits: those that gave a final answer
    int refusal;         // the gravest of them; 0 if none
    struct error refusal_error;
};

static int take(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct attempt *a = context;
    if (atomic_load_explicit(&a->mirrors->cancelled, memory_order_relaxed)) // a directory has no other way to stop
        return -ECANCELED;
    return a->job->sink(a->job->context, offset, bytes, n);
}

static void ended(void *context)
{
    struct attempt *a = context;
    pthread_mutex_lock(&a->mirrors->mutex);
    a->ended = true;
    a->fetch->woken = true;
    pthread_cond_signal(&a->fetch->changed);
    pthread_mutex_unlock(&a->mirrors->mutex);
}

static void conclude(struct attempt *a, int result)
{
    a->job->result = result;
    a->state = OVER;
}

// With the mutex. True if a mirror was chosen; else the attempt waits until *ret_wake.
static bool choose(struct mirrors *m, struct attempt *a, uint64_t now, uint64_t *ret_wake)
{
    unsigned all = (1u << m->count) - 1;
    if ((a->asked | a->refused) == all) {
        a->asked = 0;
        a->not_before = now + mirrors_health_back_off(a->rounds++);
        a->recoveries = m->recoveries;
    }
    if (a->recoveries != m->recoveries)
        a->not_before = now;
    *ret_wake = a->not_before;
    if (a->not_before > now ||
        !mirrors_health_pick(m->mirror, m->count, a->asked | a->refused, now, &a->mirror, ret_wake))
        return false;
    mirrors_health_note_asked(&m->mirror[a->mirror], now);
    a->asked |= 1u << a->mirror;
    a->started = now;
    a->ended = false;
    a->state = RUNNING;
    return true;
}

static void start(struct mirrors *m, struct attempt *a)
{
    struct mirrors_job *job = a->job;
    job->whole = false;
    if (job->restart)
        job->restart(job->context);
    a->request = (struct source_request){.path = job->path,
                                         .offset = job->offset,
                                         .length = job->length,
                                         .maximum = job->maximum,
                                         .sink = take,
                                         .done = ended,
                                         .context = a};
    source_start(m->mirror[a->mirror].source, &a->request);
}

static void refuse(struct mirrors *m, struct attempt *a, int result)
{
    // Wrong data is graver news than a file that may not be read, and that than one that is not there.
    int gravity = result == -EBADMSG ? 3 : result == -EACCES ? 2 : 1;
    int before = a->refusal == -EBADMSG ? 3 : a->refusal == -EACCES ? 2 : a->refusal ? 1 : 0;
    a->refused |= 1u << a->mirror;
    if (gravity > before) {
        a->refusal = result;
        a->refusal_error = a->request.error;
    }
    if (a->refused == (1u << m->count) - 1) { // rule 3
        a->job->error = a->refusal_error;
        conclude(a, a->refusal);
    }
}

// The request has ended: what does it mean for the job, and for the source?
static void settle(struct mirrors *m, struct attempt *a)
{
    struct mirrors_job *job = a->job;
    struct mirror *mirror = &m->mirror[a->mirror];
    source_wait(mirror->source, &a->request);
    a->state = WAITING;
    job->whole = a->request.whole;
    int result = a->request.result;
    if (result == 0 && job->verify) {
        struct error reason = {.text = ""};
        result = job->verify(job->context, &reason);
        if (result < 0)
            transport_fail(mirror->source, &a->request, -result, "%s", reason.text);
    }
    uint64_t now = io_monotonic_ns();
    if (a->request.received > 0)
        a->fed = now;
    pthread_mutex_lock(&m->mutex);
    if (mirrors_health_note_result(mirror, result, a->started, now, &a->request)) {
        m->recoveries++;
        mirrors_wake_all(m);
    }
    pthread_mutex_unlock(&m->mutex);

    if (result == -ECANCELED && a->ending)
        return; // give_up knows why
    if (result == -EBADMSG || result == -ENOENT || result == -EACCES) {
        refuse(m, a, result);
    } else if (result == -ENETUNREACH) {
        job->error = a->request.error; // unless another attempt ends better
    } else {
        job->error = a->request.error; // empty after success
        conclude(a, result);
    }
}

// Ends what is not over: with -ECANCELED, or with -ENETUNREACH for the deadline.
static void give_up(struct mirrors *m, struct attempt *a, bool cancelled)
{
    struct mirrors_job *job = a->job;
    if (a->state == RUNNING && !a->ending) {
        a->ending = true;
        source_cancel(m->mirror[a->mirror].source, &a->request);
    } else if (a->state == WAITING && cancelled) {
        conclude(a, error_set(&job->error, ECANCELED, "fetching %s was cancelled", job->path));
    } else if (a->state == WAITING && job->error.text[0]) {
        conclude(a, error_prefix(&job->error, -ENETUNREACH, "no source answered in time"));
    } else if (a->state == WAITING) {
        char address[256];
        text_escape(slice_of(source_address(m->mirror[a->mirror].source)), address, sizeof(address));
        conclude(a, error_set(&job->error, ENETUNREACH, "cannot fetch %s from %s: it did not answer in time", job->path,
                              address));
    }
}

// Moves one attempt on, called and returning with the mutex. *wake is lowered to when it wants to be called again.
static void step(struct mirrors *m, struct attempt *a, uint64_t deadline_ns, uint64_t *wake)
{
    if (a->state == RUNNING && a->ended) {
        pthread_mutex_unlock(&m->mutex);
        settle(m, a);
        pthread_mutex_lock(&m->mutex);
    }
    uint64_t now = io_monotonic_ns(), later = deadline_ns;
    bool cancelled = atomic_load_explicit(&m->cancelled, memory_order_relaxed);
    // Patience ends no sooner than every source has been asked: the first may just have taken all of it.
    bool all_asked = a->rounds > 0 || (a->asked | a->refused) == (1u << m->count) - 1;
    if (a->state == WAITING && all_asked && a->job->patience_ns && a->fed + a->job->patience_ns < deadline_ns)
        deadline_ns = a->fed + a->job->patience_ns;
    if (cancelled || now >= deadline_ns) {
        pthread_mutex_unlock(&m->mutex);
        give_up(m, a, cancelled);
        pthread_mutex_lock(&m->mutex);
        later = UINT64_MAX; // what still runs was told to end
    } else if (a->state == WAITING && choose(m, a, now, &later)) {
        pthread_mutex_unlock(&m->mutex);
        start(m, a);
        pthread_mutex_lock(&m->mutex);
        later = deadline_ns;
    } else if (deadline_ns < later) {
        later = deadline_ns;
    }
    if (a->state != OVER && later < *wake)
        *wake = later;
}

static void wait_until(struct mirrors *m, struct fetch *fetch, uint64_t wake)
{
    struct timespec at = {.tv_sec = (time_t)(wake / 1000000000), .tv_nsec = (long)(wake % 1000000000)};
    int r = 0;
    while (!fetch->woken && r != ETIMEDOUT)
        r = pthread_cond_clockwait(&fetch->changed, &m->mutex, CLOCK_MONOTONIC, &at);
    fetch->woken = false;
}

static void run_all(struct mirrors *m, struct fetch *fetch, struct attempt *attempts, unsigned count,
                    uint64_t deadline_ns)
{
    pthread_mutex_lock(&m->mutex);
    fetch->next = m->fetches;
    m->fetches = fetch;
    for (;;) {
        uint64_t wake = UINT64_MAX;
        unsigned over = 0;
        for (unsigned i = 0; i < count; i++) {
            step(m, &attempts[i], deadline_ns, &wake);
            over += attempts[i].state == OVER;
        }
        if (over == count)
            break;
        wait_until(m, fetch, wake);
    }
    struct fetch **link = &m->fetches;
    while (*link != fetch)
        link = &(*link)->next;
    *link = fetch->next;
    pthread_mutex_unlock(&m->mutex);
}

int mirrors_fetch(struct mirrors *m, struct mirrors_job *jobs, unsigned count, uint64_t deadline_ns)
{
    struct attempt *attempts CLEANUP_FREE = calloc(count ? count : 1, sizeof(*attempts));
    struct fetch fetch = {.woken = false};
    for (unsigned i = 0; i < count; i++) {
        jobs[i].result = 0;
        jobs[i].whole = false;
        jobs[i].error.text[0] = '\0';
        if (!attempts)
            jobs[i].result = error_set(&jobs[i].error, ENOMEM, "no memory to fetch %s", jobs[i].path);
        else
            attempts[i] = (struct attempt){
                .mirrors = m, .fetch = &fetch, .job = &jobs[i], .state = WAITING, .fed = io_monotonic_ns()};
    }
    if (attempts) {
        pthread_cond_init(&fetch.changed, NULL);
        run_all(m, &fetch, attempts, count, deadline_ns);
        pthread_cond_destroy(&fetch.changed);
    }
    for (unsigned i = 0; i < count; i++)
        if (jobs[i].result < 0)
            return jobs[i].result;
    return 0;
}
