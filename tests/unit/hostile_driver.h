// The driver of a hostile guest's devices: it knows how a good one behaves, for others to do otherwise. Every device of
// hostile_machine.h, by its slot; its BARs and rings are where the numbers here say.
#pragma once

#include "hostile_machine.h"

// The devices in the order of their slots, from 1 on, and the queue that each serves whenever it is kicked.
enum hostile_device { OVERLAY, DISK, READ_ONLY_DISK, NET, CONSOLE, RNG, BALLOON, HOSTILE_DEVICES };
static const char *const hostile_names[] = {"overlay", "disk", "read-only disk", "net", "console", "rng", "balloon"};
static const unsigned hostile_queues[] = {1, 1, 1, 2, 2, 1, 5}, hostile_served[] = {0, 0, 0, 1, 1, 0, 0};

#define REGISTERS(device) (LAYOUT_PCI_MEMORY + (uint64_t)(device)*0x8000u)
#define VECTORS(device) (REGISTERS(device) + 0x4000u)
#define DOORBELL(device, queue) (REGISTERS(device) + 0x1000u + 4u * (queue))
#define CONFIG(device) (LAYOUT_ECAM + (((uint64_t)(device) + 1) << 15))
#define STATUS 0x14u  // in the common configuration
#define QUEUE_SIZE 8u // entries of each ring here: every device has as many

// Where a device's ring is, and its buffers.
#define RINGS(device, queue) (UINT64_C(0x800000) + (uint64_t)(device)*0x10000u + (uint64_t)(queue)*0x1000u)
#define AVAILABLE 0x400u
#define USED 0x800u
#define BUFFERS(device) (UINT64_C(0x808000) + (uint64_t)(device)*0x10000u)

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

static inline uint8_t hostile_status(struct hostile *h, unsigned device)
{
    return (uint8_t)hostile_read(h, REGISTERS(device) + STATUS, 1);
}

// The BARs to where REGISTERS and VECTORS say, whatever was done to them.
static inline void hostile_place(struct hostile *h)
{
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++)
        hostile_write(h, CONFIG(d) + 4, 2, 0);
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++) {
        hostile_write(h, CONFIG(d) + 0x10, 4, REGISTERS(d));
        hostile_write(h, CONFIG(d) + 0x14, 4, VECTORS(d));
        hostile_write(h, CONFIG(d) + 4, 2, 6);
        assert_int_equal(hostile_read(h, CONFIG(d), 2), 0x1af4);
        assert_int_equal(hostile_read(h, CONFIG(d) + 0x10, 4), REGISTERS(d));
    }
}

static inline void hostile_reset(struct hostile *h, unsigned device)
{
    uint64_t deadline = hostile_now_ms() + HOSTILE_SECONDS * 1000;
    hostile_write(h, REGISTERS(device) + STATUS, 1, 0);
    while (hostile_status(h, device) != 0)
        if (hostile_now_ms() > deadline)
            fail_msg("the %s device's reset does not end", hostile_names[device]);
}

static inline void hostile_select(struct hostile *h, unsigned device, unsigned queue, uint64_t descriptors,
                                  uint64_t available, uint64_t used)
{
    const uint64_t addresses[] = {descriptors, available, used};
    uint64_t common = REGISTERS(device);
    hostile_write(h, common + 0x16, 2, queue);
    hostile_write(h, common + 0x18, 2, QUEUE_SIZE);
    for (unsigned i = 0; i < 3; i++) {
        hostile_write(h, common + 0x20 + 8 * i, 4, (uint32_t)addresses[i]);
        hostile_write(h, common + 0x24 + 8 * i, 4, addresses[i] >> 32);
    }
    hostile_write(h, common + 0x1c, 2, 1);
}

// Up to FEATURES_OK, with everything that is offered but EVENT_IDX.
static inline void hostile_negotiate(struct hostile *h, unsigned device)
{
    uint64_t common = REGISTERS(device);
    hostile_reset(h, device);
    hostile_write(h, common + STATUS, 1, 3);
    for (unsigned word = 0; word < 2; word++) {
        hostile_write(h, common, 4, word);
        uint64_t offered = hostile_read(h, common + 4, 4);
        hostile_write(h, common + 8, 4, word);
        hostile_write(h, common + 0xc, 4, word == 0 ? offered & ~(1u << 29) : offered);
    }
    hostile_write(h, common + STATUS, 1, 11);
    assert_int_equal(hostile_status(h, device), 11);
}

static inline void hostile_begin_device(struct hostile *h, unsigned device)
{
    hostile_reset(h, device); // before it, the device may still write
    memset(hostile_at(h, RINGS(device, 0), 0x10000), 0, 0x10000);
    hostile_negotiate(h, device);
    for (unsigned q = 0; q < hostile_queues[device]; q++)
        hostile_select(h, device, q, RINGS(device, q), RINGS(device, q) + AVAILABLE, RINGS(device, q) + USED);
    hostile_write(h, REGISTERS(device) + STATUS, 1, 15);
    assert_int_equal(hostile_status(h, device), 15);
}

static inline void hostile_describe(struct hostile *h, uint64_t table, unsigned i, uint64_t address, uint32_t length,
                                    unsigned flags, unsigned next)
{
    unsigned char *d = hostile_at(h, table + 16u * i, 16);
    put_le64(d, address);
    put_le32(d + 8, length);
    put_le16(d + 12, (uint16_t)flags);
    put_le16(d + 14, (uint16_t)next);
}

static inline uint16_t hostile_used(struct hostile *h, unsigned device, unsigned queue)
{
    return __atomic_load_n((uint16_t *)(void *)hostile_at(h, RINGS(device, queue) + USED + 2, 2), __ATOMIC_ACQUIRE);
}

// Puts `head` into the next place and kicks.
static inline void hostile_offer(struct hostile *h, unsigned device, unsigned queue, unsigned head)
{
    unsigned char *available = hostile_at(h, RINGS(device, queue) + AVAILABLE, 4 + 2 * QUEUE_SIZE);
    uint16_t index = get_le16(available + 2);
    put_le16(available + 4 + 2 * (index % QUEUE_SIZE), (uint16_t)head);
    __atomic_store_n((uint16_t *)(void *)(available + 2), (uint16_t)(index + 1), __ATOMIC_RELEASE);
    hostile_write(h, DOORBELL(device, queue), 2, queue);
}

// Nothing may pile up at our ends.
static inline void hostile_drain(struct hostile *h)
{
    char bytes[4096];
    while (read(h->console, bytes, sizeof bytes) > 0)
        ;
    while (read(h->net, bytes, sizeof bytes) > 0)
        ;
}

// A chain that the device has to serve, from descriptor 0 on.
static inline void hostile_describe_good(struct hostile *h, unsigned device)
{
    uint64_t table = RINGS(device, hostile_served[device]), buffer = BUFFERS(device);
    unsigned char *bytes = hostile_at(h, buffer, 1024);
    memset(bytes, 0, 1024);
    switch (device) {
    case NET:
        hostile_describe(h, table, 0, buffer, 12 + 60, 0, 0);
        break;
    case CONSOLE:
        bytes[0] = '.';
        hostile_describe(h, table, 0, buffer, 1, 0, 0);
        break;
    case RNG:
        hostile_describe(h, table, 0, buffer, 16, WRITE, 0);
        break;
    case BALLOON:
        put_le32(bytes, 0xfffff); // no page of its memory
        hostile_describe(h, table, 0, buffer, 4, 0, 0);
        break;
    default: // a disk: reads a sector
        bytes[16 + 512] = 0xff;
        hostile_describe(h, table, 0, buffer, 16, NEXT, 1);
        hostile_describe(h, table, 1, buffer + 16, 512, NEXT | WRITE, 2);
        hostile_describe(h, table, 2, buffer + 16 + 512, 1, WRITE, 0);
    }
}

// The proof that all is well: the device begins anew and serves a request.
static inline void hostile_prove(struct hostile *h, unsigned device, const char *after)
{
    unsigned queue = hostile_served[device];
    uint64_t deadline = hostile_now_ms() + HOSTILE_SECONDS * 1000;
    hostile_drain(h);
    hostile_begin_device(h, device);
    hostile_describe_good(h, device);
    hostile_offer(h, device, queue, 0);
    while (hostile_used(h, device, queue) != 1)
        if (hostile_now_ms() > deadline || h->vm->end != VM_GOES_ON)
            fail_msg("the %s device serves nothing after: %s", hostile_names[device], after);
    if (device <= READ_ONLY_DISK)
        assert_int_equal(hostile_at(h, BUFFERS(device) + 16 + 512, 1)[0], 0);
    if (device == RNG)
        assert_int_equal(get_le32(hostile_at(h, RINGS(device, 0) + USED + 8, 4)), 16);
    assert_int_equal(hostile_status(h, device), 15);
}

// Ports whose writing may end the machine: what they do is test_vmm_platform.c's.
static inline bool hostile_ends_the_machine(unsigned port, unsigned width)
{
    static const struct {
        unsigned first, last;
    } ports[] = {{LAYOUT_PORT_I8042_STATUS, LAYOUT_PORT_I8042_STATUS},
                 {0x92, 0x92},
                 {LAYOUT_PORT_PVPANIC, LAYOUT_PORT_PVPANIC},
                 {LAYOUT_PORT_POWER, LAYOUT_PORT_POWER + 3}};
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
        if (port <= ports[i].last && port + width > ports[i].first)
            return true;
    return false;
}
