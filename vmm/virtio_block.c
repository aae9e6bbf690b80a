// The disk's queue and its workers.
//
//   kick ─▶ main loop ─▶ kicked: calls a worker, unless one is at work already
//   worker: pop ── has more? set the timer ──▶ perform (no lock) ──▶ push, interrupt, pop …  ── empty ──▶ idle
//   timer (PATIENCE_NS) ─▶ main loop: requests still wait. None was taken meanwhile: those at work are stuck, so it
//                          calls a worker for each; else it calls one more
//
// Waking a thread costs more than a read that the host has cached. So one worker does them all, one after the other,
// and only if it turns out to be held up do others join: all that are needed at once if it has got nowhere, one by one
// if it is merely slow. Until all are stuck, some request is taken within twice the timer, however long others take.
//
// 1. `lock` is the device's. It is never held while a request is performed.
// 2. Whoever takes the last waiting request turns the driver's kicks on again, before it performs it: it may take long.
// 3. A reset is over when nothing is in flight: until then the guest's buffers may still be written.
#include "vmm/virtio_block.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "vmm/block_counts.h"
#include "vmm/block_workers.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

#include "base/banned.h"

#define DEVICE_ID 2u
#define QUEUE_SIZE 256u
#define SEGMENTS 128u // of data: a chain has room for a header and a status beside
#define CONFIG_SIZE offsetof(struct virtio_blk_config, max_secure_erase_sectors) // what there is of it
#define PATIENCE_NS 200000L
#define END_SECONDS 5

#define F(name) (UINT64_C(1) << VIRTIO_BLK_F_##name) // 5.2.3

struct virtio_block {
    struct virtio_device device; // first: operations get it
    struct block_backend *backend;
    unsigned char serial[BLOCK_SERIAL_SIZE];
    struct loop *loop;
    struct loop_source *timer_source, *look_source;
    int timer, look_timer; // timerfds

    // The rest under the device's lock.
    struct block_workers workers;
    pthread_cond_t quiet; // nothing is in flight
    unsigned in_flight, most_in_flight;
    bool timer_set;
    uint64_t taken, taken_before; // requests: so far, when the timer was set
    struct block_counts counts;
};

static struct virtio_block *of(struct virtio_device *d)
{
    return (struct virtio_block *)d;
}

static struct virtqueue *queue_of(struct virtio_block *b)
{
    return &b->device.queues[0];
}

// --- workers -------------------------------------------------------------------------------------------------------

static void set_timer(struct virtio_block *b)
{
    if (b->timer_set || block_workers_all_busy(&b->workers))
        return;
    const struct itimerspec soon = {.it_value = {.tv_nsec = PATIENCE_NS}};
    b->taken_before = b->taken;
    b->timer_set = timerfd_settime(b->timer, 0, &soon, NULL) == 0; // cannot fail with this value
}

static bool take(struct virtio_block *b, struct virtqueue_chain *ret)
{
    struct virtqueue *q = queue_of(b);
    if (!virtio_running(&b->device))
        return false;
    virtqueue_silence(q);
    int r;
    while ((r = virtqueue_pop(q, ret)) == 0 && virtqueue_listen(q))
        ;
    if (r < 0)
        virtio_break(&b->device, "a request's descriptors are illegal");
    if (r <= 0)
        return false;
    b->taken++;
    if (virtqueue_waiting(q) > 0 || virtqueue_listen(q)) // rule 2
        set_timer(b);
    return true;
}

static void serve(struct virtio_block *b, const struct virtqueue_chain *chain)
{
    struct virtio_device *d = &b->device;
    struct block_outcome outcome;
    b->in_flight++;
    if (b->in_flight > b->most_in_flight)
        b->most_in_flight = b->in_flight;
    pthread_mutex_unlock(&d->lock);
    uint64_t began = io_monotonic_ns();
    int r = block_request_perform(b->backend, b->serial, chain, &outcome);
    uint64_t took = io_monotonic_ns() - began;
    pthread_mutex_lock(&d->lock);
    b->in_flight--;
    if (r < 0) {
        virtio_break(d, "a request has no header or no status");
    } else {
        block_counts_add(&b->counts, &outcome, took);
        if (virtio_running(d)) {
            virtqueue_push(queue_of(b), chain->head, outcome.written);
            virtio_interrupt(d, 0);
        }
    }
    if (b->in_flight == 0) {
        virtio_reset_done(d); // if one was asked for (rule 3)
        pthread_cond_broadcast(&b->quiet);
    }
}

static bool work(void *context)
{
    struct virtio_block *b = context;
    struct virtqueue_chain chain;
    if (!take(b, &chain))
        return false;
    block_workers_keep_one_ready(&b->workers);
    serve(b, &chain);
    return true;
}

// --- in the main loop ----------------------------------------------------------------------------------------------

static void kicked(struct virtio_device *d, unsigned queue)
{
    struct virtio_block *b = of(d);
    (void)queue;
    if (b->in_flight == 0)
        block_workers_call(&b->workers, 1);
    else
        set_timer(b);
}

static void timer_fired(void *context, uint32_t events)
{
    struct virtio_block *b = context;
    (void)events;
    pthread_mutex_lock(&b->device.lock);
    b->timer_set = false;
    if (virtio_running(&b->device)) {
        unsigned waiting = virtqueue_waiting(queue_of(b));
        block_workers_call(&b->workers, b->taken == b->taken_before ? waiting : waiting > 0);
    }
    pthread_mutex_unlock(&b->device.lock);
}

static void look(void *context, uint32_t events)
{
    struct virtio_block *b = context;
    (void)events;
    int ms = b->backend->look ? b->backend->look(b->backend) : -1;
    struct itimerspec when = {.it_value = {0, 0}}; // never
    if (ms >= 0)
        when.it_value = (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L + 1};
    if (timerfd_settime(b->look_timer, 0, &when, NULL) < 0)
        log_warning("cannot set the disk's timer: %s", strerror(errno));
}

// --- the device ----------------------------------------------------------------------------------------------------

// 5.2.4
static void read_config(struct virtio_device *d, unsigned offset, void *to, unsigned n)
{
    const struct virtio_blk_config config = {
        .capacity = of(d)->backend->size / BLOCK_SECTOR,
        .seg_max = SEGMENTS,
        .blk_size = BLOCK_SECTOR,
        .physical_block_exp = 3, // 2^3 logical blocks: 4096 bytes, as the overlay has them
        .min_io_size = 8,        // in logical blocks
        .opt_io_size = 256,      // a chunk, 128 KiB
        .num_queues = 1,
        .max_discard_sectors = BLOCK_RANGE_SECTORS_MAXIMUM,
        .max_discard_seg = BLOCK_RANGES_MAXIMUM,
        .discard_sector_alignment = 8,
        .max_write_zeroes_sectors = BLOCK_RANGE_SECTORS_MAXIMUM,
        .max_write_zeroes_seg = BLOCK_RANGES_MAXIMUM,
        .write_zeroes_may_unmap = 1,
    };
    memcpy(to, (const char *)&config + offset, n);
}

static void start(struct virtio_device *d)
{
    struct virtio_block *b = of(d);
    b->backend->set_write_through(b->backend, !(d->features & F(FLUSH)));
}

static bool reset(struct virtio_device *d)
{
    return of(d)->in_flight == 0;
}

static void statistics(struct virtio_device *d, struct buf *to)
{
    const struct virtio_block *b = of(d);
    virtio_say(d, to, "in_flight", b->in_flight);
    virtio_say(d, to, "most_in_flight", b->most_in_flight);
    block_counts_say(&b->counts, d, to);
}

bool virtio_block_hear(struct virtio_device *d, const char *text, int *fds, unsigned count, char *ret_answer)
{
    return of(d)->backend->hear(of(d)->backend, text, fds, count, ret_answer);
}

// --- making and ending ---------------------------------------------------------------------------------------------

// True when nothing is in flight.
static bool wait_for_quiet(struct virtio_block *b)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); // a jump of the clock makes the wait longer or shorter, no more
    until.tv_sec += END_SECONDS;
    pthread_mutex_lock(&b->device.lock);
    while (b->in_flight > 0 && pthread_cond_timedwait(&b->quiet, &b->device.lock, &until) != ETIMEDOUT)
        ;
    bool quiet = b->in_flight == 0;
    pthread_mutex_unlock(&b->device.lock);
    return quiet;
}

static int end(struct virtio_device *d, struct error *error)
{
    struct virtio_block *b = of(d);
    int r = 0;
    if (b->backend->let_go)
        b->backend->let_go(b->backend);
    block_workers_end(&b->workers);
    bool quiet = wait_for_quiet(b);
    if (!quiet) { // where the disk is only slow, what is in progress ends with this
        r = b->backend->flush(b->backend);
        quiet = wait_for_quiet(b);
    }
    if (!quiet)
        return error_set(error, ETIMEDOUT, "the disk does not answer a request%s",
                         r < 0 ? ", and what was written could not be flushed" : "");
    block_workers_join(&b->workers);
    struct block_backend *backend = TAKE_PTR(b->backend);
    return backend->close(backend, error);
}

static void free_block(struct virtio_device *d)
{
    struct virtio_block *b = of(d);
    if (b->backend)
        (void)end(d, NULL); // the machine was not made: nothing has been written
    loop_remove(b->loop, b->timer_source);
    loop_remove(b->loop, b->look_source);
    pthread_cond_destroy(&b->quiet);
}

static const struct virtio_operations operations = {
    .name = "block",
    .device_id = DEVICE_ID,
    .pci_class = 0x018000, // mass storage, other
    .queue_count = 1,
    .queue_size = QUEUE_SIZE,
    .features = F(SEG_MAX) | F(RO) | F(BLK_SIZE) | F(FLUSH) | F(TOPOLOGY) | F(DISCARD) | F(WRITE_ZEROES),
    .config_size = CONFIG_SIZE,
    .read_config = read_config,
    .start = start,
    .kicked = kicked,
    .reset = reset,
    .statistics = statistics,
    .end = end,
    .free = free_block,
};

int virtio_block_new(const struct virtio_block_settings *settings, const struct guest_memory *memory,
                     struct virtio_device **ret, struct error *error)
{
    struct block_backend *backend = settings->backend;
    struct virtio_device *d;
    uint64_t features = operations.features & ~F(RO);
    if (backend->read_only)
        features = F(SEG_MAX) | F(RO) | F(BLK_SIZE) | F(TOPOLOGY);
    int r = virtio_new(sizeof(struct virtio_block), &operations, memory, features, &d, error);
    if (r < 0) {
        backend->close(backend, NULL);
        return r;
    }
    struct virtio_block *b = of(d);
    b->backend = backend;
    b->loop = settings->loop;
    pthread_cond_init(&b->quiet, NULL); // cannot fail without attributes
    memcpy(b->serial, settings->serial, strnlen(settings->serial, sizeof b->serial));
    r = loop_add_timer(b->loop, timer_fired, b, &b->timer, &b->timer_source);
    if (r == 0)
        r = loop_add_timer(b->loop, look, b, &b->look_timer, &b->look_source);
    if (r == 0)
        r = block_workers_start(&b->workers, &d->lock, work, b, settings->sandbox);
    if (r < 0) {
        virtio_free(d);
        return error_set(error, -r, "cannot start the disk's thread and timers: %s", strerror(-r));
    }
    look(b, 0);
    *ret = d;
    return 0;
}
