// How quickly a source delivers: measured with every answer, and what follows for the order in which the healthy ones
// are asked (mirrors.h, rule 1) and for when an answer is late (rule 5). Plain data: the caller brings the lock and the
// time.
//
//   expected(job) = first byte + bytes × (transfers under way + 1) / rate
//
// 1. Both figures are moving averages: a new sample counts a quarter, and the more the older the last one is; after
//    SPEED_KEPT_NS it counts alone.
// 2. The rate is of all the transfers that a source was making while one of its answers came, since that is what they
//    share. So several jobs at once go to several sources in proportion to what each gives.
// 3. A source that is not asked is not measured. So it is tried with a small job now and then: one that was never
//    measured when all jobs together have waited for SPEED_FIRST_TRY_NS, a slower one when they have waited for
//    SPEED_TRY_SHARE times what the try is expected to cost. Jobs at leisure (SOURCE_FILL), of whatever size, try one
//    that was never asked at once: they are taken back when they crawl (mirrors_fetch.c).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SPEED_KEPT_NS (60 * UINT64_C(1000000000))
#define SPEED_FIRST_TRY_NS (UINT64_C(1000000000))
#define SPEED_TRY_SHARE 20u
#define SPEED_TRY_BYTES (256u << 10) // the largest job that tries a source

struct mirror_speed {
    uint64_t first_byte_ns, first_byte_at; // from the request to its first byte; 0: not measured
    uint64_t rate, rate_at;                // bytes a second; 0: not measured
    uint64_t waited_at_measure;            // what all jobs had waited when it was last asked
    unsigned running;                      // transfers under way
    bool asked;                            // ever
};

void mirrors_speed_note_first_byte(struct mirror_speed *s, uint64_t ns, uint64_t now);
// `bytes` came in `ns`; ignored when they are too few, in too short a time, to tell anything.
void mirrors_speed_note_bytes(struct mirror_speed *s, uint64_t bytes, uint64_t ns, uint64_t now);
// No byte came in `ns`, and then somebody else was quicker.
void mirrors_speed_note_late(struct mirror_speed *s, uint64_t ns, uint64_t now);

// Nanoseconds until the last of so many bytes; only for what was measured.
uint64_t mirrors_speed_expect(const struct mirror_speed *s, uint64_t bytes);
// True if `s`, which stands later in the list, is to be asked before `best`.
bool mirrors_speed_is_better(const struct mirror_speed *s, const struct mirror_speed *best, uint64_t bytes);
// True if it is to be tried (3); `waited` is what all jobs have waited up to now.
bool mirrors_speed_is_try_due(const struct mirror_speed *s, uint64_t bytes, uint64_t waited);
// How long after its start a request is late, where the quickest healthy source usually takes that long to its first
// byte.
uint64_t mirrors_speed_late_after(uint64_t first_byte_ns);
