// The virtio disk (virtio 1.2, 5.2): one queue, served by a pool of threads, because a single read of a block that is
// not cached takes as long as the network does, and must hold up neither a flush nor another read.
#pragma once

#include "vmm/block_backend.h"
#include "vmm/loop.h"
#include "vmm/sandbox.h"
#include "vmm/virtio.h"

#define VIRTIO_BLOCK_WORKERS 64u // threads at most: requests in progress at a time

struct virtio_block;

struct virtio_block_settings {
    struct block_backend *backend; // taken over, also on failure
    const char *serial;            // what GET_ID tells, at most 20 characters of it
    struct loop *loop;
    struct sandbox *sandbox; // whose filter the workers enter; NULL: none
};

// Makes the first thread, which waits.
int virtio_block_new(const struct virtio_block_settings *settings, const struct guest_memory *memory,
                     struct virtio_block **ret, struct error *error);
struct virtio_device *virtio_block_device(struct virtio_block *b);
int virtio_block_replace_base(struct virtio_block *b, int fd, struct error *error); // as the backend's
// After the loop has ended. No request is taken any more, none waits; when those in progress are done, everything is
// flushed and closed and the threads have ended: 0, or the backend's failure. -ETIMEDOUT if a request does not end (its
// file does not answer): then what was acknowledged is stable, and the process should end without virtio_block_free.
int virtio_block_end(struct virtio_block *b, struct error *error);
void virtio_block_free(struct virtio_block *b); // after virtio_block_end; or at once, if the guest never ran
