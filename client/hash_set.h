// A set of hashes, each with its number: 0 for the first that was added, and so on. Bounded by the maximum that it is
// made with; whoever makes up the hashes cannot make them collide in it (base/hash.h, sha256_mix).
#pragma once

#include "base/hash.h"

struct hash_set {
    size_t maximum; // set by the caller, everything else zero
    size_t count, slot_count;
    struct sha256 *list; // by number
    uint32_t *slots;     // a number + 1; 0: free
    struct sha256_keys keys;
};

// Its number: of the one there, or a new one; -E2BIG beyond the maximum, -ENOMEM, -EIO without random numbers.
long hash_set_add(struct hash_set *s, const struct sha256 *hash);
long hash_set_find(const struct hash_set *s, const struct sha256 *hash); // −1: it is not in it
void hash_set_free(struct hash_set *s);
