// Guest memory: anonymous memory, mapped once, in one or two regions (below and above the hole at 3 GiB). This is the
// only way to it. Addresses and lengths come from the guest: everything here takes any value and answers NULL or
// -EFAULT for what is not wholly RAM.
//
// 1. A slice never leaves its region, and length 0 is a slice only inside RAM.
// 2. What the guest can change while we look is copied once (guest_memory_read) and only the copy is used.
// 3. The mapping never changes while the machine exists, so a slice stays valid as long.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest_region {
    uint64_t address, size; // guest physical, bytes
    unsigned char *bytes;   // in our address space
};

struct guest_memory {
    bool mapped; // by guest_memory_make; false: plain memory of a test
    uint64_t size;
    struct guest_region regions[2];
    unsigned region_count;
};

// `size` in bytes, a multiple of 2 MiB within LAYOUT_MEMORY_MINIMUM and _MAXIMUM (-EINVAL); -ENOMEM with the sentence
// that says how much was wanted. Nothing is touched: pages come as the guest uses them. guest_memory_free releases it.
int guest_memory_make(uint64_t size, struct guest_memory *ret, struct error *error);
void guest_memory_free(struct guest_memory *m);

void *guest_memory_slice(const struct guest_memory *m, uint64_t address, uint64_t length);
int guest_memory_read(const struct guest_memory *m, uint64_t address, void *to, size_t n);
int guest_memory_write(const struct guest_memory *m, uint64_t address, const void *from, size_t n);
// Gives pages back to the host; they read as zeros afterwards. For whole pages of RAM; others are refused: -EFAULT.
int guest_memory_release(const struct guest_memory *m, uint64_t address, uint64_t length);
