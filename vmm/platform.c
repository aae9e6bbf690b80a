// The small parts of a PC: see platform.h.
//
// 1. `lock` guards everything here; `request` is called without it.
// 2. The clock shows the host's time in UTC, decimal, 24 hours, and cannot be set: a guest that sets it is not heard,
// as
//    a machine that is often started anew, from an image, should not begin with a wrong time.
// 3. Reading register A (or any register of the time, if that was long ago) takes a copy of the time, and the registers
//    of the time show this copy for a while: a driver that found "no update in progress" reads one moment's time, not
//    parts of two (MC146818 data sheet, "Update Cycle").
//
// The clock's alarm, periodic and update interrupts do not exist: their enable bits read 0. Its interrupt is not in the
// DSDT either. How much memory there is, is told by the memory map, not by the CMOS.
#include "vmm/platform.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "vmm/layout.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
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

enum { // the CMOS: MC146818, and the byte in which PCs keep the century
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
    CENTURY = 0x32,
};

#define STATUS_A_DIVIDER 0x26u // 32768 Hz, 1024 Hz; no update in progress
#define STATUS_B_24_HOURS 0x02u
#define STATUS_D_VALID 0x80u

static const struct {
    unsigned port, count;
} places[] = {
    {LAYOUT_PORT_RTC, 2},
    {LAYOUT_PORT_I8042_DATA, 1}, // port 0x61, between the two of the keyboard
                                 // controller, belongs to KVM's PIT
    {LAYOUT_PORT_I8042_STATUS, 1},
    {PORT_FAST_RESET, 1},
    {LAYOUT_PORT_PVPANIC, 1},
    {LAYOUT_PORT_POWER, 4},
};

struct place { // what the bus hands back: it tells offsets only
    struct platform *platform;
    unsigned port;
};

struct platform {
    pthread_mutex_t lock;
    struct platform_settings settings;
    struct place places[ARRAY_SIZE(places)];
    unsigned char index;
    unsigned char cmos[CMOS_SIZE];
    struct tm time;         // the copy of rule 3
    uint64_t time_taken;    // monotonic; 0: none
    unsigned char events;   // power events that are pending
    bool off, reset, panic; // what the write at hand asks for
};

// --- the clock ------------------------------------------------------------------------------------------------------

static void take_time(struct platform *p)
{
    time_t now = (time_t)io_realtime_seconds();
    p->time_taken = io_monotonic_ns();
    gmtime_r(&now, &p->time);
}

static unsigned char decimal(int value)
{
    return (unsigned char)(value / 10 << 4 | value % 10);
}

static unsigned char read_cmos(struct platform *p)
{
    unsigned at = p->index;
    if (at == STATUS_A || (at != STATUS_B && io_monotonic_ns() - p->time_taken > SNAPSHOT_NS))
        take_time(p);
    switch (at) {
    case SECONDS:
        return decimal(p->time.tm_sec);
    case MINUTES:
        return decimal(p->time.tm_min);
    case HOURS:
        return decimal(p->time.tm_hour);
    case DAY_OF_WEEK:
        return decimal(p->time.tm_wday + 1);
    case DAY:
        return decimal(p->time.tm_mday);
    case MONTH:
        return decimal(p->time.tm_mon + 1);
    case YEAR:
        return decimal(p->time.tm_year % 100);
    case CENTURY:
        return decimal(p->time.tm_year / 100 + 19);
    case STATUS_A:
        return STATUS_A_DIVIDER;
    case STATUS_B:
        return STATUS_B_24_HOURS;
    case STATUS_C:
        return 0;
    case STATUS_D:
        return STATUS_D_VALID;
    default:
        return p->cmos[at];
    }
}

// --- ports ----------------------------------------------------------------------------------------------------------

static unsigned char read_port(void *device, unsigned port)
{
    struct platform *p = device;
    unsigned char events = p->events;
    switch (port) {
    case LAYOUT_PORT_RTC + 1:
        return read_cmos(p);
    case LAYOUT_PORT_I8042_DATA: // nothing to read, and ready for a command, so that nobody waits for it
    case LAYOUT_PORT_I8042_STATUS:
        return 0;
    case PORT_FAST_RESET:
        return FAST_A20;
    case LAYOUT_PORT_PVPANIC:
        return PANICKED;
    case LAYOUT_PORT_POWER:
    case LAYOUT_PORT_POWER + 1:
    case LAYOUT_PORT_POWER + 2:
        return 0;
    case LAYOUT_PORT_POWER + 3:
        p->events = 0;
        return events;
    default:
        return 0xff;
    }
}

static void write_port(void *device, unsigned port, unsigned char value)
{
    struct platform *p = device;
    switch (port) {
    case LAYOUT_PORT_RTC:
        p->index = value & INDEX_MASK;
        break;
    case LAYOUT_PORT_RTC + 1: // rule 2: what the clock shows is not read from here
        p->cmos[p->index] = value;
        break;
    case LAYOUT_PORT_I8042_STATUS: // commands 0xf0 to 0xff pulse the lines whose bits are 0; line 0 is the reset
        p->reset |= value >= 0xf0 && !(value & 1);
        break;
    case PORT_FAST_RESET:
        p->reset |= value & FAST_RESET;
        break;
    case LAYOUT_PORT_PVPANIC:
        p->panic |= value & PANICKED;
        break;
    case LAYOUT_PORT_POWER:
        p->off |= value & SLEEP_ENABLE && (value >> 2 & 7) == LAYOUT_SLEEP_TYPE_OFF;
        break;
    case LAYOUT_PORT_POWER + 2:
        p->reset |= value == LAYOUT_RESET_VALUE;
        break;
    default:
        break;
    }
}

static uint64_t read_place(void *context, uint64_t offset, unsigned width)
{
    const struct place *place = context;
    pthread_mutex_lock(&place->platform->lock);
    uint64_t value = bus_read_bytes(place->platform, read_port, place->port + (unsigned)offset, width);
    pthread_mutex_unlock(&place->platform->lock);
    return value;
}

static void write_place(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    const struct place *place = context;
    struct platform *p = place->platform;
    pthread_mutex_lock(&p->lock);
    bus_write_bytes(p, write_port, place->port + (unsigned)offset, width, value);
    bool off = p->off, reset = p->reset, panic = p->panic;
    p->off = p->reset = p->panic = false;
    pthread_mutex_unlock(&p->lock);
    if (off || reset || panic)
        p->settings.request(p->settings.context, off ? PLATFORM_POWER_OFF : reset ? PLATFORM_RESET : PLATFORM_PANIC);
}

int platform_new(const struct platform_settings *settings, struct bus *ports, struct platform **ret,
                 struct error *error)
{
    struct platform *p = calloc(1, sizeof *p);
    struct bus_range ranges[ARRAY_SIZE(places)];
    if (!p)
        return error_set(error, ENOMEM, "no memory for the platform's devices");
    pthread_mutex_init(&p->lock, NULL); // cannot fail with default attributes
    p->settings = *settings;
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        p->places[i] = (struct place){p, places[i].port};
        ranges[i] =
            (struct bus_range){places[i].port, places[i].count, {"platform", read_place, write_place, &p->places[i]}};
    }
    int r = bus_add_all(ports, ranges, ARRAY_SIZE(ranges));
    if (r < 0) {
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
