// What mirrors.c and mirrors_fetch.c share.
//
// Locks: `mutex` guards the health of the sources (mirrors_health.h), the list of fetches with their `woken`, and
// each attempt's `ended`. It is not held while a request is started, verified or waited for.
#pragma once

#include "blockstore/mirrors.h"
#include "blockstore/mirrors_health.h"
#include <pthread.h>
#include <stdatomic.h>

// One call of mirrors_fetch.
struct fetch {
    struct fetch *next;
    pthread_cond_t changed;
    bool woken; // an attempt ended, a source is back, or mirrors_cancel
};

struct mirrors {
    struct mirror mirror[MIRRORS_MAXIMUM];
    unsigned count;
    atomic_bool cancelled;
    pthread_mutex_t mutex;
    struct fetch *fetches;
    unsigned recoveries; // of any source, from an outage
};

void mirrors_wake_all(struct mirrors *m); // with the mutex
