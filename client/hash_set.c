// See hash_set.h. Open addressing, at most half full.
#include "client/hash_set.h"
#include <errno.h>
#include <stdlib.h>

#include "base/banned.h"

#define FIRST_SLOTS 1024u

static size_t slot_of(const struct hash_set *s, const struct sha256 *hash)
{
    // The high bits, as many as the number of slots, a power of two, has below its own.
    size_t slot = sha256_mix(hash, &s->keys) >> (__builtin_clzll(s->slot_count) + 1);
    while (s->slots[slot] && !sha256_equal(&s->list[s->slots[slot] - 1], hash))
        slot = (slot + 1) & (s->slot_count - 1);
    return slot;
}

static int grow(struct hash_set *s)
{
    const size_t slot_count = s->slot_count ? s->slot_count * 2 : FIRST_SLOTS;
    int r = s->slot_count ? 0 : sha256_make_keys(&s->keys);
    if (r < 0)
        return r;
    struct sha256 *list = realloc(s->list, slot_count / 2 * sizeof(*list));
    if (!list)
        return -ENOMEM;
    s->list = list;
    uint32_t *slots = calloc(slot_count, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    free(s->slots);
    s->slots = slots;
    s->slot_count = slot_count;
    for (size_t i = 0; i < s->count; i++)
        slots[slot_of(s, &s->list[i])] = (uint32_t)i + 1;
    return 0;
}

long hash_set_add(struct hash_set *s, const struct sha256 *hash)
{
    long number = hash_set_find(s, hash);
    if (number >= 0)
        return number;
    if (s->count == s->maximum)
        return -E2BIG;
    int r = s->count == s->slot_count / 2 ? grow(s) : 0;
    if (r < 0)
        return r;
    const size_t slot = slot_of(s, hash);
    s->list[s->count++] = *hash;
    s->slots[slot] = (uint32_t)s->count;
    return (long)s->count - 1;
}

long hash_set_find(const struct hash_set *s, const struct sha256 *hash)
{
    return s->slot_count ? (long)s->slots[slot_of(s, hash)] - 1 : -1;
}

void hash_set_free(struct hash_set *s)
{
    free(s->list);
    free(s->slots);
    s->list = NULL;
    s->slots = NULL;
    s->count = s->slot_count = 0;
}
