// vmm/bus.h: who answers which access; what nobody answers is all-ones.
#include "vmm/bus.h"

#include <errno.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "base/banned.h"

struct device {
    uint64_t answer, offset, written;
    unsigned width, reads, writes;
    struct bus *bus; // for the one that moves itself
};

static uint64_t device_read(void *context, uint64_t offset, unsigned width)
{
    struct device *d = context;
    d->offset = offset;
    d->width = width;
    d->reads++;
    return d->answer;
}

static void device_write(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    struct device *d = context;
    d->offset = offset;
    d->width = width;
    d->written = value;
    d->writes++;
}

static struct bus_handler handler_of(struct device *d)
{
    return (struct bus_handler){.name = "device", .read = device_read, .write = device_write, .context = d};
}

static void access_reaches_the_range_with_its_offset(void **state)
{
    struct bus b;
    struct device one = {.answer = 0x1122334455667788}, two = {.answer = 2};
    const struct bus_handler h1 = handler_of(&one), h2 = handler_of(&two);
    (void)state;
    bus_init(&b);
    assert_int_equal(bus_add(&b, 0x200, 0x100, &h2), 0);
    assert_int_equal(bus_add(&b, 0x100, 0x100, &h1), 0);
    assert_int_equal(bus_read(&b, 0x1f8, 8), 0x1122334455667788);
    assert_int_equal(one.offset, 0xf8);
    assert_int_equal(one.width, 8);
    assert_int_equal(bus_read(&b, 0x200, 4), 2);
    assert_int_equal(two.offset, 0);
    bus_write(&b, 0x2ff, 1, 0x1234); // cut to its width
    assert_int_equal(two.written, 0x34);
    assert_int_equal(two.offset, 0xff);
    bus_destroy(&b);
}

static void answer_is_cut_to_the_width(void **state)
{
    struct bus b;
    struct device d = {.answer = UINT64_MAX};
    const struct bus_handler h = handler_of(&d);
    (void)state;
    bus_init(&b);
    assert_int_equal(bus_add(&b, 0, 8, &h), 0);
    assert_int_equal(bus_read(&b, 0, 1), 0xff);
    assert_int_equal(bus_read(&b, 0, 2), 0xffff);
    assert_int_equal(bus_read(&b, 0, 4), 0xffffffff);
    assert_true(bus_read(&b, 0, 8) == UINT64_MAX);
    bus_destroy(&b);
}

static void nobody_and_crossing_an_end_read_all_ones(void **state)
{
    struct bus b;
    struct device d = {.answer = 0};
    const struct bus_handler h = handler_of(&d);
    (void)state;
    bus_init(&b);
    assert_int_equal(bus_read(&b, 0x100, 4), 0xffffffff); // empty
    assert_int_equal(bus_add(&b, 0x100, 4, &h), 0);
    assert_int_equal(bus_read(&b, 0xff, 1), 0xff);
    assert_int_equal(bus_read(&b, 0x104, 2), 0xffff);
    assert_int_equal(bus_read(&b, 0x103, 2), 0xffff); // crosses
    assert_int_equal(bus_read(&b, 0xff, 2), 0xffff);
    assert_true(bus_read(&b, 0x100, 8) == UINT64_MAX);
    assert_true(bus_read(&b, UINT64_MAX, 8) == UINT64_MAX);
    bus_write(&b, 0x103, 2, 1);
    bus_write(&b, UINT64_MAX, 8, 1);
    bus_write(&b, 0xff, 1, 1);
    assert_int_equal(d.reads + d.writes, 0);
    bus_destroy(&b);
}

static void ranges_may_touch_but_not_overlap(void **state)
{
    struct bus b;
    struct device d = {0};
    const struct bus_handler h = handler_of(&d);
    (void)state;
    bus_init(&b);
    assert_int_equal(bus_add(&b, 0x100, 0x10, &h), 0);
    assert_int_equal(bus_add(&b, 0x100, 0x10, &h), -EEXIST);
    assert_int_equal(bus_add(&b, 0x10f, 1, &h), -EEXIST);
    assert_int_equal(bus_add(&b, 0xff, 2, &h), -EEXIST);
    assert_int_equal(bus_add(&b, 0, 0x1000, &h), -EEXIST);
    assert_int_equal(bus_add(&b, 0xf0, 0x10, &h), 0);
    assert_int_equal(bus_add(&b, 0x110, 0x10, &h), 0);
    assert_int_equal(bus_add(&b, UINT64_MAX, 1, &h), 0); // the very last address
    assert_int_equal(bus_add(&b, UINT64_MAX - 3, 8, &h), -EINVAL);
    assert_int_equal(bus_add(&b, 5, 0, &h), -EINVAL);
    assert_int_equal(b.count, 4);
    bus_destroy(&b);
}

static void only_the_exact_range_is_removed(void **state)
{
    struct bus b;
    struct device d = {.answer = 7};
    const struct bus_handler h = handler_of(&d);
    (void)state;
    bus_init(&b);
    assert_int_equal(bus_add(&b, 0x100, 0x10, &h), 0);
    bus_remove(&b, 0x100, 8);
    bus_remove(&b, 0x108, 8);
    bus_remove(&b, 0, 0x10);
    assert_int_equal(bus_read(&b, 0x100, 1), 7);
    bus_remove(&b, 0x100, 0x10);
    assert_int_equal(bus_read(&b, 0x100, 1), 0xff);
    bus_destroy(&b);
}

static void full_table_is_said(void **state)
{
    struct bus b;
    struct device d = {0};
    const struct bus_handler h = handler_of(&d);
    (void)state;
    bus_init(&b);
    for (unsigned i = 0; i < BUS_RANGES_MAXIMUM; i++)
        assert_int_equal(bus_add(&b, (i * 37 % BUS_RANGES_MAXIMUM) * 16, 16, &h), 0); // in no order
    assert_int_equal(bus_add(&b, 0x10000, 16, &h), -ENOSPC);
    for (unsigned i = 0; i < BUS_RANGES_MAXIMUM; i++) {
        bus_read(&b, i * 16ull + 3, 1);
        assert_int_equal(d.offset, 3);
    }
    assert_int_equal(d.reads, BUS_RANGES_MAXIMUM);
    bus_destroy(&b);
}

static void move_away(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    struct device *d = context;
    const struct bus_handler h = handler_of(d);
    (void)offset;
    (void)width;
    bus_remove(d->bus, 0x100, 0x10);
    assert_int_equal(bus_add(d->bus, value, 0x10, &h), 0);
}

static void handler_may_move_its_own_range(void **state)
{
    struct bus b;
    struct device d = {.answer = 5, .bus = &b};
    struct bus_handler h = handler_of(&d);
    (void)state;
    h.write = move_away;
    bus_init(&b);
    assert_int_equal(bus_add(&b, 0x100, 0x10, &h), 0);
    bus_write(&b, 0x100, 4, 0x4000);
    assert_int_equal(bus_read(&b, 0x100, 1), 0xff);
    assert_int_equal(bus_read(&b, 0x4000, 1), 5);
    bus_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(access_reaches_the_range_with_its_offset), cmocka_unit_test(answer_is_cut_to_the_width),
        cmocka_unit_test(nobody_and_crossing_an_end_read_all_ones), cmocka_unit_test(ranges_may_touch_but_not_overlap),
        cmocka_unit_test(only_the_exact_range_is_removed),          cmocka_unit_test(full_table_is_said),
        cmocka_unit_test(handler_may_move_its_own_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
