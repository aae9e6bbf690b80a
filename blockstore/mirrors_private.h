// What the mirrors' files share; nobody else includes this.
//
//   mirrors.c          the list
//   mirrors_health.c   whom to ask: failures and lies
//   mirrors_speed.c    whom to ask: expectations
//   mirrors_fetch.c    jobs: the loop, deadlines, hedges
//   mirrors_request.c  one request of a job: where its bytes go, and what its end says of the source
//
// Locks: `mutex` guards what is known of the sources (mirrors_health.h, mirrors_speed.h), the list of fetches with
// their `woken`, the hedges' allowance, and each request's `ended`. It is not held while a request is
// started, verified or waited for. A job and its requests belong to the thread that fetches; what the thread that
// delivers bytes touches of them is atomic, or belongs to it from the request's start to its end.
#pragma once

#include "blockstore/mirrors.h"
#include "blockstore/mirrors_health.h"
#include <pthread.h>
#include <stdatomic.h>

// One call of mirrors_fetch.
struct fetch {
    struct fetch *next;
    pthread_cond_t changed;
    bool woken; // a request ended, a source is back, or mirrors_cancel
};

struct mirrors {
    struct mirror mirror[MIRRORS_MAXIMUM];
    unsigned count;
    atomic_bool cancelled;
    pthread_mutex_t mutex;
    struct fetch *fetches;
    unsigned recoveries; // of any source, from an outage
    uint64_t waited_ns;  // by all requests
    unsigned allowance;  // for hedges: each job of rule 5 adds 1, each hedge takes MIRRORS_HEDGE_SHARE
};

// One of a job's requests: the first, or its hedge.
struct job_request {
    struct attempt *attempt;
    struct source_request request;
    unsigned mirror;
    bool running;                  // started, and not waited for yet
    bool ended;                    // mutex
    bool cancelled;                // by us
    bool silent;                   // that was why (mirrors.h, rule 7)
    uint64_t started;              // when
    atomic_uint_fast64_t first_at; // when its first byte came; 0: none yet
    atomic_uint_fast64_t arrived;  // bytes
    uint64_t received_before;      // by its mirror, when the first byte had come
    unsigned char *held;           // bytes that wait for their turn: rule 5
    uint64_t held_bytes;
    bool useless; // its answer cannot be held
};

#define NOBODY 2

enum attempt_state { WAITING, RUNNING, OVER };

// A job on its way.
struct attempt {
    struct mirrors *mirrors;
    struct fetch *fetch;
    struct mirrors_job *job;
    enum attempt_state state;
    struct job_request requests[2]; // the second is the hedge
    atomic_uint owner;              // which of them feeds the job's sink: the first of which a byte came; or NOBODY
    bool hedged;                    // it was, or may not be any more
    bool taken_back;                // it crawled
    unsigned mirror;                // that was asked last
    uint64_t fed;                   // when a request last ended that had delivered bytes; at first, when the job began
    uint64_t not_before;            // the round's back-off
    unsigned rounds;                // that failed
    unsigned recoveries;            // of the mirrors, when the back-off began
    unsigned asked;                 // bits: the mirrors asked in this round
    unsigned refused;               // bits: those that gave a final answer
    int refusal;                    // the gravest of them; 0 if none
    struct error refusal_error;
};

void mirrors_wake_all(struct mirrors *m); // with the mutex

// mirrors_request.c; without the mutex, by the thread that fetches.
void mirrors_request_start(struct attempt *a, struct job_request *q);
// It has ended: what does that mean for the source, and for the job? May end the job, whose state it sets.
void mirrors_request_settle(struct attempt *a, struct job_request *q);
void mirrors_request_cancel(struct attempt *a, struct job_request *q);
void mirrors_attempt_conclude(struct attempt *a, int result);
