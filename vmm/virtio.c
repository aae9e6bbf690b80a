// The state machine of a virtio device: see virtio.h for its picture and rules (numbered there).
//
// Who calls what: the driver's writes arrive through the transport (virtio_write_status, virtio_write_features, and the
// settings of queues, which the transport keeps in d->settings while virtio_queues_frozen says no); its kicks through
// virtio_kicked. All of it happens under the device's lock, which the transport or the device's own thread holds.
#include "vmm/virtio.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

#define STATUS_OF_DRIVER                                                                                               \
    (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_FEATURES_OK |          \
     VIRTIO_STATUS_FAILED)

static void set_as_new(struct virtio_device *d)
{
    d->status = 0;
    d->resetting = false;
    d->features = 0;
    for (unsigned i = 0; i < d->operations->queue_count; i++) {
        virtqueue_stop(&d->queues[i]);
        d->settings[i] = (struct virtio_queue_settings){.size = d->operations->queue_size};
    }
}

int virtio_new(size_t size, const struct virtio_operations *operations, const struct guest_memory *memory,
               uint64_t features, struct virtio_device **ret, struct error *error)
{
    struct virtio_device *d = calloc(1, size);
    if (!d)
        return error_set(error, ENOMEM, "no memory for the virtio %s device", operations->name);
    pthread_mutex_init(&d->lock, NULL); // cannot fail with default attributes
    d->operations = operations;
    snprintf(d->name, sizeof d->name, "%s", operations->name);
    d->memory = memory;
    d->offered = (features & operations->features) | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_INDEX | VIRTIO_F_VERSION_1;
    set_as_new(d);
    *ret = d;
    return 0;
}

void virtio_free(struct virtio_device *d)
{
    if (!d)
        return;
    if (d->operations->free)
        d->operations->free(d);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

// --- for devices ---------------------------------------------------------------------------------------------------

void virtio_interrupt(struct virtio_device *d, unsigned queue)
{
    if (!virtio_running(d) || !virtqueue_wants_interrupt(&d->queues[queue]))
        return;
    d->interrupts++;
    d->transport_operations->interrupt(d->transport, queue);
}

// Before DRIVER_OK the driver reads the configuration anyway, and must not be interrupted.
static void tell_config(struct virtio_device *d)
{
    if (!(d->status & VIRTIO_STATUS_DRIVER_OK) || d->resetting)
        return;
    d->interrupts++;
    d->transport_operations->config_interrupt(d->transport);
}

void virtio_config_changed(struct virtio_device *d)
{
    d->config_generation++;
    tell_config(d);
}

void virtio_break(struct virtio_device *d, const char *why)
{
    if (!virtio_running(d))
        return; // it is quiet already
    d->status |= VIRTIO_STATUS_NEEDS_RESET;
    for (unsigned i = 0; i < d->operations->queue_count; i++)
        d->queues[i].broken = true;
    if (d->breaks++ == 0) // a guest that does it for ever must not fill the log
        log_warning("the guest's driver broke the rules of the virtio %s device, which waits for a reset: %s",
                    d->operations->name, why);
    tell_config(d);
}

void virtio_reset_done(struct virtio_device *d)
{
    if (!d->resetting)
        return;
    set_as_new(d);
    d->transport_operations->reset(d->transport);
}

void virtio_say(const struct virtio_device *d, struct buf *to, const char *key, uint64_t value)
{
    buf_append_format(to, "%s.%s %llu\n", d->name, key, (unsigned long long)value); // what is too much is left out
}

void virtio_ring(struct virtio_device *d, unsigned queue)
{
    d->transport_operations->ring(d->transport, queue);
}

void virtio_serve(struct virtio_device *d, unsigned queue,
                  int (*serve)(struct virtio_device *d, unsigned queue, const struct virtqueue_chain *chain),
                  const char *rules)
{
    struct virtqueue *q = &d->queues[queue];
    struct virtqueue_chain chain;
    int r = 1;
    for (unsigned turn = 0; turn < q->size && r > 0; turn++) {
        r = virtqueue_pop(q, &chain);
        if (r > 0 && serve(d, queue, &chain) < 0)
            r = -EPROTO;
    }
    virtio_interrupt(d, queue);
    if (r < 0)
        virtio_break(d, rules);
    else if (r > 0)
        virtio_ring(d, queue);
}

// --- for transports ------------------------------------------------------------------------------------------------

bool virtio_queues_frozen(const struct virtio_device *d)
{
    return (d->status & VIRTIO_STATUS_DRIVER_OK) || d->resetting;
}

void virtio_write_features(struct virtio_device *d, unsigned word, uint32_t value)
{
    if (word > 1 || (d->status & VIRTIO_STATUS_FEATURES_OK) || d->resetting)
        return; // rule 1
    unsigned shift = word * 32;
    d->features = (d->features & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
}

static void reset(struct virtio_device *d)
{
    bool started = d->status & VIRTIO_STATUS_DRIVER_OK;
    d->resetting = true; // no new request is taken from here on
    if (!started || !d->operations->reset || d->operations->reset(d))
        virtio_reset_done(d);
}

// Queues that were not enabled stay as they are: without a size, they are empty for ever.
static void start(struct virtio_device *d)
{
    bool event_index = d->features & VIRTIO_F_EVENT_INDEX, indirect = d->features & VIRTIO_F_INDIRECT;
    d->status |= VIRTIO_STATUS_DRIVER_OK;
    for (unsigned i = 0; i < d->operations->queue_count; i++) {
        const struct virtio_queue_settings *s = &d->settings[i];
        if (s->enabled && virtqueue_start(&d->queues[i], d->memory, s->size, s->descriptors, s->available, s->used,
                                          event_index, indirect) < 0) {
            virtio_break(d, "the addresses or the size of a queue are wrong");
            return;
        }
    }
    if (d->operations->start)
        d->operations->start(d);
    // What the driver put into the queues before DRIVER_OK, it may have rung for too early.
    for (unsigned i = 0; i < d->operations->queue_count; i++)
        if (d->queues[i].size > 0)
            virtio_ring(d, i);
}

// The driver only ever adds bits, or writes 0 (2.1.1); a bit that it leaves out stays.
void virtio_write_status(struct virtio_device *d, uint8_t value)
{
    if (d->resetting)
        return; // rule 4: when it is done, the driver begins anew
    if (value == 0) {
        reset(d);
        return;
    }
    uint8_t added = (uint8_t)(value & ~d->status & STATUS_OF_DRIVER);
    bool features_fit = (d->features & VIRTIO_F_VERSION_1) && !(d->features & ~d->offered);
    if ((added & VIRTIO_STATUS_FEATURES_OK) && !features_fit)
        added &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    bool starts = (added & VIRTIO_STATUS_DRIVER_OK) && ((d->status | added) & VIRTIO_STATUS_FEATURES_OK);
    d->status |= (uint8_t)(added & ~VIRTIO_STATUS_DRIVER_OK);
    if (starts)
        start(d);
}

void virtio_kicked(struct virtio_device *d, unsigned queue)
{
    if (!virtio_running(d) || d->queues[queue].size == 0)
        return; // a late one: from before a reset, say
    d->kicks++;
    d->operations->kicked(d, queue);
}
