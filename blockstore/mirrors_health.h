// What is known of each source's health, and what follows for the order in which sources are asked (mirrors.h, rules
// 1 and 3). Plain data: the caller brings the lock and the time.
//
//   healthy ──fails──→ failed: asked after the healthy ones for 8 s, 16 s, … 256 s ──time passes──→ one job tries it
//      ↑                  └── from the third failure on, not asked at all for a growing moment (≤ 2 s)   │
//      └────────────────────────────── any answer ───────────────────────────────────────────────────────┘
//   any ──wrong data──→ liar: asked after all others for ten minutes
//
// Only one job pays for finding out whether a failed source is back: a source that is down costs the others nothing
// as long as there is another one. Failures of requests that ran side by side count once.
#pragma once

#include "blockstore/mirrors_speed.h"
#include "blockstore/transport.h"
#include <stdatomic.h>

struct mirror {
    struct source *source;
    bool here; // a folder of this machine: asked before all others that are healthy
    struct mirror_speed speed;
    atomic_uint_fast64_t received; // body bytes, of all its answers
    // Times are of io_monotonic_ns().
    unsigned failures;     // in a row
    uint64_t failed_at;    // when the last one was noticed
    uint64_t failed_until; // asked after the healthy ones
    uint64_t paused_until; // not asked
    uint64_t liar_until;   // asked last
};

// The one to ask for so many bytes, of those that `excluded` (bits) does not name and that are not paused: of the best
// rank (folders before the network) the quickest, or the first where none is quicker. False if there is none: *ret_wake
// is then when one of them can be asked (UINT64_MAX: never).
bool mirrors_health_pick(const struct mirror *mirrors, unsigned count, unsigned excluded, uint64_t bytes, uint64_t now,
                         unsigned *ret_index, uint64_t *ret_wake);
// True if it can be asked, and neither failed nor lied lately.
bool mirrors_health_is_well(const struct mirror *m, uint64_t now);

// A source was picked, and is going to be asked.
void mirrors_health_note_asked(struct mirror *m, uint64_t now);

// What came of a request that was started at `started`; `result` may be that of the verification. Outages and lies are
// logged with the request's error. True if this answer ends an outage: whoever waits for the source may ask it now.
bool mirrors_health_note_result(struct mirror *m, int result, uint64_t started, uint64_t now,
                                const struct source_request *r);

// How long to wait after a number of failures: 50 ms, 100 ms, … 2 s, each less up to a half, by chance.
uint64_t mirrors_health_back_off(unsigned failures_before);
