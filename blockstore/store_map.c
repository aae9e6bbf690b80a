// The map: the way down to one leaf, the walk over all pages, and what a range of blocks consists of. Pages are chunks
// like any other, fetched, verified and kept in memory by store_chunks.c; each was checked as a whole before it is seen
// here.
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

// Who is told of what is passed on the way; or nobody.
struct way {
    version_visitor *visit;
    void *context;
};

static int find_leaf(struct version *v, unsigned member, uint64_t segment, bool ahead, const struct way *way,
                     struct store_chunk **ret, struct error *error)
{
    const struct manifest_member *m = &v->manifest->members[member];
    struct chunk_reference ref = m->top;
    uint64_t block = segment * MAP_LEAF_BLOCKS;

    for (unsigned level = map_levels(m->size) - 1;; level--) {
        struct store_chunk *page;
        int r = ahead ? store_get_chunks_ahead(v, CHUNK_PAGE, level, &ref, 1, &page)
                      : store_get_chunks(v, CHUNK_PAGE, level, &ref, 1, store_deadline(v->store), &page, error);
        if (r < 0)
            return r;
        if (way && (r = way->visit(way->context, CHUNK_PAGE, &ref.name, error)) < 0) {
            store_put_chunks(v->store, &page, 1);
            return r;
        }
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

int store_get_leaf(struct version *v, unsigned member, uint64_t segment, bool ahead, struct store_chunk **ret,
                   struct error *error)
{
    return find_leaf(v, member, segment, ahead, NULL, ret, error);
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
    struct walk w = {.v = v, .visit = visit, .blocks = map_blocks(m->size)};
    uint64_t first = 0;
    return m->zero || m->size == 0 ? 0 : walk_pages(&w, map_levels(m->size) - 1, &m->top, &first, 1, error);
}

// --- what a range of blocks consists of ------------------------------------------------------------------------------

static int visit_leaf(const struct store_chunk *leaf, unsigned first, unsigned end, const struct way *way,
                      struct error *error)
{
    int r = 0;
    for (unsigned block = first; block < end && r == 0;) {
        const struct map_run run = map_leaf_find(&leaf->page, block);
        struct chunk_reference chunk;
        if (!run.zero) {
            map_page_reference(&leaf->page, run.reference, &chunk);
            r = way->visit(way->context, CHUNK_DATA, &chunk.name, error);
        }
        block += run.blocks;
    }
    return r;
}

int version_visit_blocks(struct version *v, unsigned member, uint64_t first, uint64_t blocks, version_visitor *visit,
                         void *context, struct error *error)
{
    const struct way way = {.visit = visit, .context = context};
    if (member >= v->manifest->member_count)
        return error_set(error, EINVAL, "there is no member %u", member);
    const uint64_t all = map_blocks(v->manifest->members[member].size);
    int r = 0;
    if (v->manifest->members[member].zero || first >= all)
        return 0;
    for (const uint64_t end = blocks < all - first ? first + blocks : all; first < end && r == 0;) {
        const uint64_t begin = first / MAP_LEAF_BLOCKS * MAP_LEAF_BLOCKS;
        const uint64_t next = begin + MAP_LEAF_BLOCKS < end ? begin + MAP_LEAF_BLOCKS : end;
        struct store_chunk *leaf = NULL;
        r = find_leaf(v, member, begin / MAP_LEAF_BLOCKS, false, &way, &leaf, error);
        if (r == 0 && leaf) {
            r = visit_leaf(leaf, (unsigned)(first - begin), (unsigned)(next - begin), &way, error);
            store_put_chunks(v->store, &leaf, 1);
        }
        first = next;
    }
    return r;
}
