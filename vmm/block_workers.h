// The threads of a disk. There is one at first; whoever begins a request sees to it that another one is ready, and
// makes it if need be, up to the maximum. Only a worker makes a worker, since a thread inherits its maker's filter, and
// theirs allows it (sandbox_calls.c).
//
// `lock` is the device's and guards everything; callers hold it but where it says otherwise.
#pragma once

#include "vmm/sandbox.h"
#include <pthread.h>
#include <stdbool.h>

#define BLOCK_WORKERS_MAXIMUM 64u // requests in progress at a time

struct block_workers {
    pthread_mutex_t *lock;
    bool (*work)(void *context); // does one request, if there is one, and lets go of the lock meanwhile; false: none
    void *context;
    struct sandbox *sandbox;
    pthread_t threads[BLOCK_WORKERS_MAXIMUM];
    unsigned count;
    pthread_cond_t wake;
    unsigned idle, called; // workers that wait, or will as soon as they run; that are to begin
    bool ending, complained;
};

// Makes the first one, which enters the sandbox (may be NULL). 0 or -errno. Without the lock, as are the last two.
int block_workers_start(struct block_workers *w, pthread_mutex_t *lock, bool (*work)(void *context), void *context,
                        struct sandbox *sandbox);
void block_workers_call(struct block_workers *w, unsigned count); // so many shall look for work
void block_workers_keep_one_ready(struct block_workers *w);       // by a worker that begins a request
bool block_workers_all_busy(const struct block_workers *w);       // and there can be no more
void block_workers_end(struct block_workers *w);                  // none begins another request
void block_workers_join(struct block_workers *w);                 // after that: when all have ended
