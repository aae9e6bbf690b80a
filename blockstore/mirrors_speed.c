// The speed of sources: averages, expectations, and when to try another one. See mirrors_speed.h.

#include "blockstore/mirrors_speed.h"

#include "base/banned.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define SAMPLE_BYTES (64u << 10)         // fewer come in one piece, whatever the rate
#define UNKNOWN_RATE (UINT64_C(4) << 20) // until it is measured
#define BYTES_MAXIMUM (UINT64_C(1) << 36)
// Who is quicker by less than this is about as quick: connections stay warm, and a list's order means something.
#define MARGIN_NS (10 * MS)
#define LATE_FACTOR 3
#define LATE_LEAST_NS (100 * MS)
#define LATE_MOST_NS (2 * SECOND)
#define LATE_UNKNOWN_NS (500 * MS) // a connection is made meanwhile

static uint64_t average(uint64_t old, uint64_t old_at, uint64_t sample, uint64_t now)
{
    uint64_t age = now - old_at;
    if (old == 0 || age >= SPEED_KEPT_NS)
        return sample;
    uint64_t weight = (SPEED_KEPT_NS - age) * 768 / SPEED_KEPT_NS; // of 1,024
    return (old * weight + sample * (1024 - weight)) / 1024;
}

void mirrors_speed_note_first_byte(struct mirror_speed *s, uint64_t ns, uint64_t now)
{
    s->first_byte_ns = average(s->first_byte_ns, s->first_byte_at, ns ? ns : 1, now);
    s->first_byte_at = now;
}

void mirrors_speed_note_bytes(struct mirror_speed *s, uint64_t bytes, uint64_t ns, uint64_t now)
{
    if ((bytes < SAMPLE_BYTES && ns < SECOND) || bytes > BYTES_MAXIMUM)
        return;
    uint64_t us = ns / 1000;
    uint64_t rate = bytes * 1000000 / (us ? us : 1);
    s->rate = average(s->rate, s->rate_at, rate ? rate : 1, now);
    s->rate_at = now;
}

void mirrors_speed_note_late(struct mirror_speed *s, uint64_t ns, uint64_t now)
{
    if (ns <= s->first_byte_ns)
        return;
    s->first_byte_ns = ns; // no average: the next job that waits had better not find out the same
    s->first_byte_at = now;
}

uint64_t mirrors_speed_expect(const struct mirror_speed *s, uint64_t bytes)
{
    uint64_t rate = s->rate ? s->rate : UNKNOWN_RATE;
    bytes = bytes < BYTES_MAXIMUM ? bytes : BYTES_MAXIMUM;
    return s->first_byte_ns + bytes * (s->running + 1) * 1000 / (rate / 1000 + 1) * 1000;
}

bool mirrors_speed_is_better(const struct mirror_speed *s, const struct mirror_speed *best, uint64_t bytes)
{
    if (!s->first_byte_ns || !best->first_byte_ns)
        return false;
    uint64_t theirs = mirrors_speed_expect(best, bytes);
    uint64_t margin = theirs / 4 > MARGIN_NS ? theirs / 4 : MARGIN_NS;
    return mirrors_speed_expect(s, bytes) + margin < theirs;
}

bool mirrors_speed_is_try_due(const struct mirror_speed *s, uint64_t bytes, uint64_t waited)
{
    if (bytes == 0 || bytes > SPEED_TRY_BYTES || s->running)
        return false;
    uint64_t cost = s->first_byte_ns ? SPEED_TRY_SHARE * mirrors_speed_expect(s, bytes) : SPEED_FIRST_TRY_NS;
    return waited - s->waited_at_measure >= cost;
}

uint64_t mirrors_speed_late_after(uint64_t first_byte_ns)
{
    if (first_byte_ns == 0)
        return LATE_UNKNOWN_NS;
    uint64_t late = LATE_FACTOR * first_byte_ns;
    return late < LATE_LEAST_NS ? LATE_LEAST_NS : late > LATE_MOST_NS ? LATE_MOST_NS : late;
}
