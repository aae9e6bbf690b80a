// Looking the whole cache over: what rondo fsck does. Readers need none of it, for they hash what they read; it is for
// whoever wants to know before the network is gone.
//
//   whole objects        hashed, by all processors
//   incomplete packs     each chunk that is there, and that a version in the cache refers to, by its hash
//   everything else      must be a file of ours with a name of ours, where it belongs
//
// Nothing here counts as a use: the order of eviction stays.
#pragma once

#include "blockstore/cache.h"

struct cache_check {
    bool repair;
    // Any thread, but one at a time. `path` is below the cache's folder. `mended`: it is right now, or gone.
    void (*problem)(void *context, const char *path, const char *what, bool mended);
    int (*progress)(void *context, uint64_t done, uint64_t all); // bytes; a return other than 0 cancels
    void *context;
};
struct cache_checked {
    uint64_t objects, object_bytes; // hashed
    uint64_t chunks;                // of incomplete packs
    uint64_t problems, mended;
};
// 0 however much is wrong; -ECANCELED, -ENOMEM, or the cache cannot be listed.
int cache_check(struct cache *c, const struct cache_check *options, struct cache_checked *ret, struct error *error);
