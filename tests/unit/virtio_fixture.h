// What a test of a virtio device needs: guest memory of two regions, the driver's side of a ring, and a transport that
// only counts. The driver here may also do what no driver should.
#pragma once

#include "base/cursor.h"
#include "vmm/guest_memory.h"
#include "vmm/layout.h"
#include "vmm/virtio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIXTURE_LOW_SIZE (1u << 20)
#define FIXTURE_HIGH_SIZE (64u << 10)

// Descriptor flags.
#define D_NEXT 1u
#define D_WRITE 2u
#define D_INDIRECT 4u

static inline struct guest_memory fixture_memory(void)
{
    struct guest_memory m = {.size = FIXTURE_LOW_SIZE + FIXTURE_HIGH_SIZE, .region_count = 2};
    m.regions[0] = (struct guest_region){0, FIXTURE_LOW_SIZE, aligned_alloc(4096, FIXTURE_LOW_SIZE)};
    m.regions[1] = (struct guest_region){LAYOUT_HIGH_RAM, FIXTURE_HIGH_SIZE, aligned_alloc(4096, FIXTURE_HIGH_SIZE)};
    for (unsigned i = 0; i < m.region_count; i++) {
        assert_non_null(m.regions[i].bytes);
        memset(m.regions[i].bytes, 0, m.regions[i].size);
    }
    return m;
}

static inline void fixture_memory_free(struct guest_memory *m)
{
    free(m->regions[0].bytes);
    free(m->regions[1].bytes);
}

static inline unsigned char *fixture_at(const struct guest_memory *m, uint64_t address, uint64_t n)
{
    unsigned char *bytes = guest_memory_slice(m, address, n);
    assert_non_null(bytes);
    return bytes;
}

// --- the driver's side of a ring ---

struct driver_ring {
    const struct guest_memory *memory;
    uint16_t size;
    uint64_t descriptors, available, used;
    uint16_t next_available, next_used;
};

// Takes up to 8 KiB of memory from `base`, for at most 256 entries.
static inline struct driver_ring driver_ring(const struct guest_memory *m, uint64_t base, uint16_t size)
{
    return (struct driver_ring){m, size, base, base + 16u * 256, base + 16u * 256 + 1024, 0, 0};
}

static inline void put_descriptor(const struct guest_memory *m, uint64_t table, unsigned i, uint64_t address,
                                  uint32_t length, unsigned flags, unsigned next)
{
    unsigned char *d = fixture_at(m, table + 16u * i, 16);
    put_le64(d, address);
    put_le32(d + 8, length);
    put_le16(d + 12, (uint16_t)flags);
    put_le16(d + 14, (uint16_t)next);
}

static inline void driver_describe(struct driver_ring *r, unsigned i, uint64_t address, uint32_t length, unsigned flags,
                                   unsigned next)
{
    put_descriptor(r->memory, r->descriptors, i, address, length, flags, next);
}

static inline void driver_set_available_index(struct driver_ring *r, unsigned index)
{
    put_le16(fixture_at(r->memory, r->available + 2, 2), (uint16_t)index);
}

static inline void driver_offer(struct driver_ring *r, unsigned head)
{
    put_le16(fixture_at(r->memory, r->available + 4 + 2u * (r->next_available % r->size), 2), (uint16_t)head);
    driver_set_available_index(r, ++r->next_available);
}

// The next used element; false if there is none.
static inline bool driver_take(struct driver_ring *r, uint32_t *ret_head, uint32_t *ret_written)
{
    const unsigned char *used = fixture_at(r->memory, r->used, 4 + 8u * r->size + 2);
    if (get_le16(used + 2) == r->next_used)
        return false;
    const unsigned char *element = used + 4 + 8u * (r->next_used++ % r->size);
    *ret_head = get_le32(element);
    *ret_written = get_le32(element + 4);
    return true;
}

static inline unsigned driver_used_flags(const struct driver_ring *r)
{
    return get_le16(fixture_at(r->memory, r->used, 2));
}

static inline unsigned driver_available_event(const struct driver_ring *r)
{
    return get_le16(fixture_at(r->memory, r->used + 4 + 8u * r->size, 2));
}

static inline void driver_set_flags(struct driver_ring *r, unsigned flags)
{
    put_le16(fixture_at(r->memory, r->available, 2), (uint16_t)flags);
}

static inline void driver_set_used_event(struct driver_ring *r, unsigned event)
{
    put_le16(fixture_at(r->memory, r->available + 4 + 2u * r->size, 2), (uint16_t)event);
}

static inline int driver_start_queue(struct virtqueue *q, const struct driver_ring *r, bool event_index, bool indirect)
{
    return virtqueue_start(q, r->memory, r->size, r->descriptors, r->available, r->used, event_index, indirect);
}

// --- a transport that counts; each test program has one ---

struct counting_transport {
    unsigned interrupts[VIRTIO_QUEUES_MAXIMUM], rings[VIRTIO_QUEUES_MAXIMUM], config_interrupts, resets;
};

static inline struct counting_transport *counted(struct virtio_transport *t)
{
    return (struct counting_transport *)(void *)t;
}

static inline void count_interrupt(struct virtio_transport *t, unsigned queue)
{
    counted(t)->interrupts[queue]++;
}

static inline void count_config_interrupt(struct virtio_transport *t)
{
    counted(t)->config_interrupts++;
}

static inline void count_ring(struct virtio_transport *t, unsigned queue)
{
    counted(t)->rings[queue]++;
}

static inline void count_reset(struct virtio_transport *t)
{
    counted(t)->resets++;
}

static inline void fixture_attach(struct virtio_device *d, struct counting_transport *counts)
{
    static const struct virtio_transport_operations operations = {count_interrupt, count_config_interrupt, count_ring,
                                                                  count_reset};
    *counts = (struct counting_transport){.resets = 0};
    d->transport_operations = &operations;
    d->transport = (struct virtio_transport *)(void *)counts;
}

// A whole start with these features (besides VERSION_1), for the rings of the first `count` queues.
static inline void fixture_start(struct virtio_device *d, uint64_t features, const struct driver_ring *rings,
                                 unsigned count)
{
    features |= VIRTIO_F_VERSION_1;
    pthread_mutex_lock(&d->lock);
    virtio_write_status(d, 0);
    virtio_write_status(d, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    virtio_write_features(d, 0, (uint32_t)features);
    virtio_write_features(d, 1, (uint32_t)(features >> 32));
    virtio_write_status(d, VIRTIO_STATUS_FEATURES_OK);
    assert_true(d->status & VIRTIO_STATUS_FEATURES_OK);
    for (unsigned i = 0; i < count; i++)
        d->settings[i] = (struct virtio_queue_settings){rings[i].size, true, rings[i].descriptors, rings[i].available,
                                                        rings[i].used};
    virtio_write_status(d, VIRTIO_STATUS_DRIVER_OK);
    pthread_mutex_unlock(&d->lock);
}

static inline void fixture_kick(struct virtio_device *d, unsigned queue)
{
    pthread_mutex_lock(&d->lock);
    virtio_kicked(d, queue);
    pthread_mutex_unlock(&d->lock);
}

static inline void fixture_reset(struct virtio_device *d)
{
    pthread_mutex_lock(&d->lock);
    virtio_write_status(d, 0);
    pthread_mutex_unlock(&d->lock);
}
