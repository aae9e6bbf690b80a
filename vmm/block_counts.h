// What a disk has done so far, for the statistics: requests and bytes of each kind, and how long they took.
#pragma once

#include "vmm/block_request.h"
#include "vmm/virtio.h"

#define BLOCK_LATENCIES 32u

struct block_counts {
    uint64_t requests[BLOCK_KINDS], bytes[BLOCK_KINDS], failures;
    uint64_t latencies[BLOCK_LATENCIES]; // requests that took less than 2^i microseconds, and not less than half of it
};

void block_counts_add(struct block_counts *c, const struct block_outcome *outcome, uint64_t ns);
void block_counts_say(const struct block_counts *c, const struct virtio_device *d, struct buf *to);
