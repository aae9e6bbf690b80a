// The virtio disk (virtio 1.2, 5.2): one queue, served by a pool of threads, because a single read of a block that is
// not cached takes as long as the network does, and must hold up neither a flush nor another read.
#pragma once

#include "vmm/block_backend.h"
#include "vmm/loop.h"
#include "vmm/sandbox.h"
#include "vmm/virtio.h"

struct virtio_block_settings {
    struct block_backend *backend; // taken over, also on failure
    const char *serial;            // what GET_ID tells, at most 20 characters of it
    struct loop *loop;
    struct sandbox *sandbox; // whose filter the workers enter; NULL: none
};

// Makes the first thread, which waits. When the device ends, no request is taken any more, none waits for the network;
// when those in progress are done, everything is flushed and closed and the threads have ended.
int virtio_block_new(const struct virtio_block_settings *settings, const struct guest_memory *memory,
                     struct virtio_device **ret, struct error *error);
// As the backend's; the device must have one that hears.
bool virtio_block_hear(struct virtio_device *d, const char *text, int *fds, unsigned count, char *ret_answer);
