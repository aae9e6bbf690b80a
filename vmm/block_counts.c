// What a disk has done so far: see block_counts.h.
#include "vmm/block_counts.h"

#include "base/banned.h"

void block_counts_add(struct block_counts *c, const struct block_outcome *outcome, uint64_t ns)
{
    uint64_t us = ns / 1000;
    unsigned bucket = us ? 64u - (unsigned)__builtin_clzll(us) : 0;
    c->requests[outcome->kind]++;
    c->bytes[outcome->kind] += outcome->bytes;
    c->failures += outcome->failed;
    c->latencies[bucket < BLOCK_LATENCIES ? bucket : BLOCK_LATENCIES - 1]++;
}

// The time below which the given share of the requests stayed, in microseconds.
static uint64_t latency(const struct block_counts *c, unsigned percent)
{
    uint64_t all = 0, below = 0;
    for (unsigned i = 0; i < BLOCK_LATENCIES; i++)
        all += c->latencies[i];
    for (unsigned i = 0; i < BLOCK_LATENCIES; i++) {
        below += c->latencies[i];
        if (all > 0 && below * 100 >= all * percent)
            return UINT64_C(1) << i;
    }
    return 0;
}

void block_counts_say(const struct block_counts *c, const struct virtio_device *d, struct buf *to)
{
    static const char *const names[BLOCK_KINDS] = {"reads", "writes", "flushes", "discards", "write_zeroes", "others"};
    for (unsigned i = 0; i < BLOCK_KINDS; i++)
        virtio_say(d, to, names[i], c->requests[i]);
    virtio_say(d, to, "read_bytes", c->bytes[BLOCK_READ]);
    virtio_say(d, to, "written_bytes", c->bytes[BLOCK_WRITE]);
    virtio_say(d, to, "failures", c->failures);
    virtio_say(d, to, "latency_us_50", latency(c, 50));
    virtio_say(d, to, "latency_us_99", latency(c, 99));
}
