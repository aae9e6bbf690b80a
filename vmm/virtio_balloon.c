// The virtio memory balloon: see virtio_balloon.h. All of it happens in the loop's thread.
//
// What is told of memory is advice: a page that is no RAM, or not whole, is left out, and so is what a single request
// names beyond PAGES_MAXIMUM. Nothing is in flight but the buffer for statistics, which the driver leaves with us until
// we want new ones; a reset forgets it.
#include "vmm/virtio_balloon.h"

#include "base/cursor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define DEVICE_ID 5u
#define QUEUE_SIZE 64u // Linux reports 32 ranges at a time, and wants places for as many
#define PAGE_SHIFT 12u // of the device, whatever the guest's pages are (5.5.6)
#define PAGE_NUMBER_SIZE 4u
#define PAGES_MAXIMUM 256u // of one request that are looked at: each may take a call; Linux sends as many
#define CONFIG_SIZE 8u
#define CONFIG_ACTUAL 4u

enum { INFLATE, DEFLATE, STATISTICS, HINTS, REPORTING, QUEUES };

// 5.5.3
#define F_STATISTICS (UINT64_C(1) << 1)
#define F_DEFLATE_ON_OOM (UINT64_C(1) << 2)
#define F_REPORTING (UINT64_C(1) << 5)

// 5.5.6.3: a list of { tag 2, value 8 }
#define STATISTIC_SIZE 10u
#define STATISTICS_MAXIMUM 32u
enum { STATISTIC_FREE = 4, STATISTIC_TOTAL = 5, STATISTIC_AVAILABLE = 6, STATISTIC_TAGS };

struct virtio_balloon {
    struct virtio_device device;    // first: operations get it
    unsigned char config[8];        // pages wanted 4, pages actually put aside 4
    uint64_t released, reported;    // bytes given back, in all
    uint64_t guest[STATISTIC_TAGS]; // what the guest said last
    bool holds_buffer;              // for statistics
    uint16_t buffer;
};

static struct virtio_balloon *of(struct virtio_device *d)
{
    return (struct virtio_balloon *)d;
}

// --- giving memory back --------------------------------------------------------------------------------------------

static uint64_t release(const struct virtio_balloon *b, uint64_t address, uint64_t length)
{
    return length > 0 && guest_memory_release(b->device.memory, address, length) == 0 ? length : 0;
}

// Page numbers come singly, but mostly in order, upwards or downwards: runs of them are released together.
static void inflate(struct virtio_balloon *b, const struct virtqueue_chain *chain)
{
    unsigned char numbers[PAGES_MAXIMUM * PAGE_NUMBER_SIZE];
    size_t n = virtqueue_gather(chain, 0, numbers, sizeof numbers);
    uint64_t first = 0, count = 0;

    for (size_t at = 0; at + PAGE_NUMBER_SIZE <= n; at += PAGE_NUMBER_SIZE) {
        uint64_t page = get_le32(numbers + at);
        if (count > 0 && (page == first + count || page + 1 == first)) {
            first = page < first ? page : first;
            count++;
            continue;
        }
        b->released += release(b, first << PAGE_SHIFT, count << PAGE_SHIFT);
        first = page;
        count = 1;
    }
    b->released += release(b, first << PAGE_SHIFT, count << PAGE_SHIFT);
}

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
static void report(struct virtio_balloon *b, const struct virtqueue_chain *chain)
{
    const struct iovec *segments = chain->segments + chain->readable;
    for (unsigned i = 0; i < chain->writable; i++)
        b->reported += release(b, address_of(b->device.memory, segments[i].iov_base), segments[i].iov_len);
}

// --- statistics ----------------------------------------------------------------------------------------------------

static void note_statistics(struct virtio_balloon *b, const struct virtqueue_chain *chain)
{
    unsigned char list[STATISTICS_MAXIMUM * STATISTIC_SIZE];
    struct cursor c = cursor_over(list, virtqueue_gather(chain, 0, list, sizeof list));
    while (c.left >= STATISTIC_SIZE) {
        uint16_t tag = cursor_u16(&c);
        uint64_t value = cursor_u64(&c);
        if (tag < STATISTIC_TAGS)
            b->guest[tag] = value;
    }
}

// Asks for new ones: they come some time later.
static void give_buffer_back(struct virtio_balloon *b)
{
    if (!b->holds_buffer || !virtio_running(&b->device))
        return;
    b->holds_buffer = false;
    virtqueue_push(&b->device.queues[STATISTICS], b->buffer, 0);
    virtio_interrupt(&b->device, STATISTICS);
}

static void statistics(struct virtio_device *d, struct buf *to)
{
    struct virtio_balloon *b = of(d);
    buf_append_format(to,
                      "balloon.wanted_bytes %llu\nballoon.actual_bytes %llu\nballoon.inflated_bytes %llu\n"
                      "balloon.reported_bytes %llu\n",
                      (unsigned long long)get_le32(b->config) << PAGE_SHIFT,
                      (unsigned long long)get_le32(b->config + CONFIG_ACTUAL) << PAGE_SHIFT,
                      (unsigned long long)b->released, (unsigned long long)b->reported);
    if (b->guest[STATISTIC_TOTAL] > 0)
        buf_append_format(to, "guest.memory_bytes %llu\nguest.free_bytes %llu\nguest.available_bytes %llu\n",
                          (unsigned long long)b->guest[STATISTIC_TOTAL], (unsigned long long)b->guest[STATISTIC_FREE],
                          (unsigned long long)b->guest[STATISTIC_AVAILABLE]);
    give_buffer_back(b);
}

// --- the device ----------------------------------------------------------------------------------------------------

static int serve(struct virtio_device *d, unsigned queue, const struct virtqueue_chain *chain)
{
    struct virtio_balloon *b = of(d);
    if (queue == STATISTICS && (d->features & F_STATISTICS)) {
        give_buffer_back(b); // a second one: the first has been read
        note_statistics(b, chain);
        b->holds_buffer = true;
        b->buffer = chain->head;
        return 0;
    }
    if (queue == INFLATE)
        inflate(b, chain);
    else if (queue != DEFLATE && (d->features & F_REPORTING))
        report(b, chain);
    return virtqueue_push(&d->queues[queue], chain->head, 0); // deflating needs no more than this
}

static void kicked(struct virtio_device *d, unsigned queue)
{
    virtio_serve(d, queue, serve, "a request has an illegal chain");
}

static bool reset(struct virtio_device *d)
{
    struct virtio_balloon *b = of(d);
    put_le32(b->config + CONFIG_ACTUAL, 0);
    memset(b->guest, 0, sizeof b->guest);
    b->holds_buffer = false;
    return true;
}

static void read_config(struct virtio_device *d, unsigned offset, void *to, unsigned n)
{
    memcpy(to, of(d)->config + offset, n);
}

// Only the second field is the driver's.
static void write_config(struct virtio_device *d, unsigned offset, const void *from, unsigned n)
{
    const unsigned char *bytes = from;
    for (unsigned i = 0; i < n; i++)
        if (offset + i >= CONFIG_ACTUAL)
            of(d)->config[offset + i] = bytes[i];
}

static const struct virtio_operations operations = {
    .name = "balloon",
    .device_id = DEVICE_ID,
    .pci_class = 0x00ff00, // unclassified
    .queue_count = QUEUES,
    .queue_size = QUEUE_SIZE,
    .features = F_STATISTICS | F_DEFLATE_ON_OOM | F_REPORTING,
    .config_size = CONFIG_SIZE,
    .read_config = read_config,
    .write_config = write_config,
    .kicked = kicked,
    .reset = reset,
    .statistics = statistics,
};

void virtio_balloon_set_target(struct virtio_balloon *b, uint64_t bytes)
{
    uint64_t pages = bytes >> PAGE_SHIFT;
    pthread_mutex_lock(&b->device.lock);
    put_le32(b->config, pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX);
    virtio_config_changed(&b->device);
    pthread_mutex_unlock(&b->device.lock);
}

int virtio_balloon_new(const struct guest_memory *memory, struct virtio_balloon **ret, struct error *error)
{
    struct virtio_balloon *b = calloc(1, sizeof *b);
    int r = b ? virtio_init(&b->device, &operations, memory, operations.features) : -ENOMEM;
    if (r < 0) {
        free(b);
        return error_set(error, -r, "cannot make the memory balloon: %s", strerror(-r));
    }
    *ret = b;
    return 0;
}

struct virtio_device *virtio_balloon_device(struct virtio_balloon *b)
{
    return &b->device;
}

void virtio_balloon_free(struct virtio_balloon *b)
{
    if (!b)
        return;
    virtio_destroy(&b->device);
    free(b);
}
