// A bus: address ranges and who answers them. The machine has two, I/O ports and memory. An access that nobody answers,
// or that crosses the end of a range, reads all-ones and writes nothing, of any width (TRUST T24).
//
// The bus lock guards the table only; a handler is called without it, so a handler may move ranges (a PCI BAR). Devices
// live as long as the machine, so a handler that is being called cannot vanish. An access that races with a move may
// still reach the old place once.
#pragma once

#include <pthread.h>
#include <stdint.h>

#define BUS_RANGES_MAXIMUM 128u

struct bus_handler {
    const char *name; // for statistics and logs
    // width is 1, 2, 4 or 8; offset + width lies within the range. Called from any vCPU's thread, several at once.
    uint64_t (*read)(void *context, uint64_t offset, unsigned width);
    void (*write)(void *context, uint64_t offset, unsigned width, uint64_t value);
    void *context;
};

struct bus_range {
    uint64_t address, size;
    struct bus_handler handler;
};

struct bus {
    pthread_rwlock_t lock;
    struct bus_range ranges[BUS_RANGES_MAXIMUM]; // sorted by address
    unsigned count;
};

// What an access reads that nobody answers.
static inline uint64_t bus_all_ones(unsigned width)
{
    return width >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
}

void bus_init(struct bus *b);
void bus_destroy(struct bus *b);
// -EEXIST if it overlaps another range, -ENOSPC if the table is full.
int bus_add(struct bus *b, uint64_t address, uint64_t size, const struct bus_handler *handler);
int bus_add_all(struct bus *b, const struct bus_range *ranges, unsigned count); // all of them, or none
void bus_remove(struct bus *b, uint64_t address, uint64_t size);                // exactly this range, if it is there
// For handlers of devices whose registers are bytes: a wider access is so many of one byte, as on the bus of a PC.
typedef unsigned char bus_byte_reader(void *device, unsigned at);
typedef void bus_byte_writer(void *device, unsigned at, unsigned char value);
uint64_t bus_read_bytes(void *device, bus_byte_reader *read, unsigned at, unsigned width);
void bus_write_bytes(void *device, bus_byte_writer *write, unsigned at, unsigned width, uint64_t value);
uint64_t bus_read(struct bus *b, uint64_t address, unsigned width);
void bus_write(struct bus *b, uint64_t address, unsigned width, uint64_t value);
