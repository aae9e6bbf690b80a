// A hostile guest, for real: it runs on KVM, in the sandbox, and does to one machine, from its vCPU, what
// test_vmm_hostile.c does in volume (TRUST T22 to T24, T26). Every thread of the machine is in its filter meanwhile: a
// call that a device needs and the sandbox does not know would end this test. The guest proves after every act that the
// machine serves it, and switches it off at the end.
//
// One machine for all tests: what one leaves behind meets the next, and the sandbox can be entered only once.
#include "hostile_acts.h"

#include "overlay_fixture.h"
#include "skip.h"

#include <malloc.h>

#include "base/banned.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX false // the sanitizer makes calls of its own
#else
#define SANDBOX true
#endif

static struct hostile h;
static bool there_is_kvm;

static int begin(void **state)
{
    (void)state;
    tzset(); // as main() does, before files can be opened no more
    mallopt(M_ARENA_MAX, 1);
    hostile_make_folder(&h);
    there_is_kvm = hostile_begin(&h, true, SANDBOX);
    if (!there_is_kvm)
        return 0;
    hostile_start(&h);
    hostile_place(&h);
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (there_is_kvm)
        hostile_free(&h);
    hostile_remove_folder(&h);
    return 0;
}

#define BEGIN                                                                                                          \
    (void)state;                                                                                                       \
    if (!there_is_kvm)                                                                                                 \
    SKIP("there is no /dev/kvm that may be opened")

static void a_good_guest_is_served(void **state)
{
    BEGIN;
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++)
        hostile_prove(&h, d, "nothing");
    assert_int_equal(hostile_in(&h, 0xe123, 4), UINT32_MAX);
    assert_int_equal(hostile_read(&h, HOLE, 2), UINT16_MAX);
}

static void illegal_rings_break_their_device_until_its_reset(void **state)
{
    BEGIN;
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++)
        for (size_t i = 0; i < ARRAY_SIZE(hostile_acts); i++) {
            const struct hostile_act *a = &hostile_acts[i];
            if (a->suicide && d == BALLOON)
                continue;
            hostile_do(&h, d, hostile_served[d], a);
            hostile_prove(&h, d, a->what);
        }
}

static void queues_that_wait_for_input_are_no_way_in(void **state)
{
    static const unsigned waiting[] = {NET, CONSOLE};
    BEGIN;
    for (size_t d = 0; d < ARRAY_SIZE(waiting); d++)
        for (size_t i = 0; i < ARRAY_SIZE(hostile_acts); i++) {
            hostile_do(&h, waiting[d], 0, &hostile_acts[i]);
            hostile_prove(&h, waiting[d], hostile_acts[i].what);
        }
}

// A write to each disk, a flush, a discard, zeroes: what the workers do in their filter.
static void put_block_request(unsigned device, uint32_t type, uint32_t data, unsigned flags)
{
    uint64_t table = RINGS(device, 0), buffer = BUFFERS(device);
    memset(hostile_at(&h, buffer, 8192), 0, 8192);
    put_le32(hostile_at(&h, buffer, 4), type);
    hostile_describe(&h, table, 0, buffer, 16, NEXT, 1);
    hostile_describe(&h, table, 1, buffer + 16, data, NEXT | flags, 2);
    hostile_describe(&h, table, 2, buffer + 16 + 4096, 1, WRITE, 0);
    *hostile_at(&h, buffer + 16 + 4096, 1) = 0xff;
    if (type == 11 || type == 13)
        put_le32(hostile_at(&h, buffer + 16 + 8, 4), 8);
}

static void every_kind_of_disk_request_is_served(void **state)
{
    static const struct {
        uint32_t type, data;
        unsigned flags;
    } kinds[] = {{1, 4096, 0},   {0, 4096, WRITE}, {1, 512, 0}, {4, 0, 0},
                 {8, 20, WRITE}, {11, 16, 0},      {13, 16, 0}, {0, 512, WRITE}};
    BEGIN;
    for (unsigned d = OVERLAY; d <= DISK; d++) {
        hostile_begin_device(&h, d);
        for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
            uint64_t deadline = hostile_now_ms() + HOSTILE_SECONDS * 1000;
            put_block_request(d, kinds[i].type, kinds[i].data, kinds[i].flags);
            hostile_offer(&h, d, 0, 0);
            while (hostile_used(&h, d, 0) != i + 1)
                assert_true(hostile_now_ms() < deadline && h.vm->end == VM_GOES_ON);
            assert_int_equal(*hostile_at(&h, BUFFERS(d) + 16 + 4096, 1), 0);
        }
    }
}

static void registers_take_any_value_and_width(void **state)
{
    struct random_numbers random = {test_seed("registers_take_any_value_and_width")};
    BEGIN;
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t r = random_next(&random);
        unsigned d = (unsigned)(r % HOSTILE_DEVICES), width = 1u << (r >> 8 & 1) << (r >> 9 & 1);
        uint64_t at = (r >> 16) % 0x80;
        switch (r >> 12 & 3) {
        case 0:
            at += REGISTERS(d);
            break;
        case 1:
            at += CONFIG(d);
            break;
        case 2:
            at += VECTORS(d);
            break;
        default:
            at += REGISTERS(d) + 0x1000;
        }
        hostile_read(&h, at, width);
        hostile_write(&h, at, width, r >> 32);
    }
    hostile_place(&h);
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++)
        hostile_prove(&h, d, "registers were written at random");
}

static void ports_take_any_width(void **state)
{
    static const struct {
        unsigned first, last; // where somebody answers, KVM itself included, and around
    } ports[] = {{0, 0xff}, {0x3f0, 0x400}, {0x4c8, 0x4d8}, {0x500, 0x508}, {0x5fc, 0x608}, {0xcf0, 0xd00}};
    BEGIN;
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
        for (unsigned port = ports[i].first; port <= ports[i].last; port++)
            for (unsigned width = 1; width <= 4; width *= 2) {
                hostile_in(&h, (uint16_t)port, width);
                if (!hostile_ends_the_machine(port, width))
                    hostile_out(&h, (uint16_t)port, width, 0xfefefefeu ^ port);
            }
    for (unsigned port = 0xd00; port < 0x10000; port += 0x333)
        for (unsigned width = 1; width <= 4; width *= 2)
            assert_int_equal(hostile_in(&h, (uint16_t)port, width), UINT32_MAX >> (32 - 8 * width));
    hostile_place(&h);
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++)
        hostile_prove(&h, d, "ports were written");
}

static void interrupts_are_routed_and_sent(void **state)
{
    BEGIN;
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++) {
        unsigned capability = (unsigned)hostile_read(&h, CONFIG(d) + 0x34, 1);
        while (hostile_read(&h, CONFIG(d) + capability, 1) != 0x11)
            capability = (unsigned)hostile_read(&h, CONFIG(d) + capability + 1, 1);
        hostile_prove(&h, d, "nothing");
        hostile_write(&h, CONFIG(d) + capability + 2, 2, 0x8000);
        for (unsigned i = 0; i < 6; i++) {
            hostile_write(&h, REGISTERS(d) + 0x16, 2, hostile_served[d]);
            hostile_write(&h, REGISTERS(d) + 0x1a, 2, 0);
            hostile_write(&h, VECTORS(d), 4, i & 1 ? 0xfee00000 : 0xffffffff);
            hostile_write(&h, VECTORS(d) + 4, 4, i == 5 ? 0xffffffff : 0);
            hostile_write(&h, VECTORS(d) + 8, 4, 0x40 + i);
            hostile_write(&h, VECTORS(d) + 12, 4, i == 3);
            hostile_offer(&h, d, hostile_served[d], 0);
        }
        hostile_write(&h, CONFIG(d) + capability + 2, 2, 0);
        hostile_prove(&h, d, "messages were sent");
    }
}

static void the_guest_switches_the_machine_off(void **state)
{
    BEGIN;
    hostile_out(&h, LAYOUT_PORT_POWER, 1, 0x20 | LAYOUT_SLEEP_TYPE_OFF << 2);
    hostile_wait(&h, VM_POWERED_OFF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_guest_is_served),
        cmocka_unit_test(every_kind_of_disk_request_is_served),
        cmocka_unit_test(illegal_rings_break_their_device_until_its_reset),
        cmocka_unit_test(queues_that_wait_for_input_are_no_way_in),
        cmocka_unit_test(registers_take_any_value_and_width),
        cmocka_unit_test(ports_take_any_width),
        cmocka_unit_test(interrupts_are_routed_and_sent),
        cmocka_unit_test(the_guest_switches_the_machine_off),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
