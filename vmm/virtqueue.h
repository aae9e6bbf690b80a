// The walker of split virtqueues (virtio 1.2, 2.7): the only code that reads descriptors. It trusts nothing: every
// index is masked or checked, every length is bounded, every field is read once.
//
// 1. What is read of the ring is copied before it is looked at; nothing is read twice (TRUST T23).
// 2. A chain has at most VIRTQUEUE_CHAIN_MAXIMUM descriptors and 4 GiB, an indirect table is not nested and ends the
//    chain, readable segments come before writable ones. Empty segments are legal and left out.
// 3. A head that is in flight already is illegal, so at most `size` requests are in flight (CVE-2016-5403's lesson).
// 4. The available index never goes back: what virtqueue_listen has seen, the next virtqueue_pop finds. So nobody who
//    looks again and again can be kept at it by a driver that turns the index to and fro.
// 5. The first illegal thing breaks the queue: virtqueue_pop and virtqueue_push return -EPROTO for ever, and nothing is
//    written to the ring, until it is set up anew.
//    The device is then told NEEDS_RESET by its transport; nothing else happens (TRUST T22).
//
// Calls for one queue are serialised by the device's lock; different queues are independent.
#pragma once

#include "base/vector.h"
#include "vmm/guest_memory.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTQUEUE_SIZE_MAXIMUM 1024u // entries; a power of two
#define VIRTQUEUE_CHAIN_MAXIMUM 130u // segments: 128 of data, a header, a status
_Static_assert(VIRTQUEUE_CHAIN_MAXIMUM <= VECTOR_MAXIMUM, "a chain fits one vector");

struct virtqueue_chain {
    uint16_t head;
    unsigned readable, writable; // segments: first `readable` from the guest, then `writable` to it
    size_t readable_bytes, writable_bytes;
    struct iovec segments[VIRTQUEUE_CHAIN_MAXIMUM];
};

struct virtqueue {
    const struct guest_memory *memory;
    uint16_t size; // entries, 0: not set up
    bool event_index, indirect;
    bool broken;
    bool silent;   // the driver need not ring
    bool promised; // virtqueue_listen has seen a request (rule 4)
    uint16_t next_available, next_used;
    uint16_t last_asked;                           // next_used when virtqueue_wants_interrupt was asked last
    unsigned char *descriptors, *available, *used; // slices, whole
    uint64_t in_flight[VIRTQUEUE_SIZE_MAXIMUM / 64];
    unsigned in_flight_count;
};

// Addresses and size as the driver set them. -EPROTO if the size is no power of two within the maximum, an address is
// not aligned (2.7), or a part lies outside RAM.
int virtqueue_start(struct virtqueue *q, const struct guest_memory *memory, uint16_t size, uint64_t descriptors,
                    uint64_t available, uint64_t used, bool event_index, bool indirect);
void virtqueue_stop(struct virtqueue *q);

// The next request: 1 and *ret, 0 if there is none, -EPROTO (rule 5). *ret is of use only with 1.
int virtqueue_pop(struct virtqueue *q, struct virtqueue_chain *ret);
// Puts the chain popped last back, as if it had not been popped (no buffer for a whole frame, say).
void virtqueue_unpop(struct virtqueue *q, const struct virtqueue_chain *chain);
// The request `head` is done; `written` bytes were put into its writable segments. -EPROTO if it was not in flight, or
// the queue has been broken or stopped meanwhile: then nobody waits for it.
int virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t written);
// The same in two steps, for buffers that belong together: the driver sees none of those that were put before they are
// all published.
int virtqueue_put(struct virtqueue *q, uint16_t head, uint32_t written);
void virtqueue_publish(struct virtqueue *q);
// True if the driver wants an interrupt for what was pushed since the last call: to be asked after every push, or
// after a group of pushes.
bool virtqueue_wants_interrupt(struct virtqueue *q);
// While a queue is being worked on its driver need not ring. Turning it on returns true if requests have come
// meanwhile: then look again.
void virtqueue_silence(struct virtqueue *q);
bool virtqueue_listen(struct virtqueue *q);
unsigned virtqueue_waiting(const struct virtqueue *q); // requests that were not popped yet, at most the queue's size

// Copying between a chain's readable (from the guest) or writable segments, `offset` bytes of them skipped, and a
// buffer: the count copied, which is less than n where the segments end.
size_t virtqueue_gather(const struct virtqueue_chain *chain, size_t offset, void *to, size_t n);
size_t virtqueue_scatter(const struct virtqueue_chain *chain, size_t offset, const void *from, size_t n);
