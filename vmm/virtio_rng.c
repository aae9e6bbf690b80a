// The virtio entropy device: see virtio_rng.h. All of it happens in the loop's thread, in one go for each request, so
// nothing is ever in flight.
#include "vmm/virtio_rng.h"

#include <errno.h>
#include <sys/random.h>

#include "base/banned.h"

#define DEVICE_ID 4u
#define QUEUE_SIZE 8u

struct virtio_rng {
    struct virtio_device device; // first: operations get it
    uint64_t requests, bytes;
};

// How many bytes were put into the segments.
static uint32_t fill(const struct iovec *segments, unsigned count)
{
    size_t done = 0;
    for (unsigned i = 0; i < count && done < VIRTIO_RNG_REQUEST_MAXIMUM; i++) {
        size_t n = segments[i].iov_len;
        if (n > VIRTIO_RNG_REQUEST_MAXIMUM - done)
            n = VIRTIO_RNG_REQUEST_MAXIMUM - done;
        ssize_t got;
        do
            got = getrandom(segments[i].iov_base, n, 0);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            break; // the host has none: the driver asks again
        done += (size_t)got;
        if ((size_t)got < n)
            break; // what counts as written has no gaps
    }
    return (uint32_t)done;
}

static int serve(struct virtio_device *d, unsigned queue, const struct virtqueue_chain *chain)
{
    struct virtio_rng *rng = (struct virtio_rng *)d;
    uint32_t n = fill(chain->segments + chain->readable, chain->writable);
    rng->requests++;
    rng->bytes += n;
    return virtqueue_push(&d->queues[queue], chain->head, n);
}

static void kicked(struct virtio_device *d, unsigned queue)
{
    virtio_serve(d, queue, serve, "a request for entropy has an illegal chain");
}

static void statistics(struct virtio_device *d, struct buf *to)
{
    const struct virtio_rng *rng = (const struct virtio_rng *)d;
    virtio_say(d, to, "requests", rng->requests);
    virtio_say(d, to, "bytes", rng->bytes);
}

static const struct virtio_operations operations = {
    .name = "rng",
    .device_id = DEVICE_ID,
    .pci_class = 0x00ff00, // unclassified
    .queue_count = 1,
    .queue_size = QUEUE_SIZE,
    .kicked = kicked,
    .statistics = statistics,
};

int virtio_rng_new(const struct guest_memory *memory, struct virtio_device **ret, struct error *error)
{
    return virtio_new(sizeof(struct virtio_rng), &operations, memory, 0, ret, error);
}
