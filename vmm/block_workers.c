// The threads of a disk: see block_workers.h.
#include "vmm/block_workers.h"

#include "base/log.h"

#include <string.h>

#include "base/banned.h"

static int make(struct block_workers *w, void *(*function)(void *context))
{
    int r = pthread_create(&w->threads[w->count], NULL, function, w);
    w->count += r == 0;
    w->idle += r == 0; // from now on: nobody need make another one before this one runs
    return -r;
}

static void *run(void *context)
{
    struct block_workers *w = context;
    pthread_mutex_lock(w->lock);
    while (!w->ending) {
        if (w->called == 0) {
            pthread_cond_wait(&w->wake, w->lock);
            continue;
        }
        w->idle--;
        w->called--;
        while (!w->ending && w->work(w->context))
            ;
        w->idle++;
    }
    pthread_mutex_unlock(w->lock);
    return NULL;
}

static void *run_first(void *context)
{
    struct block_workers *w = context;
    sandbox_enter(w->sandbox, SANDBOX_WORKER);
    return run(w);
}

int block_workers_start(struct block_workers *w, pthread_mutex_t *lock, bool (*work)(void *context), void *context,
                        struct sandbox *sandbox)
{
    *w = (struct block_workers){.lock = lock, .work = work, .context = context, .sandbox = sandbox};
    pthread_cond_init(&w->wake, NULL); // cannot fail without attributes
    pthread_mutex_lock(lock);
    int r = make(w, run_first);
    pthread_mutex_unlock(lock);
    return r;
}

void block_workers_call(struct block_workers *w, unsigned count)
{
    if (w->called < count)
        w->called = count;
    pthread_cond_signal(&w->wake); // the one that hears it passes on what is more
}

void block_workers_keep_one_ready(struct block_workers *w)
{
    if (w->idle > 0 && w->called > 0) {
        pthread_cond_signal(&w->wake);
    } else if (w->idle == 0 && w->count < BLOCK_WORKERS_MAXIMUM) {
        int r = make(w, run);
        if (r < 0 && !w->complained)
            log_warning("a disk gets on with %u threads, as it cannot make more: %s", w->count, strerror(-r));
        w->complained |= r < 0;
    }
}

bool block_workers_all_busy(const struct block_workers *w)
{
    return w->idle == 0 && w->count == BLOCK_WORKERS_MAXIMUM;
}

void block_workers_end(struct block_workers *w)
{
    if (!w->lock)
        return; // none was started
    pthread_mutex_lock(w->lock);
    w->ending = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(w->lock);
}

void block_workers_join(struct block_workers *w)
{
    for (; w->count > 0; w->count--)
        pthread_join(w->threads[w->count - 1], NULL);
}
