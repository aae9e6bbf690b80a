// The virtio memory balloon: see virtio_balloon.h. All of it happens in the loop's thread, in one go for each request,
// so nothing is ever in flight. What is told of memory is advice: a range that is no RAM, or not of whole pages, is
// left out.
#include "vmm/virtio_balloon.h"

#include "base/banned.h"

#define DEVICE_ID 5u
#define QUEUE_SIZE 64u // Linux reports 32 ranges at a time, and wants places for as many
#define CONFIG_SIZE 8u // pages wanted 4, pages actually put aside 4: none

enum { INFLATE, DEFLATE, STATISTICS, HINTS, REPORTING, QUEUES };

#define F_REPORTING (UINT64_C(1) << 5) // 5.5.3

struct virtio_balloon {
    struct virtio_device device; // first: operations get it
    uint64_t reported;           // bytes given back, in all
};

// Where a segment lies in the guest: the virtqueue has made it a pointer of ours.
static uint64_t address_of(const struct guest_memory *m, const void *bytes)
{
    const unsigned char *at = bytes;
    for (unsigned i = 0; i < m->region_count; i++)
        if (at >= m->regions[i].bytes && at < m->regions[i].bytes + m->regions[i].size)
            return m->regions[i].address + (uint64_t)(at - m->regions[i].bytes);
    return UINT64_MAX; // no RAM
}

// 5.5.6.7: the free ranges themselves are the buffers.
static int serve(struct virtio_device *d, unsigned queue, const struct virtqueue_chain *chain)
{
    const struct iovec *ranges = chain->segments + chain->readable;
    for (unsigned i = 0; i < chain->writable && queue > DEFLATE && (d->features & F_REPORTING); i++)
        if (guest_memory_release(d->memory, address_of(d->memory, ranges[i].iov_base), ranges[i].iov_len) == 0)
            ((struct virtio_balloon *)d)->reported += ranges[i].iov_len;
    return virtqueue_push(&d->queues[queue], chain->head, 0);
}

static void kicked(struct virtio_device *d, unsigned queue)
{
    virtio_serve(d, queue, serve, "a request has an illegal chain");
}

static void statistics(struct virtio_device *d, struct buf *to)
{
    virtio_say(d, to, "reported_bytes", ((struct virtio_balloon *)d)->reported);
}

static const struct virtio_operations operations = {
    .name = "balloon",
    .device_id = DEVICE_ID,
    .pci_class = 0x00ff00, // unclassified
    .queue_count = QUEUES,
    .queue_size = QUEUE_SIZE,
    .features = F_REPORTING,
    .config_size = CONFIG_SIZE,
    .kicked = kicked,
    .statistics = statistics,
};

int virtio_balloon_new(const struct guest_memory *memory, struct virtio_device **ret, struct error *error)
{
    return virtio_new(sizeof(struct virtio_balloon), &operations, memory, operations.features, ret, error);
}
