// `mutex` guards all of struct parallel that changes. Where no thread can be had, the caller does the work.
#include "base/parallel.h"
#include "base/thread.h"
#include <errno.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define STACK_SIZE (512u << 10)
#define TICK_NS 100000000l

struct parallel {
    size_t next, count;
    int (*work)(void *context, size_t i);
    void *context;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    unsigned running;
    int result;
};

static void *run(void *argument)
{
    struct parallel *p = argument;
    pthread_mutex_lock(&p->mutex);
    while (p->result == 0 && p->next < p->count) {
        size_t i = p->next++;
        pthread_mutex_unlock(&p->mutex);
        int r = p->work(p->context, i);
        pthread_mutex_lock(&p->mutex);
        if (p->result == 0)
            p->result = r;
    }
    p->running--;
    pthread_cond_broadcast(&p->ended);
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static void tick_until_ended(struct parallel *p, int (*tick)(void *context))
{
    pthread_mutex_lock(&p->mutex);
    for (bool last = false; !last;) {
        struct timespec until;
        last = p->running == 0;
        pthread_mutex_unlock(&p->mutex);
        int r = tick ? tick(p->context) : 0;
        pthread_mutex_lock(&p->mutex);
        if (p->result == 0)
            p->result = r;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += TICK_NS;
        if (until.tv_nsec >= 1000000000l) {
            until.tv_nsec -= 1000000000l;
            until.tv_sec++;
        }
        while (p->running > 0 && pthread_cond_timedwait(&p->ended, &p->mutex, &until) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&p->mutex);
}

int parallel_each(size_t count, int (*work)(void *context, size_t i), int (*tick)(void *context), void *context)
{
    pthread_t threads[PARALLEL_THREADS_MAXIMUM];
    struct parallel p = {.count = count, .work = work, .context = context};
    pthread_condattr_t attributes;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned wanted = processors < 1                          ? 1
                      : processors > PARALLEL_THREADS_MAXIMUM ? PARALLEL_THREADS_MAXIMUM
                                                              : (unsigned)processors,
             started = 0;
    pthread_mutex_init(&p.mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&p.ended, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_lock(&p.mutex);
    while (started < wanted && started < count && thread_start(&threads[started], STACK_SIZE, run, &p) == 0)
        started++;
    p.running = started > 0 ? started : 1;
    pthread_mutex_unlock(&p.mutex);
    if (started == 0)
        run(&p);
    tick_until_ended(&p, tick);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_cond_destroy(&p.ended);
    pthread_mutex_destroy(&p.mutex);
    return p.result;
}
