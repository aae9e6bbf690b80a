// A hostile guest, in volume: the machine's own buses and devices, driven by this process in place of the vCPU, which
// is paused (hostile_machine.h). TRUST T22 to T24. test_vmm_hostile_guest.c does the same from inside a real guest.
#include "hostile_acts.h"

#include "overlay_fixture.h"
#include "skip.h"

#include "base/banned.h"

static struct hostile h;

#define BEGIN                                                                                                          \
    (void)state;                                                                                                       \
    h = (struct hostile){0};                                                                                           \
    hostile_make_folder(&h);                                                                                           \
    if (!hostile_begin(&h, false, false)) {                                                                            \
        hostile_remove_folder(&h);                                                                                     \
        SKIP("there is no /dev/kvm that may be opened");                                                               \
    }                                                                                                                  \
    hostile_start(&h);                                                                                                 \
    hostile_place(&h)

static void finish(const char *after)
{
    hostile_place(&h);
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++)
        hostile_prove(&h, d, after);
    vm_ask_end(h.vm, VM_STOPPED, NULL);
    hostile_wait(&h, VM_STOPPED);
    hostile_free(&h);
    hostile_remove_folder(&h);
}

static void illegal_rings_break_their_device_until_its_reset(void **state)
{
    BEGIN;
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++)
        for (size_t i = 0; i < ARRAY_SIZE(hostile_acts); i++)
            for (unsigned q = 0; q < hostile_queues[d]; q++) {
                hostile_do(&h, d, q, &hostile_acts[i]);
                hostile_prove(&h, d, hostile_acts[i].what);
            }
    finish("every act");
}

// Without a reset in between: whatever is left of one act meets the next.
static void acts_follow_each_other_at_random(void **state)
{
    struct random_numbers random = {test_seed("acts_follow_each_other_at_random")};
    BEGIN;
    for (unsigned i = 0; i < 400; i++) {
        unsigned d = (unsigned)random_below(&random, HOSTILE_DEVICES),
                 q = (unsigned)random_below(&random, hostile_queues[d]);
        const struct hostile_act *a = &hostile_acts[random_below(&random, ARRAY_SIZE(hostile_acts))];
        if (random_below(&random, 2))
            hostile_begin_device(&h, d);
        if (a->prepare) {
            a->prepare(&h, d, q);
            hostile_offer(&h, d, q, 0);
        } else {
            a->act(&h, d, q);
        }
        hostile_feed(&h);
        if (i % 16 == 0)
            hostile_drain(&h);
    }
    finish("acts at random");
}

// T23: another processor changes everything that the devices read, all the time.
struct scribbler {
    pthread_t thread;
    atomic_bool ended;
};

static void *scribble(void *context)
{
    struct scribbler *s = context;
    struct random_numbers random = {0x5eed};
    while (!s->ended) {
        uint64_t r = random_next(&random);
        unsigned d = (unsigned)(r % HOSTILE_DEVICES), q = (unsigned)(r >> 8) % hostile_queues[d];
        unsigned entry = (unsigned)(r >> 16) % QUEUE_SIZE;
        uint64_t table = RINGS(d, q);
        // Legal in one moment and not in the next: lengths, flags, links, the header of a request.
        switch (r >> 32 & 7) {
        case 0:
            put_le32(hostile_at(&h, table + 16 * entry + 8, 4), r >> 40 & 1 ? 16 : UINT32_MAX);
            break;
        case 1:
            put_le16(hostile_at(&h, table + 16 * entry + 12, 2), (uint16_t)(r >> 40 & 7));
            break;
        case 2:
            put_le16(hostile_at(&h, table + 16 * entry + 14, 2), (uint16_t)(r >> 40 & 15));
            break;
        case 3:
            put_le64(hostile_at(&h, table + 16 * entry, 8), r >> 40 & 1 ? BUFFERS(d) : RAM_END - 8);
            break;
        case 4:
            put_le16(hostile_at(&h, table + AVAILABLE + 4 + 2 * entry, 2), (uint16_t)(r >> 40 & 15));
            break;
        case 5:
            put_le32(hostile_at(&h, BUFFERS(d), 4), (uint32_t)(r >> 40 & 15));
            break;
        case 6:
            put_le64(hostile_at(&h, BUFFERS(d) + 8, 8), r >> 40 & 1 ? 0 : UINT64_MAX);
            break;
        default:
            put_le64(hostile_at(&h, BUFFERS(d) + 16, 8), r);
        }
    }
    return NULL;
}

static void memory_changes_while_devices_read_it(void **state)
{
    struct scribbler s = {.ended = false};
    BEGIN;
    assert_int_equal(pthread_create(&s.thread, NULL, scribble, &s), 0);
    for (unsigned i = 0; i < 3000; i++) {
        unsigned d = i % HOSTILE_DEVICES, q = i / HOSTILE_DEVICES % hostile_queues[d];
        if (i < HOSTILE_DEVICES || hostile_status(&h, d) != 15)
            hostile_begin_device(&h, d);
        hostile_describe_good(&h, d);
        hostile_offer(&h, d, q, i % QUEUE_SIZE);
        hostile_feed(&h);
        if (i % 16 == 0)
            hostile_drain(&h);
    }
    s.ended = true;
    pthread_join(s.thread, NULL);
    finish("memory that changed");
}

// --- registers (T24) -----------------------------------------------------------------------------------------------

static uint64_t ones(unsigned width)
{
    return width >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
}

static void write_values(uint64_t address, unsigned width, struct random_numbers *random)
{
    hostile_write(&h, address, width, ones(width));
    hostile_write(&h, address, width, random_next(random));
    hostile_write(&h, address, width, 0);
}

static void every_port_takes_every_width(void **state)
{
    struct random_numbers random = {test_seed("every_port_takes_every_width")};
    unsigned answered = 0;
    BEGIN;
    for (unsigned port = 0; port < 0x10000; port++) {
        for (unsigned width = 1; width <= 4; width *= 2) {
            uint64_t value = hostile_in(&h, (uint16_t)port, width);
            assert_int_equal(value & ~ones(width), 0);
            answered += value != ones(width);
            if (hostile_ends_the_machine(port, width))
                continue;
            hostile_out(&h, (uint16_t)port, width, UINT32_MAX);
            hostile_out(&h, (uint16_t)port, width, (uint32_t)random_next(&random));
            hostile_out(&h, (uint16_t)port, width, 0);
        }
    }
    assert_in_range(answered, 10, 200); // the clock, the serial port, the keyboard controller: and nobody else
    assert_int_equal(h.vm->end, VM_GOES_ON);
    finish("every port");
}

static void every_address_takes_every_width(void **state)
{
    struct random_numbers random = {test_seed("every_address_takes_every_width")};
    BEGIN;
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++)
        for (unsigned at = 0; at < 0x8000; at++)
            for (unsigned width = 1; width <= 8; width *= 2) {
                uint64_t value = hostile_read(&h, REGISTERS(d) + at, width);
                assert_int_equal(value & ~ones(width), 0);
                if (at % 16 < 2 || at < 0x300 || (at >= 0x1000 && at < 0x1040) || (at >= 0x4000 && at < 0x4080))
                    write_values(REGISTERS(d) + at, width, &random);
            }
    // What nobody answers, to the end of the address space: the edges of every page of the window, and of powers of 2.
    for (uint64_t page = LAYOUT_PCI_MEMORY + HOSTILE_DEVICES * 0x8000; page < LAYOUT_ECAM; page += 0x4000)
        for (unsigned width = 1; width <= 8; width *= 2) {
            assert_int_equal(hostile_read(&h, page, width), ones(width));
            assert_int_equal(hostile_read(&h, page - width / 2, width), ones(width));
            write_values(page - 1, width, &random);
        }
    for (unsigned shift = 30; shift < 64; shift++)
        for (unsigned width = 1; width <= 8; width *= 2)
            for (unsigned before = 0; before < 8; before++)
                write_values((UINT64_C(2) << shift) - before, width, &random);
    assert_int_equal(h.vm->end, VM_GOES_ON);
    finish("every address");
}

static void every_byte_of_configuration_takes_every_width(void **state)
{
    struct random_numbers random = {test_seed("every_byte_of_configuration_takes_every_width")};
    BEGIN;
    for (unsigned slot = 0; slot < 32; slot++)
        for (unsigned at = 0; at < 4096; at++)
            for (unsigned width = 1; width <= 8; width *= 2) {
                uint64_t address = LAYOUT_ECAM + ((uint64_t)slot << 15) + at;
                uint64_t value = hostile_read(&h, address, width);
                assert_int_equal(value & ~ones(width), 0);
                if (at < 256 || at % 64 == 0)
                    write_values(address, width, &random);
            }
    for (unsigned i = 0; i < 20000; i++) { // the other way there; every second address is one that exists
        uint64_t r = random_next(&random);
        hostile_out(&h, LAYOUT_PORT_PCI_ADDRESS, 4, i & 1 ? (uint32_t)r : 0x80000000u | (r & 0x3ffc));
        hostile_out(&h, (uint16_t)(LAYOUT_PORT_PCI_DATA + (r >> 40 & 3)), 1u << (r >> 48 & 1), (uint32_t)(r >> 32));
    }
    assert_int_equal(h.vm->end, VM_GOES_ON);
    finish("every byte of configuration");
}

// BARs are moved over each other, over registers of the machine and over RAM, with doorbells and requests under way.
static void bars_move_over_everything(void **state)
{
    static const uint32_t places[] = {0,          0x100000,   0x800000,   0xbffff000, LAYOUT_PCI_MEMORY, 0xc0008000,
                                      0xc0004000, 0xdfffe000, 0xdffff000, 0xe0000000, 0xe0008000,        0xfec00000,
                                      0xfee00000, 0xfffbc000, 0xfffff000, 0xffffffff};
    struct random_numbers random = {test_seed("bars_move_over_everything")};
    BEGIN;
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t r = random_next(&random);
        unsigned d = (unsigned)(r % HOSTILE_DEVICES);
        uint32_t place = places[(r >> 8) % ARRAY_SIZE(places)];
        hostile_write(&h, CONFIG(d) + 0x10 + 4 * (r >> 16 & 1), 4, place);
        hostile_write(&h, CONFIG(d) + 4, 2, r >> 20 & 7);
        hostile_write(&h, place + 0x1000u, 2, r >> 24);
        hostile_write(&h, place + STATUS, 1, r >> 24);
        hostile_read(&h, place + (r >> 32 & 0xfff), 4);
        if (i % 64 == 0) {
            hostile_place(&h);
            hostile_prove(&h, d, "a BAR was moved");
            hostile_offer(&h, d, hostile_served[d], 0);
        }
    }
    finish("BARs that moved");
}

// The vectors' table, enabled: messages to all addresses, with requests that want interrupts.
static void interrupts_go_anywhere(void **state)
{
    static const uint64_t addresses[] = {0,          0xfee00000, 0xfee0000c, 0xfeeff000,
                                         0xfec00000, UINT64_MAX, 0x800000,   UINT32_MAX};
    struct random_numbers random = {test_seed("interrupts_go_anywhere")};
    BEGIN;
    for (unsigned d = 0; d < HOSTILE_DEVICES; d++) {
        unsigned capability = (unsigned)hostile_read(&h, CONFIG(d) + 0x34, 1);
        while (hostile_read(&h, CONFIG(d) + capability, 1) != 0x11)
            capability = (unsigned)hostile_read(&h, CONFIG(d) + capability + 1, 1);
        hostile_write(&h, CONFIG(d) + capability + 2, 2, 0x8000);
        hostile_begin_device(&h, d);
        for (unsigned i = 0; i < 40; i++) {
            uint64_t r = random_next(&random), address = addresses[r % ARRAY_SIZE(addresses)];
            uint64_t entry = VECTORS(d) + 16 * (r >> 8 & 3);
            hostile_write(&h, REGISTERS(d) + 0x16, 2, hostile_served[d]);
            hostile_write(&h, REGISTERS(d) + 0x1a, 2, r >> 16 & 7);
            hostile_write(&h, REGISTERS(d) + 0x10, 2, r >> 20 & 3);
            hostile_write(&h, entry, 8, address);
            hostile_write(&h, entry + 8, 4, r >> 32);
            hostile_write(&h, entry + 12, 4, r >> 24 & 1);
            hostile_describe_good(&h, d);
            hostile_offer(&h, d, hostile_served[d], i % QUEUE_SIZE);
            hostile_write(&h, CONFIG(d) + capability + 2, 2, r >> 28 & 1 ? 0x8000 : 0xc000);
        }
    }
    finish("messages to all addresses");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(illegal_rings_break_their_device_until_its_reset),
        cmocka_unit_test(acts_follow_each_other_at_random),
        cmocka_unit_test(memory_changes_while_devices_read_it),
        cmocka_unit_test(every_port_takes_every_width),
        cmocka_unit_test(every_address_takes_every_width),
        cmocka_unit_test(every_byte_of_configuration_takes_every_width),
        cmocka_unit_test(bars_move_over_everything),
        cmocka_unit_test(interrupts_go_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
