// The sealing thread and its queue.
//
// Invariants
//   1. `lock` guards everything but `site` and `image`; it is not held during I/O.
//   2. After the first failure nothing more is sealed: the temporaries are dropped, and the failure is given to
//      every later call.
//   3. A pack is on the list, durably, before it has its name (rule 3 of writer.h).
#include "blockstore/writer_seal.h"
#include "base/io.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct sealer {
    struct site *site;
    const char *image;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; // in any of what follows
    struct sealed_pack queue[SEAL_QUEUE];
    unsigned queued;
    bool busy, stopping;
    int failure; // 0 or -errno
    struct error error;
};

static int sync_and_close(struct sealer *s, const struct sealed_pack *pack, struct error *error)
{
    int r = io->fsync(pack->fd) < 0 ? -errno : 0;
    int closed = io_close(pack->fd);

    r = r < 0 ? r : closed;
    return r < 0 ? site_write_failed(s->site, error, r, "a pack") : 0;
}

static int seal_batch(struct sealer *s, const struct sealed_pack *packs, unsigned n, struct error *error)
{
    struct pack_reference references[SEAL_QUEUE];
    struct site_object objects[SEAL_QUEUE];
    int r = 0;

    for (unsigned i = 0; i < n; i++) {
        int synced = sync_and_close(s, &packs[i], r < 0 ? NULL : error);
        r = r < 0 ? r : synced;
        references[i] = packs[i].reference;
        objects[i].name = packs[i].reference.name;
        memcpy(objects[i].temporary, packs[i].temporary, SITE_TEMPORARY_SIZE);
    }
    if (r == 0)
        r = site_list_packs(s->site, s->image, references, n, error);
    if (r == 0)
        r = site_place_objects(s->site, objects, n, error);
    if (r < 0)
        for (unsigned i = 0; i < n; i++)
            site_drop_temporary(s->site, packs[i].temporary); // of those that were placed there is none
    return r;
}

static void drop_batch(struct sealer *s, const struct sealed_pack *packs, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        io->close(packs[i].fd);
        site_drop_temporary(s->site, packs[i].temporary);
    }
}

static void *run(void *context)
{
    struct sealer *s = context;
    struct sealed_pack batch[SEAL_QUEUE];

    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->queued == 0 && !s->stopping)
            pthread_cond_wait(&s->changed, &s->lock);
        unsigned n = s->queued;
        if (n == 0)
            break;
        memcpy(batch, s->queue, n * sizeof(*batch));
        s->queued = 0;
        s->busy = true;
        int r = s->failure;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);

        struct error error = {""};
        if (r == 0)
            r = seal_batch(s, batch, n, &error);
        else
            drop_batch(s, batch, n);

        pthread_mutex_lock(&s->lock);
        s->busy = false;
        if (r < 0 && s->failure == 0) {
            s->failure = r;
            s->error = error;
        }
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int seal_open(struct site *site, const char *image, struct sealer **ret)
{
    struct sealer *s = calloc(1, sizeof(*s));
    sigset_t all, before;

    if (!s)
        return -ENOMEM;
    s->site = site;
    s->image = image;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->lock);
        free(s);
        return -r;
    }
    *ret = s;
    return 0;
}

// With the lock held.
static int report(struct sealer *s, struct error *error)
{
    if (s->failure < 0 && error)
        *error = s->error;
    return s->failure;
}

int seal_pack(struct sealer *s, const struct sealed_pack *pack, struct error *error)
{
    pthread_mutex_lock(&s->lock);
    while (s->queued == SEAL_QUEUE)
        pthread_cond_wait(&s->changed, &s->lock);
    s->queue[s->queued++] = *pack;
    int r = report(s, error);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return r;
}

int seal_wait(struct sealer *s, struct error *error)
{
    pthread_mutex_lock(&s->lock);
    while (s->queued > 0 || s->busy)
        pthread_cond_wait(&s->changed, &s->lock);
    int r = report(s, error);
    pthread_mutex_unlock(&s->lock);
    return r;
}

void seal_close(struct sealer *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
