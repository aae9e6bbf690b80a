// One request to a virtio disk (virtio 1.2, 5.2.6): taken apart, checked, performed, answered. Knows no queue and no
// thread, so that a test or a fuzz target can call it with any chain.
#pragma once

#include "vmm/block_backend.h"
#include "vmm/virtqueue.h"
#include <stdint.h>

#define BLOCK_SECTOR 512u
#define BLOCK_SERIAL_SIZE 20u                  // of GET_ID: padded with NUL, not terminated if full (5.2.6)
#define BLOCK_RANGES_MAXIMUM 16u               // of a discard or write-zeroes request
#define BLOCK_RANGE_SECTORS_MAXIMUM (1u << 22) // 2 GiB each

enum block_kind { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES, BLOCK_OTHER, BLOCK_KINDS };

struct block_outcome {
    enum block_kind kind;
    bool failed;      // the guest was told so
    uint64_t bytes;   // of data, read or written
    uint32_t written; // bytes put into the chain: for virtqueue_push
};

// -EPROTO if the chain has no room for a header and a status: the driver broke the rules. Otherwise 0, whatever came of
// it; the guest has its status byte.
int block_request_perform(struct block_backend *backend, const unsigned char serial[static BLOCK_SERIAL_SIZE],
                          const struct virtqueue_chain *chain, struct block_outcome *ret);
