// The virtio disk as its driver sees it: a small driver in guest memory, the device's real threads, and a backend whose
// reads can be made to hang as those of a network do.
#include "base/cursor.h"
#include "base/vector.h"
#include "vmm/block_request.h"
#include "vmm/block_workers.h"
#include "vmm/virtio_block.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define QUEUE 256u
#define DESCRIPTORS 0x10000u
#define AVAILABLE 0x20000u
#define USED 0x30000u
#define REQUESTS 0x100000u // one page each: header, status, 512 bytes of data at 1024
#define STUCK_SECTOR 7u

static struct guest_memory memory;
static struct loop loop;
static struct loop_source *end_source;
static int end_pipe[2];
static pthread_t loop_thread;
static struct virtio_device *block;
static atomic_uint interrupts, config_interrupts, inside, resets;
static atomic_bool gate, slow, let_go, write_through;
static atomic_int closed;
static uint16_t published;

static int gated(uint64_t offset)
{
    atomic_fetch_add(&inside, 1);
    while (slow || (offset / BLOCK_SECTOR == STUCK_SECTOR && gate && !let_go))
        usleep(200);
    atomic_fetch_sub(&inside, 1);
    return let_go && offset / BLOCK_SECTOR == STUCK_SECTOR ? -EIO : 0;
}

static int backend_read(struct block_backend *b, uint64_t offset, const struct iovec *to, size_t n)
{
    (void)b;
    struct vector v = vector_over(to);
    int r = gated(offset);
    if (r == 0) {
        vector_zero(&v, n);
        memset(to->iov_base, (int)(offset / BLOCK_SECTOR), 1);
    }
    return r;
}

static int backend_write(struct block_backend *b, uint64_t offset, const struct iovec *from, size_t n)
{
    (void)b, (void)from, (void)n;
    return gated(offset);
}

// On a slow disk a flush takes long, and so does what is in progress beside it.
static int backend_flush(struct block_backend *b)
{
    (void)b;
    slow = false;
    return 0;
}

static int backend_drop(struct block_backend *b, uint64_t offset, uint64_t n)
{
    (void)b, (void)offset, (void)n;
    return 0;
}

static void backend_set_write_through(struct block_backend *b, bool on)
{
    (void)b;
    write_through = on;
}

static void backend_let_go(struct block_backend *b)
{
    (void)b;
    let_go = true;
}

static int backend_look(struct block_backend *b)
{
    (void)b;
    return 1;
}

static int backend_close(struct block_backend *b, struct error *error)
{
    (void)b, (void)error;
    assert_int_equal(inside, 0);
    closed++;
    return 0;
}

static struct block_backend backend;

static void interrupt(struct virtio_transport *t, unsigned queue)
{
    (void)t;
    assert_int_equal(queue, 0);
    interrupts++;
}

static void config_interrupt(struct virtio_transport *t)
{
    (void)t;
    config_interrupts++;
}

static void ring(struct virtio_transport *t, unsigned queue)
{
    (void)t;
    virtio_kicked(block, queue);
}

static void transport_reset(struct virtio_transport *t)
{
    (void)t;
    resets++;
}

static const struct virtio_transport_operations transport = {
    .interrupt = interrupt, .config_interrupt = config_interrupt, .ring = ring, .reset = transport_reset};

static void end_loop(void *context, uint32_t events)
{
    (void)context, (void)events;
    loop_end(&loop);
}

static void *run_loop(void *context)
{
    (void)context;
    return (void *)(intptr_t)loop_run(&loop);
}

static uint8_t write_status(uint8_t status)
{
    struct virtio_device *d = block;
    pthread_mutex_lock(&d->lock);
    virtio_write_status(d, status);
    uint8_t now = d->status;
    pthread_mutex_unlock(&d->lock);
    return now;
}

static void negotiate(uint64_t refused)
{
    struct virtio_device *d = block;
    published = 0;
    memset(guest_memory_slice(&memory, AVAILABLE, 4096), 0, 4096);
    memset(guest_memory_slice(&memory, USED, 4096), 0, 4096);
    write_status(1);
    write_status(3);
    pthread_mutex_lock(&d->lock);
    uint64_t features = d->offered & ~VIRTIO_F_EVENT_INDEX & ~refused;
    virtio_write_features(d, 0, (uint32_t)features);
    virtio_write_features(d, 1, (uint32_t)(features >> 32));
    d->settings[0] = (struct virtio_queue_settings){
        .size = QUEUE, .enabled = true, .descriptors = DESCRIPTORS, .available = AVAILABLE, .used = USED};
    pthread_mutex_unlock(&d->lock);
    assert_int_equal(write_status(11), 11);
    assert_int_equal(write_status(15), 15);
}

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(guest_memory_make(16u << 20, &memory, NULL), 0);
    assert_int_equal(loop_init(&loop, NULL), 0);
    assert_int_equal(pipe(end_pipe), 0);
    assert_int_equal(loop_add(&loop, end_pipe[0], 1 /* EPOLLIN */, end_loop, NULL, &end_source), 0);
    backend = (struct block_backend){.read = backend_read,
                                     .write = backend_write,
                                     .flush = backend_flush,
                                     .discard = backend_drop,
                                     .write_zeroes = backend_drop,
                                     .set_write_through = backend_set_write_through,
                                     .let_go = backend_let_go,
                                     .look = backend_look,
                                     .close = backend_close,
                                     .size = 1u << 20};
    gate = slow = let_go = write_through = false;
    interrupts = config_interrupts = inside = resets = 0;
    closed = 0;
    struct virtio_block_settings settings = {.backend = &backend, .serial = "test", .loop = &loop};
    assert_int_equal(virtio_block_new(&settings, &memory, &block, NULL), 0);
    block->transport_operations = &transport;
    assert_int_equal(pthread_create(&loop_thread, NULL, run_loop, NULL), 0);
    negotiate(0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    void *result;
    struct error error = {.text = ""};
    assert_int_equal(write(end_pipe[1], "x", 1), 1);
    pthread_join(loop_thread, &result); // the loop's thread is the one that ends the disk
    assert_null(result);
    assert_int_equal(block->operations->end(block, &error), 0);
    virtio_free(block);
    assert_int_equal(closed, 1);
    loop_destroy(&loop);
    close(end_pipe[0]);
    close(end_pipe[1]);
    guest_memory_free(&memory);
    return 0;
}

static unsigned char *request_page(unsigned i)
{
    return guest_memory_slice(&memory, REQUESTS + i * 4096ull, 4096);
}

static void put_descriptor(unsigned i, uint64_t address, uint32_t n, uint16_t flags, uint16_t next)
{
    unsigned char *d = guest_memory_slice(&memory, DESCRIPTORS + 16ull * i, 16);
    put_le64(d, address);
    put_le32(d + 8, n);
    put_le16(d + 12, flags);
    put_le16(d + 14, next);
}

// Request number i (its descriptors are 3 i …) reads a sector.
static void publish(unsigned i, uint32_t type, uint64_t sector)
{
    unsigned char *page = request_page(i);
    memset(page, 0xee, 4096);
    memset(page, 0, 16);
    put_le32(page, type);
    put_le64(page + 8, sector);
    uint64_t at = REQUESTS + i * 4096ull;
    put_descriptor(3 * i, at, 16, 1, (uint16_t)(3 * i + 1));
    put_descriptor(3 * i + 1, at + 1024, 512, 1 | (type == 0 ? 2 : 0), (uint16_t)(3 * i + 2));
    put_descriptor(3 * i + 2, at + 16, 1, 2, 0);
    unsigned char *available = guest_memory_slice(&memory, AVAILABLE, 4096);
    put_le16(available + 4 + 2u * (published % QUEUE), (uint16_t)(3 * i));
    published++;
    __atomic_store_n((uint16_t *)(void *)(available + 2), published, __ATOMIC_RELEASE);
}

static void kick(void)
{
    struct virtio_device *d = block;
    pthread_mutex_lock(&d->lock);
    virtio_kicked(d, 0);
    pthread_mutex_unlock(&d->lock);
}

static uint16_t used_index(void)
{
    return __atomic_load_n((uint16_t *)guest_memory_slice(&memory, USED + 2, 2), __ATOMIC_ACQUIRE);
}

static void wait_for_used(uint16_t n)
{
    for (int i = 0; used_index() != n; i++) {
        if (i > 20000)
            fail_msg("%u requests were answered instead of %u", used_index(), n);
        usleep(500);
    }
}

static void requests_are_answered_and_the_driver_interrupted(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 80; i++)
        publish(i, 0, i + 20);
    kick();
    wait_for_used(80);
    for (unsigned i = 0; i < 80; i++) {
        assert_int_equal(request_page(i)[16], 0);
        assert_int_equal(request_page(i)[1024], i + 20);
        assert_int_equal(request_page(i)[1025], 0);
    }
    assert_true(interrupts > 0);
}

// With one kick for all of them: the stuck one must not keep the others, nor those that come later.
static void a_stuck_read_holds_up_nothing_else(void **state)
{
    (void)state;
    gate = true;
    publish(0, 0, STUCK_SECTOR);
    for (unsigned i = 1; i < 40; i++)
        publish(i, 0, 100 + i);
    kick();
    wait_for_used(39);
    publish(40, 0, 300);
    publish(41, 4, 0);
    kick();
    wait_for_used(41);
    assert_int_equal(request_page(0)[16], 0xee);
    gate = false;
    wait_for_used(42);
    assert_int_equal(request_page(0)[16], 0);
    assert_int_equal(request_page(0)[1024], STUCK_SECTOR);
}

static void sixty_four_requests_may_be_in_flight(void **state)
{
    (void)state;
    gate = true;
    for (unsigned i = 0; i < 70; i++)
        publish(i, i % 2, STUCK_SECTOR);
    kick();
    for (int i = 0; inside < BLOCK_WORKERS_MAXIMUM; i++) {
        assert_true(i < 20000);
        usleep(500);
    }
    assert_int_equal(used_index(), 0);
    gate = false;
    wait_for_used(70);
}

static void a_reset_waits_for_what_is_in_flight_and_answers_it_no_more(void **state)
{
    (void)state;
    gate = true;
    publish(0, 0, STUCK_SECTOR);
    kick();
    while (inside == 0)
        usleep(200);
    assert_int_not_equal(write_status(0), 0);
    assert_int_equal(resets, 0);
    gate = false;
    for (int i = 0; write_status(0) != 0; i++) {
        assert_true(i < 20000);
        usleep(500);
    }
    assert_int_equal(used_index(), 0);
    assert_true(resets >= 1);
    negotiate(0);
    publish(1, 0, 50);
    kick();
    wait_for_used(1);
    assert_int_equal(request_page(1)[1024], 50);
}

static void an_illegal_request_breaks_the_device_until_a_reset(void **state)
{
    (void)state;
    put_descriptor(0, REQUESTS, 16, 0, 0); // no status
    publish(1, 0, 5);
    put_descriptor(3, REQUESTS, 16, 0, 0);
    kick();
    for (int i = 0; config_interrupts == 0; i++) {
        assert_true(i < 20000);
        usleep(500);
    }
    assert_int_equal(used_index(), 0);
    assert_int_equal(write_status(15) & 64, 64);
    assert_int_equal(write_status(0), 0);
    negotiate(0);
    publish(2, 0, 60);
    kick();
    wait_for_used(1);
    assert_int_equal(request_page(2)[1024], 60);
}

static void a_driver_without_flush_gets_write_through(void **state)
{
    (void)state;
    assert_false(write_through);
    write_status(0);
    negotiate(UINT64_C(1) << 9);
    assert_true(write_through);
}

static void the_end_lets_held_requests_go(void **state)
{
    (void)state;
    gate = true;
    publish(0, 0, STUCK_SECTOR);
    kick();
    while (inside == 0)
        usleep(200);
    // tear_down ends the disk: it would wait for ever.
}

static void the_end_waits_for_a_slow_disk(void **state)
{
    (void)state;
    slow = true;
    publish(0, 0, 1);
    kick();
    while (inside == 0)
        usleep(200);
    // tear_down ends the disk: it would say that it does not answer.
}

static void the_configuration_tells_the_size_and_the_limits(void **state)
{
    (void)state;
    struct virtio_device *d = block;
    unsigned char config[60];
    d->operations->read_config(d, 0, config, sizeof config);
    assert_int_equal(get_le64(config), (1u << 20) / BLOCK_SECTOR);
    assert_int_equal(get_le32(config + 12), 128);
    assert_int_equal(get_le32(config + 20), 512);
    assert_int_equal(config[24], 3);
    assert_int_equal(config[56], 1);
    unsigned char two[2];
    d->operations->read_config(d, 34, two, 2);
    assert_int_equal(get_le16(two), 1);
}

#define WITH_DISK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DISK(requests_are_answered_and_the_driver_interrupted),
        WITH_DISK(a_stuck_read_holds_up_nothing_else),
        WITH_DISK(sixty_four_requests_may_be_in_flight),
        WITH_DISK(a_reset_waits_for_what_is_in_flight_and_answers_it_no_more),
        WITH_DISK(an_illegal_request_breaks_the_device_until_a_reset),
        WITH_DISK(a_driver_without_flush_gets_write_through),
        WITH_DISK(the_end_lets_held_requests_go),
        WITH_DISK(the_end_waits_for_a_slow_disk),
        WITH_DISK(the_configuration_tells_the_size_and_the_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
