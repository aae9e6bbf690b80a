// How much memory decoded chunks may take: as much as serves, between two limits.
//
// What was evicted is remembered by name, with the number of bytes that were evicted before it (a "ghost"). A chunk
// that is wanted again, and would still be there if the limit had been the highest all the time, shows that more memory
// would serve: the limit rises by twice its size. A reader that comes by once raises nothing, however much it reads,
// because it wants nothing again. After some idle seconds the limit is the lowest again (store_memory_relax).
//
// Ghosts are hints: a place in their table is taken by whoever comes last. Nothing but the limit follows from them.
//
// The caller's mutex guards all of it.
#pragma once

#include "base/hash.h"
#include <stdbool.h>
#include <stddef.h>

#define MEMORY_GHOSTS 2048u // places: four times the chunks of 128 KiB between the limits

struct memory_limit {
    size_t lowest, highest, limit; // bytes of chunks
    uint64_t evicted;              // bytes, in all
    struct memory_ghost {
        uint64_t name; // the first eight bytes of it
        uint64_t at;   // what `evicted` was; 0: the place is empty
    } ghosts[MEMORY_GHOSTS];
};

void store_memory_init(struct memory_limit *m, size_t lowest, size_t highest);
void store_memory_evicted(struct memory_limit *m, const struct sha256 *name, size_t bytes);
// A chunk is not in memory. True if the limit rose.
bool store_memory_missed(struct memory_limit *m, const struct sha256 *name, size_t bytes);
void store_memory_relax(struct memory_limit *m); // nobody has read for a while
