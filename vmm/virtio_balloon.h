// The virtio memory balloon (virtio 1.2, 5.5), of which one thing is used: free page reporting. The driver tells of
// ranges that happen to be free, and they are given back to the host: nothing need ever be asked for. Such a page reads
// as zeros and is the guest's again as soon as it touches it. Nobody blows the balloon up, so the queues for that are
// there, because a driver expects them, and idle.
//
// Queues: 0 inflate, 1 deflate, then statistics, page hints (neither is offered), reporting, as the specification
// numbers them. Linux before 6.11 leaves out the queues of features that were not negotiated and numbers the rest
// through; so whatever comes after 1 is taken for reporting.
#pragma once

#include "vmm/virtio.h"

int virtio_balloon_new(const struct guest_memory *memory, struct virtio_device **ret, struct error *error);
