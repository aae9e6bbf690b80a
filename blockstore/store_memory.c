// The limit of the memory for decoded chunks (see store_memory.h).
#include "blockstore/store_memory.h"
#include "base/cursor.h"

#include "base/banned.h"

static struct memory_ghost *place_of(struct memory_limit *m, uint64_t name)
{
    return &m->ghosts[name % MEMORY_GHOSTS]; // a name is a hash already
}

void store_memory_init(struct memory_limit *m, size_t lowest, size_t highest)
{
    *m = (struct memory_limit){.lowest = lowest, .highest = highest, .limit = lowest};
}

void store_memory_evicted(struct memory_limit *m, const struct sha256 *name, size_t bytes)
{
    uint64_t key = get_le64(name->bytes);
    m->evicted += bytes;
    *place_of(m, key) = (struct memory_ghost){.name = key, .at = m->evicted};
}

bool store_memory_missed(struct memory_limit *m, const struct sha256 *name, size_t bytes)
{
    uint64_t key = get_le64(name->bytes);
    struct memory_ghost *g = place_of(m, key);
    if (g->at == 0 || g->name != key)
        return false;
    bool would_serve = m->evicted - g->at + bytes <= m->highest - m->limit;
    g->at = 0;
    if (!would_serve)
        return false;
    size_t left = m->highest - m->limit;
    m->limit += 2 * bytes < left ? 2 * bytes : left;
    return true;
}

void store_memory_relax(struct memory_limit *m)
{
    m->limit = m->lowest;
}
