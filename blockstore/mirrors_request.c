// One request of a job: where its bytes go, and what its end says of the job and of the source.
//
// A job has one request at a time, and now and then a second one beside it, its hedge. The first of the two of which a
// byte comes owns the job's sink, and delivers as the bytes come; those of the other are held in memory, which the
// job's length bounds:
//
//   the owner is complete, and right     the job is over; the other is cancelled
//   the owner fails, or is wrong         the other goes on
//   the other is complete                the owner, which is slower, is cancelled; the sink begins anew and gets what
//                                        was held. If that is wrong, the owner's source may be asked again.
//
// A source that ignores ranges sends what cannot be held: as the slower one it is given up, without blame.

#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/mirrors_private.h"
#include "blockstore/transport_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static unsigned index_of(const struct job_request *q)
{
    return (unsigned)(q - q->attempt->requests);
}

static struct job_request *other_of(struct job_request *q)
{
    return &q->attempt->requests[1 - index_of(q)];
}

static struct mirror *mirror_of(const struct job_request *q)
{
    return &q->attempt->mirrors->mirror[q->mirror];
}

// --- bytes arrive, on the thread that delivers them ----------------------------------------------------------------

static void note_arrival(struct job_request *q, size_t n)
{
    uint64_t received = atomic_fetch_add_explicit(&mirror_of(q)->received, n, memory_order_relaxed) + n;
    atomic_fetch_add_explicit(&q->arrived, n, memory_order_relaxed);
    if (atomic_load_explicit(&q->first_at, memory_order_relaxed))
        return;
    q->received_before = received;
    atomic_store_explicit(&q->first_at, io_monotonic_ns(), memory_order_relaxed);
}

static bool owns_sink(struct job_request *q)
{
    unsigned owner = NOBODY;
    return atomic_compare_exchange_strong(&q->attempt->owner, &owner, index_of(q)) || owner == index_of(q);
}

static int hold(struct job_request *q, uint64_t offset, const void *bytes, size_t n)
{
    const struct mirrors_job *job = q->attempt->job;
    if (q->request.whole || offset != job->offset + q->held_bytes || n > job->length - q->held_bytes) {
        q->useless = true;
        return -ECANCELED;
    }
    if (!q->held && !(q->held = io->malloc(job->length))) {
        q->useless = true;
        return -ECANCELED; // the other goes on
    }
    memcpy(q->held + q->held_bytes, bytes, n);
    q->held_bytes += n;
    return 0;
}

static int take(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct job_request *q = context;
    struct attempt *a = q->attempt;
    if (atomic_load_explicit(&a->mirrors->cancelled, memory_order_relaxed)) // a directory has no other way to stop
        return -ECANCELED;
    note_arrival(q, n);
    return owns_sink(q) ? a->job->sink(a->job->context, offset, bytes, n) : hold(q, offset, bytes, n);
}

static void ended(void *context)
{
    struct job_request *q = context;
    struct attempt *a = q->attempt;
    pthread_mutex_lock(&a->mirrors->mutex);
    q->ended = true;
    a->fetch->woken = true;
    pthread_cond_signal(&a->fetch->changed);
    pthread_mutex_unlock(&a->mirrors->mutex);
}

void mirrors_request_start(struct attempt *a, struct job_request *q)
{
    struct mirrors_job *job = a->job;
    q->request = (struct source_request){.path = job->path,
                                         .offset = job->offset,
                                         .length = job->length,
                                         .maximum = job->maximum,
                                         .priority = job->priority,
                                         .sink = take,
                                         .done = ended,
                                         .context = q};
    source_start(mirror_of(q)->source, &q->request);
}

void mirrors_request_cancel(struct attempt *a, struct job_request *q)
{
    if (!q->running || q->cancelled)
        return;
    q->cancelled = true;
    source_cancel(a->mirrors->mirror[q->mirror].source, &q->request);
}

// --- it has ended --------------------------------------------------------------------------------------------------

void mirrors_attempt_conclude(struct attempt *a, int result)
{
    a->job->result = result;
    a->state = OVER;
}

static void note_speed(struct job_request *q, uint64_t now)
{
    struct mirror_speed *speed = &mirror_of(q)->speed;
    uint64_t first_at = atomic_load_explicit(&q->first_at, memory_order_relaxed);
    if (first_at) {
        uint64_t received = atomic_load_explicit(&mirror_of(q)->received, memory_order_relaxed);
        mirrors_speed_note_first_byte(speed, first_at - q->started, now);
        mirrors_speed_note_bytes(speed, received - q->received_before, now - first_at, now);
    } else if (q->cancelled) {
        mirrors_speed_note_late(speed, now - q->started, now);
    }
}

// What is known of the source now, with `result` of the verification, too.
static void note_result(struct job_request *q, int result)
{
    struct attempt *a = q->attempt;
    struct mirrors *m = a->mirrors;
    uint64_t now = io_monotonic_ns();
    if (q->request.received > 0)
        a->fed = now;
    pthread_mutex_lock(&m->mutex);
    m->waited_ns += now - q->started;
    mirror_of(q)->speed.running--;
    mirror_of(q)->speed.waited_at_measure = m->waited_ns;
    note_speed(q, now);
    if (mirrors_health_note_result(mirror_of(q), result, q->started, now, &q->request)) {
        m->recoveries++;
        mirrors_wake_all(m);
    }
    pthread_mutex_unlock(&m->mutex);
}

static void refuse(struct job_request *q, int result)
{
    struct attempt *a = q->attempt;
    // Wrong data is graver news than a file that may not be read, and that than one that is not there.
    int gravity = result == -EBADMSG ? 3 : result == -EACCES ? 2 : 1;
    int before = a->refusal == -EBADMSG ? 3 : a->refusal == -EACCES ? 2 : a->refusal ? 1 : 0;
    a->refused |= 1u << q->mirror;
    if (gravity > before) {
        a->refusal = result;
        a->refusal_error = q->request.error;
    }
    if (a->refused == (1u << a->mirrors->count) - 1) { // rule 3
        a->job->error = a->refusal_error;
        mirrors_attempt_conclude(a, a->refusal);
    }
}

// Ends the slower of two requests. It may just have become complete, and then decides the job.
static void settle_slower(struct attempt *a, struct job_request *q)
{
    if (!q->running)
        return;
    mirrors_request_cancel(a, q);
    mirrors_request_settle(a, q);
    a->asked &= ~(1u << q->mirror); // if the quicker one is wrong, it is worth asking
}

// What was held goes to the job.
static int deliver_held(struct job_request *q)
{
    struct mirrors_job *job = q->attempt->job;
    if (job->restart)
        job->restart(job->context);
    return job->sink(job->context, job->offset, q->held, q->held_bytes);
}

static int verify(struct job_request *q)
{
    struct mirrors_job *job = q->attempt->job;
    struct error reason = {.text = ""};
    int result = job->verify ? job->verify(job->context, &reason) : 0;
    if (result < 0)
        transport_fail(mirror_of(q)->source, &q->request, -result, "%s", reason.text);
    return result;
}

// The verdict on a request that has ended, after the bytes of a complete one were delivered and verified.
static int judge(struct job_request *q)
{
    struct attempt *a = q->attempt;
    int result = q->request.result;
    if (a->state == OVER)
        return -ECANCELED;
    if (result == 0 && atomic_load(&a->owner) == 1 - index_of(q)) {
        settle_slower(a, other_of(q));
        if (a->state == OVER)
            return -ECANCELED;
        result = deliver_held(q);
    }
    if (result < 0)
        return result;
    a->job->whole = q->request.whole;
    return verify(q);
}

void mirrors_request_settle(struct attempt *a, struct job_request *q)
{
    struct mirrors_job *job = a->job;
    struct job_request *other = other_of(q);
    source_wait(mirror_of(q)->source, &q->request);
    q->running = false;
    if (a->state != OVER)
        a->state = other->running ? RUNNING : WAITING;
    int result = judge(q);
    if (result == -ECANCELED && q->silent && a->state != OVER)
        result = transport_fail(mirror_of(q)->source, &q->request, ENETUNREACH, "it sent nothing for %llu seconds",
                                (unsigned long long)((io_monotonic_ns() - q->started) / 1000000000));
    note_result(q, result);
    free(TAKE_PTR(q->held));
    if (a->state == OVER)
        return; // the other was quicker
    if (q->useless) {
        a->asked &= ~(1u << q->mirror); // as the only one, it may deliver
    } else if (result == -ECANCELED && q->cancelled) {
        return; // whoever did that knows why
    } else if (result == -EBADMSG || result == -ENOENT || result == -EACCES) {
        refuse(q, result);
    } else if (result == -ENETUNREACH) {
        job->error = q->request.error; // unless another request ends better
    } else {
        job->error = q->request.error; // empty after success
        if (result == 0 && index_of(q) == 1)
            atomic_fetch_add_explicit(&mirror_of(q)->source->transport->hedges_won, 1, memory_order_relaxed);
        mirrors_attempt_conclude(a, result);
        if (other->running) {
            mirrors_request_cancel(a, other);
            mirrors_request_settle(a, other);
        }
    }
}
