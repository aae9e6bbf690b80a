// The map: the way down to one leaf, and the walk over all pages. Pages are chunks like any other, fetched, verified
// and kept in memory by store_chunks.c; each was checked as a whole before it is seen here.
//
//   1. One page at a time is held on the way down; on a walk, WALK_BATCH on each level. Their memory is bounded so,
//      whatever the member's size.
//   2. A page's children are asked for WALK_BATCH at a time on a walk, so that neighbours are one request.
//   3. Children beyond the member's end are never looked at.
#include "base/cleanup.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define WALK_BATCH 8u // pages: at most 4 MiB

static uint64_t member_blocks(const struct manifest_member *m)
{
    return m->size / BLOCK_SIZE + (m->size % BLOCK_SIZE != 0);
}

// The reference of child i: 1, 0 if it is all zero, or -EBADMSG.
static int child_reference(const struct store_chunk *index, unsigned i, struct chunk_reference *ret,
                           struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    if (i >= index->page.references)
        return error_set(error, EBADMSG, "the map page %s ends before child %u: this version is damaged",
                         sha256_to_hex(&index->ref.name, hex), i);
    return map_page_reference(&index->page, i, ret);
}

int store_get_leaf(struct version *v, unsigned member, uint64_t segment, struct store_chunk **ret, struct error *error)
{
    const struct manifest_member *m = &v->manifest->members[member];
    struct chunk_reference ref = m->top;
    uint64_t block = segment * MAP_LEAF_BLOCKS;

    for (unsigned level = map_levels(m->size) - 1;; level--) {
        struct store_chunk *page;
        int r = store_get_chunks(v, CHUNK_PAGE, level, &ref, 1, store_deadline(v->store), &page, error);
        if (r < 0)
            return r;
        if (level == 0) {
            *ret = page;
            return 0;
        }
        uint64_t part = map_child_blocks(level);
        r = child_reference(page, (unsigned)(block / part), &ref, error);
        block %= part;
        store_put_chunks(v->store, &page, 1);
        if (r < 0)
            return r;
        if (r == 0) {
            *ret = NULL;
            return 0;
        }
    }
}

// --- the walk ------------------------------------------------------------------------------------------------------

struct walk {
    struct version *v;
    const struct map_visit *visit;
    uint64_t blocks; // of the member
};

static int walk_pages(struct walk *w, unsigned level, const struct chunk_reference *refs, const uint64_t *first,
                      unsigned count, struct error *error);

static int walk_children(struct walk *w, const struct store_chunk *index, unsigned level, uint64_t first_block,
                         struct error *error)
{
    struct chunk_reference refs[WALK_BATCH] = {0};
    uint64_t first[WALK_BATCH] = {0}, part = map_child_blocks(level);
    unsigned n = 0;

    for (unsigned i = 0; i < MAP_FANOUT && first_block + i * part < w->blocks; i++) {
        int r = child_reference(index, i, &refs[n], error);
        if (r < 0)
            return r;
        first[n] = first_block + i * part;
        n += (unsigned)r;
        if (n == WALK_BATCH) {
            r = walk_pages(w, level - 1, refs, first, n, error);
            if (r < 0)
                return r;
            n = 0;
        }
    }
    return walk_pages(w, level - 1, refs, first, n, error);
}

static int walk_pages(struct walk *w, unsigned level, const struct chunk_reference *refs, const uint64_t *first,
                      unsigned count, struct error *error)
{
    struct store_chunk *pages[WALK_BATCH] = {NULL};
    if (count == 0)
        return 0;
    int r = store_get_chunks(w->v, CHUNK_PAGE, level, refs, count, store_deadline(w->v->store), pages, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < count && r == 0; i++) {
        r = w->visit->visit(w->visit->context, &refs[i], &pages[i]->page, first[i], error);
        if (r == 0 && level > 0)
            r = walk_children(w, pages[i], level, first[i], error);
    }
    store_put_chunks(w->v->store, pages, count);
    return r;
}

int store_walk_map(struct version *v, unsigned member, const struct map_visit *visit, struct error *error)
{
    const struct manifest_member *m = &v->manifest->members[member];
    struct walk w = {.v = v, .visit = visit, .blocks = member_blocks(m)};
    uint64_t first = 0;
    return m->zero || m->size == 0 ? 0 : walk_pages(&w, map_levels(m->size) - 1, &m->top, &first, 1, error);
}

// --- version_measure -----------------------------------------------------------------------------------------------

struct measure {
    struct version_extent sum;
    struct sha256 *packs; // sorted, distinct
    size_t pack_count, pack_capacity;
    uint64_t blocks; // of the member
};

static int note_pack(struct measure *m, const struct sha256 *name)
{
    size_t low = 0, high = m->pack_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int r = memcmp(m->packs[middle].bytes, name->bytes, SHA256_SIZE);
        if (r == 0)
            return 0;
        *(r < 0 ? &low : &high) = r < 0 ? middle + 1 : middle;
    }
    if (m->pack_count == m->pack_capacity) {
        size_t capacity = m->pack_capacity ? m->pack_capacity * 2 : 64;
        struct sha256 *packs = realloc(m->packs, capacity * sizeof(*packs));
        if (!packs)
            return -ENOMEM;
        m->packs = packs;
        m->pack_capacity = capacity;
    }
    memmove(m->packs + low + 1, m->packs + low, (m->pack_count - low) * sizeof(*m->packs));
    m->packs[low] = *name;
    m->pack_count++;
    return 0;
}

static int measure_page(void *context, const struct chunk_reference *ref, const struct map_page *page,
                        uint64_t first_block, struct error *error)
{
    struct measure *m = context;
    struct chunk_reference chunk;
    (void)ref;
    if (page->level > 0)
        return 0;
    for (unsigned i = 0; i < page->references; i++) {
        map_page_reference(page, i, &chunk);
        m->sum.stored_bytes += chunk.length;
        m->sum.chunks++;
        if (note_pack(m, &chunk.pack.name) < 0)
            return error_set(error, ENOMEM, "out of memory");
    }
    uint64_t end = m->blocks - first_block < MAP_LEAF_BLOCKS ? m->blocks - first_block : MAP_LEAF_BLOCKS;
    for (unsigned block = 0; block < end;) {
        struct map_run run = map_leaf_find(page, block);
        m->sum.mapped_blocks += run.zero ? 0 : run.blocks;
        block += run.blocks;
    }
    return 0;
}

int version_measure(struct version *v, unsigned member, struct version_extent *ret, struct error *error)
{
    if (member >= v->manifest->member_count)
        return error_set(error, EINVAL, "there is no member %u", member);
    struct measure m = {.blocks = member_blocks(&v->manifest->members[member])};
    struct map_visit visit = {.visit = measure_page, .context = &m};
    int r = store_walk_map(v, member, &visit, error);
    m.sum.packs = m.pack_count;
    free(m.packs);
    if (r == 0)
        *ret = m.sum;
    return r;
}
