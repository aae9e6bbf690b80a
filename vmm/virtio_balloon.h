// The virtio memory balloon (virtio 1.2, 5.5), which gives memory that the guest does not use back to the host:
//
//   inflate    pages that the driver puts aside, because we asked it to (virtio_balloon_set_target)
//   deflate    pages that it takes back; it may, at any time, when it runs out of memory (DEFLATE_ON_OOM)
//   reporting  ranges that happen to be free, which the driver tells by itself: nothing need ever be asked for
//   statistics what the guest says of its memory, asked for anew each time the statistics are read
//
// A page that was given back reads as zeros and is the guest's again as soon as it touches it.
//
// Queues: 0 inflate, 1 deflate, then statistics, page hints (not offered), reporting, as the specification numbers
// them. Linux before 6.11 leaves out the queues of features that were not negotiated and numbers the rest through; so 3
// and 4 are both taken for reporting, and 2 is, too, where statistics were not negotiated.
#pragma once

#include "vmm/virtio.h"

struct virtio_balloon;

int virtio_balloon_new(const struct guest_memory *memory, struct virtio_balloon **ret, struct error *error);
struct virtio_device *virtio_balloon_device(struct virtio_balloon *b);
// How much of its memory the guest shall put aside, in bytes (whole pages of it). Any thread.
void virtio_balloon_set_target(struct virtio_balloon *b, uint64_t bytes);
void virtio_balloon_free(struct virtio_balloon *b);
