// Virtio over PCI, as a driver sees it: everything here goes through the buses, from finding the capabilities to the
// reset of a device that broke (virtio.h, rules 1–4; TRUST T22, T24).
#include "irq_fixture.h"
#include "turn_loop.h"
#include "virtio_fixture.h"
#include "vmm/virtio_pci.h"

#include <pthread.h>
#include <sched.h>

#define QUEUES 2u
#define CONFIG_SIZE 12u
#define FEATURE_A (UINT64_C(1) << 3)
#define FEATURE_B (UINT64_C(1) << 50)
#define RING_RESET (UINT64_C(1) << 40)
#define DATA 0x20000u
#define COMMAND 4u
#define BAR0 0x10u
#define BAR1 0x14u
#define ENABLE 0x8000u

// Registers of the common configuration (virtio 1.2, 4.1.4.3).
#define DEVICE_SELECT 0x00u
#define DEVICE_FEATURE 0x04u
#define DRIVER_SELECT 0x08u
#define DRIVER_FEATURE 0x0cu
#define CONFIG_VECTOR 0x10u
#define QUEUE_COUNT 0x12u
#define STATUS 0x14u
#define GENERATION 0x15u
#define QUEUE_SELECT 0x16u
#define QUEUE_SIZE 0x18u
#define QUEUE_VECTOR 0x1au
#define QUEUE_ENABLE 0x1cu
#define QUEUE_OFFSET 0x1eu
#define QUEUE_ADDRESSES 0x20u

#define S_ACKNOWLEDGE 1u
#define S_DRIVER 2u
#define S_DRIVER_OK 4u
#define S_FEATURES_OK 8u
#define S_NEEDS_RESET 64u

static struct guest_memory memory;
static struct bus ports, bus;
static struct pci_root root;
static struct loop loop;
static struct counted_irq irq;
static struct virtio_device *device;
static struct driver_ring rings[QUEUES];

// --- the device: it answers each request by its own first byte plus 1, or keeps requests in flight ---

static unsigned char config[CONFIG_SIZE];
static unsigned starts, kicks[QUEUES], resets;
static bool keeps; // requests stay in flight until finish_requests
static struct virtqueue_chain kept[4];
static unsigned kept_count;

static void read_config(struct virtio_device *d, unsigned offset, void *to, unsigned n)
{
    (void)d;
    assert_true(offset + n <= CONFIG_SIZE);
    memcpy(to, config + offset, n);
}

static void start(struct virtio_device *d)
{
    assert_true(virtio_running(d));
    starts++;
}

static void answer(struct virtio_device *d, unsigned queue, const struct virtqueue_chain *chain)
{
    unsigned char byte;
    virtqueue_gather(chain, 0, &byte, 1);
    byte++;
    size_t n = virtqueue_scatter(chain, 0, &byte, 1);
    virtqueue_push(&d->queues[queue], chain->head, (uint32_t)n);
}

static void kicked(struct virtio_device *d, unsigned queue)
{
    struct virtqueue_chain chain;
    int r;
    assert_int_equal(pthread_mutex_trylock(&d->lock), EBUSY);
    kicks[queue]++;
    while ((r = virtqueue_pop(&d->queues[queue], &chain)) == 1) {
        if (keeps)
            kept[kept_count++] = chain;
        else
            answer(d, queue, &chain);
    }
    if (r < 0)
        virtio_break(d, "an illegal ring");
    virtio_interrupt(d, queue);
}

static bool reset(struct virtio_device *d)
{
    assert_false(virtio_running(d));
    resets++;
    return kept_count == 0;
}

static void finish_requests(void)
{
    pthread_mutex_lock(&device->lock);
    while (kept_count > 0)
        answer(device, 0, &kept[--kept_count]);
    virtio_interrupt(device, 0);
    virtio_reset_done(device);
    pthread_mutex_unlock(&device->lock);
}

static const struct virtio_operations operations = {
    .name = "test",
    .device_id = 30,
    .pci_class = 0x00ff00,
    .queue_count = QUEUES,
    .queue_size = 64,
    .features = FEATURE_A | FEATURE_B,
    .config_size = CONFIG_SIZE,
    .read_config = read_config,
    .start = start,
    .kicked = kicked,
    .reset = reset,
};

// --- the driver ---

static uint64_t pci(unsigned offset)
{
    return LAYOUT_ECAM + (1u << 15) + offset;
}

static uint64_t bar(unsigned i)
{
    return bus_read(&bus, pci(BAR0 + 4 * i), 4) & ~0xfu;
}

static uint64_t get(unsigned reg, unsigned width)
{
    return bus_read(&bus, bar(0) + reg, width);
}

static void put(unsigned reg, unsigned width, uint64_t value)
{
    bus_write(&bus, bar(0) + reg, width, value);
}

static uint64_t doorbell(unsigned queue)
{
    return bar(0) + 0x1000 + 4 * queue;
}

static void ring_bell(unsigned queue)
{
    if (!counted_ring(&irq, doorbell(queue)))
        bus_write(&bus, doorbell(queue), 2, queue); // it exits
    turn_loop(&loop, 3);                            // a round may ring again
}

static void accept_features(uint64_t features)
{
    put(STATUS, 1, S_ACKNOWLEDGE);
    put(STATUS, 1, S_ACKNOWLEDGE | S_DRIVER);
    for (unsigned word = 0; word < 2; word++) {
        put(DRIVER_SELECT, 4, word);
        put(DRIVER_FEATURE, 4, (uint32_t)(features >> (32 * word)));
    }
    put(STATUS, 1, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK);
}

static void enable_queue(unsigned queue)
{
    struct driver_ring *r = &rings[queue];
    *r = driver_ring(&memory, 0x1000 + 0x4000 * queue, 16);
    memset(fixture_at(&memory, 0x1000 + 0x4000 * queue, 0x4000), 0, 0x4000);
    put(QUEUE_SELECT, 2, queue);
    put(QUEUE_SIZE, 2, 16);
    put(QUEUE_VECTOR, 2, queue);
    put(QUEUE_ADDRESSES, 4, (uint32_t)r->descriptors);
    put(QUEUE_ADDRESSES + 4, 4, r->descriptors >> 32);
    put(QUEUE_ADDRESSES + 8, 8, r->available);
    put(QUEUE_ADDRESSES + 16, 4, (uint32_t)r->used);
    put(QUEUE_ADDRESSES + 20, 4, r->used >> 32);
    put(QUEUE_ENABLE, 2, 1);
}

static void bring_up(void)
{
    accept_features(VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT);
    assert_int_equal(get(STATUS, 1), S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK);
    put(CONFIG_VECTOR, 2, QUEUES);
    for (unsigned i = 0; i < QUEUES; i++)
        enable_queue(i);
    put(STATUS, 1, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
    turn_loop(&loop, 3);
}

static void enable_msix(void)
{
    unsigned at = (unsigned)bus_read(&bus, pci(0x34), 1);
    while (bus_read(&bus, pci(at), 1) != 0x11)
        at = (unsigned)bus_read(&bus, pci(at + 1), 1);
    for (unsigned i = 0; i < QUEUES + 1; i++) {
        bus_write(&bus, bar(1) + 16 * i, 8, 0xfee00000);
        bus_write(&bus, bar(1) + 16 * i + 8, 8, 0x30 + i); // unmasked
    }
    bus_write(&bus, pci(at + 2), 2, ENABLE);
}

static void offer_request(unsigned queue, unsigned i, unsigned char byte)
{
    *fixture_at(&memory, DATA + 2 * i, 1) = byte;
    driver_describe(&rings[queue], 2 * i, DATA + 2 * i, 1, D_NEXT, 2 * i + 1);
    driver_describe(&rings[queue], 2 * i + 1, DATA + 2 * i + 1, 1, D_WRITE, 0);
    driver_offer(&rings[queue], 2 * i);
}

static void assert_answered(unsigned queue, unsigned i, unsigned char byte)
{
    uint32_t head = 0, written = 0;
    assert_true(driver_take(&rings[queue], &head, &written));
    assert_int_equal(head, 2 * i);
    assert_int_equal(written, 1);
    assert_int_equal(*fixture_at(&memory, DATA + 2 * i + 1, 1), byte + 1);
}

static void assert_works(unsigned char byte)
{
    offer_request(0, 3, byte);
    ring_bell(0);
    assert_answered(0, 3, byte);
}

static int set_up(void **state)
{
    (void)state;
    memory = fixture_memory();
    starts = resets = kept_count = 0;
    keeps = false;
    memset(kicks, 0, sizeof kicks);
    for (unsigned i = 0; i < CONFIG_SIZE; i++)
        config[i] = (unsigned char)(0x10 + i);
    counted_irq_init(&irq);
    bus_init(&ports);
    bus_init(&bus);
    assert_int_equal(loop_init(&loop, NULL), 0);
    assert_int_equal(pci_root_init(&root, &ports, &bus, NULL), 0);
    assert_int_equal(virtio_new(sizeof *device, &operations, &memory, FEATURE_B, &device, NULL),
                     0); // A is not offered by this one
    assert_int_equal(virtio_pci_new(device, &root, &irq.controller, &loop, NULL), 0);
    bus_write(&bus, pci(COMMAND), 2, PCI_COMMAND_MEMORY);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    virtio_pci_free(device);
    assert_int_equal(irq.doorbell_count, 0);
    virtio_free(device);
    pci_root_destroy(&root);
    loop_destroy(&loop);
    bus_destroy(&ports);
    bus_destroy(&bus);
    fixture_memory_free(&memory);
    return 0;
}

// --- finding it ---

static void the_function_says_what_it_is(void **state)
{
    unsigned types = 0, count = 0;
    (void)state;
    assert_int_equal(bus_read(&bus, pci(0), 4), 0x105e1af4); // 0x1040 + 30
    assert_int_equal(bus_read(&bus, pci(8), 4), 0x00ff0001);
    assert_true(bus_read(&bus, pci(0x2e), 2) >= 0x40);
    assert_int_equal(bus_read(&bus, pci(0x3d), 1), 0); // no INTx pin
    for (unsigned at = (unsigned)bus_read(&bus, pci(0x34), 1); at != 0; at = (unsigned)bus_read(&bus, pci(at + 1), 1)) {
        uint64_t length = bus_read(&bus, pci(at + 2), 1), type = bus_read(&bus, pci(at + 3), 1);
        assert_true(++count < 10);
        if (bus_read(&bus, pci(at), 1) != 9)
            continue;
        types |= 1u << type;
        assert_int_equal(length, type == 2 || type == 5 ? 20 : 16);
        uint64_t offset = bus_read(&bus, pci(at + 8), 4), size = bus_read(&bus, pci(at + 12), 4);
        if (type != 5)
            assert_true(bus_read(&bus, pci(at + 4), 1) == 0 && offset + size <= 0x2000 && size > 0);
        if (type == 2)
            assert_int_equal(bus_read(&bus, pci(at + 16), 4), 4); // the multiplier
        if (type == 4)
            assert_int_equal(size, CONFIG_SIZE);
    }
    assert_int_equal(types, 0x3e); // 1 to 5
    assert_int_equal(count, 6);
}

static void registers_answer_to_their_width_only(void **state)
{
    static const unsigned char natural[0x40] = {
        [0x00] = 4, [0x04] = 4, [0x08] = 4, [0x0c] = 4, [0x10] = 2, [0x12] = 2, [0x14] = 1,
        [0x15] = 1, [0x16] = 2, [0x18] = 2, [0x1a] = 2, [0x1c] = 2, [0x1e] = 2, [0x20] = 4,
        [0x24] = 4, [0x28] = 4, [0x2c] = 4, [0x30] = 4, [0x34] = 4, [0x38] = 2, [0x3a] = 2};
    (void)state;
    put(QUEUE_SELECT, 2, 0);
    for (unsigned offset = 0; offset < 0x40; offset++)
        for (unsigned width = 1; width <= 8; width *= 2) {
            bool address = offset >= 0x20 && offset < 0x38 && offset % 8 == 0 && width == 8;
            uint64_t ones = width == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
            if (width == natural[offset] || address)
                assert_true(get(offset, width) != ones || offset == CONFIG_VECTOR || offset == QUEUE_VECTOR);
            else
                assert_true(get(offset, width) == ones);
        }
    assert_int_equal(get(QUEUE_COUNT, 2), QUEUES);
    put(STATUS, 2, 0x0101);
    put(STATUS, 4, 1);
    assert_int_equal(get(STATUS, 1), 0);
    put(QUEUE_COUNT, 2, 77); // read-only
    put(GENERATION, 1, 77);
    assert_int_equal(get(QUEUE_COUNT, 2), QUEUES);
    assert_int_equal(get(GENERATION, 1), 0);
}

static void any_access_anywhere_does_no_harm(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t base = bar(i);
        for (unsigned offset = 0; offset < 0x2000; offset++)
            for (unsigned width = 1; width <= 8; width *= 2) {
                bus_read(&bus, base + offset, width);
                bus_write(&bus, base + offset, width, UINT64_C(0x0101010101010101) * (offset & 0xff));
            }
    }
    turn_loop(&loop, 3);
    put(STATUS, 1, 0);
    bring_up();
    assert_works(5);
}

// --- features and status ---

static void features_are_offered_in_two_words(void **state)
{
    (void)state;
    put(DEVICE_SELECT, 4, 0);
    assert_int_equal(get(DEVICE_FEATURE, 4), (uint32_t)(VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_INDEX));
    put(DEVICE_SELECT, 4, 1);
    assert_int_equal(get(DEVICE_FEATURE, 4), (VIRTIO_F_VERSION_1 | FEATURE_B) >> 32);
    put(DEVICE_SELECT, 4, 2);
    assert_int_equal(get(DEVICE_FEATURE, 4), 0);
    put(DEVICE_SELECT, 4, UINT32_MAX);
    assert_int_equal(get(DEVICE_FEATURE, 4), 0);
    assert_int_equal(get(DEVICE_SELECT, 4), UINT32_MAX);
    put(DRIVER_SELECT, 4, 2);
    put(DRIVER_FEATURE, 4, 0xffffffff);
    put(DRIVER_SELECT, 4, 1);
    put(DRIVER_FEATURE, 4, 0x101);
    assert_int_equal(get(DRIVER_FEATURE, 4), 0x101);
    assert_true(device->features == UINT64_C(0x101) << 32);
}

static void features_ok_stands_for_what_was_offered(void **state)
{
    static const struct {
        uint64_t features;
        bool good;
    } cases[] = {
        {VIRTIO_F_VERSION_1, true},
        {VIRTIO_F_VERSION_1 | FEATURE_B | VIRTIO_F_EVENT_INDEX | VIRTIO_F_INDIRECT, true},
        {0, false},
        {FEATURE_B, false},                              // no VERSION_1
        {VIRTIO_F_VERSION_1 | FEATURE_A, false},         // the type knows it, this device does not offer it
        {VIRTIO_F_VERSION_1 | UINT64_C(1) << 63, false}, // unknown
        {VIRTIO_F_VERSION_1 | RING_RESET, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(STATUS, 1, 0);
        accept_features(cases[i].features);
        assert_int_equal(get(STATUS, 1) & S_FEATURES_OK, cases[i].good ? S_FEATURES_OK : 0);
        put(STATUS, 1, S_ACKNOWLEDGE | S_DRIVER | S_DRIVER_OK); // DRIVER_OK only behind it
        assert_int_equal(get(STATUS, 1) & S_DRIVER_OK, cases[i].good ? S_DRIVER_OK : 0);
    }
    assert_int_equal(starts, 2);
}

static void features_are_frozen_by_features_ok(void **state)
{
    (void)state;
    accept_features(VIRTIO_F_VERSION_1);
    put(DRIVER_SELECT, 4, 0);
    put(DRIVER_FEATURE, 4, (uint32_t)VIRTIO_F_INDIRECT);
    assert_int_equal(get(DRIVER_FEATURE, 4), 0);
}

static void a_driver_cannot_say_needs_reset_nor_take_bits_back(void **state)
{
    (void)state;
    put(STATUS, 1, S_ACKNOWLEDGE | S_NEEDS_RESET | 0x30);
    assert_int_equal(get(STATUS, 1), S_ACKNOWLEDGE);
    put(STATUS, 1, S_DRIVER);
    assert_int_equal(get(STATUS, 1), S_ACKNOWLEDGE | S_DRIVER);
    put(STATUS, 1, VIRTIO_STATUS_FAILED);
    assert_int_equal(get(STATUS, 1), S_ACKNOWLEDGE | S_DRIVER | VIRTIO_STATUS_FAILED);
}

// --- queues ---

static void queue_registers_take_legal_values_only(void **state)
{
    (void)state;
    accept_features(VIRTIO_F_VERSION_1);
    put(QUEUE_SELECT, 2, QUEUES);
    put(QUEUE_SIZE, 2, 16);
    put(QUEUE_ENABLE, 2, 1);
    put(QUEUE_VECTOR, 2, 0);
    assert_int_equal(get(QUEUE_SIZE, 2) + get(QUEUE_ENABLE, 2) + get(QUEUE_VECTOR, 2), 0);
    put(QUEUE_SELECT, 2, 1);
    assert_int_equal(get(QUEUE_OFFSET, 2), 1);
    assert_int_equal(get(QUEUE_SIZE, 2), 64);
    static const unsigned bad[] = {0, 3, 65, 128, 0xffff};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put(QUEUE_SIZE, 2, bad[i]);
        assert_int_equal(get(QUEUE_SIZE, 2), 64);
    }
    put(QUEUE_SIZE, 2, 8);
    assert_int_equal(get(QUEUE_SIZE, 2), 8);
    assert_int_equal(get(QUEUE_VECTOR, 2), 0xffff);
    put(QUEUE_VECTOR, 2, QUEUES);
    assert_int_equal(get(QUEUE_VECTOR, 2), QUEUES);
    put(QUEUE_VECTOR, 2, QUEUES + 1); // there is none
    assert_int_equal(get(QUEUE_VECTOR, 2), 0xffff);
    put(CONFIG_VECTOR, 2, 99);
    assert_int_equal(get(CONFIG_VECTOR, 2), 0xffff);
    put(QUEUE_ADDRESSES, 8, UINT64_C(0x1122334455667788));
    assert_int_equal(get(QUEUE_ADDRESSES, 4), 0x55667788);
    assert_int_equal(get(QUEUE_ADDRESSES + 4, 4), 0x11223344);
    put(QUEUE_ADDRESSES + 4, 4, 0);
    assert_true(get(QUEUE_ADDRESSES, 8) == 0x55667788);
    put(QUEUE_ENABLE, 2, 2);
    assert_int_equal(get(QUEUE_ENABLE, 2), 0);
    put(QUEUE_ENABLE, 2, 1);
    put(QUEUE_ENABLE, 2, 0);
    assert_int_equal(get(QUEUE_ENABLE, 2), 1);
    put(QUEUE_ADDRESSES, 8, 0); // too late
    assert_true(get(QUEUE_ADDRESSES, 8) == 0x55667788);
}

static void queues_are_frozen_by_driver_ok(void **state)
{
    (void)state;
    accept_features(VIRTIO_F_VERSION_1);
    enable_queue(0);
    put(STATUS, 1, S_DRIVER_OK);
    assert_int_equal(starts, 1);
    put(QUEUE_SELECT, 2, 1);
    put(QUEUE_SIZE, 2, 8);
    put(QUEUE_ADDRESSES, 8, 0x9000);
    put(QUEUE_ENABLE, 2, 1);
    assert_int_equal(get(QUEUE_SIZE, 2), 64);
    assert_int_equal(get(QUEUE_ENABLE, 2), 0);
    assert_true(get(QUEUE_ADDRESSES, 8) == 0);
    put(QUEUE_SELECT, 2, 0);
    put(QUEUE_ADDRESSES, 8, 0x9000);
    assert_true(get(QUEUE_ADDRESSES, 8) == rings[0].descriptors);
    ring_bell(1); // it was never enabled
    assert_int_equal(kicks[1], 0);
    assert_works(1);
}

// --- requests, doorbells, interrupts ---

static void a_request_is_answered_and_interrupts(void **state)
{
    (void)state;
    bring_up();
    enable_msix();
    offer_request(0, 0, 10);
    offer_request(1, 1, 20);
    ring_bell(0);
    assert_answered(0, 0, 10);
    assert_int_equal(counted_signals(&irq, 0), 1);
    assert_int_equal(irq.data[0], 0x30);
    assert_int_equal(counted_signals(&irq, 1), 0);
    ring_bell(1);
    assert_answered(1, 1, 20);
    assert_int_equal(counted_signals(&irq, 1), 1);
    assert_int_equal(device->interrupts, 2);
    assert_int_equal(get(0x100, 1), 0); // MSI-X is on: the status is not needed
    driver_set_flags(&rings[0], 1);
    assert_works(2);
    assert_int_equal(counted_signals(&irq, 0), 0);
}

static void without_msix_the_interrupt_status_tells(void **state)
{
    (void)state;
    bring_up();
    assert_works(1);
    assert_int_equal(get(0x100, 2), 0xffff);
    assert_int_equal(get(0x100, 1), 1);
    assert_int_equal(get(0x100, 1), 0); // cleared by reading
}

static void doorbells_follow_the_bar(void **state)
{
    uint64_t before = bar(0);
    (void)state;
    bring_up();
    assert_int_equal(irq.doorbell_count, QUEUES);
    bus_write(&bus, pci(BAR0), 4, 0xd0000000);
    assert_int_equal(bar(0), 0xd0000000);
    assert_false(counted_ring(&irq, before + 0x1000));
    assert_works(1);
    bus_write(&bus, pci(COMMAND), 2, 0);
    assert_int_equal(irq.doorbell_count, 0);
    irq.refuse_doorbells = true;
    bus_write(&bus, pci(COMMAND), 2, PCI_COMMAND_MEMORY);
    assert_int_equal(irq.doorbell_count, 0);
    assert_works(2); // each write exits now
    bus_write(&bus, doorbell(QUEUES), 2, 0);
    bus_write(&bus, bar(0) + 0x1ffc, 4, 0);
    assert_int_equal(bus_read(&bus, doorbell(0), 2), 0xffff);
}

static void what_is_offered_before_driver_ok_is_seen(void **state)
{
    (void)state;
    accept_features(VIRTIO_F_VERSION_1);
    enable_queue(0);
    offer_request(0, 0, 50);
    ring_bell(0); // too early
    assert_int_equal(kicks[0], 0);
    put(STATUS, 1, S_DRIVER_OK);
    turn_loop(&loop, 3);
    assert_answered(0, 0, 50);
}

// --- configuration ---

static void the_device_configuration_is_read_and_not_written(void **state)
{
    (void)state;
    assert_int_equal(get(0x200, 1), 0x10);
    assert_int_equal(get(0x202, 2), 0x1312);
    assert_true(get(0x204, 8) == UINT64_C(0x1b1a191817161514));
    assert_int_equal(get(0x20a, 4), 0xffffffff); // over its end
    assert_int_equal(get(0x20c, 1), 0xff);
    put(0x204, 4, 0xaabbccdd);
    put(0x20b, 2, 0);
    assert_int_equal(get(0x204, 4), 0x17161514);
    assert_int_equal(get(0x20b, 1), 0x1b);
}

static void a_changed_configuration_interrupts(void **state)
{
    (void)state;
    pthread_mutex_lock(&device->lock);
    virtio_config_changed(device); // before DRIVER_OK: only counted
    pthread_mutex_unlock(&device->lock);
    assert_int_equal(get(GENERATION, 1), 1);
    assert_int_equal(get(0x100, 1), 0);
    bring_up();
    enable_msix();
    pthread_mutex_lock(&device->lock);
    virtio_config_changed(device);
    pthread_mutex_unlock(&device->lock);
    assert_int_equal(get(GENERATION, 1), 2);
    assert_int_equal(get(0x100, 1), 2);
    assert_int_equal(counted_signals(&irq, QUEUES), 1);
}

static void the_window_reaches_the_bars(void **state)
{
    unsigned at = (unsigned)bus_read(&bus, pci(0x34), 1);
    (void)state;
    while (bus_read(&bus, pci(at), 1) != 9 || bus_read(&bus, pci(at + 3), 1) != 5)
        at = (unsigned)bus_read(&bus, pci(at + 1), 1);
    bus_write(&bus, pci(COMMAND), 2, 0); // it needs no BAR mapped
    bus_write(&bus, pci(at + 4), 1, 0);
    bus_write(&bus, pci(at + 8), 4, QUEUE_COUNT);
    bus_write(&bus, pci(at + 12), 4, 2);
    assert_int_equal(bus_read(&bus, pci(at + 16), 4) & 0xffff, QUEUES);
    bus_write(&bus, pci(at + 8), 4, STATUS);
    bus_write(&bus, pci(at + 12), 4, 1);
    bus_write(&bus, pci(at + 16), 4, 0xffffff00 | S_ACKNOWLEDGE);
    assert_int_equal(device->status, S_ACKNOWLEDGE);
    assert_int_equal(bus_read(&bus, pci(at + 16), 1), S_ACKNOWLEDGE);
    bus_write(&bus, pci(at + 4), 1, 1); // the MSI-X table
    bus_write(&bus, pci(at + 8), 4, 8);
    bus_write(&bus, pci(at + 12), 4, 4);
    bus_write(&bus, pci(at + 16), 4, 0x77);
    bus_write(&bus, pci(COMMAND), 2, PCI_COMMAND_MEMORY);
    assert_int_equal(bus_read(&bus, bar(1) + 8, 4), 0x77);
    static const struct {
        unsigned bar, offset, length;
    } bad[] = {{2, 0, 4}, {255, 0, 4}, {0, 0x2000, 4}, {0, 0xfffffffc, 4}, {0, 2, 4},
               {0, 0, 3}, {0, 0, 0},   {0, 0, 8},      {0, 0, UINT32_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bus_write(&bus, pci(at + 4), 1, bad[i].bar);
        bus_write(&bus, pci(at + 8), 4, bad[i].offset);
        bus_write(&bus, pci(at + 12), 4, bad[i].length);
        bus_write(&bus, pci(at + 16), 4, 0x12345678);
        assert_int_equal(bus_read(&bus, pci(at + 16), 4), 0x12345678); // nothing was read
    }
    bring_up();
    bus_write(&bus, pci(at + 4), 1, 0);
    bus_write(&bus, pci(at + 8), 4, 0x1000); // a doorbell
    bus_write(&bus, pci(at + 12), 4, 2);
    offer_request(0, 0, 9);
    bus_write(&bus, pci(at + 16), 2, 0);
    turn_loop(&loop, 3);
    assert_answered(0, 0, 9);
}

// --- reset and breaking ---

static void a_reset_makes_it_as_new(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        bring_up();
        assert_works((unsigned char)i);
        put(STATUS, 1, 0);
        assert_int_equal(get(STATUS, 1), 0);
        assert_int_equal(get(QUEUE_SELECT, 2), 0);
        assert_int_equal(get(QUEUE_ENABLE, 2), 0);
        assert_int_equal(get(QUEUE_SIZE, 2), 64);
        assert_int_equal(get(QUEUE_VECTOR, 2), 0xffff);
        assert_int_equal(get(CONFIG_VECTOR, 2), 0xffff);
        assert_int_equal(get(DRIVER_SELECT, 4), 0);
        assert_true(get(QUEUE_ADDRESSES, 8) == 0);
        assert_true(device->features == 0);
        unsigned before = kicks[0];
        ring_bell(0);
        assert_int_equal(kicks[0], before);
    }
    assert_int_equal(starts, 3);
    assert_int_equal(resets, 3);
}

static void a_reset_waits_for_what_is_in_flight(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    bring_up();
    enable_msix();
    keeps = true;
    offer_request(0, 0, 1);
    ring_bell(0);
    assert_int_equal(kept_count, 1);
    put(STATUS, 1, 0);
    assert_true(get(STATUS, 1) != 0);
    put(STATUS, 1, 0); // impatience
    put(STATUS, 1, S_ACKNOWLEDGE);
    put(QUEUE_SELECT, 2, 0);
    put(QUEUE_ADDRESSES, 8, 0);
    put(DRIVER_SELECT, 4, 0);
    put(DRIVER_FEATURE, 4, 0);
    virtio_config_changed(device);
    virtio_break(device, "too late");
    assert_int_equal(device->status & VIRTIO_STATUS_NEEDS_RESET, 0);
    offer_request(0, 1, 2);
    ring_bell(0);
    assert_int_equal(kept_count, 1); // nothing new is taken
    assert_int_equal(resets, 1);
    assert_true(get(STATUS, 1) != 0);
    finish_requests();
    assert_int_equal(get(STATUS, 1), 0);
    assert_true(driver_take(&rings[0], &head, &written));
    assert_int_equal(counted_signals(&irq, 0), 0); // but quietly
    keeps = false;
    bring_up();
    assert_works(7);
}

static void an_illegal_ring_breaks_the_device_alone(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        bring_up();
        enable_msix();
        driver_offer(&rings[0], 999);
        ring_bell(0);
        assert_true(get(STATUS, 1) & S_NEEDS_RESET);
        assert_int_equal(counted_signals(&irq, QUEUES), 1); // the configuration's vector
        assert_int_equal(get(0x100, 1), 2);
        unsigned before = kicks[1];
        offer_request(1, 0, 1); // the other queue is dead too
        ring_bell(1);
        assert_int_equal(kicks[1], before);
        assert_false(driver_take(&rings[1], &head, &written));
        put(STATUS, 1, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
        assert_true(get(STATUS, 1) & S_NEEDS_RESET);
        put(STATUS, 1, 0);
        assert_int_equal(get(STATUS, 1), 0);
        bring_up();
        assert_works(3);
        put(STATUS, 1, 0);
    }
    assert_int_equal(device->breaks, 3);
}

static void a_broken_device_with_requests_in_flight_resets_too(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    bring_up();
    enable_msix();
    keeps = true;
    offer_request(0, 0, 1);
    driver_offer(&rings[0], 0); // the same again
    ring_bell(0);
    assert_int_equal(kept_count, 1);
    assert_true(get(STATUS, 1) & S_NEEDS_RESET);
    put(STATUS, 1, 0);
    assert_true(get(STATUS, 1) != 0);
    finish_requests();
    assert_false(driver_take(&rings[0], &head, &written)); // the queue was dead
    assert_int_equal(get(STATUS, 1), 0);
    assert_int_equal(counted_signals(&irq, 0), 0);
    keeps = false;
    bring_up();
    assert_works(9);
}

static void bad_queue_addresses_break_it_at_the_start(void **state)
{
    (void)state;
    accept_features(VIRTIO_F_VERSION_1);
    put(QUEUE_SELECT, 2, 0);
    put(QUEUE_ADDRESSES, 8, LAYOUT_LOW_RAM_END);
    put(QUEUE_ENABLE, 2, 1);
    put(STATUS, 1, S_DRIVER_OK);
    assert_true(get(STATUS, 1) & S_NEEDS_RESET);
    assert_int_equal(starts, 0);
    put(STATUS, 1, 0);
    bring_up();
    assert_works(1);
}

// --- several threads: the driver resets and starts while kicks arrive and requests finish ---

static bool stop_finishing;

static void *finish_for_ever(void *context)
{
    (void)context;
    while (!__atomic_load_n(&stop_finishing, __ATOMIC_RELAXED)) {
        finish_requests();
        sched_yield();
    }
    return NULL;
}

static void resets_race_with_requests_in_flight(void **state)
{
    pthread_t thread;
    (void)state;
    stop_finishing = false;
    assert_int_equal(pthread_create(&thread, NULL, finish_for_ever, NULL), 0);
    for (unsigned i = 0; i < 100; i++) {
        bring_up();
        keeps = true;
        offer_request(0, 0, 1);
        ring_bell(0);
        put(STATUS, 1, 0);
        while (get(STATUS, 1) != 0) {
        }
        keeps = false;
        bring_up();
        offer_request(0, 3, 8);
        ring_bell(0);
        assert_answered(0, 3, 8);
        put(STATUS, 1, 0);
        while (get(STATUS, 1) != 0) {
        }
    }
    __atomic_store_n(&stop_finishing, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    assert_int_equal(starts, 200);
}

static void what_cannot_be_made_is_undone(void **state)
{
    struct virtio_device *other;
    struct error error = {""};
    (void)state;
    assert_int_equal(virtio_new(sizeof *other, &operations, &memory, 0, &other, NULL), 0);
    irq.messages_maximum = irq.messages + 1;
    assert_int_equal(virtio_pci_new(other, &root, &irq.controller, &loop, &error), -ENOSPC);
    assert_null(other->transport);
    assert_null(root.slots[2]);
    virtio_free(other);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        T(the_function_says_what_it_is),
        T(registers_answer_to_their_width_only),
        T(any_access_anywhere_does_no_harm),
        T(features_are_offered_in_two_words),
        T(features_ok_stands_for_what_was_offered),
        T(features_are_frozen_by_features_ok),
        T(a_driver_cannot_say_needs_reset_nor_take_bits_back),
        T(queue_registers_take_legal_values_only),
        T(queues_are_frozen_by_driver_ok),
        T(a_request_is_answered_and_interrupts),
        T(without_msix_the_interrupt_status_tells),
        T(doorbells_follow_the_bar),
        T(what_is_offered_before_driver_ok_is_seen),
        T(the_device_configuration_is_read_and_not_written),
        T(a_changed_configuration_interrupts),
        T(the_window_reaches_the_bars),
        T(a_reset_makes_it_as_new),
        T(a_reset_waits_for_what_is_in_flight),
        T(an_illegal_ring_breaks_the_device_alone),
        T(a_broken_device_with_requests_in_flight_resets_too),
        T(bad_queue_addresses_break_it_at_the_start),
        T(resets_race_with_requests_in_flight),
        T(what_cannot_be_made_is_undone),
    };
    return cmocka_run_group_tests_name("virtio over PCI", tests, NULL, NULL);
}
