// The virtio network card (virtio 1.2, 5.1): one pair of queues, mergeable receive buffers, no offloads. All of its
// work is done in the main loop.
#pragma once

#include "vmm/loop.h"
#include "vmm/net_link.h"
#include "vmm/virtio.h"

struct virtio_net_settings {
    struct net_link *link; // taken over, also on failure
    unsigned char mac[6];
    struct loop *loop;
};

int virtio_net_new(const struct virtio_net_settings *settings, const struct guest_memory *memory,
                   struct virtio_device **ret, struct error *error);
