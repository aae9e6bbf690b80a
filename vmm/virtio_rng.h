// The virtio entropy device (virtio 1.2, 5.4): one queue; each request is filled from the host's getrandom, up to
// VIRTIO_RNG_REQUEST_MAXIMUM bytes of it. It is what gives a fresh guest its keys before it has seen any disk or
// network.
#pragma once

#include "vmm/virtio.h"

#define VIRTIO_RNG_REQUEST_MAXIMUM 4096u

int virtio_rng_new(const struct guest_memory *memory, struct virtio_device **ret, struct error *error);
