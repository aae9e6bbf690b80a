// Locks on ranges of blocks, for changes of their state (rule 1); readers take none.
//
// Ranges stand in one list in order of arrival, waiting or held. A range is held when no older range overlaps it, so
// requests for different blocks never wait for each other, none starves, and two threads cannot wait for each other
// (each thread has one range at a time). The list is as long as requests are in flight: a walk costs less than a
// hash of stripes would in false conflicts.
//
// A range's struct lives on its thread's stack; the list is guarded by `lock`, which is never held during I/O.
#include "blockstore/overlay_private.h"

#include "base/banned.h"

int overlay_lock_start(struct overlay_lock *l)
{
    l->oldest = l->newest = NULL;
    l->waiting = 0;
    int r = pthread_mutex_init(&l->lock, NULL);
    if (r != 0)
        return -r;
    r = pthread_cond_init(&l->released, NULL);
    if (r != 0)
        pthread_mutex_destroy(&l->lock);
    return -r;
}

void overlay_lock_stop(struct overlay_lock *l)
{
    pthread_cond_destroy(&l->released);
    pthread_mutex_destroy(&l->lock);
}

static bool must_wait(const struct overlay_range *range)
{
    for (const struct overlay_range *older = range->before; older; older = older->before)
        if (older->first <= range->last && range->first <= older->last)
            return true;
    return false;
}

void overlay_lock_take(struct overlay_lock *l, struct overlay_range *range, uint64_t first, uint64_t last)
{
    pthread_mutex_lock(&l->lock);
    *range = (struct overlay_range){.first = first, .last = last, .before = l->newest, .next = NULL};
    if (l->newest)
        l->newest->next = range;
    else
        l->oldest = range;
    l->newest = range;
    while (must_wait(range)) {
        l->waiting++;
        pthread_cond_wait(&l->released, &l->lock);
        l->waiting--;
    }
    pthread_mutex_unlock(&l->lock);
}

void overlay_lock_release(struct overlay_lock *l, struct overlay_range *range)
{
    pthread_mutex_lock(&l->lock);
    if (range->before)
        range->before->next = range->next;
    else
        l->oldest = range->next;
    if (range->next)
        range->next->before = range->before;
    else
        l->newest = range->before;
    if (l->waiting > 0)
        pthread_cond_broadcast(&l->released);
    pthread_mutex_unlock(&l->lock);
}
