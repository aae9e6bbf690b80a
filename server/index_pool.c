// See index_pool.h. The lock guards the list of connections that nobody uses; nothing is opened or closed under it.
//
// A file that was made anew has another inode: connections to the old one are closed as they are met.
#include "server/index_pool.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/banned.h"

#define KEPT_MAXIMUM 64u                    // as many as the server has threads
#define TELL_NS (UINT64_C(10) * 1000000000) // the indexer hears of damage no more often

struct index_pool {
    const char *path;
    struct beside *indexer;
    atomic_uint_fast64_t told; // io_monotonic_ns() when the indexer last heard of damage; 0: never
    atomic_bool failed;        // it was said that the index cannot be opened
    pthread_mutex_t lock;
    struct index *free[KEPT_MAXIMUM];
    unsigned count;
};

int index_pool_open(const char *path, struct beside *indexer, struct index_pool **ret, struct error *error)
{
    struct index_pool *p CLEANUP(index_pool_close) = calloc(1, sizeof *p);
    if (!p)
        return error_set(error, ENOMEM, "not enough memory to start");
    p->path = path;
    p->indexer = indexer;
    pthread_mutex_init(&p->lock, NULL);
    int r = index_open(path, false, &p->free[0], error);
    if (r < 0)
        return r;
    p->count = 1;
    *ret = TAKE_PTR(p);
    return 0;
}

void index_pool_close(struct index_pool **p)
{
    if (!*p)
        return;
    for (unsigned i = 0; i < (*p)->count; i++)
        index_close(&(*p)->free[i]);
    pthread_mutex_destroy(&(*p)->lock);
    free(*p);
    *p = NULL;
}

static void tell_damage(struct index_pool *p, int result)
{
    uint_fast64_t told = atomic_load(&p->told);
    const uint64_t now = io_monotonic_ns();
    if (result == -EUCLEAN && (told == 0 || now - told >= TELL_NS) &&
        atomic_compare_exchange_strong(&p->told, &told, now))
        beside_tell(p->indexer, "damaged");
}

static int open_one(struct index_pool *p, struct index **ret, struct error *error)
{
    int r = index_open(p->path, false, ret, error);
    tell_damage(p, r);
    if (atomic_exchange(&p->failed, r < 0) == false && r < 0)
        log_warning("there are no searches and no pages now: %s", error->text);
    return r;
}

int index_pool_take(struct index_pool *p, struct index **ret, struct error *error)
{
    for (;;) {
        pthread_mutex_lock(&p->lock);
        struct index *x = p->count > 0 ? p->free[--p->count] : NULL;
        pthread_mutex_unlock(&p->lock);
        if (!x)
            return open_one(p, ret, error);
        if (index_is_current(x)) {
            *ret = x;
            return 0;
        }
        index_close(&x);
    }
}

void index_pool_give(struct index_pool *p, struct index *x, int result)
{
    pthread_mutex_lock(&p->lock);
    if (result != -EUCLEAN && result != -EIO && result != -EACCES && p->count < KEPT_MAXIMUM) {
        p->free[p->count++] = x;
        x = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    index_close(&x);
    tell_damage(p, result);
}
