// A bus: see bus.h. The table is sorted by address and its ranges never overlap, so one binary search decides.
#include "vmm/bus.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/banned.h"

void bus_init(struct bus *b)
{
    b->count = 0;
    pthread_rwlock_init(&b->lock, NULL); // cannot fail with default attributes
}

void bus_destroy(struct bus *b)
{
    pthread_rwlock_destroy(&b->lock);
    b->count = 0;
}

// How many ranges begin at or below the address.
static unsigned count_up_to(const struct bus *b, uint64_t address)
{
    unsigned low = 0, high = b->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (b->ranges[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int bus_add(struct bus *b, uint64_t address, uint64_t size, const struct bus_handler *handler)
{
    int r = 0;
    if (size == 0 || size - 1 > UINT64_MAX - address)
        return -EINVAL;
    pthread_rwlock_wrlock(&b->lock);
    unsigned at = count_up_to(b, address);
    const struct bus_range *below = at > 0 ? &b->ranges[at - 1] : NULL;
    const struct bus_range *above = at < b->count ? &b->ranges[at] : NULL;
    if ((below && address - below->address < below->size) || (above && above->address - address < size))
        r = -EEXIST;
    else if (b->count == BUS_RANGES_MAXIMUM)
        r = -ENOSPC;
    if (r == 0) {
        memmove(&b->ranges[at + 1], &b->ranges[at], (b->count - at) * sizeof b->ranges[0]);
        b->ranges[at] = (struct bus_range){.address = address, .size = size, .handler = *handler};
        b->count++;
    }
    pthread_rwlock_unlock(&b->lock);
    return r;
}

int bus_add_all(struct bus *b, const struct bus_range *ranges, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int r = bus_add(b, ranges[i].address, ranges[i].size, &ranges[i].handler);
        if (r < 0) {
            while (i-- > 0)
                bus_remove(b, ranges[i].address, ranges[i].size);
            return r;
        }
    }
    return 0;
}

void bus_remove(struct bus *b, uint64_t address, uint64_t size)
{
    pthread_rwlock_wrlock(&b->lock);
    unsigned after = count_up_to(b, address);
    if (after > 0 && b->ranges[after - 1].address == address && b->ranges[after - 1].size == size) {
        memmove(&b->ranges[after - 1], &b->ranges[after], (b->count - after) * sizeof b->ranges[0]);
        b->count--;
    }
    pthread_rwlock_unlock(&b->lock);
}

// Who answers the whole access; a copy, since the table may change once the lock is gone.
static bool find(struct bus *b, uint64_t address, unsigned width, struct bus_range *ret)
{
    bool found = false;
    pthread_rwlock_rdlock(&b->lock);
    unsigned after = count_up_to(b, address);
    if (after > 0) {
        const struct bus_range *range = &b->ranges[after - 1];
        uint64_t offset = address - range->address;
        found = offset < range->size && width <= range->size - offset;
        if (found)
            *ret = *range;
    }
    pthread_rwlock_unlock(&b->lock);
    return found;
}

uint64_t bus_read(struct bus *b, uint64_t address, unsigned width)
{
    struct bus_range range;
    if (!find(b, address, width, &range) || !range.handler.read)
        return bus_all_ones(width);
    return range.handler.read(range.handler.context, address - range.address, width) & bus_all_ones(width);
}

void bus_write(struct bus *b, uint64_t address, unsigned width, uint64_t value)
{
    struct bus_range range;
    if (find(b, address, width, &range) && range.handler.write)
        range.handler.write(range.handler.context, address - range.address, width, value & bus_all_ones(width));
}

uint64_t bus_read_bytes(void *device, bus_byte_reader *read, unsigned at, unsigned width)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)read(device, at + i) << (8 * i);
    return value;
}

void bus_write_bytes(void *device, bus_byte_writer *write, unsigned at, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++)
        write(device, at + i, (unsigned char)(value >> (8 * i)));
}
