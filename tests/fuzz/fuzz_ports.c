// Fuzz target: accesses of any width to any I/O port of a machine with its serial port and its platform, and typing at
// the console meanwhile. What is written to the transmitter comes out, all of it and in order; what asks for the end of
// the machine is one of the writes that mean it.
//
// The input is a sequence of five bytes: what to do (bits 0 and 1 the width, bit 2 write, bit 3 type instead, bit 4 the
// port is one of the list), the port, the value.
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cursor.h"
#include "vmm/layout.h"
#include "vmm/platform.h"
#include "vmm/serial.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

#define OPERATION 5u
#define OPERATIONS_MAXIMUM 2000u

static struct loop loop;
static int near_end, far_end, interrupt, turn;
static bool collecting, may_end;

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void collect(void *context, bool on)
{
    (void)context;
    check(on != collecting);
    collecting = on;
}

static void asked(void *context, enum platform_request request)
{
    (void)context;
    check(may_end && request <= PLATFORM_PANIC);
}

static void end_turn(void *context, uint32_t events)
{
    (void)context, (void)events;
    loop_end(&loop);
}

static void prepare(void)
{
    int pair[2];
    struct loop_source *source;
    if (turn > 0)
        return;
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    near_end = pair[0];
    far_end = pair[1];
    interrupt = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    turn = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC); // always readable: each turn of the loop ends
    check(fcntl(far_end, F_SETFL, O_NONBLOCK) == 0 && loop_init(&loop, NULL) == 0 &&
          loop_add(&loop, turn, EPOLLIN, end_turn, NULL, &source) == 0);
}

static void turn_loop(void)
{
    for (unsigned i = 0; i < 3; i++) {
        loop.ended = false;
        check(loop_run(&loop) == 0);
    }
}

static size_t drain(void)
{
    unsigned char bytes[8192];
    size_t total = 0;
    ssize_t n;
    while ((n = read(far_end, bytes, sizeof bytes)) > 0)
        total += (size_t)n;
    return total;
}

static unsigned choose_port(unsigned what, unsigned raw)
{
    static const unsigned ports[] = {0x60,  0x64,  0x70,  0x71,  0x92,  0x505, 0x600, 0x601, 0x602,
                                     0x603, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff};
    return what & 0x10 ? ports[raw % (sizeof ports / sizeof ports[0])] : raw;
}

// True if a write of these bytes may end the machine: it touches a port that can.
static bool touches_an_end(unsigned port, unsigned width)
{
    static const unsigned ports[] = {0x64, 0x92, 0x505, 0x600, 0x602};
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++)
        if (ports[i] >= port && ports[i] < port + width)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct bus ports;
    struct stream *stream = NULL;
    struct serial *serial = NULL;
    struct platform *platform = NULL;
    size_t written = 0, seen = 0;

    prepare();
    collecting = false;
    const struct platform_settings platform_settings = {.power_interrupt = interrupt, .request = asked};
    bus_init(&ports);
    check(stream_new(&loop, near_end, near_end, &stream, NULL) == 0);
    const struct serial_settings settings = {.stream = stream, .interrupt = interrupt, .collect = collect};
    check(serial_new(&settings, &ports, LAYOUT_PORT_COM1, &serial, NULL) == 0);
    check(platform_new(&platform_settings, &ports, &platform, NULL) == 0);
    for (size_t i = 0; i < OPERATIONS_MAXIMUM && size >= OPERATION; i++, data += OPERATION, size -= OPERATION) {
        unsigned what = data[0], width = 1u << (what & 3), port = choose_port(what, get_le16(data + 1));
        uint64_t value = get_le16(data + 3);
        if (what & 8) {
            check(write(far_end, data + 1, 4) == 4);
            turn_loop();
            platform_press_power(platform);
        } else if (what & 4) {
            bool plain = port == LAYOUT_PORT_COM1 && width == 1 &&
                         !(bus_read(&ports, LAYOUT_PORT_COM1 + 3, 1) & 0x80) &&
                         !(bus_read(&ports, LAYOUT_PORT_COM1 + 4, 1) & 0x10);
            written += plain;
            may_end = touches_an_end(port, width);
            bus_write(&ports, port, width, value | value << 16);
        } else {
            uint64_t got = bus_read(&ports, port, width);
            check(width == 8 || got >> (8 * width) == 0);
        }
        seen += drain();
    }
    check(seen >= written && stream_lost(stream) == 0);
    stream_free(stream);
    serial_free(serial);
    platform_free(platform);
    bus_destroy(&ports);
    for (unsigned char rest[4096];
         recv(near_end, rest, sizeof rest, MSG_DONTWAIT) > 0;) // what the machine did not read
        ;
    turn_loop(); // the loop forgets the stream
    return 0;
}
