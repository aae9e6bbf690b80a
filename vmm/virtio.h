// A virtio device without its transport (virtio 1.2, 2, 3 and 5): the state machine of its status, as virtio.c has it,
// virtio_pci.c drives it, and block, net, console, rng and balloon complete it.
//
//   reset ── ACKNOWLEDGE, DRIVER, features, FEATURES_OK, queues ──▶ DRIVER_OK: running ── illegal ring ──▶ broken
//     ▲                                                                │                                  (NEEDS_RESET)
//     └──────────── status 0: operations->reset, then, when nothing is in flight, virtio_reset_done ◀─────┘
//
// 1. FEATURES_OK stands only if the driver took VERSION_1 and nothing that was not offered; DRIVER_OK only after it.
//    Features are frozen by FEATURES_OK, queues by DRIVER_OK, until the reset.
// 2. A device takes requests and interrupts only while it is running.
// 3. A broken device is quiet: all its queues are broken (virtqueue.h, rule 5), its driver is told once, by a
//    configuration interrupt, and a reset makes it as new.
// 4. A reset is over when nothing is in flight. Until then the driver reads a status that is not 0.
//
// Locks: `lock` guards everything of the device, its queues included. The transport takes it around every operation; a
// device's own threads take it for virtqueue calls and virtio_… calls, and never during I/O.
// The kicks of all queues arrive in the main loop's thread.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "vmm/guest_memory.h"
#include "vmm/virtqueue.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTIO_QUEUES_MAXIMUM 8u

// Status bits (2.1).
#define VIRTIO_STATUS_ACKNOWLEDGE 1u
#define VIRTIO_STATUS_DRIVER 2u
#define VIRTIO_STATUS_DRIVER_OK 4u
#define VIRTIO_STATUS_FEATURES_OK 8u
#define VIRTIO_STATUS_NEEDS_RESET 64u
#define VIRTIO_STATUS_FAILED 128u

// Features that the transport offers for every device (6).
#define VIRTIO_F_INDIRECT (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_INDEX (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)

struct virtio_device;
struct virtio_transport;

struct virtio_operations {
    const char *name;     // "block"
    uint16_t device_id;   // 5: 1 net, 2 block, 3 console, 4 rng, 5 balloon
    uint32_t pci_class;   // class, subclass, interface: 0x018000
    unsigned queue_count; // at most VIRTIO_QUEUES_MAXIMUM
    uint16_t queue_size;  // the largest a driver may choose
    uint64_t features;    // of the device type; the transport adds its own
    unsigned config_size; // bytes of the device configuration
    // All with the lock held. read_config may be NULL: zeros; offset + n lies within config_size.
    void (*read_config)(struct virtio_device *d, unsigned offset, void *to, unsigned n);
    void (*start)(struct virtio_device *d);                  // DRIVER_OK: d->features and d->queues stand; may be NULL
    void (*kicked)(struct virtio_device *d, unsigned queue); // only while running, and only for a queue that is set up
    // The driver resets a device that was started, be it running or broken. No new request is taken after this. True:
    // nothing is in flight; otherwise the device calls virtio_reset_done later, when the last request is done with. Its
    // queues may be pushed to until then. NULL: nothing is ever in flight.
    bool (*reset)(struct virtio_device *d);
    void (*statistics)(struct virtio_device *d, struct buf *to); // lines of virtio_say; may be NULL
    // Without the lock, after the loop and the vCPUs have ended; both may be NULL. What is in progress is done and
    // flushed: 0, or the first failure; -ETIMEDOUT if something does not end, and then nothing may be freed any more.
    int (*end)(struct virtio_device *d, struct error *error);
    void (*free)(struct virtio_device *d); // what the device has besides its struct
};

// How a device reaches its driver; all with the lock held.
struct virtio_transport_operations {
    void (*interrupt)(struct virtio_transport *t, unsigned queue); // buffers of this queue were used
    void (*config_interrupt)(struct virtio_transport *t);          // the configuration, or NEEDS_RESET
    void (*ring)(struct virtio_transport *t, unsigned queue);      // have the loop call virtio_kicked
    void (*reset)(struct virtio_transport *t);                     // the device is as new: so shall the transport be
};

// What the driver wrote for a queue before DRIVER_OK.
struct virtio_queue_settings {
    uint16_t size; // entries
    bool enabled;
    uint64_t descriptors, available, used;
};

struct virtio_device {
    const struct virtio_operations *operations;
    char name[32]; // "block", and of the second of a kind "block2": what its lines of statistics begin with
    const struct guest_memory *memory;
    pthread_mutex_t lock;
    uint64_t offered;  // features
    uint64_t features; // what the driver wrote; from FEATURES_OK on, accepted by both
    uint8_t status;
    uint8_t config_generation;
    bool resetting; // reset was asked for and something is still in flight
    struct virtio_queue_settings settings[VIRTIO_QUEUES_MAXIMUM];
    struct virtqueue queues[VIRTIO_QUEUES_MAXIMUM]; // started at DRIVER_OK for those that the driver enabled
    uint64_t interrupts, kicks, breaks;             // counts
    const struct virtio_transport_operations *transport_operations; // set by the transport, before the guest runs
    struct virtio_transport *transport;
};

// Makes a device: a struct of `size` bytes, zeros, whose first member is a struct virtio_device. `features` are what it
// offers, of the operations' set. virtio_free takes NULL, too; the transport goes first.
int virtio_new(size_t size, const struct virtio_operations *operations, const struct guest_memory *memory,
               uint64_t features, struct virtio_device **ret, struct error *error);
void virtio_free(struct virtio_device *d);
static inline bool virtio_running(const struct virtio_device *d)
{
    return (d->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) == VIRTIO_STATUS_DRIVER_OK &&
           !d->resetting;
}

// For devices, with the lock held:
void virtio_interrupt(struct virtio_device *d,
                      unsigned queue);                       // if the driver wants one now (virtqueue_wants_interrupt)
void virtio_config_changed(struct virtio_device *d);         // the configuration changed: interrupt, generation
void virtio_break(struct virtio_device *d, const char *why); // NEEDS_RESET; said in the log the first time
void virtio_reset_done(struct virtio_device *d);
void virtio_ring(struct virtio_device *d, unsigned queue); // calls `kicked` again, after others had their turn
// Of a device that answers at once, in the loop's thread: calls `serve` for as many requests as the queue has places
// (a driver that adds more and more waits for its next turn), interrupts, and breaks the device, with `rules`, if a
// chain is illegal or `serve` returns less than 0.
void virtio_serve(struct virtio_device *d, unsigned queue,
                  int (*serve)(struct virtio_device *d, unsigned queue, const struct virtqueue_chain *chain),
                  const char *rules);

void virtio_say(const struct virtio_device *d, struct buf *to, const char *key, uint64_t value); // a line of statistics

// For transports, with the lock held:
void virtio_write_status(struct virtio_device *d, uint8_t value);
void virtio_write_features(struct virtio_device *d, unsigned word, uint32_t value); // of 32 bits; 0 or 1
bool virtio_queues_frozen(const struct virtio_device *d);    // DRIVER_OK was set, or a reset is under way
void virtio_kicked(struct virtio_device *d, unsigned queue); // from the loop's thread
