// Fuzz target: a whole virtio device over PCI, driven in any order: registers, rings, doorbells, resets with requests
// in flight. The input: "device u8, then operations", see operate. The devices are the entropy source, the balloon, one
// that keeps its requests until it is told to finish them, the console, and the network card; the last two have a peer
// on a socket, which sends and reads, or does not.
//
// The rules of virtio.h hold after each operation.
#include "vmm_bench.h"

#include "vmm/virtio_balloon.h"
#include "vmm/virtio_console.h"
#include "vmm/virtio_net.h"
#include "vmm/virtio_rng.h"

#include "base/cleanup.h"

#include <signal.h>
#include <sys/socket.h>

#include "base/banned.h"

#define KEPT_MAXIMUM 64u
#define RING(i) (0x1000u + 0x1000u * (i))

// --- the device that keeps requests --------------------------------------------------------------------------------

struct keeper {
    struct virtio_device device;
    struct {
        unsigned queue;
        struct virtqueue_chain chain;
    } kept[KEPT_MAXIMUM];
    unsigned count;
};

static void keep(struct virtio_device *d, unsigned queue)
{
    struct keeper *k = (struct keeper *)d;
    int r = 0;
    require(virtio_running(d));
    while (k->count < KEPT_MAXIMUM && (r = virtqueue_pop(&d->queues[queue], &k->kept[k->count].chain)) == 1)
        k->kept[k->count++].queue = queue;
    if (r < 0)
        virtio_break(d, "an illegal ring");
}

static void finish(struct keeper *k, unsigned n)
{
    struct virtio_device *d = &k->device;
    pthread_mutex_lock(&d->lock);
    for (; n > 0 && k->count > 0; n--) {
        const struct virtqueue_chain *chain = &k->kept[--k->count].chain;
        unsigned queue = k->kept[k->count].queue;
        virtqueue_scatter(chain, 0, "done", 4);
        virtqueue_push(&d->queues[queue], chain->head, 4);
        virtio_interrupt(d, queue);
    }
    if (k->count == 0)
        virtio_reset_done(d);
    pthread_mutex_unlock(&d->lock);
}

static bool keeper_reset(struct virtio_device *d)
{
    return ((struct keeper *)d)->count == 0;
}

static void keeper_config(struct virtio_device *d, unsigned offset, void *to, unsigned n)
{
    (void)d;
    memset(to, (int)offset, n);
}

static const struct virtio_operations keeper_operations = {
    .name = "keeper",
    .device_id = 30,
    .pci_class = 0x00ff00,
    .queue_count = 2,
    .queue_size = 16,
    .config_size = 8,
    .read_config = keeper_config,
    .kicked = keep,
    .reset = keeper_reset,
};

// --- the devices with a peer -----------------------------------------------------------------------------------------

static int peer = -1;
static struct stream *stream;

static int make_peer(void)
{
    int pair[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    peer = pair[1];
    return pair[0];
}

static struct virtio_device *make_console(struct bench *b, int *ret_fd)
{
    struct virtio_device *d;
    *ret_fd = make_peer();
    require(stream_new(&b->loop, *ret_fd, *ret_fd, &stream, NULL) == 0);
    require(virtio_console_new(&b->memory, stream, &d, NULL) == 0);
    return d;
}

static struct virtio_device *make_net(struct bench *b)
{
    struct virtio_net_settings settings = {.mac = {2, 1, 2, 3, 4, 5}, .loop = &b->loop};
    struct virtio_device *d;
    require(net_link_new(NET_LINK_PASST, make_peer(), &settings.link, NULL) == 0);
    require(virtio_net_new(&settings, &b->memory, &d, NULL) == 0);
    return d;
}

// To the card a frame, with its length before it, which bit 7 makes a wrong one; to the console just bytes.
static void peer_sends(struct cursor *input)
{
    unsigned char bytes[4 + 2048] = {0};
    size_t kind = cursor_u8(input), n = 14 + (kind & 0x3f) * 32;
    put_le16(bytes + 2, (uint16_t)(n << 8 | n >> 8)); // big-endian
    bytes[0] = kind & 0x80 ? 1 : 0;
    cursor_copy(input, bytes + 4, input->left < 14 ? input->left : 14);
    (void)send(peer, bytes, 4 + n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void peer_reads(void)
{
    static unsigned char bytes[1u << 16];
    (void)recv(peer, bytes, sizeof bytes, MSG_DONTWAIT);
}

// --- the driver ----------------------------------------------------------------------------------------------------

static void put(struct bench *b, unsigned reg, unsigned width, uint64_t value)
{
    bus_write(&b->bus, b->root.slots[1]->bars[0].address + reg, width, value);
}

// As a good driver does it, with features and a queue size from the input.
static void bring_up(struct bench *b, struct cursor *input)
{
    unsigned features = cursor_u8(input), size = 1u << (cursor_u8(input) & 7);
    put(b, 0x14, 1, 3);
    put(b, 0x08, 4, 0);
    put(b, 0x0c, 4,
        (features & 1 ? 1u << 28 : 0) | (features & 2 ? 1u << 29 : 0) | (features & 0x26) |
            (features & 0x40 ? 1u << 15 : 0));
    put(b, 0x08, 4, 1);
    put(b, 0x0c, 4, 1);
    put(b, 0x14, 1, 11);
    for (unsigned i = 0; i < 5; i++) {
        put(b, 0x16, 2, i);
        put(b, 0x18, 2, size);
        put(b, 0x1a, 2, i);
        put(b, 0x20, 8, RING(i));
        put(b, 0x28, 8, RING(i) + 0x800);
        put(b, 0x30, 8, RING(i) + 0x980);
        put(b, 0x1c, 2, 1);
    }
    put(b, 0x14, 1, 15);
}

// Puts a chain of two into a ring, as bring_up laid it out.
static void offer(struct bench *b, struct cursor *input)
{
    unsigned queue = cursor_u8(input) % 5, head = cursor_u8(input) % 16;
    unsigned char descriptors[32], *available = b->memory.regions[0].bytes + RING(queue) + 0x800;
    cursor_copy(input, descriptors, 12);
    put_le16(descriptors + 12, 1);
    put_le16(descriptors + 14, (uint16_t)(head + 1));
    cursor_copy(input, descriptors + 16, 14);
    put_le16(descriptors + 30, (uint16_t)head);
    guest_memory_write(&b->memory, RING(queue) + 16 * head, descriptors, sizeof descriptors);
    uint16_t index = get_le16(available + 2);
    put_le16(available + 4 + 2 * (index % 16), (uint16_t)head);
    put_le16(available + 2, (uint16_t)(index + 1));
}

static void operate(struct bench *b, struct keeper *k, struct cursor *input)
{
    struct virtio_device *d = k ? &k->device : NULL;
    unsigned kind = cursor_u8(input), width = 1u << (kind >> 4 & 3);
    unsigned char bytes[32];
    uint64_t at;
    size_t n;
    switch (kind & 15) {
    case 0:
    case 1:
        at = cursor_u8(input);
        put(b, (unsigned)at & 0x3f, width, cursor_u32(input));
        break;
    case 2:
        bus_read(&b->bus, b->root.slots[1]->bars[0].address + (cursor_u16(input) & 0x1fff), width);
        break;
    case 3:
        put(b, cursor_u16(input) & 0x1fff, width, cursor_u32(input));
        break;
    case 4: // MSI-X table
        at = cursor_u8(input);
        bus_write(&b->bus, b->root.slots[1]->bars[1].address + at, width, cursor_u32(input));
        break;
    case 5: // configuration: MSI-X control, the window, BARs, decoding
        at = cursor_u8(input);
        bus_write(&b->bus, bench_config(1, (unsigned)at), width, cursor_u32(input));
        break;
    case 6:
        at = cursor_u16(input);
        n = cursor_u8(input) % sizeof bytes;
        cursor_copy(input, bytes, n);
        guest_memory_write(&b->memory, at, bytes, n);
        break;
    case 7:
        bring_up(b, input);
        break;
    case 8:
        offer(b, input);
        break;
    case 9:
        put(b, 0x1000 + 4u * (cursor_u8(input) % 6), 2, 0);
        break;
    case 10:
        put(b, 0x14, 1, 0);
        break;
    case 11:
        if (d)
            finish(k, cursor_u8(input) & 3);
        break;
    case 12:
        if (peer >= 0)
            peer_sends(input);
        break;
    case 13:
        if (peer >= 0)
            peer_reads();
        break;
    default:
        bench_turn_loop(b);
    }
}

static void check(struct virtio_device *d, const struct keeper *k)
{
    bool ok = d->status & VIRTIO_STATUS_FEATURES_OK;
    require(!ok || ((d->features & ~d->offered) == 0 && (d->features & VIRTIO_F_VERSION_1)));
    require(ok || !(d->status & VIRTIO_STATUS_DRIVER_OK));
    require(!d->resetting || (k && k->count > 0 && d->status != 0));
    for (unsigned i = 0; i < d->operations->queue_count; i++) {
        const struct virtqueue *q = &d->queues[i];
        require(q->in_flight_count <= q->size);
        require((d->status & VIRTIO_STATUS_DRIVER_OK) || q->size == 0);
        require(!(d->status & VIRTIO_STATUS_NEEDS_RESET) || q->broken);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    setenv("RONDO_LOG", "error", 1); // cables that are pulled
    require(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct cursor input = cursor_over(data, size);
    unsigned which = cursor_u8(&input) % 5;
    int console = -1;
    struct bench b;
    struct keeper *keeper = NULL;
    struct virtio_device *d;

    bench_init(&b);
    if (which == 0) {
        require(virtio_rng_new(&b.memory, &d, NULL) == 0);
    } else if (which == 1) {
        require(virtio_balloon_new(&b.memory, &d, NULL) == 0);
    } else if (which == 3) {
        d = make_console(&b, &console);
    } else if (which == 4) {
        d = make_net(&b);
    } else {
        require(virtio_new(sizeof *keeper, &keeper_operations, &b.memory, 0, &d, NULL) == 0);
        keeper = (struct keeper *)d;
    }
    require(virtio_pci_new(d, &b.root, &b.irq, &b.loop, NULL) == 0);
    bus_write(&b.bus, bench_config(1, PCI_COMMAND), 2, PCI_COMMAND_MEMORY);
    while (input.left > 0 && !input.failed) {
        operate(&b, keeper, &input);
        check(d, keeper);
    }
    // Whatever happened: it can be reset, and then works.
    bus_write(&b.bus, bench_config(1, 0x14), 4, 0xd1000000u); // the input may have put it where the first goes now
    bus_write(&b.bus, bench_config(1, 0x10), 4, 0xd0000000u);
    bus_write(&b.bus, bench_config(1, PCI_COMMAND), 2, PCI_COMMAND_MEMORY);
    put(&b, 0x14, 1, 0);
    if (keeper)
        finish(keeper, KEPT_MAXIMUM);
    require(d->status == 0); // NOLINT(clang-analyzer-core.NullDereference): there is no d without memory, nor a run
    memset(b.memory.regions[0].bytes, 0, BENCH_LOW_SIZE);
    bring_up(&b, &(struct cursor){.at = (const unsigned char *)"\0\4", .left = 2});
    require(d->status == 15);
    bench_turn_loop(&b);
    require(virtio_running(d));

    if (peer >= 0)
        close(TAKE_FD(peer)); // what is still to be written to it is lost at once
    virtio_pci_free(d);
    virtio_free(d);
    if (console >= 0) {
        stream_free(stream);
        close(console);
    }
    bench_destroy(&b);
    return 0;
}
