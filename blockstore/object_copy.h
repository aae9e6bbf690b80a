// Copies whole objects from the sources of a site to where they are to stand: a cache, or another site's folder.
//
//   absent ──(has says no)──▶ asked for, OBJECT_COPY_AT_ONCE side by side ──(hash right)──▶ there
//      ▲                                    │
//      └────────(wrong, or it failed)───────┘
//
// 1. What is there and right is not fetched again; what is there and wrong is.
// 2. An object comes to stand at its target only when all of its bytes were found to hash to its name, and at once
//    then: whoever interrupts a copy loses the objects under way alone.
// 3. Nothing larger than the size that is expected of an object is taken; where none is known (0), no more than any
//    object may have.
#pragma once

#include "blockstore/cache.h"
#include "blockstore/mirrors.h"
#include "blockstore/site.h"
#include "blockstore/store_packs.h"

#define OBJECT_COPY_AT_ONCE 8u

struct object_target {
    // True if it is there, whole and right.
    bool (*has)(void *context, const struct whole_object *object);
    // One that comes, in order; `restart` forgets what came. `finish`: 0 if it was right and stands there now, -EBADMSG
    // if these are not the object's bytes, another -errno if the target failed. `end` in any case.
    int (*begin)(void *context, const struct whole_object *object, void **ret, struct error *error);
    int (*restart)(void *stream);
    int (*add)(void *stream, const void *bytes, size_t n);
    int (*finish)(void *stream);
    void (*end)(void *stream);
    // The words for a failure of the target; returns `result`.
    int (*explain)(void *context, int result, struct error *error);
    void *context;
};
struct object_target object_copy_to_cache(struct cache *cache);
struct object_target object_copy_to_site(struct site *site);

struct object_copy {
    // Set by the caller.
    struct mirrors *mirrors; // NULL: offline
    struct object_target target;
    unsigned wait_seconds; // while nothing at all comes
    // Called now and then, by whichever thread; may be NULL. `bytes`: as the count below, and what is under way.
    void (*progress)(void *context, uint64_t bytes);
    void *context;
    // Counted up.
    uint64_t had, had_bytes, copied, copied_bytes;
};
// Those of the set from number `first` up to, and without, `end`. The first failure ends it: -ENOENT if no source has
// an object, or there is none to ask.
int object_copy_run(struct object_copy *c, const struct pack_set *objects, size_t first, size_t end,
                    struct error *error);
