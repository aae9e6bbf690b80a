// The PCI root: what is found where, at any width (TRUST T24), and where BARs are mapped (pci.h, rules 1–3).
#include "vmm/pci.h"

#include "base/cursor.h"
#include "vmm/layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COMMAND 0x04u
#define BAR0 0x10u
#define BAR1 0x14u

// A device with two BARs of 8 and 4 KiB, which answers a read with its number and the offset.
struct test_device {
    struct pci_device function;
    pthread_mutex_t lock;
    uint64_t number;
    unsigned changes, config_writes, last_written;
    uint32_t last_old;
    bool last_was_mapped;
};

static struct bus ports, memory;
static struct pci_root root;
static struct test_device devices[2];

static uint64_t read_device(void *context, uint64_t offset, unsigned width)
{
    const struct test_device *d = context;
    (void)width;
    return d->number << 16 | offset;
}

static void note_change(struct pci_device *d, unsigned bar, uint32_t old_address, bool was_mapped)
{
    struct test_device *t = (struct test_device *)d; // its first member
    (void)bar;
    assert_int_equal(pthread_mutex_trylock(&t->lock), EBUSY); // it is held
    t->changes++;
    t->last_old = old_address;
    t->last_was_mapped = was_mapped;
}

static void note_write(struct pci_device *d, unsigned offset, unsigned width)
{
    struct test_device *t = (struct test_device *)d;
    (void)width;
    assert_int_equal(pthread_mutex_trylock(&t->lock), EBUSY);
    t->config_writes++;
    t->last_written = offset;
}

static void note_read(struct pci_device *d, unsigned offset, unsigned width)
{
    if (offset <= 0xf0 && offset + width > 0xf0)
        d->config[0xf0]++;
}

static int set_up(void **state)
{
    (void)state;
    bus_init(&ports);
    bus_init(&memory);
    assert_int_equal(pci_root_init(&root, &ports, &memory, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct test_device *d = &devices[i];
        memset(d, 0, sizeof *d);
        pthread_mutex_init(&d->lock, NULL);
        d->number = i + 1;
        pci_device_init(&d->function, &d->lock, 0x1234, (uint16_t)(0x5600 + i), 0x018002, 3, 0xabcd, 0xef01);
        d->function.bars[0] = (struct pci_bar){.size = 0x2000, .handler = {"first", read_device, NULL, d}};
        d->function.bars[1] = (struct pci_bar){.size = 0x1000, .handler = {"second", read_device, NULL, d}};
        d->function.bar_changed = note_change;
        d->function.config_written = note_write;
        d->function.config_reading = note_read;
        assert_int_equal(pci_attach(&root, &d->function, NULL), 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        pci_detach(&devices[i].function);
        pthread_mutex_destroy(&devices[i].lock);
    }
    assert_int_equal(memory.count, 1); // ECAM alone
    pci_root_destroy(&root);
    assert_int_equal(memory.count + ports.count, 0);
    bus_destroy(&ports);
    bus_destroy(&memory);
    return 0;
}

static uint64_t ecam(unsigned slot, unsigned offset)
{
    return LAYOUT_ECAM + (slot << 15) + offset;
}

static uint32_t read_ecam(unsigned slot, unsigned offset, unsigned width)
{
    return (uint32_t)bus_read(&memory, ecam(slot, offset), width);
}

static void write_ecam(unsigned slot, unsigned offset, unsigned width, uint32_t value)
{
    bus_write(&memory, ecam(slot, offset), width, value);
}

static uint32_t read_ports(unsigned slot, unsigned offset, unsigned width)
{
    bus_write(&ports, 0xcf8, 4, 0x80000000u | slot << 11 | (offset & 0xfc));
    return (uint32_t)bus_read(&ports, 0xcfc + (offset & 3), width);
}

static void write_ports(unsigned slot, unsigned offset, unsigned width, uint32_t value)
{
    bus_write(&ports, 0xcf8, 4, 0x80000000u | slot << 11 | (offset & 0xfc));
    bus_write(&ports, 0xcfc + (offset & 3), width, value);
}

static bool answers(unsigned device, uint32_t address)
{
    return bus_read(&memory, address + 0x10, 4) == ((uint64_t)(device + 1) << 16 | 0x10);
}

static void both_ways_show_the_same_space(void **state)
{
    (void)state;
    assert_int_equal(read_ports(0, 0, 4), 0x00081b36); // the host bridge
    assert_int_equal(read_ecam(0, 8, 4) >> 8, 0x060000);
    for (unsigned slot = 0; slot < 3; slot++)
        for (unsigned offset = 0; offset < 256; offset++)
            for (unsigned width = 1; width <= 4; width *= 2)
                if (offset % width == 0 && offset != 0xf0)
                    assert_int_equal(read_ports(slot, offset, width), read_ecam(slot, offset, width));
    assert_int_equal(read_ecam(1, 0, 4), 0x56001234);
    assert_int_equal(read_ecam(1, 8, 4), 0x01800203);
    assert_int_equal(read_ecam(2, 0x2c, 4), 0xef01abcd);
    assert_int_equal(read_ecam(2, 0, 2), 0x1234);
    assert_int_equal(read_ecam(2, 3, 1), 0x56);
    assert_true(bus_read(&memory, ecam(1, 0), 8) == 0x56001234u);
}

static void what_is_not_there_reads_all_ones(void **state)
{
    static const uint32_t latches[] = {0x00000800, 0x80001800, 0x8000f800, 0x80000900,
                                       0x80010800, 0x80ff0800, 0x81000800, 0xc0000800};
    (void)state;
    for (size_t i = 0; i < sizeof latches / sizeof *latches; i++) {
        bus_write(&ports, 0xcf8, 4, latches[i]);
        assert_int_equal(bus_read(&ports, 0xcfc, 4), 0xffffffff);
        assert_int_equal(bus_read(&ports, 0xcff, 1), 0xff);
        bus_write(&ports, 0xcfc, 4, 0x12345678); // goes nowhere
    }
    assert_int_equal(read_ecam(3, 0, 4), 0xffffffff);
    assert_int_equal(bus_read(&memory, ecam(1, 0) + (1 << 12), 2), 0xffff); // function 1
    assert_int_equal(read_ecam(1, 0x100, 4), 0xffffffff);                   // no extended space
    assert_int_equal(read_ecam(1, 0xffc, 4), 0xffffffff);
    assert_int_equal(read_ecam(1, 0xfe, 4), 0xffffffff); // over the end
    assert_int_equal(bus_read(&ports, 0xcfe, 4), 0xffffffff);
    assert_int_equal(devices[0].config_writes, 0);
}

static void the_address_is_latched_whole(void **state)
{
    (void)state;
    bus_write(&ports, 0xcf8, 4, 0x80000804);
    bus_write(&ports, 0xcfb, 1, 0x01); // as systems do to find this mechanism
    bus_write(&ports, 0xcf8, 2, 0xffff);
    assert_int_equal(bus_read(&ports, 0xcf8, 4), 0x80000804);
    assert_int_equal(bus_read(&ports, 0xcf8, 2), 0xffff);
    assert_int_equal(bus_read(&ports, 0xcf9, 1), 0xff);
    assert_int_equal(bus_read(&ports, 0xcfa, 4), 0xffffffff); // over both ports
}

static void only_writable_bits_change(void **state)
{
    (void)state;
    for (unsigned offset = 0; offset < 256; offset += 4)
        if (offset < BAR0 || offset > BAR1)
            write_ecam(1, offset, 4, 0xffffffff);
    assert_int_equal(read_ecam(1, 0, 4), 0x56001234);
    assert_int_equal(read_ecam(1, COMMAND, 4), 0x0406);
    assert_int_equal(read_ecam(1, 0x3c, 4), 0);
    write_ports(1, COMMAND + 1, 1, 0);
    assert_int_equal(read_ports(1, COMMAND, 2), 0x0006);
    assert_int_equal(devices[0].last_written, COMMAND + 1);
}

static void capabilities_are_chained(void **state)
{
    struct pci_device d;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    (void)state;
    pci_device_init(&d, &lock, 1, 2, 3, 4, 5, 6);
    assert_int_equal(d.config[6] & 0x10, 0);
    unsigned first = pci_add_capability(&d, 9, 17), second = pci_add_capability(&d, 0x11, 12);
    assert_int_equal(d.config[6] & 0x10, 0x10);
    assert_int_equal(d.config[0x34], first);
    assert_int_equal(d.config[first], 9);
    assert_int_equal(d.config[first + 1], second);
    assert_int_equal(second % 4, 0);
    assert_true(second >= first + 17);
    assert_int_equal(d.config[second], 0x11);
    assert_int_equal(d.config[second + 1], 0);
}

static void reading_may_refresh(void **state)
{
    (void)state;
    uint32_t first = read_ecam(1, 0xf0, 1);
    assert_int_equal(read_ecam(1, 0xf0, 1), first + 1);
    assert_int_equal(read_ecam(1, 0xf4, 4), 0);
    assert_int_equal(read_ecam(1, 0xf0, 1), first + 2);
}

static void bars_are_placed_and_sized(void **state)
{
    (void)state;
    for (unsigned slot = 1; slot < 3; slot++) {
        uint32_t placed[2] = {read_ecam(slot, BAR0, 4), read_ecam(slot, BAR1, 4)};
        assert_true(placed[0] >= LAYOUT_PCI_MEMORY && placed[0] % 0x2000 == 0);
        assert_true(placed[1] >= placed[0] + 0x2000);
        write_ecam(slot, BAR0, 4, 0xffffffff);
        assert_int_equal(read_ecam(slot, BAR0, 4), 0xffffe000);
        write_ports(slot, BAR1, 4, 0xffffffff);
        assert_int_equal(read_ports(slot, BAR1, 4), 0xfffff000);
        write_ecam(slot, BAR1 + 4, 4, 0xffffffff); // there is no third
        assert_int_equal(read_ecam(slot, BAR1 + 4, 4), 0);
        write_ecam(slot, BAR0, 4, placed[0]);
        assert_int_equal(read_ecam(slot, BAR0, 4), placed[0]);
    }
    assert_int_equal(devices[0].changes, 0); // decoding is off
}

static void bars_answer_while_decoding_is_on(void **state)
{
    uint32_t at = read_ecam(1, BAR0, 4);
    (void)state;
    assert_false(answers(0, at));
    write_ecam(1, COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_true(answers(0, at));
    assert_int_equal(devices[0].changes, 2);
    assert_false(devices[0].last_was_mapped);
    write_ecam(1, COMMAND, 2, PCI_COMMAND_MEMORY | 4);
    assert_int_equal(devices[0].changes, 2);
    write_ecam(1, COMMAND, 2, 0);
    assert_false(answers(0, at));
    assert_int_equal(devices[0].changes, 4);
    assert_true(devices[0].last_was_mapped);
}

static void a_bar_moves(void **state)
{
    uint32_t at = read_ecam(1, BAR0, 4), to = 0xd0000000u;
    (void)state;
    write_ecam(1, COMMAND, 2, PCI_COMMAND_MEMORY);
    write_ecam(1, BAR0, 4, to);
    assert_false(answers(0, at));
    assert_true(answers(0, to));
    assert_true(devices[0].last_was_mapped && devices[0].last_old == at);
    write_ports(1, BAR0 + 3, 1, 0xc8); // one byte of it
    assert_false(answers(0, to));
    assert_true(answers(0, 0xc8000000u));
    bus_write(&memory, ecam(1, BAR0), 8, UINT64_C(0xd1000000d2000000)); // both at once
    assert_true(answers(0, 0xd2000000u) && answers(0, 0xd1000000u));
}

static void two_bars_of_a_device_change_places(void **state)
{
    (void)state;
    write_ecam(1, BAR0, 4, 0xd0000000u);
    write_ecam(1, BAR1, 4, 0xd0002000u);
    write_ecam(1, COMMAND, 2, PCI_COMMAND_MEMORY);
    bus_write(&memory, ecam(1, BAR0), 8, UINT64_C(0xd0000000d0002000));
    assert_true(devices[0].function.bars[0].mapped && devices[0].function.bars[1].mapped);
    assert_int_equal(devices[0].function.bars[0].address, 0xd0002000u);
    assert_int_equal(devices[0].function.bars[1].address, 0xd0000000u);
}

static void a_bar_over_something_else_is_not_mapped(void **state)
{
    static const uint32_t places[] = {0,
                                      0x100000,
                                      0xbffff000,
                                      0xbfffe000,
                                      0xdffff000 + 0x1000,
                                      LAYOUT_ECAM,
                                      LAYOUT_ECAM + 0xfe000,
                                      LAYOUT_IO_APIC,
                                      LAYOUT_LOCAL_APIC,
                                      0xffffe000};
    (void)state;
    write_ecam(1, COMMAND, 2, PCI_COMMAND_MEMORY);
    write_ecam(2, COMMAND, 2, PCI_COMMAND_MEMORY);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        write_ecam(1, BAR0, 4, places[i]);
        assert_false(devices[0].function.bars[0].mapped);
        assert_int_equal(read_ecam(1, BAR0, 4), places[i] & 0xffffe000u); // it is kept
        assert_int_equal(read_ecam(0, 0, 4), 0x00081b36);                 // ECAM answers
    }
    write_ecam(1, BAR0, 4, 0xdfffe000u); // the last place there is
    assert_true(answers(0, 0xdfffe000u));

    uint32_t other = read_ecam(2, BAR0, 4);
    write_ecam(1, BAR0, 4, other);
    assert_false(devices[0].function.bars[0].mapped);
    assert_true(answers(1, other));
    write_ecam(2, BAR0, 4, 0xd8000000u); // it makes room;
    assert_false(answers(0, other));
    write_ecam(1, COMMAND, 2, PCI_COMMAND_MEMORY); // the next write finds it
    assert_true(answers(0, other));
}

static void who_does_not_want_to_know_is_not_told(void **state)
{
    (void)state;
    devices[0].function.bar_changed = NULL;
    devices[0].function.config_written = NULL;
    write_ecam(1, BAR0, 4, 0xd4000000u);
    write_ecam(1, COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_true(answers(0, 0xd4000000u));
    assert_int_equal(devices[0].changes, 0);
}

static void a_place_that_is_taken_is_refused(void **state)
{
    struct pci_root other;
    struct bus empty;
    struct error error = {""};
    (void)state;
    assert_int_equal(pci_root_init(&other, &ports, &memory, &error), -EEXIST);
    assert_non_null(strstr(error.text, "cannot put the PCI root"));
    bus_init(&empty);
    assert_int_equal(pci_root_init(&other, &empty, &memory, &error), -EEXIST); // the ports are free, ECAM is not
    bus_destroy(&empty);
}

static void the_bridge_has_no_bars(void **state)
{
    (void)state;
    for (unsigned offset = BAR0; offset < 0x28; offset += 4) {
        write_ecam(0, offset, 4, 0xffffffff);
        assert_int_equal(read_ecam(0, offset, 4), 0);
    }
    write_ecam(0, COMMAND, 4, 0xffffffff);
    assert_int_equal(memory.count, 1);
}

static void a_full_root_refuses(void **state)
{
    static struct pci_device more[PCI_SLOTS];
    struct pci_device large = {.bars[0].size = 0x20000000u};
    struct error error = {""};
    unsigned attached = 0;
    (void)state;
    pci_device_init(&large, &devices[0].lock, 1, 2, 3, 4, 5, 6);
    large.bars[0].size = 0x20000000u; // the whole window, of which a part is taken
    assert_int_equal(pci_attach(&root, &large, &error), -ENOSPC);
    assert_non_null(strstr(error.text, "window"));
    for (;; attached++) {
        pci_device_init(&more[attached], &devices[0].lock, 1, 2, 3, 4, 5, 6);
        if (pci_attach(&root, &more[attached], &error) < 0)
            break;
    }
    assert_int_equal(attached, PCI_SLOTS - 3);
    while (attached-- > 0)
        pci_detach(&more[attached]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        T(both_ways_show_the_same_space),
        T(what_is_not_there_reads_all_ones),
        T(the_address_is_latched_whole),
        T(only_writable_bits_change),
        T(capabilities_are_chained),
        T(reading_may_refresh),
        T(bars_are_placed_and_sized),
        T(bars_answer_while_decoding_is_on),
        T(a_bar_moves),
        T(two_bars_of_a_device_change_places),
        T(a_bar_over_something_else_is_not_mapped),
        T(who_does_not_want_to_know_is_not_told),
        T(a_place_that_is_taken_is_refused),
        T(the_bridge_has_no_bars),
        T(a_full_root_refuses),
    };
    return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
