// The small parts of a PC: see platform.h.
//
// 1. `lock` guards everything here; `request` is called without it.
// 2. The clock shows the host's time in UTC and cannot be set: a guest that sets it is not heard, as a machine that is
//    often started anew, from an image, should not begin with a wrong time.
// 3. Reading register A (or any register of the time, if that was long ago) takes a copy of the time, and the registers
//    of the time show this copy for a while: a driver that found "no update in progress" reads one moment's time, not
//    parts of two (MC146818 data sheet, "Update Cycle").
//
// The clock's alarm, periodic and update interrupts do not exist: their enable bits read 0. Its interrupt is not in the
// DSDT either.
#include "vmm/platform.h"

#include "base/io.h"
#include "vmm/layout.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/banned.h"

#define CMOS_SIZE 128u
#define INDEX_MASK 0x7fu // the highest bit of port 0x70 disables NMIs
#define SNAPSHOT_NS UINT64_C(10000000)

#define PORT_FAST_RESET 0x92u
#define FAST_RESET 0x01u
#define FAST_A20 0x02u

#define EVENT_BUTTON 0x01u
#define SLEEP_ENABLE 0x20u // ACPI 6.5, 4.8.3.7.1: SLP_EN; SLP_TYP is above bit 2
#define PANICKED 0x01u     // pvpanic: the one event that is offered

enum { // the CMOS: MC146818, and what PCs keep behind its registers
    SECONDS = 0x00,
    MINUTES = 0x02,
    HOURS = 0x04,
    DAY_OF_WEEK = 0x06, // Sunday is 1
    DAY = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    STATUS_A = 0x0a,
    STATUS_B = 0x0b,
    STATUS_C = 0x0c,
    STATUS_D = 0x0d,
    BASE_MEMORY = 0x15,     // u16, KiB
    EXTENDED_MEMORY = 0x17, // u16, KiB above 1 MiB
    EXTENDED_AGAIN = 0x30,
    CENTURY = 0x32,
    MEMORY_ABOVE_16M = 0x34, // u16, in 64 KiB, below the hole
    HIGH_MEMORY = 0x5b,      // 24 bits, in 64 KiB, above 4 GiB
};

#define STATUS_A_DIVIDER 0x26u // 32768 Hz, 1024 Hz; no update in progress
#define STATUS_B_BINARY 0x04u
#define STATUS_B_24_HOURS 0x02u
#define STATUS_B_WRITABLE (0x80u | STATUS_B_BINARY | STATUS_B_24_HOURS | 0x01u)
#define STATUS_D_VALID 0x80u
#define PM 0x80u

struct platform {
    pthread_mutex_t lock;
    struct platform_settings settings;
    unsigned char index;
    unsigned char cmos[CMOS_SIZE];
    struct tm time;       // the copy of rule 3
    uint64_t time_taken;  // monotonic; 0: none
    unsigned char events; // power events that are pending
};

// --- the clock ------------------------------------------------------------------------------------------------------

static void put_cmos(struct platform *p, unsigned at, unsigned bytes, uint64_t value)
{
    uint64_t maximum = (UINT64_C(1) << (8 * bytes)) - 1;
    if (value > maximum)
        value = maximum;
    for (unsigned i = 0; i < bytes; i++)
        p->cmos[at + i] = (unsigned char)(value >> (8 * i));
}

static void fill_cmos(struct platform *p)
{
    uint64_t size = p->settings.memory;
    uint64_t low = size < LAYOUT_LOW_RAM_END ? size : LAYOUT_LOW_RAM_END;
    uint64_t extended = low > LAYOUT_EXTENDED_RAM ? low - LAYOUT_EXTENDED_RAM : 0;
    p->cmos[STATUS_A] = STATUS_A_DIVIDER;
    p->cmos[STATUS_B] = STATUS_B_24_HOURS;
    p->cmos[STATUS_D] = STATUS_D_VALID;
    put_cmos(p, BASE_MEMORY, 2, LAYOUT_BASE_RAM_END >> 10);
    put_cmos(p, EXTENDED_MEMORY, 2, extended >> 10);
    put_cmos(p, EXTENDED_AGAIN, 2, extended >> 10);
    put_cmos(p, MEMORY_ABOVE_16M, 2, low > (16u << 20) ? (low - (16u << 20)) >> 16 : 0);
    put_cmos(p, HIGH_MEMORY, 3, (size - low) >> 16);
}

static void take_time(struct platform *p)
{
    time_t now = (time_t)io_realtime_seconds();
    p->time_taken = io_monotonic_ns();
    gmtime_r(&now, &p->time);
}

static unsigned char encode(const struct platform *p, unsigned value)
{
    return (unsigned char)(p->cmos[STATUS_B] & STATUS_B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned char encode_hours(const struct platform *p, unsigned hours)
{
    if (p->cmos[STATUS_B] & STATUS_B_24_HOURS)
        return encode(p, hours);
    return (unsigned char)(encode(p, hours % 12 ? hours % 12 : 12) | (hours >= 12 ? PM : 0));
}

static unsigned char read_cmos(struct platform *p)
{
    unsigned at = p->index;
    bool time = at == SECONDS || at == MINUTES || at == HOURS || (at >= DAY_OF_WEEK && at <= YEAR) || at == CENTURY;
    if (at == STATUS_A || (time && io_monotonic_ns() - p->time_taken > SNAPSHOT_NS))
        take_time(p);
    unsigned year = (unsigned)p->time.tm_year + 1900;
    switch (at) {
    case SECONDS:
        return encode(p, (unsigned)p->time.tm_sec);
    case MINUTES:
        return encode(p, (unsigned)p->time.tm_min);
    case HOURS:
        return encode_hours(p, (unsigned)p->time.tm_hour);
    case DAY_OF_WEEK:
        return encode(p, (unsigned)p->time.tm_wday + 1);
    case DAY:
        return encode(p, (unsigned)p->time.tm_mday);
    case MONTH:
        return encode(p, (unsigned)p->time.tm_mon + 1);
    case YEAR:
        return encode(p, year % 100);
    case CENTURY:
        return encode(p, year / 100);
    default:
        return p->cmos[at];
    }
}

static void write_cmos(struct platform *p, unsigned char value)
{
    switch (p->index) {
    case SECONDS:
    case MINUTES:
    case HOURS:
    case DAY_OF_WEEK:
    case DAY:
    case MONTH:
    case YEAR:
    case CENTURY:
    case STATUS_C:
    case STATUS_D:
        return; // rule 2; C and D are read-only
    case STATUS_A:
        p->cmos[STATUS_A] = value & 0x7f; // never updating
        return;
    case STATUS_B:
        p->cmos[STATUS_B] = value & STATUS_B_WRITABLE;
        return;
    default:
        p->cmos[p->index] = value;
    }
}

// --- ports ----------------------------------------------------------------------------------------------------------

// One byte of each; a wider access is so many accesses, as on the bus of a PC.
typedef unsigned char read_function(struct platform *p, unsigned port);
// -1, or what the write asks of the machine.
typedef int write_function(struct platform *p, unsigned port, unsigned char value);

static unsigned char read_clock(struct platform *p, unsigned port)
{
    return port == LAYOUT_PORT_RTC ? 0xff : read_cmos(p);
}

static int write_clock(struct platform *p, unsigned port, unsigned char value)
{
    if (port == LAYOUT_PORT_RTC)
        p->index = value & INDEX_MASK;
    else
        write_cmos(p, value);
    return -1;
}

// The keyboard controller: nothing to read, ready for a command, so that nobody waits for it.
static unsigned char read_keyboard(struct platform *p, unsigned port)
{
    (void)p, (void)port;
    return 0;
}

static int write_keyboard(struct platform *p, unsigned port, unsigned char value)
{
    (void)p;
    // Commands 0xf0 to 0xff pulse the output lines whose bits are 0; line 0 is the processor's reset.
    return port == LAYOUT_PORT_I8042_STATUS && value >= 0xf0 && !(value & 1) ? PLATFORM_RESET : -1;
}

static unsigned char read_fast_reset(struct platform *p, unsigned port)
{
    (void)p, (void)port;
    return FAST_A20;
}

static int write_fast_reset(struct platform *p, unsigned port, unsigned char value)
{
    (void)p, (void)port;
    return value & FAST_RESET ? PLATFORM_RESET : -1;
}

static unsigned char read_panic(struct platform *p, unsigned port)
{
    (void)p, (void)port;
    return PANICKED;
}

static int write_panic(struct platform *p, unsigned port, unsigned char value)
{
    (void)p, (void)port;
    return value & PANICKED ? PLATFORM_PANIC : -1;
}

static unsigned char read_power(struct platform *p, unsigned port)
{
    unsigned char events = p->events;
    if (port != LAYOUT_PORT_POWER + 3)
        return 0;
    p->events = 0;
    return events;
}

static int write_power(struct platform *p, unsigned port, unsigned char value)
{
    (void)p;
    if (port == LAYOUT_PORT_POWER && value & SLEEP_ENABLE && (value >> 2 & 7) == LAYOUT_SLEEP_TYPE_OFF)
        return PLATFORM_POWER_OFF;
    if (port == LAYOUT_PORT_POWER + 2 && value == LAYOUT_RESET_VALUE)
        return PLATFORM_RESET;
    return -1;
}

static uint64_t read_ports(struct platform *p, read_function *read, unsigned port, unsigned width)
{
    uint64_t value = 0;
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)read(p, port + i) << (8 * i);
    pthread_mutex_unlock(&p->lock);
    return value;
}

static void write_ports(struct platform *p, write_function *write, unsigned port, unsigned width, uint64_t value)
{
    int request = -1;
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < width && request < 0; i++)
        request = write(p, port + i, (unsigned char)(value >> (8 * i)));
    pthread_mutex_unlock(&p->lock);
    if (request >= 0)
        p->settings.request(p->settings.context, (enum platform_request)request);
}

#define PORTS(name, first)                                                                                             \
    static uint64_t name##_read(void *context, uint64_t offset, unsigned width)                                        \
    {                                                                                                                  \
        return read_ports(context, read_##name, (first) + (unsigned)offset, width);                                    \
    }                                                                                                                  \
    static void name##_write(void *context, uint64_t offset, unsigned width, uint64_t value)                           \
    {                                                                                                                  \
        write_ports(context, write_##name, (first) + (unsigned)offset, width, value);                                  \
    }
PORTS(clock, LAYOUT_PORT_RTC)
PORTS(keyboard, LAYOUT_PORT_I8042_DATA)
PORTS(fast_reset, PORT_FAST_RESET)
PORTS(panic, LAYOUT_PORT_PVPANIC)
PORTS(power, LAYOUT_PORT_POWER)

// Port 0x61, between the two of the keyboard controller, belongs to KVM's PIT; so they are two ranges.
static uint64_t keyboard_status_read(void *context, uint64_t offset, unsigned width)
{
    return read_ports(context, read_keyboard, LAYOUT_PORT_I8042_STATUS + (unsigned)offset, width);
}

static void keyboard_status_write(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    write_ports(context, write_keyboard, LAYOUT_PORT_I8042_STATUS + (unsigned)offset, width, value);
}

int platform_new(const struct platform_settings *settings, struct bus *ports, struct platform **ret,
                 struct error *error)
{
    struct platform *p = calloc(1, sizeof *p);
    const struct {
        unsigned port, count;
        struct bus_handler handler;
    } ranges[] = {
        {LAYOUT_PORT_RTC, 2, {"clock", clock_read, clock_write, p}},
        {LAYOUT_PORT_I8042_DATA, 1, {"keyboard data", keyboard_read, keyboard_write, p}},
        {LAYOUT_PORT_I8042_STATUS, 1, {"keyboard", keyboard_status_read, keyboard_status_write, p}},
        {PORT_FAST_RESET, 1, {"fast reset", fast_reset_read, fast_reset_write, p}},
        {LAYOUT_PORT_PVPANIC, 1, {"panic", panic_read, panic_write, p}},
        {LAYOUT_PORT_POWER, 4, {"power", power_read, power_write, p}},
    };
    int r = p ? -pthread_mutex_init(&p->lock, NULL) : -ENOMEM;
    if (r < 0) {
        free(p);
        return error_set(error, -r, "cannot make the platform's devices: %s", strerror(-r));
    }
    p->settings = *settings;
    fill_cmos(p);
    unsigned added = 0;
    while (r == 0 && added < sizeof ranges / sizeof ranges[0]) {
        r = bus_add(ports, ranges[added].port, ranges[added].count, &ranges[added].handler);
        added += r == 0;
    }
    if (r < 0) {
        while (added-- > 0)
            bus_remove(ports, ranges[added].port, ranges[added].count);
        platform_free(p);
        return error_set(error, -r, "cannot place the platform's devices: %s", strerror(-r));
    }
    *ret = p;
    return 0;
}

void platform_free(struct platform *p)
{
    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void platform_press_power(struct platform *p)
{
    pthread_mutex_lock(&p->lock);
    p->events |= EVENT_BUTTON;
    pthread_mutex_unlock(&p->lock);
    eventfd_write(p->settings.power_interrupt,
                  1); // fails only if the counter is full: then the interrupt is on its way
}
