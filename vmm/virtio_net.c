// Frames between the guest's two queues and the link.
//
//   receive: link ─▶ peek ─▶ as many of the guest's buffers as the frame needs ─▶ push, interrupt
//            no buffers: the link is not read any more until the guest kicks (`starved`)
//   send:    kick ─▶ pop ─▶ link; the link is full: the request is put back until it is writable (`blocked`)
//
// 1. At most BATCH frames at a time in each direction: the loop has others to serve.
// 2. A dead link (passt has ended) is a cable that was pulled: the guest reads "link down", what it sends is dropped.
// 3. What the descriptor is watched for (watch) follows from the state; nothing else calls loop_change.
#include "vmm/virtio_net.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/log.h"
#include "base/vector.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/banned.h"

#define DEVICE_ID 1u
#define RECEIVE 0u
#define SEND 1u
#define QUEUE_SIZE 256u
#define BATCH 64u
#define BUFFERS_MAXIMUM 64u // for one frame: Linux's smallest are 1.5 KiB

#define F(name) (UINT64_C(1) << VIRTIO_NET_F_##name) // 5.1.3

struct virtio_net {
    struct virtio_device device; // first: operations get it
    struct net_link *link;
    unsigned char mac[6];
    struct loop *loop;
    struct loop_source *source;
    // Under the device's lock.
    bool starved, blocked, dead;
    bool more; // the link may hold frames that were read already: its descriptor would not tell of them
    uint32_t watched;
    uint64_t received, received_bytes, sent, sent_bytes, dropped;
};

static struct virtio_net *of(struct virtio_device *d)
{
    return (struct virtio_net *)d;
}

static void watch(struct virtio_net *n)
{
    bool running = virtio_running(&n->device) && !n->dead;
    uint32_t events =
        (running && !n->starved ? (uint32_t)EPOLLIN : 0) | (running && n->blocked ? (uint32_t)EPOLLOUT : 0);
    if (events == n->watched || n->dead)
        return;
    n->watched = events;
    if (loop_change(n->loop, n->source, events) < 0)
        log_warning("cannot watch the network's descriptor");
}

// In the loop's thread.
static void pull_cable(struct virtio_net *n, int why)
{
    if (n->dead)
        return;
    log_warning("the guest's network has ended: %s", strerror(-why));
    n->dead = true;
    n->blocked = false;
    virtio_ring(&n->device, SEND);             // what waited for the link is dropped
    loop_remove(n->loop, TAKE_PTR(n->source)); // a hang-up would be told again and again
    virtio_config_changed(&n->device);
}

// --- to the guest --------------------------------------------------------------------------------------------------

// As many buffers as `n` bytes need: their number, 0 if the guest has too few just now, -EPROTO if it broke the rules,
// or -EMSGSIZE if the frame can never fit.
static int take_buffers(struct virtio_net *card, size_t n, struct virtqueue_chain *ret)
{
    struct virtqueue *q = &card->device.queues[RECEIVE];
    unsigned most = card->device.features & F(MRG_RXBUF) ? BUFFERS_MAXIMUM : 1, count = 0;
    size_t room = 0;
    int r = 1;
    do {
        while (room < n && count < most && (r = virtqueue_pop(q, &ret[count])) > 0)
            room += ret[count++].writable_bytes;
    } while (r == 0 && virtqueue_listen(q)); // some came at this moment
    if (r > 0 && count > 0 && ret[0].writable_bytes < NET_HEADER_SIZE)
        return -EPROTO;
    if (r > 0 && room >= n)
        return (int)count;
    while (count > 0)
        virtqueue_unpop(q, &ret[--count]);
    return r > 0 ? -EMSGSIZE : r;
}

// The driver must not see the first buffer of a frame without the others: it would take the frame for a broken one.
static void fill_buffers(struct virtio_net *card, const struct virtqueue_chain *buffers, unsigned count,
                         const unsigned char *frame, size_t n)
{
    struct virtqueue *q = &card->device.queues[RECEIVE];
    unsigned char header[NET_HEADER_SIZE] = {0};
    put_le16(header + 10, (uint16_t)count); // 5.1.6.4: how many buffers the frame takes
    size_t done = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct virtqueue_chain *c = &buffers[i];
        size_t skip = 0;
        if (i == 0)
            skip = virtqueue_scatter(c, 0, header, sizeof header);
        size_t part = virtqueue_scatter(c, skip, frame + done, n - done);
        done += part;
        virtqueue_put(q, c->head, (uint32_t)(skip + part));
    }
    virtqueue_publish(q);
}

// False if there is nothing more to do now.
static bool receive_one(struct virtio_net *n)
{
    struct virtqueue_chain buffers[BUFFERS_MAXIMUM];
    const unsigned char *frame;
    size_t size;
    int r = net_link_peek(n->link, &frame, &size);
    if (r < 0)
        pull_cable(n, r);
    if (r <= 0)
        return false;
    r = take_buffers(n, NET_HEADER_SIZE + size, buffers);
    if (r == 0) {
        n->starved = true;
        return false;
    }
    if (r == -EPROTO) {
        virtio_break(&n->device, "a receive buffer is illegal");
        return false;
    }
    if (r > 0) {
        fill_buffers(n, buffers, (unsigned)r, frame, size);
        n->received++;
        n->received_bytes += size;
    } else {
        n->dropped++;
    }
    net_link_consume(n->link);
    return true;
}

static void receive(struct virtio_net *n)
{
    unsigned i = 0;
    while (i < BATCH && virtio_running(&n->device) && !n->dead && receive_one(n))
        i++;
    virtio_interrupt(&n->device, RECEIVE);
    n->more = i == BATCH;
    if (n->more)
        virtio_ring(&n->device, RECEIVE);
}

// --- from the guest ------------------------------------------------------------------------------------------------

static int send_frame(struct virtio_net *n, const struct virtqueue_chain *c)
{
    struct iovec pieces[VECTOR_MAXIMUM];
    size_t size = c->readable_bytes < NET_HEADER_SIZE ? 0 : c->readable_bytes - NET_HEADER_SIZE;
    if (n->dead || size < NET_FRAME_MINIMUM || size > NET_FRAME_MAXIMUM) {
        n->dropped++;
        return 0;
    }
    struct vector v = vector_over(c->segments);
    vector_skip(&v, NET_HEADER_SIZE);
    vector_take(&v, size, pieces);
    int r = net_link_send(n->link, pieces, size);
    if (r == 0) {
        n->sent++;
        n->sent_bytes += size;
    }
    return r;
}

// False if there is nothing more to do now.
static bool send_one(struct virtio_net *n)
{
    struct virtqueue *q = &n->device.queues[SEND];
    struct virtqueue_chain chain;
    int r;
    virtqueue_silence(q);
    while ((r = virtqueue_pop(q, &chain)) == 0 && virtqueue_listen(q))
        ;
    if (r < 0)
        virtio_break(&n->device, "a frame's descriptors are illegal");
    if (r <= 0)
        return false;
    r = send_frame(n, &chain);
    if (r == -EAGAIN) {
        virtqueue_unpop(q, &chain);
        n->blocked = true;
        return false;
    }
    if (r < 0)
        pull_cable(n, r);
    virtqueue_push(q, chain.head, 0);
    return true;
}

static void send_all(struct virtio_net *n)
{
    unsigned i = 0;
    while (i < BATCH && send_one(n)) // which says so if it broke the device
        i++;
    virtio_interrupt(&n->device, SEND);
    if (i == BATCH)
        virtio_ring(&n->device, SEND);
    if (!n->dead && net_link_is_behind(n->link))
        n->blocked = true; // nobody else would send the rest
}

// --- events --------------------------------------------------------------------------------------------------------

static void kicked(struct virtio_device *d, unsigned queue)
{
    struct virtio_net *n = of(d);
    if (queue == SEND && !n->blocked)
        send_all(n);
    if (queue == RECEIVE && (n->starved || n->more)) {
        n->starved = false;
        receive(n);
    }
    watch(n);
}

static void link_ready(void *context, uint32_t events)
{
    struct virtio_net *n = context;
    pthread_mutex_lock(&n->device.lock);
    if (virtio_running(&n->device)) { // a dead link's source is removed
        if (n->blocked && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
            n->blocked = false;
            int r = net_link_push(n->link);
            if (r == -EAGAIN)
                n->blocked = true;
            else if (r < 0)
                pull_cable(n, r);
            else
                send_all(n);
        }
        if (!n->starved && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
            receive(n);
    }
    // Without a driver, or without buffers, nobody reads to the end, and epoll would tell of it at every turn.
    if ((!virtio_running(&n->device) || n->starved) && (events & (EPOLLERR | EPOLLHUP)))
        pull_cable(n, -ECONNRESET);
    watch(n);
    pthread_mutex_unlock(&n->device.lock);
}

static void start(struct virtio_device *d)
{
    struct virtio_net *n = of(d);
    n->starved = n->more = false;
    n->blocked = !n->dead && net_link_is_behind(n->link); // with a frame of the driver before
    watch(n);
}

static bool reset(struct virtio_device *d)
{
    struct virtio_net *n = of(d);
    if (!n->dead && n->watched) {
        n->watched = 0;
        (void)loop_change(n->loop, n->source, 0);
    }
    return true;
}

// 5.1.4
static void read_config(struct virtio_device *d, unsigned offset, void *to, unsigned size)
{
    const struct virtio_net *n = of(d);
    struct virtio_net_config config = {.status = n->dead ? 0 : VIRTIO_NET_S_LINK_UP, .max_virtqueue_pairs = 1};
    memcpy(config.mac, n->mac, sizeof config.mac);
    memcpy(to, (const char *)&config + offset, size);
}

static void statistics(struct virtio_device *d, struct buf *to)
{
    const struct virtio_net *n = of(d);
    virtio_say(d, to, "received", n->received);
    virtio_say(d, to, "received_bytes", n->received_bytes);
    virtio_say(d, to, "sent", n->sent);
    virtio_say(d, to, "sent_bytes", n->sent_bytes);
    virtio_say(d, to, "dropped", n->dropped);
    buf_append_format(to, "%s.link %s\n", d->name, n->dead ? "down" : "up");
}

static void free_net(struct virtio_device *d)
{
    struct virtio_net *n = of(d);
    loop_remove(n->loop, n->source);
    net_link_free(n->link);
}

static const struct virtio_operations operations = {
    .name = "net",
    .device_id = DEVICE_ID,
    .pci_class = 0x020000, // network controller, Ethernet
    .queue_count = 2,
    .queue_size = QUEUE_SIZE,
    .features = F(MAC) | F(MRG_RXBUF) | F(STATUS),
    .config_size = offsetof(struct virtio_net_config, speed), // what there is of it
    .read_config = read_config,
    .start = start,
    .kicked = kicked,
    .reset = reset,
    .statistics = statistics,
    .free = free_net,
};

int virtio_net_new(const struct virtio_net_settings *settings, const struct guest_memory *memory,
                   struct virtio_device **ret, struct error *error)
{
    struct virtio_device *d;
    int r = virtio_new(sizeof(struct virtio_net), &operations, memory, operations.features, &d, error);
    if (r < 0) {
        net_link_free(settings->link);
        return r;
    }
    struct virtio_net *n = of(d);
    n->link = settings->link;
    n->loop = settings->loop;
    memcpy(n->mac, settings->mac, sizeof n->mac);
    r = loop_add(n->loop, net_link_fd(n->link), 0, link_ready, n, &n->source);
    if (r < 0) {
        virtio_free(d);
        return error_set(error, -r, "cannot watch the network's descriptor: %s", strerror(-r));
    }
    *ret = d;
    return 0;
}
