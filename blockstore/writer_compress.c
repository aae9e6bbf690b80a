// The ring of jobs and the workers that compress them.
//
// Places are counted without end, and used modulo the ring's length:
//
//     taken  ≤  begun  ≤  submitted  ≤  taken + places
//
// Invariants
//   1. `lock` guards the three counters, `done` and `stopping`. A job's bytes belong to the publisher before it is
//      submitted and after it was taken, to one worker in between; so they need no lock.
//   2. Workers begin jobs in the order of submission; so the oldest job is always begun, and the ring cannot lock up.
#include "blockstore/writer_compress.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "base/banned.h"

#define WORKERS_MAXIMUM 64u
#define PLACES_PER_WORKER 4u
#define PLACES_EXTRA 8u // what the publisher may be behind or ahead while it hashes, or builds a page
#define PLACES_MAXIMUM (WORKERS_MAXIMUM * PLACES_PER_WORKER + PLACES_EXTRA)

struct compressor {
    pthread_mutex_t lock;
    pthread_cond_t submitted_one, done_one;
    uint64_t submitted, begun, taken;
    bool done[PLACES_MAXIMUM];
    bool stopping;
    unsigned places, workers;
    struct worker {
        struct compressor *compressor;
        struct chunk_encoder *encoder;
        pthread_t thread;
    } worker[WORKERS_MAXIMUM];
    struct compress_job *jobs;
};

static struct compress_job *job_at(struct compressor *c, uint64_t count)
{
    return &c->jobs[count % c->places];
}

static void *work(void *context)
{
    const struct worker *self = context;
    struct compressor *c = self->compressor;

    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (c->begun == c->submitted && !c->stopping)
            pthread_cond_wait(&c->submitted_one, &c->lock);
        if (c->stopping)
            break;
        uint64_t mine = c->begun++;
        pthread_mutex_unlock(&c->lock);

        struct compress_job *job = job_at(c, mine);
        job->length = chunk_encode(self->encoder, CHUNK_DATA, job->blocks, job->nblocks, job->stored);
        if (job->length > 0)
            job->name = sha256_of(job->stored, (size_t)job->length);

        pthread_mutex_lock(&c->lock);
        c->done[mine % c->places] = true;
        if (mine == c->taken)
            pthread_cond_signal(&c->done_one);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static unsigned count_processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static int start_worker(struct compressor *c, struct worker *w, enum chunk_codec codec, int level)
{
    w->compressor = c;
    int r = chunk_encoder_new(codec, level, &w->encoder);
    if (r < 0)
        return r;
    r = -pthread_create(&w->thread, NULL, work, w);
    if (r < 0)
        chunk_encoder_free(w->encoder);
    return r;
}

// Workers take no signals: those are for the threads that know what to do with them.
static int start_workers(struct compressor *c, unsigned count, enum chunk_codec codec, int level)
{
    sigset_t all, before;
    int r = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; r == 0 && c->workers < count; c->workers += r == 0)
        r = start_worker(c, &c->worker[c->workers], codec, level);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return c->workers > 0 ? 0 : r; // fewer workers than wanted are slower, not wrong
}

int compress_open(unsigned threads, enum chunk_codec codec, int level, struct compressor **ret)
{
    if (threads == 0)
        threads = count_processors();
    if (threads > WORKERS_MAXIMUM)
        threads = WORKERS_MAXIMUM;
    struct compressor *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->places = threads * PLACES_PER_WORKER + PLACES_EXTRA;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->submitted_one, NULL);
    pthread_cond_init(&c->done_one, NULL);
    c->jobs = malloc(c->places * sizeof(*c->jobs));
    int r = c->jobs ? start_workers(c, threads, codec, level) : -ENOMEM;
    if (r < 0) {
        compress_close(c);
        return r;
    }
    *ret = c;
    return 0;
}

void compress_close(struct compressor *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_broadcast(&c->submitted_one);
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->workers; i++) {
        pthread_join(c->worker[i].thread, NULL);
        chunk_encoder_free(c->worker[i].encoder);
    }
    pthread_cond_destroy(&c->submitted_one);
    pthread_cond_destroy(&c->done_one);
    pthread_mutex_destroy(&c->lock);
    free(c->jobs);
    free(c);
}

struct compress_job *compress_next_place(struct compressor *c)
{
    pthread_mutex_lock(&c->lock);
    bool full = c->submitted == c->taken + c->places;
    pthread_mutex_unlock(&c->lock);
    return full ? NULL : job_at(c, c->submitted);
}

void compress_submit(struct compressor *c)
{
    pthread_mutex_lock(&c->lock);
    c->done[c->submitted % c->places] = false;
    c->submitted++;
    pthread_cond_signal(&c->submitted_one);
    pthread_mutex_unlock(&c->lock);
}

struct compress_job *compress_take(struct compressor *c, bool wait)
{
    struct compress_job *job = NULL;

    pthread_mutex_lock(&c->lock);
    if (c->taken < c->submitted) {
        while (wait && !c->done[c->taken % c->places])
            pthread_cond_wait(&c->done_one, &c->lock);
        if (c->done[c->taken % c->places])
            job = job_at(c, c->taken);
    }
    pthread_mutex_unlock(&c->lock);
    return job;
}

void compress_release(struct compressor *c)
{
    pthread_mutex_lock(&c->lock);
    c->taken++;
    pthread_mutex_unlock(&c->lock);
}
