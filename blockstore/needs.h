// What versions need: a set of the objects without which one of them is not whole. Whatever is removed, from a site or
// from the cache, is held against such a set first.
//
//   a version's objects = its manifest, the packs that the pages of its map name, the pages' own packs, its boot packs,
//                         its logo
//
// Memory: 64 bytes an object and a distinct leaf, up to NEEDS_MAXIMUM of each. More objects are refused, more leaves
// only read more than once.
#pragma once

#include "blockstore/map_walk.h"

#define NEEDS_MAXIMUM (4u << 20) // objects: 32 TiB in packs of the target size

struct needs;
int needs_new(struct needs **ret, struct error *error);
void needs_free(struct needs *n); // NULL is fine

// Adds one object. -E2BIG, -ENOMEM.
int needs_add(struct needs *n, const struct sha256 *name, uint32_t size, struct error *error);

// Adds all objects of the version of that name. `read` is map_walk's; pages that an earlier version of this set had as
// well are not read again. *ret_missing (NULL: they are a failure, -ENOENT) counts the pages that `read` did not find:
// what lies below these is not in the set.
int needs_add_version(struct needs *n, const struct sha256 *name, const struct manifest *m,
                      int (*read)(void *context, const struct chunk_reference *ref, void *to, struct error *error),
                      void *context, unsigned *ret_missing, struct error *error);

bool needs_has(const struct needs *n, const struct sha256 *name);

// One by one, in the order in which they were added.
struct needs_object {
    struct sha256 name;
    uint32_t size; // 0: that of a manifest, unknown
};
size_t needs_count(const struct needs *n);
struct needs_object needs_get(const struct needs *n, size_t i);
