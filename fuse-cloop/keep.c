// Keeping a version (see keep.h). `mutex` guards all that changes, of every keep in the process.
#include "fuse-cloop/keep.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/thread.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/banned.h"

#define RETRY_SECONDS 30
#define KEEP_STACK (256u << 10)
#define SPARED_BYTES (512ull << 20) // free on the cache's disk, that only what a person asked for may take

struct keep {
    struct store *store;
    struct sha256 manifest;
    char *owner;
    uint64_t rate;
    char *addresses[MIRRORS_MAXIMUM];
    unsigned count;
    pthread_t thread;
    bool stop, full;
    struct keep_progress progress;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool at_work; // one of them

// What nobody asked for must not take the last of a disk, on which machines' own disks may lie, too.
static bool is_full(const struct keep *k)
{
    struct statvfs s;
    return strcmp(k->owner, CACHE_OWNER_PULL) != 0 && statvfs(cache_folder(store_cache(k->store)), &s) == 0 &&
           (uint64_t)s.f_bavail * s.f_frsize < SPARED_BYTES;
}

static int report(void *context, uint64_t have, uint64_t all)
{
    struct keep *k = context;
    pthread_mutex_lock(&mutex);
    k->progress.have = have;
    k->progress.all = all;
    bool stop = k->stop;
    pthread_mutex_unlock(&mutex);
    k->full = k->full || (have < all && is_full(k));
    return stop || k->full;
}

static int explain_full(const struct keep *k, struct error *error)
{
    return error_set(error, ENOSPC, "the disk of the cache %s is nearly full", cache_folder(store_cache(k->store)));
}

static int fill(struct keep *k, struct error *error)
{
    CLEANUP_FREE struct sha256 *objects = NULL;
    struct version *v;
    size_t count;
    int r = cache_join_pin(store_cache(k->store), &k->manifest, k->owner, error);
    if (r != -ENOENT)
        return r;
    if (is_full(k))
        return explain_full(k, error);
    r = version_open(k->store, &k->manifest, (const char *const *)k->addresses, k->count, &v, error);
    if (r < 0)
        return r;
    r = version_fill(v, k->rate, report, k, &objects, &count, error);
    if (r == -ECANCELED && k->full)
        r = explain_full(k, error);
    if (r == 0)
        r = cache_pin(store_cache(k->store), &k->manifest, k->owner, objects, count, error);
    if (r == 0)
        log_info("%s %s is kept: it runs offline now", version_manifest(v)->name, version_manifest(v)->version);
    version_close(v);
    return r;
}

// With the mutex. False when it is to end.
static bool take_turn(struct keep *k)
{
    while (at_work && !k->stop)
        pthread_cond_wait(&changed, &mutex);
    at_work |= !k->stop;
    return !k->stop;
}

static void *work(void *context)
{
    struct keep *k = context;
    struct error error = {.text = ""};
    int r = -ENETUNREACH;
    pthread_mutex_lock(&mutex);
    while (error_is_network(r) && take_turn(k)) {
        pthread_mutex_unlock(&mutex);
        r = fill(k, &error);
        pthread_mutex_lock(&mutex);
        at_work = false;
        k->progress.kept = r == 0;
        pthread_cond_broadcast(&changed);
        struct timespec until = {.tv_sec = io_realtime_seconds() + RETRY_SECONDS};
        if (k->count == 0 && error_is_network(r))
            r = -ENOENT; // nobody is there to be asked again
        while (error_is_network(r) && !k->stop && pthread_cond_timedwait(&changed, &mutex, &until) != ETIMEDOUT)
            ;
    }
    if (r < 0 && !k->stop && k->count)
        log_warning("the version is not kept: %s", error.text);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void free_keep(struct keep *k)
{
    for (unsigned i = 0; i < k->count; i++)
        free(k->addresses[i]);
    free(k->owner);
    free(k);
}

struct keep *keep_start(struct store *store, const struct keep_wish *wish)
{
    struct keep *k = calloc(1, sizeof(*k));
    int r = k ? 0 : -ENOMEM;
    if (r == 0) {
        k->store = store;
        k->manifest = wish->manifest;
        k->rate = wish->rate;
        k->owner = strdup(wish->owner);
        r = k->owner ? 0 : -ENOMEM;
    }
    for (; r == 0 && k->count < wish->count; k->count++)
        if (!(k->addresses[k->count] = strdup(wish->addresses[k->count])))
            r = -ENOMEM;
    if (r == 0)
        r = thread_start(&k->thread, KEEP_STACK, work, k);
    if (r == 0)
        return k;
    log_warning("the version is not kept: %s", strerror(-r));
    if (k)
        free_keep(k);
    return NULL;
}

void keep_stop(struct keep *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&mutex);
    k->stop = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    pthread_join(k->thread, NULL);
    free_keep(k);
}

void keep_look(struct keep *k, struct keep_progress *ret)
{
    pthread_mutex_lock(&mutex);
    *ret = k->progress;
    pthread_mutex_unlock(&mutex);
}
