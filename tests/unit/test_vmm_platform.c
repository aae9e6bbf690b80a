// The small parts of a PC: clock and CMOS, reset lines, panic port, power registers.
#include "vmm/platform.h"

#include "base/io.h"
#include "vmm/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "base/banned.h"

static struct bus ports;
static struct platform *platform;
static int interrupt;
static int requests[3];
static struct io_table table;
static struct timespec now, monotonic;

static void count(void *context, enum platform_request request)
{
    ((int *)context)[request]++;
}

static int test_clock(clockid_t clock, struct timespec *ret)
{
    *ret = clock == CLOCK_REALTIME ? now : monotonic;
    return 0;
}

static void make(void)
{
    const struct platform_settings settings = {.power_interrupt = interrupt, .request = count, .context = requests};
    bus_init(&ports);
    assert_int_equal(platform_new(&settings, &ports, &platform, NULL), 0);
}

static void unmake(void)
{
    platform_free(platform);
    bus_destroy(&ports);
}

static int begin(void **state)
{
    (void)state;
    interrupt = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    for (unsigned i = 0; i < 3; i++)
        requests[i] = 0;
    table = io_table_system;
    table.clock_gettime = test_clock;
    io = &table;
    now = (struct timespec){.tv_sec = 1709251199}; // 2024-02-29 23:59:59 UTC, a Thursday
    monotonic = (struct timespec){.tv_sec = 100};
    make();
    return 0;
}

static int end(void **state)
{
    (void)state;
    unmake();
    close(interrupt);
    io = &io_table_system;
    return 0;
}

static unsigned in(unsigned port)
{
    return (unsigned)bus_read(&ports, port, 1);
}

static void out(unsigned port, unsigned value)
{
    bus_write(&ports, port, 1, value);
}

static unsigned cmos(unsigned at)
{
    out(0x70, at);
    return in(0x71);
}

static void set_cmos(unsigned at, unsigned value)
{
    out(0x70, at);
    out(0x71, value);
}

static void expect_time(const unsigned char wanted[8])
{
    static const unsigned char at[8] = {0x32, 0x09, 0x08, 0x07, 0x06, 0x04, 0x02, 0x00};
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(cmos(at[i]), wanted[i]);
}

static void the_clock_shows_the_hosts_time_in_utc(void **state)
{
    (void)state;
    assert_int_equal(cmos(0x0b), 0x02); // 24 hours, decimal
    expect_time((const unsigned char[]){0x20, 0x24, 0x02, 0x29, 0x05, 0x23, 0x59, 0x59});
    now.tv_sec++;
    monotonic.tv_sec++;
    expect_time((const unsigned char[]){0x20, 0x24, 0x03, 0x01, 0x06, 0x00, 0x00, 0x00});
}

static void a_driver_that_found_no_update_in_progress_reads_one_moment(void **state)
{
    (void)state;
    assert_int_equal(cmos(0x0a) & 0x80, 0);
    assert_int_equal(cmos(0x00), 0x59);
    now.tv_sec++; // midnight passes while it reads
    monotonic.tv_nsec = 1000000;
    assert_int_equal(cmos(0x04), 0x23);
    assert_int_equal(cmos(0x07), 0x29);
    assert_int_equal(cmos(0x0a) & 0x80, 0); // it looks again
    assert_int_equal(cmos(0x07), 0x01);
}

static void the_clock_cannot_be_set_and_has_no_interrupt(void **state)
{
    (void)state;
    set_cmos(0x0b, 0xff);
    assert_int_equal(cmos(0x0b), 0x02); // no periodic, alarm or update interrupt, no square wave
    set_cmos(0x0b, 0x02);
    set_cmos(0x09, 0x99);
    set_cmos(0x32, 0x19);
    set_cmos(0x0c, 0xff);
    set_cmos(0x0d, 0x00);
    assert_int_equal(cmos(0x09), 0x24);
    assert_int_equal(cmos(0x32), 0x20);
    assert_int_equal(cmos(0x0c), 0);
    assert_int_equal(cmos(0x0d), 0x80); // valid
    set_cmos(0x0a, 0xff);
    assert_int_equal(cmos(0x0a) & 0x80, 0);
}

static void the_other_bytes_keep_what_is_written(void **state)
{
    (void)state;
    set_cmos(0x7f, 0x5a);
    set_cmos(0x40, 0xa5);
    assert_int_equal(cmos(0x7f), 0x5a);
    assert_int_equal(cmos(0x40), 0xa5);
    out(0x70, 0x80 | 0x40); // with NMIs disabled
    assert_int_equal(in(0x71), 0xa5);
    assert_int_equal(in(0x70), 0xff);
}

static void expect_requests(int off, int reset, int panic)
{
    assert_int_equal(requests[PLATFORM_POWER_OFF], off);
    assert_int_equal(requests[PLATFORM_RESET], reset);
    assert_int_equal(requests[PLATFORM_PANIC], panic);
}

static void only_the_sleep_type_off_switches_off(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++)
        if (!(value & 0x20 && (value >> 2 & 7) == 5))
            out(0x600, value);
    expect_requests(0, 0, 0);
    out(0x601, 0x80); // clears the wake status, as a system does first
    out(0x600, 5 << 2 | 0x20);
    expect_requests(1, 0, 0);
    assert_int_equal(in(0x601), 0);
}

static void each_reset_line_resets(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++)
        if (value != 1)
            out(0x602, value);
    expect_requests(0, 0, 0);
    out(0x602, 1);
    expect_requests(0, 1, 0);
    out(0x92, 0x02); // the A20 gate alone
    assert_int_equal(in(0x92), 0x02);
    expect_requests(0, 1, 0);
    out(0x92, 0x03);
    expect_requests(0, 2, 0);
    for (unsigned value = 0; value < 256; value++) {
        out(0x60, value);
        if (value < 0xf0 || value & 1)
            out(0x64, value);
    }
    expect_requests(0, 2, 0);
    out(0x64, 0xfe);
    expect_requests(0, 3, 0);
    assert_int_equal(in(0x64) & 0x03, 0); // empty, and ready for a command
}

static void the_panic_port_hears_a_panic(void **state)
{
    (void)state;
    assert_int_equal(in(0x505), 1); // what is offered
    out(0x505, 2);                  // a crash kernel was loaded: not offered
    expect_requests(0, 0, 0);
    out(0x505, 1);
    expect_requests(0, 0, 1);
}

static void a_press_of_the_button_is_there_until_it_is_read(void **state)
{
    (void)state;
    uint64_t value;
    assert_int_equal(in(0x603), 0);
    assert_int_equal(read(interrupt, &value, 8), -1);
    platform_press_power(platform);
    platform_press_power(platform);
    assert_int_equal(read(interrupt, &value, 8), 8); // each press interrupts: an earlier one may have been lost
    assert_int_equal(value, 2);
    assert_int_equal(in(0x602), 0);
    assert_int_equal(in(0x603), 1);
    assert_int_equal(in(0x603), 0);
    platform_press_power(platform);
    out(0x603, 1); // writing does nothing
    assert_int_equal(in(0x603), 1);
}

static void accesses_of_every_width_are_bytes_one_after_the_other(void **state)
{
    (void)state;
    bus_write(&ports, 0x70, 2, 0x5a40); // index, then value
    assert_int_equal(cmos(0x40), 0x5a);
    assert_int_equal(bus_read(&ports, 0x70, 2), 0x5aff);
    platform_press_power(platform);
    assert_int_equal(bus_read(&ports, 0x600, 4), 0x01000000);
    bus_write(&ports, 0x600, 4, 0x00010000);
    expect_requests(0, 1, 0);
    assert_int_equal(bus_read(&ports, 0x600, 8), UINT64_MAX); // beyond the ports
    bus_write(&ports, 0x64, 2, 0xfefe);
    expect_requests(0, 1, 0);
}

static void a_place_that_is_taken_leaves_nothing_behind(void **state)
{
    (void)state;
    struct bus other;
    struct platform *p = platform;
    struct error error = {0};
    const struct bus_handler handler = {.name = "in the way"};
    const struct platform_settings settings = {.request = count, .context = requests};
    bus_init(&other);
    assert_int_equal(bus_add(&other, 0x602, 1, &handler), 0);
    assert_int_equal(platform_new(&settings, &other, &p, &error), -EEXIST);
    assert_ptr_equal(p, platform);
    assert_int_equal(other.count, 1);
    bus_destroy(&other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_clock_shows_the_hosts_time_in_utc),
        T(a_driver_that_found_no_update_in_progress_reads_one_moment),
        T(the_clock_cannot_be_set_and_has_no_interrupt),
        T(the_other_bytes_keep_what_is_written),
        T(only_the_sleep_type_off_switches_off),
        T(each_reset_line_resets),
        T(the_panic_port_hears_a_panic),
        T(a_press_of_the_button_is_there_until_it_is_read),
        T(accesses_of_every_width_are_bytes_one_after_the_other),
        T(a_place_that_is_taken_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
