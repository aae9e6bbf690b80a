// What a hostile guest does to a device's rings (TRUST T22), one act each. After every act the device is alive or has
// said NEEDS_RESET, and hostile_prove shows that it can be used again.
#pragma once

#include "hostile_driver.h"

#define RAM_END HOSTILE_MEMORY
#define HOLE 0xd0000000u // no RAM: registers of nobody

struct hostile_act {
    const char *what;
    bool illegal; // the queue that is served when it is kicked must be found broken
    bool suicide; // a real guest would not live on: the balloon takes all its memory
    void (*prepare)(struct hostile *h, unsigned device, unsigned queue); // describes; the head 0 is then offered
    void (*act)(struct hostile *h, unsigned device, unsigned queue);     // instead: does all
};

#define TABLE RINGS(device, queue)
#define BUFFER BUFFERS(device)

static inline void publish(struct hostile *h, unsigned device, unsigned queue, unsigned index)
{
    put_le16(hostile_at(h, TABLE + AVAILABLE + 2, 2), (uint16_t)index);
    hostile_write(h, DOORBELL(device, queue), 2, queue);
}

static inline void index_jumps(struct hostile *h, unsigned device, unsigned queue)
{
    publish(h, device, queue, QUEUE_SIZE + 1);
}

static inline void index_goes_back(struct hostile *h, unsigned device, unsigned queue)
{
    publish(h, device, queue, 0xffff);
}

static inline void index_jumps_half_way(struct hostile *h, unsigned device, unsigned queue)
{
    publish(h, device, queue, 0x8000);
}

static inline void head_outside(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_offer(h, device, queue, QUEUE_SIZE);
}

static inline void head_far_outside(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_offer(h, device, queue, 0xffff);
}

static inline void next_outside(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, BUFFER, 16, NEXT, QUEUE_SIZE);
}

static inline void next_far_outside(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, BUFFER, 16, NEXT, 0xffff);
}

static inline void loop_of_one(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, BUFFER, 16, NEXT, 0);
}

static inline void loop_of_nothing(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, BUFFER, 0, NEXT, 1);
    hostile_describe(h, TABLE, 1, BUFFER, 0, NEXT, 0);
}

static inline void loop_of_writable(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, BUFFER, 1, NEXT | WRITE, 1);
    hostile_describe(h, TABLE, 1, BUFFER, 1, NEXT | WRITE, 0);
}

static inline void writable_before_readable(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, BUFFER, 16, NEXT | WRITE, 1);
    hostile_describe(h, TABLE, 1, BUFFER, 16, 0, 0);
}

// Each in the place of the first buffer.
#define ACT_BUFFER(name, address, length)                                                                              \
    static inline void name(struct hostile *h, unsigned device, unsigned queue)                                        \
    {                                                                                                                  \
        hostile_describe(h, TABLE, 0, address, length, WRITE, 0);                                                      \
    }
ACT_BUFFER(buffer_wraps_round, UINT64_MAX - 7, 16)
ACT_BUFFER(buffer_of_4_gib, BUFFER, UINT32_MAX)
ACT_BUFFER(buffer_leaves_ram, RAM_END - 4, 16)
ACT_BUFFER(buffer_at_the_end_of_ram, RAM_END, 1)
ACT_BUFFER(buffer_of_nothing_behind_ram, RAM_END, 0)
ACT_BUFFER(buffer_in_registers, REGISTERS(device), 64)
ACT_BUFFER(buffer_in_a_hole, HOLE, 4096)
ACT_BUFFER(buffer_is_all_of_ram, 0, (uint32_t)RAM_END)

static inline void put_indirect(struct hostile *h, unsigned device, unsigned queue, uint64_t table, uint32_t length,
                                unsigned more)
{
    hostile_describe(h, TABLE, 0, table, length, INDIRECT | more, 1);
    hostile_describe(h, TABLE, 1, BUFFER, 16, 0, 0);
}

static inline void indirect_in_indirect(struct hostile *h, unsigned device, unsigned queue)
{
    put_indirect(h, device, queue, BUFFER, 32, 0);
    hostile_describe(h, BUFFER, 0, BUFFER + 64, 32, INDIRECT, 0);
    hostile_describe(h, BUFFER, 4, BUFFER + 256, 16, 0, 0);
}

static inline void indirect_is_itself(struct hostile *h, unsigned device, unsigned queue)
{
    put_indirect(h, device, queue, TABLE, 16 * QUEUE_SIZE, 0);
}

static inline void indirect_goes_on(struct hostile *h, unsigned device, unsigned queue)
{
    put_indirect(h, device, queue, BUFFER, 16, NEXT);
    hostile_describe(h, BUFFER, 0, BUFFER + 64, 16, 0, 0);
}

static inline void indirect_of_nothing(struct hostile *h, unsigned device, unsigned queue)
{
    put_indirect(h, device, queue, BUFFER, 0, 0);
}

static inline void indirect_of_a_part(struct hostile *h, unsigned device, unsigned queue)
{
    put_indirect(h, device, queue, BUFFER, 24, 0);
}

static inline void indirect_leaves_ram(struct hostile *h, unsigned device, unsigned queue)
{
    put_indirect(h, device, queue, RAM_END - 16, 32, 0);
}

static inline void indirect_next_outside(struct hostile *h, unsigned device, unsigned queue)
{
    put_indirect(h, device, queue, BUFFER, 32, 0);
    hostile_describe(h, BUFFER, 0, BUFFER + 64, 1, NEXT, 2);
}

#define LONG_TABLE 0x1000000u // 65536 entries: a MiB

static inline void chain_of_65536(struct hostile *h, unsigned device, unsigned queue)
{
    put_indirect(h, device, queue, LONG_TABLE, 65536 * 16, 0);
    for (unsigned i = 0; i < 65536; i++)
        hostile_describe(h, LONG_TABLE, i, BUFFER, 1, NEXT, (i + 1) & 0xffff);
}

static inline void chain_of_more_than_4_gib(struct hostile *h, unsigned device, unsigned queue)
{
    put_indirect(h, device, queue, LONG_TABLE, 130 * 16, 0);
    for (unsigned i = 0; i < 130; i++)
        hostile_describe(h, LONG_TABLE, i, 0, (uint32_t)RAM_END, i < 129 ? NEXT | WRITE : WRITE, i + 1);
}

// Illegal as a request, whether or not as a ring.
static inline void nothing_writable(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, BUFFER, 16, NEXT, 1);
    hostile_describe(h, TABLE, 1, BUFFER + 16, 512, 0, 0);
}

static inline void nothing_at_all(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, BUFFER, 0, 0, 0);
}

static inline void same_head_many_times(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe_good(h, device);
    for (unsigned i = 0; i < QUEUE_SIZE; i++)
        put_le16(hostile_at(h, TABLE + AVAILABLE + 4 + 2 * i, 2), 0);
    publish(h, device, queue, QUEUE_SIZE);
}

// The device writes over its own rings.
static inline void buffer_is_the_table(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, BUFFER, 16, NEXT, 1);
    hostile_describe(h, TABLE, 1, TABLE, 512, NEXT | WRITE, 2);
    hostile_describe(h, TABLE, 2, TABLE + USED, 1, WRITE, 0);
}

static inline void buffer_is_the_rings(struct hostile *h, unsigned device, unsigned queue)
{
    hostile_describe(h, TABLE, 0, TABLE + AVAILABLE, 2048, WRITE, 0);
}

static inline void ask_for_rings(struct hostile *h, unsigned device, unsigned queue, uint64_t descriptors,
                                 uint64_t available, uint64_t used)
{
    hostile_negotiate(h, device);
    hostile_select(h, device, queue, descriptors, available, used);
    hostile_write(h, REGISTERS(device) + STATUS, 1, 15);
    hostile_write(h, DOORBELL(device, queue), 2, queue);
}

#define ACT_RINGS(name, descriptors, available, used)                                                                  \
    static inline void name(struct hostile *h, unsigned device, unsigned queue)                                        \
    {                                                                                                                  \
        ask_for_rings(h, device, queue, descriptors, available, used);                                                 \
    }
ACT_RINGS(table_outside, RAM_END, TABLE + AVAILABLE, TABLE + USED)
ACT_RINGS(table_leaves_ram, RAM_END - 64, TABLE + AVAILABLE, TABLE + USED)
ACT_RINGS(available_wraps_round, TABLE, UINT64_MAX - 1, TABLE + USED)
ACT_RINGS(used_leaves_ram, TABLE, TABLE + AVAILABLE, RAM_END - 4)
ACT_RINGS(used_in_registers, TABLE, TABLE + AVAILABLE, REGISTERS(device))
ACT_RINGS(table_not_aligned, TABLE + 8, TABLE + AVAILABLE, TABLE + USED)
ACT_RINGS(rings_in_one_place, TABLE, TABLE, TABLE)
ACT_RINGS(used_is_available, TABLE, TABLE + AVAILABLE, TABLE + AVAILABLE)
ACT_RINGS(rings_of_the_next_device, RINGS(device ^ 1, queue), RINGS(device ^ 1, queue) + AVAILABLE,
          RINGS(device ^ 1, queue) + USED)

static inline void no_such_queues(struct hostile *h, unsigned device, unsigned queue)
{
    (void)queue;
    for (unsigned q = 0; q < 16; q++)
        for (unsigned width = 1; width <= 4; width *= 2)
            hostile_write(h, DOORBELL(device, q) + q % 4, width, 0xffffffff - q);
    hostile_write(h, REGISTERS(device) + 0x1ffe, 4, 0);
}

static inline void reset_in_flight(struct hostile *h, unsigned device, unsigned queue)
{
    for (unsigned i = 0; i < 8; i++) {
        hostile_begin_device(h, device);
        hostile_describe_good(h, device);
        for (unsigned j = 0; j < 1 + i % 3; j++)
            hostile_offer(h, device, queue, 0);
        hostile_write(h, REGISTERS(device) + STATUS, 1, 0);
        hostile_write(h, REGISTERS(device) + STATUS, 1, 15); // too early, and in a wrong order
        hostile_offer(h, device, queue, 0);
    }
}

// clang-format off
#define ILLEGAL(name) {.what = #name, .illegal = true, .prepare = name}
#define ODD(name) {.what = #name, .prepare = name}
#define DEADLY(name) {.what = #name, .suicide = true, .prepare = name}
#define ILLEGAL_ACT(name) {.what = #name, .illegal = true, .act = name}
#define ODD_ACT(name) {.what = #name, .act = name}

static const struct hostile_act hostile_acts[] = {
    ILLEGAL_ACT(index_jumps), ILLEGAL_ACT(index_goes_back), ILLEGAL_ACT(index_jumps_half_way),
    ILLEGAL_ACT(head_outside), ILLEGAL_ACT(head_far_outside),
    ILLEGAL(next_outside), ILLEGAL(next_far_outside),
    ILLEGAL(loop_of_one), ILLEGAL(loop_of_nothing), ILLEGAL(loop_of_writable), ILLEGAL(writable_before_readable),
    ILLEGAL(buffer_wraps_round), ILLEGAL(buffer_of_4_gib), ILLEGAL(buffer_leaves_ram), ILLEGAL(buffer_at_the_end_of_ram),
    ODD(buffer_of_nothing_behind_ram), ILLEGAL(buffer_in_registers), ILLEGAL(buffer_in_a_hole), DEADLY(buffer_is_all_of_ram),
    ILLEGAL(indirect_in_indirect), ILLEGAL(indirect_is_itself), ILLEGAL(indirect_goes_on), ILLEGAL(indirect_of_nothing),
    ILLEGAL(indirect_of_a_part), ILLEGAL(indirect_leaves_ram), ILLEGAL(indirect_next_outside),
    ILLEGAL(chain_of_65536), ODD(chain_of_more_than_4_gib), ODD(nothing_writable), ODD(nothing_at_all),
    ODD_ACT(same_head_many_times), ODD(buffer_is_the_table), ODD(buffer_is_the_rings),
    ILLEGAL_ACT(table_outside), ILLEGAL_ACT(table_leaves_ram), ILLEGAL_ACT(available_wraps_round),
    ILLEGAL_ACT(used_leaves_ram), ILLEGAL_ACT(used_in_registers), ILLEGAL_ACT(table_not_aligned),
    ODD_ACT(rings_in_one_place), ODD_ACT(used_is_available), ODD_ACT(rings_of_the_next_device),
    ODD_ACT(no_such_queues), ODD_ACT(reset_in_flight),
};
// clang-format on

// Something for the queues that wait for input from outside.
static inline void hostile_feed(struct hostile *h)
{
    static const unsigned char frame[4 + 60] = {0, 0, 0, 60};
    if (write(h->net, frame, sizeof frame) < 0 || write(h->console, "x", 1) < 0)
        return; // full: there is input enough
}

static inline void hostile_do(struct hostile *h, unsigned device, unsigned queue, const struct hostile_act *a)
{
    uint64_t deadline = hostile_now_ms() + HOSTILE_SECONDS * 1000;
    hostile_begin_device(h, device);
    if (a->prepare) {
        a->prepare(h, device, queue);
        hostile_offer(h, device, queue, 0);
    } else {
        a->act(h, device, queue);
    }
    hostile_feed(h);
    while (a->illegal && queue == hostile_served[device] && !(hostile_status(h, device) & 64))
        if (hostile_now_ms() > deadline)
            fail_msg("the %s device takes this for good: %s", hostile_names[device], a->what);
    assert_int_equal(h->vm->end, VM_GOES_ON);
}
