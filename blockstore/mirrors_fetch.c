// Fetching: which source is asked, when, and what its answer says about it. The rules are numbered in mirrors.h, the
// locks are told in mirrors_private.h.
//
// A job, within mirrors_fetch (one thread; the transport's thread only sets `ended`):
//
//            choose()               done()            settle()
//   WAITING ──────────→ RUNNING ──────────→ (ended) ──────────→ OVER: delivered and verified, refused by every
//      ↑  back-off,     │     ↑                           │          source, sink failed, cancelled, deadline
//      │  all paused    └late─┘ choose_hedge()            │
//      └──────────────────────────────────────────────────┘ failed, other sources or a later time remain
//
// Each job goes in rounds: in one round every source that has not refused it is asked at most once, the healthy
// ones first; between rounds it waits. (What its one or two requests do is mirrors_request.c's.)

#include "blockstore/mirrors.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/mirrors_private.h"
#include "blockstore/transport_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define HEDGES_AT_ONCE 4u               // what the allowance amounts to after quiet times
#define CRAWL_NS (UINT64_C(1000000000)) // after that it can be told, and every so often
#define CRAWL_FACTOR 3
#define SILENCE_NS (UINT64_C(3000000000)) // that a far source, or a busy one, may need

// With the mutex. The mirror is going to be asked.
static void engage(struct attempt *a, struct job_request *q, unsigned mirror, uint64_t now)
{
    struct mirrors *m = a->mirrors;
    mirrors_health_note_asked(&m->mirror[mirror], now);
    m->mirror[mirror].speed.running++;
    m->mirror[mirror].speed.asked = true;
    a->mirror = mirror;
    a->asked |= 1u << mirror;
    a->state = RUNNING;
    q->attempt = a;
    q->mirror = mirror;
    q->running = true;
    q->ended = q->cancelled = q->silent = q->useless = false;
    q->started = now;
    q->held_bytes = 0;
    atomic_store(&q->first_at, 0);
    atomic_store(&q->arrived, 0);
}

static uint64_t job_bytes(const struct mirrors_job *job)
{
    return job->length ? job->length : job->maximum;
}

static bool is_try_due(const struct mirrors *m, const struct attempt *a, const struct mirror_speed *s)
{
    return (a->job->priority == SOURCE_FILL && !s->asked) ||
           mirrors_speed_is_try_due(s, job_bytes(a->job), m->waited_ns);
}

// A mirror that is worth a try (mirrors_speed.h, 3), in place of the one that is thought to be the best.
static unsigned prefer_try(const struct mirrors *m, const struct attempt *a, unsigned best, uint64_t now)
{
    unsigned folders = 0;
    for (unsigned i = 0; i < m->count; i++)
        folders |= m->mirror[i].here ? 1u << i : 0;
    // (Nothing is tried in place of a folder: what that has costs the network nothing.)
    if (m->mirror[best].here || !m->mirror[best].speed.asked || (a->asked & ~folders) != 0 || a->rounds != 0)
        return best;
    for (unsigned i = 0; i < m->count; i++)
        if (i != best && !m->mirror[i].here && !(a->refused & 1u << i) && mirrors_health_is_well(&m->mirror[i], now) &&
            is_try_due(m, a, &m->mirror[i].speed))
            return i;
    return best;
}

// With the mutex. True if a mirror was chosen; else the attempt waits until *ret_wake.
static bool choose(struct mirrors *m, struct attempt *a, uint64_t now, uint64_t *ret_wake)
{
    unsigned all = (1u << m->count) - 1, mirror;
    if ((a->asked | a->refused) == all) {
        a->asked = 0;
        a->not_before = now + mirrors_health_back_off(a->rounds++);
        a->recoveries = m->recoveries;
    }
    if (a->recoveries != m->recoveries)
        a->not_before = now;
    *ret_wake = a->not_before;
    if (a->not_before > now ||
        !mirrors_health_pick(m->mirror, m->count, a->asked | a->refused, job_bytes(a->job), now, &mirror, ret_wake))
        return false;
    if (a->job->priority == SOURCE_DEMAND && m->allowance < HEDGES_AT_ONCE * MIRRORS_HEDGE_SHARE)
        m->allowance++;
    engage(a, &a->requests[0], prefer_try(m, a, mirror, now), now);
    return true;
}

static void start(struct attempt *a)
{
    a->job->whole = false;
    atomic_store(&a->owner, NOBODY);
    if (a->job->restart)
        a->job->restart(a->job->context);
    mirrors_request_start(a, &a->requests[0]);
}

// --- hedges (rule 5) -----------------------------------------------------------------------------------------------

static bool may_hedge(const struct mirrors *m, struct attempt *a)
{
    struct job_request *q = &a->requests[0];
    return a->job->priority == SOURCE_DEMAND && !a->hedged && m->count > 1 && q->running && !q->cancelled &&
           a->job->length > 0 && a->job->length <= MIRRORS_HEDGE_BYTES && !atomic_load(&q->first_at);
}

// With the mutex: when the first request will be late, by what is usual at the quickest mirror.
static uint64_t late_at(const struct mirrors *m, const struct attempt *a, uint64_t now)
{
    uint64_t usual = 0;
    for (unsigned i = 0; i < m->count; i++) {
        uint64_t its = m->mirror[i].speed.first_byte_ns;
        if (its && (!usual || its < usual) && mirrors_health_is_well(&m->mirror[i], now))
            usual = its;
    }
    return a->requests[0].started + mirrors_speed_late_after(usual);
}

// With the mutex. True if a mirror was chosen for the hedge. There is no second chance.
static bool choose_hedge(struct mirrors *m, struct attempt *a, uint64_t now)
{
    unsigned mirror;
    uint64_t wake;
    a->hedged = true;
    if (m->allowance < MIRRORS_HEDGE_SHARE ||
        !mirrors_health_pick(m->mirror, m->count, a->asked | a->refused, a->job->length, now, &mirror, &wake) ||
        !mirrors_health_is_well(&m->mirror[mirror], now) || source_ignores_ranges(m->mirror[mirror].source))
        return false;
    m->allowance -= MIRRORS_HEDGE_SHARE;
    atomic_fetch_add_explicit(&m->mirror[mirror].source->transport->hedges, 1, memory_order_relaxed);
    engage(a, &a->requests[1], mirror, now);
    return true;
}

// --- jobs that nobody waits for are taken back from who turns out to be slow ----------------------------------------

// With the mutex. True if another mirror would have it all in a fraction of the time that this one still needs.
static bool crawls(const struct mirrors *m, const struct attempt *a, uint64_t now)
{
    const struct job_request *q = &a->requests[0];
    uint64_t bytes = job_bytes(a->job), arrived = atomic_load(&q->arrived), elapsed = now - q->started;
    if (a->job->priority == SOURCE_DEMAND || a->taken_back || m->count == 1 || !q->running || q->cancelled ||
        elapsed < CRAWL_NS || arrived >= bytes)
        return false;
    uint64_t left = arrived ? elapsed / 1000 * (bytes - arrived) / arrived * 1000 : UINT64_MAX;
    for (unsigned i = 0; i < m->count; i++) {
        const struct mirror_speed *s = &m->mirror[i].speed;
        if (i != q->mirror && !(a->refused & 1u << i) && s->rate && mirrors_health_is_well(&m->mirror[i], now) &&
            left > CRAWL_FACTOR * mirrors_speed_expect(s, bytes))
            return true;
    }
    return false;
}

// --- silent ones give way to those that were not asked yet (rule 7) --------------------------------------------------

// With the mutex: when that is; *ret_request is the one that gives way first. UINT64_MAX: never.
static uint64_t give_way_at(const struct mirrors *m, struct attempt *a, uint64_t now, uint64_t deadline_ns,
                            struct job_request **ret_request)
{
    uint64_t first = UINT64_MAX;
    unsigned others = 0;
    for (unsigned i = 0; i < m->count; i++)
        others += !((a->asked | a->refused) & 1u << i) && mirrors_health_is_well(&m->mirror[i], now);
    for (unsigned i = 0; i < 2 && others > 0; i++) {
        struct job_request *q = &a->requests[i];
        if (!q->running || q->cancelled || atomic_load(&q->first_at) || deadline_ns <= q->started)
            continue;
        uint64_t part = (deadline_ns - q->started) / (others + 1);
        part = part > SILENCE_NS ? part : SILENCE_NS;
        if (q->started + part < first) {
            first = q->started + part;
            *ret_request = q;
        }
    }
    return first;
}

// --- the loop ------------------------------------------------------------------------------------------------------

// Ends what is not over: with -ECANCELED, or with -ENETUNREACH for the deadline.
static void give_up(struct mirrors *m, struct attempt *a, bool cancelled)
{
    struct mirrors_job *job = a->job;
    if (a->state == RUNNING) {
        mirrors_request_cancel(a, &a->requests[0]);
        mirrors_request_cancel(a, &a->requests[1]);
    } else if (a->state == WAITING && cancelled) {
        mirrors_attempt_conclude(a, error_set(&job->error, ECANCELED, "fetching %s was cancelled", job->path));
    } else if (a->state == WAITING && a->refusal == -EBADMSG) { // graver news than who is silent
        job->error = a->refusal_error;
        mirrors_attempt_conclude(a, error_prefix(&job->error, -ENETUNREACH, "no other source answered in time"));
    } else if (a->state == WAITING && job->error.text[0]) {
        mirrors_attempt_conclude(a, error_prefix(&job->error, -ENETUNREACH, "no source answered in time"));
    } else if (a->state == WAITING) {
        char address[256];
        text_escape(slice_of(source_address(m->mirror[a->mirror].source)), address, sizeof(address));
        mirrors_attempt_conclude(a,
                                 error_set(&job->error, ENETUNREACH,
                                           "cannot fetch %s from %s: it did not answer in time", job->path, address));
    }
}

// Moves one attempt on, called and returning with the mutex. *wake is lowered to when it wants to be called again.
static void step(struct mirrors *m, struct attempt *a, uint64_t deadline_ns, uint64_t *wake)
{
    for (unsigned i = 0; i < 2; i++) {
        struct job_request *q = &a->requests[i];
        if (!q->running || !q->ended)
            continue;
        pthread_mutex_unlock(&m->mutex);
        mirrors_request_settle(a, q);
        pthread_mutex_lock(&m->mutex);
    }
    struct job_request *silent = NULL;
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
        start(a);
        pthread_mutex_lock(&m->mutex);
        later = may_hedge(m, a) ? late_at(m, a, now) : deadline_ns;
    } else if (a->state == RUNNING && may_hedge(m, a) && (later = late_at(m, a, now)) <= now) {
        if (choose_hedge(m, a, now)) {
            pthread_mutex_unlock(&m->mutex);
            mirrors_request_start(a, &a->requests[1]);
            pthread_mutex_lock(&m->mutex);
        }
        later = deadline_ns;
    } else if (a->state == RUNNING && give_way_at(m, a, now, deadline_ns, &silent) <= now) {
        silent->silent = true;
        pthread_mutex_unlock(&m->mutex);
        mirrors_request_cancel(a, silent);
        pthread_mutex_lock(&m->mutex);
    } else if (a->state == RUNNING && crawls(m, a, now)) {
        a->taken_back = true;
        pthread_mutex_unlock(&m->mutex);
        mirrors_request_cancel(a, &a->requests[0]);
        pthread_mutex_lock(&m->mutex);
    } else if (deadline_ns < later) {
        later = deadline_ns;
    }
    if (a->job->priority != SOURCE_DEMAND && !a->taken_back && m->count > 1 && now + CRAWL_NS < later)
        later = now + CRAWL_NS;
    uint64_t way = a->state == RUNNING ? give_way_at(m, a, now, deadline_ns, &silent) : UINT64_MAX;
    later = way < later ? way : later;
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
