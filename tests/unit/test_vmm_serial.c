// The serial port as drivers see it: its registers, its interrupt on an edge-triggered pin, and no byte lost.
#include "tests/unit/loop_fixture.h"

#include "base/io.h"
#include "vmm/serial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#include "base/banned.h"

#define PORT 0x3f8
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

static struct bus ports;
static struct stream *stream;
static struct serial *serial;
static int interrupt, far_end;
static int collecting; // -1: never asked
static unsigned collect_calls;

static void collect(void *context, bool on)
{
    (void)context;
    assert_int_not_equal(collecting, on);
    collecting = on;
    collect_calls++;
}

static int begin(void **state)
{
    int pair[2];
    (void)state;
    loop_fixture_begin();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    far_end = pair[1];
    assert_int_equal(fcntl(far_end, F_SETFL, O_NONBLOCK), 0);
    interrupt = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    collecting = -1;
    collect_calls = 0;
    assert_int_equal(stream_new(&loop, pair[0], pair[0], &stream, NULL), 0);
    bus_init(&ports);
    const struct serial_settings settings = {.stream = stream, .interrupt = interrupt, .collect = collect};
    assert_int_equal(serial_new(&settings, &ports, PORT, &serial, NULL), 0);
    *state = (void *)(intptr_t)pair[0];
    return 0;
}

static int end(void **state)
{
    stream_free(stream);
    serial_free(serial);
    bus_destroy(&ports);
    loop_fixture_end();
    close((int)(intptr_t)*state);
    close(far_end);
    close(interrupt);
    return 0;
}

static unsigned in(unsigned at)
{
    return (unsigned)bus_read(&ports, PORT + at, 1);
}

static void out(unsigned at, unsigned value)
{
    bus_write(&ports, PORT + at, 1, value);
}

// How often the line was signalled since the last call.
static unsigned signals(void)
{
    uint64_t value = 0;
    return read(interrupt, &value, sizeof value) == sizeof value ? (unsigned)value : 0;
}

static void type(const char *text)
{
    assert_int_equal(write(far_end, text, strlen(text)), strlen(text));
}

// Waits until LSR says that there is input.
static void wait_input(void)
{
    for (unsigned i = 0; i < 1000 && !(in(LSR)&1); i++)
        loop_fixture_turn(2);
    assert_int_equal(in(LSR)&1, 1);
}

// Turns the loop until all of what was typed has gone where it can.
static void settle(void)
{
    for (unsigned i = 0; i < 5; i++)
        loop_fixture_turn(4);
}

static void expect_output(const char *text)
{
    char bytes[5000];
    ssize_t n = read(far_end, bytes, sizeof bytes);
    assert_int_equal(n < 0 ? 0 : n, strlen(text));
    if (n > 0)
        assert_memory_equal(bytes, text, (size_t)n);
}

// --- registers ------------------------------------------------------------------------------------------------------

static void a_probe_finds_a_16550a(void **state)
{
    (void)state;
    assert_int_equal(in(IER), 0);
    out(IER, 0xff);
    assert_int_equal(in(IER), 0x0f);
    out(IER, 0);
    out(SCR, 0x5a);
    assert_int_equal(in(SCR), 0x5a);
    assert_int_equal(in(IIR), 0x01); // an 8250 or 16450 so far
    out(FCR, 0x01);
    assert_int_equal(in(IIR), 0xc1); // FIFOs that work
    out(FCR, 0x21);
    assert_int_equal(in(IIR), 0xc1); // not of 64 bytes
    out(MCR, 0x1a);                  // loopback, RTS, OUT2
    assert_int_equal(in(MSR)&0xf0, 0x90);
    out(MCR, 0xff);
    assert_int_equal(in(MCR), 0x1f);
    out(MCR, 0);
    assert_int_equal(in(MSR)&0xf0, 0xb0);
    assert_int_equal(in(LSR), 0x60);
    out(LSR, 0xff);
    out(MSR, 0xff);
    assert_int_equal(in(LSR), 0x60);
}

static void the_divisor_is_behind_dlab(void **state)
{
    (void)state;
    out(IER, 0x05);
    out(LCR, 0x83);
    out(DATA, 0x34);
    out(IER, 0x12);
    assert_int_equal(in(DATA), 0x34);
    assert_int_equal(in(IER), 0x12);
    out(LCR, 0x03);
    assert_int_equal(in(LCR), 0x03);
    assert_int_equal(in(IER), 0x05);
    assert_int_equal(in(DATA), 0);
    expect_output("");
}

static void what_is_written_leaves_at_once(void **state)
{
    (void)state;
    for (const char *c = "Linux version"; *c; c++) {
        out(DATA, (unsigned char)*c);
        assert_int_equal(in(LSR), 0x60);
    }
    expect_output("Linux version");
    assert_int_equal(signals(), 0);
}

static void wide_accesses_are_bytes_one_after_the_other(void **state)
{
    (void)state;
    bus_write(&ports, PORT, 2, 0x0f41); // a character, and the interrupts
    expect_output("A");
    assert_int_equal(in(IER), 0x0f);
    out(IER, 0);
    assert_int_equal(bus_read(&ports, PORT + LCR, 2), 0);
    assert_int_equal(bus_read(&ports, PORT + LSR, 4), UINT32_MAX); // beyond its end
    assert_int_equal(bus_read(&ports, PORT, 8), UINT64_C(0x00b0600000010000));
}

static void loopback_returns_what_is_written(void **state)
{
    (void)state;
    out(FCR, 0x01);
    out(MCR, 0x10);
    for (unsigned i = 0; i < 16; i++)
        out(DATA, i);
    assert_int_equal(in(LSR), 0x61);
    out(DATA, 99); // one too many
    assert_int_equal(in(LSR), 0x63);
    assert_int_equal(in(LSR), 0x61); // reading clears
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(DATA), i);
    assert_int_equal(in(LSR), 0x60);
    out(MCR, 0);
    expect_output("");
}

static void changes_of_the_modems_lines_are_told_once(void **state)
{
    (void)state;
    out(IER, 0x08);
    out(MCR, 0x10);
    assert_int_equal(signals(), 1);
    assert_int_equal(in(IIR), 0x00);
    assert_int_equal(in(MSR), 0x0b); // CTS, DSR and DCD went away
    assert_int_equal(in(IIR), 0x01);
    assert_int_equal(in(MSR), 0x00);
    out(MCR, 0x14); // RI appears: only its end counts
    assert_int_equal(signals(), 0);
    assert_int_equal(in(MSR), 0x40);
    out(MCR, 0x10);
    assert_int_equal(signals(), 1);
    assert_int_equal(in(MSR), 0x04);
}

// --- the transmitter's interrupt ------------------------------------------------------------------------------------

static void an_empty_transmitter_is_told_when_that_is_enabled(void **state)
{
    (void)state;
    out(IER, 0x02);
    assert_int_equal(signals(), 1);
    assert_int_equal(in(IIR), 0x02);
    assert_int_equal(in(IIR), 0x01); // reading cleared it
    out(IER, 0x02);                  // it was enabled already
    assert_int_equal(in(IIR), 0x01);
    out(IER, 0x00);
    out(IER, 0x02);
    assert_int_equal(in(IIR), 0x02);
    out(IER, 0x00);
    assert_int_equal(in(IIR), 0x01);
}

static void sixteen_characters_are_one_interrupt(void **state)
{
    (void)state;
    out(FCR, 0x01);
    out(IER, 0x02);
    assert_int_equal(in(IIR), 0xc2);
    signals();
    for (unsigned i = 0; i < 16; i++)
        out(DATA, 'x');
    assert_int_equal(signals(), 1);
    assert_int_equal(in(IIR), 0xc2);
    assert_int_equal(in(IIR), 0xc1);
    expect_output("xxxxxxxxxxxxxxxx");
}

static void a_driver_that_does_not_ask_for_the_cause_is_told_again(void **state)
{
    (void)state;
    out(FCR, 0x01);
    out(IER, 0x02);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(signals(), 1);
        assert_int_equal(in(LSR), 0x60);
        out(DATA, 'x');
        out(DATA, 'y');
    }
    out(FCR, 0x00); // without FIFOs it need not even ask for the status
    signals();
    for (unsigned i = 0; i < 5; i++) {
        out(DATA, 'z');
        assert_int_equal(signals(), 1);
    }
}

// --- the receiver's interrupt ---------------------------------------------------------------------------------------

static void few_characters_are_a_time_out_and_many_reach_the_trigger(void **state)
{
    (void)state;
    static const struct {
        unsigned fcr, trigger;
    } levels[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xc1, 14}};
    out(MCR, 0x10);
    out(IER, 0x01);
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        out(FCR, levels[i].fcr | 0x02);
        assert_int_equal(in(IIR), 0xc1);
        for (unsigned n = 1; n <= 16; n++) {
            out(DATA, n);
            assert_int_equal(in(IIR), n < levels[i].trigger ? 0xcc : 0xc4);
        }
        for (unsigned n = 15; n > 0; n--) {
            in(DATA);
            assert_int_equal(in(IIR), n < levels[i].trigger ? 0xcc : 0xc4);
        }
        in(DATA);
        assert_int_equal(in(IIR), 0xc1);
    }
}

static void characters_that_are_left_are_told_again(void **state)
{
    (void)state;
    static const unsigned levels[] = {0x03, 0x83};
    out(MCR, 0x10);
    out(IER, 0x01);
    for (unsigned level = 0; level < 2; level++) {
        out(FCR, levels[level]);
        for (unsigned i = 0; i < 3; i++)
            out(DATA, i);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(signals(), 1);
            assert_int_equal(in(DATA), i); // one for each interrupt
        }
        assert_int_equal(signals(), 0);
    }
}

static void causes_come_in_their_order_and_each_is_told(void **state)
{
    (void)state;
    out(FCR, 0x01);
    out(MCR, 0x10);
    in(MSR);
    out(IER, 0x0f);
    for (unsigned i = 0; i < 17; i++)
        out(DATA, i); // one too many: line status
    out(MCR, 0x11);   // DSR: modem status
    signals();
    assert_int_equal(in(IIR), 0xc6);
    in(LSR);
    assert_int_equal(signals(), 1);
    assert_int_equal(in(IIR), 0xc4);
    for (unsigned i = 0; i < 16; i++)
        in(DATA);
    assert_true(signals() > 0);
    assert_int_equal(in(IIR), 0xc2);
    assert_int_equal(signals(), 1);
    assert_int_equal(in(IIR), 0xc0);
    in(MSR);
    assert_int_equal(signals(), 0);
    assert_int_equal(in(IIR), 0xc1);
}

static void a_cause_that_waits_is_told_when_it_is_enabled(void **state)
{
    (void)state;
    out(FCR, 0x01);
    out(MCR, 0x0b);
    type("x");
    wait_input();
    assert_int_equal(signals(), 0);
    out(IER, 0x01);
    assert_int_equal(signals(), 1);
    assert_int_equal(in(IIR), 0xc4);
    assert_int_equal(in(DATA), 'x');
}

// --- no byte is lost ------------------------------------------------------------------------------------------------

static void input_waits_for_a_driver_that_is_ready(void **state)
{
    (void)state;
    type("typed before the system was there\n");
    settle();
    assert_int_equal(in(LSR), 0x60);
    out(MCR, 0x01);
    out(IER, 0x0f); // a probe
    settle();
    out(IER, 0x00);
    out(FCR, 0x01);
    out(FCR, 0x07); // and what it begins with
    in(DATA);
    settle();
    assert_int_equal(in(LSR), 0x60);
    out(FCR, 0x07);
    out(MCR, 0x0b); // opened
    settle();
    in(DATA); // what a driver does for luck
    out(IER, 0x05);
    settle();
    out(FCR, 0x01); // the FIFOs come last
    for (const char *c = "typed before the system was there\n"; *c; c++) {
        wait_input();
        assert_int_equal(in(DATA), *c);
    }
    out(MCR, 0x00); // closed
    type("kept");
    settle();
    assert_int_equal(in(LSR), 0x60);
    out(MCR, 0x08); // opened without RTS
    wait_input();
    assert_int_equal(in(DATA), 'k');
    out(FCR, 0x03); // cleared on purpose
    out(MCR, 0x00);
    settle();
    assert_int_equal(in(LSR), 0x60);
}

static void firmware_that_only_polls_gets_its_keys(void **state)
{
    (void)state;
    type("key");
    for (unsigned i = 0; i < 10; i++) { // a writer looks before each character
        in(LSR);
        in(LSR);
        out(DATA, '.');
    }
    settle();
    assert_int_equal(in(LSR), 0x60);
    for (const char *c = "key"; *c; c++) {
        wait_input();
        assert_int_equal(in(DATA), *c);
    }
}

static void without_fifos_one_character_is_there_at_a_time(void **state)
{
    (void)state;
    out(MCR, 0x0b);
    out(IER, 0x01);
    type("abc");
    for (const char *c = "abc"; *c; c++) {
        wait_input();
        settle();
        assert_int_equal(signals(), 1);
        assert_int_equal(in(IIR), 0x04);
        assert_int_equal(in(DATA), *c);
    }
    assert_int_equal(in(LSR), 0x60);
}

// An interrupt-driven driver that echoes 4000 bytes, on an edge-triggered pin: it runs only when it was signalled.
struct driver {
    unsigned char queue[4096];
    unsigned head, tail; // of what is to be sent
    unsigned received;
    bool transmitter_on;
};

static void transmit(struct driver *d, unsigned most)
{
    for (unsigned i = 0; i < most && d->head < d->tail; i++)
        out(DATA, d->queue[d->head++]);
    if (d->head == d->tail && d->transmitter_on) {
        d->transmitter_on = false;
        out(IER, 0x01);
    }
}

static void receive(struct driver *d, unsigned most)
{
    for (unsigned i = 0; i < most && in(LSR)&1; i++) {
        d->queue[d->tail++] = (unsigned char)in(DATA);
        d->received++;
    }
    if (d->head < d->tail && !d->transmitter_on) {
        d->transmitter_on = true;
        out(IER, 0x03);
    }
}

// style 0: one cause for each interrupt, one character for each cause. 1: one cause, all of it. 2: until there is none.
static void handle(struct driver *d, unsigned style)
{
    for (;;) {
        unsigned cause = in(IIR)&0x0f;
        if (cause == 0x04 || cause == 0x0c)
            receive(d, style == 0 ? 1 : 100);
        else if (cause == 0x02)
            transmit(d, style == 0 ? 1 : 16);
        if (style != 2 || cause == 0x01)
            return;
    }
}

static void echo(unsigned style, unsigned fcr)
{
    enum { TOTAL = 4000 };
    struct driver d = {.received = 0};
    unsigned char sent[TOTAL];
    size_t typed = 0, back = 0;
    uint64_t seed = style * 10 + fcr;
    for (unsigned i = 0; i < TOTAL; i++)
        sent[i] = (unsigned char)(i * 13 + i / 256);
    out(FCR, fcr | 0x06);
    out(MCR, 0x0b);
    out(IER, 0x01);
    for (unsigned idle = 0; back < TOTAL && idle < 200;) {
        unsigned char bytes[TOTAL];
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        size_t n = seed >> 58;
        n = n < TOTAL - typed ? n : TOTAL - typed;
        if (n > 0)
            assert_int_equal(write(far_end, sent + typed, n), n);
        typed += n;
        loop_fixture_turn(1);
        idle++;
        while (signals() > 0) { // several edges are one interrupt
            handle(&d, style);
            idle = 0;
        }
        ssize_t got = read(far_end, bytes, sizeof bytes);
        if (got > 0) {
            assert_true((size_t)got <= TOTAL - back);
            assert_memory_equal(bytes, sent + back, (size_t)got);
            back += (size_t)got;
        }
    }
    if (back != TOTAL)
        fail_msg("style %u, FCR 0x%02x: it stopped after %zu of %d bytes", style, fcr, back, TOTAL);
    out(MCR, 0);
}

static void no_driver_misses_an_edge(void **state)
{
    (void)state;
    static const unsigned fifos[] = {0x01, 0x41, 0xc1};
    for (unsigned style = 0; style < 3; style++)
        for (size_t i = 0; i < ARRAY_SIZE(fifos); i++)
            echo(style, fifos[i]);
}

// --- collecting -----------------------------------------------------------------------------------------------------

static void writes_are_collected_only_while_nothing_is_late_for_it(void **state)
{
    (void)state;
    out(DATA, 'x');
    out(LCR, 0x03);
    assert_int_equal(collecting, -1);
    out(FCR, 0x01);
    assert_int_equal(collecting, 1);
    out(LCR, 0x83);
    assert_int_equal(collecting, 0);
    out(LCR, 0x03);
    assert_int_equal(collecting, 1);
    out(MCR, 0x1b);
    assert_int_equal(collecting, 0);
    out(MCR, 0x0b);
    assert_int_equal(collecting, 1);
    out(FCR, 0xc7);
    out(LCR, 0x07);
    assert_int_equal(collect_calls, 5);
    out(FCR, 0x00);
    assert_int_equal(collecting, 0);
}

static void a_place_that_is_taken_is_refused(void **state)
{
    (void)state;
    struct error error = {0};
    struct serial *none = NULL;
    const struct serial_settings settings = {.stream = stream, .interrupt = interrupt};
    assert_int_equal(serial_new(&settings, &ports, PORT + 4, &none, &error), -EEXIST);
    assert_null(none);
    assert_int_equal(ports.count, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_probe_finds_a_16550a),
        T(the_divisor_is_behind_dlab),
        T(what_is_written_leaves_at_once),
        T(wide_accesses_are_bytes_one_after_the_other),
        T(loopback_returns_what_is_written),
        T(changes_of_the_modems_lines_are_told_once),
        T(an_empty_transmitter_is_told_when_that_is_enabled),
        T(sixteen_characters_are_one_interrupt),
        T(a_driver_that_does_not_ask_for_the_cause_is_told_again),
        T(few_characters_are_a_time_out_and_many_reach_the_trigger),
        T(characters_that_are_left_are_told_again),
        T(causes_come_in_their_order_and_each_is_told),
        T(a_cause_that_waits_is_told_when_it_is_enabled),
        T(input_waits_for_a_driver_that_is_ready),
        T(firmware_that_only_polls_gets_its_keys),
        T(without_fifos_one_character_is_there_at_a_time),
        T(no_driver_misses_an_edge),
        T(writes_are_collected_only_while_nothing_is_late_for_it),
        T(a_place_that_is_taken_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
