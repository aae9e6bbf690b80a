// The virtio console: see virtio_console.h.
//
//   stream ── input ──▶ input[] ── deliver, as the driver has buffers ──▶ queue 0
//   queue 1 ── transmit ──▶ stream (which keeps what the host does not take yet, or loses the oldest)
//
// Everything happens in the loop's thread, but under the device's lock, since a processor may reset the device. The
// stream's lock is taken inside the device's; the stream calls us without its own.
#include "vmm/virtio_console.h"

#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define DEVICE_ID 3u
#define QUEUE_SIZE 64u
#define CONFIG_SIZE 12u // columns 2, rows 2, ports 4, emergency write 4: meaningless without their features

enum { RECEIVE, TRANSMIT, QUEUES };

struct virtio_console {
    struct virtio_device device; // first: operations get it
    struct stream *stream;
    unsigned char input[VIRTIO_CONSOLE_INPUT_MAXIMUM];
    size_t waiting; // bytes in input
    uint64_t read_bytes, written_bytes;
};

static struct virtio_console *of(struct virtio_device *d)
{
    return (struct virtio_console *)d;
}

// --- input ---------------------------------------------------------------------------------------------------------

// One turn uses as many buffers as the queue has places: they may all be empty, and come back at once.
static void deliver(struct virtio_console *c)
{
    struct virtio_device *d = &c->device;
    struct virtqueue *q = &d->queues[RECEIVE];
    struct virtqueue_chain chain;
    size_t before = c->waiting;
    unsigned turn = 0;
    int r = 0;

    if (!virtio_running(d))
        return;
    while (c->waiting > 0 && turn++ < q->size && (r = virtqueue_pop(q, &chain)) == 1) {
        size_t n = virtqueue_scatter(&chain, 0, c->input, c->waiting);
        virtqueue_push(q, chain.head, (uint32_t)n);
        c->waiting -= n;
        memmove(c->input, c->input + n, c->waiting);
        c->read_bytes += n;
    }
    virtio_interrupt(d, RECEIVE);
    if (r < 0)
        virtio_break(d, "a buffer for input has an illegal chain");
    else if (r == 1 && c->waiting > 0)
        virtio_ring(d, RECEIVE);
    if (c->waiting < before)
        stream_more_room(c->stream);
}

static size_t room(void *context)
{
    struct virtio_console *c = context;
    pthread_mutex_lock(&c->device.lock);
    size_t n = sizeof c->input - c->waiting;
    pthread_mutex_unlock(&c->device.lock);
    return n;
}

static void input(void *context, const unsigned char *bytes, size_t n)
{
    struct virtio_console *c = context;
    pthread_mutex_lock(&c->device.lock);
    memcpy(c->input + c->waiting, bytes, n); // n is what room said, and only this thread adds
    c->waiting += n;
    deliver(c);
    pthread_mutex_unlock(&c->device.lock);
}

// --- output --------------------------------------------------------------------------------------------------------

static int transmit(struct virtio_device *d, unsigned queue, const struct virtqueue_chain *chain)
{
    struct virtio_console *c = of(d);
    const struct stream_listener listener = {room, input, c};
    if (chain->readable_bytes > VIRTIO_CONSOLE_WRITE_MAXIMUM)
        return -EPROTO; // one request shall not hold up the loop
    for (unsigned i = 0; i < chain->readable; i++)
        stream_write(c->stream, chain->segments[i].iov_base, chain->segments[i].iov_len);
    c->written_bytes += chain->readable_bytes;
    stream_listen(c->stream, &listener);
    return virtqueue_push(&d->queues[queue], chain->head, 0);
}

// --- the device ----------------------------------------------------------------------------------------------------

static void kicked(struct virtio_device *d, unsigned queue)
{
    if (queue == RECEIVE)
        deliver(of(d));
    else
        virtio_serve(d, TRANSMIT, transmit, "a write has an illegal chain, or is too long");
}

// What was typed for the driver that is gone is not for the next one.
static bool reset(struct virtio_device *d)
{
    of(d)->waiting = 0;
    stream_more_room(of(d)->stream);
    return true;
}

static void statistics(struct virtio_device *d, struct buf *to)
{
    virtio_say(d, to, "read_bytes", of(d)->read_bytes);
    virtio_say(d, to, "written_bytes", of(d)->written_bytes);
}

static const struct virtio_operations operations = {
    .name = "console",
    .device_id = DEVICE_ID,
    .pci_class = 0x078000, // communication, other
    .queue_count = QUEUES,
    .queue_size = QUEUE_SIZE,
    .config_size = CONFIG_SIZE,
    .kicked = kicked,
    .reset = reset,
    .statistics = statistics,
};

int virtio_console_new(const struct guest_memory *memory, struct stream *stream, struct virtio_device **ret,
                       struct error *error)
{
    int r = virtio_new(sizeof(struct virtio_console), &operations, memory, 0, ret, error);
    if (r == 0)
        of(*ret)->stream = stream;
    return r;
}
