// Sums over maps: how much a version stores, and what it has that another one has not. Pages are read, data never is.
//
// Comparing needs both versions' chunks; as for version_pull (store_list.c), they are in memory for a window of packs
// at a time, so that memory does not follow the images' sizes. Chunks count as the same only in the same pack: that is
// where a client's cache has them.
#include "base/cleanup.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

static bool is_boot_pack(const struct manifest *m, const struct sha256 *name)
{
    for (unsigned i = 0; i < m->boot_count; i++)
        if (sha256_equal(&m->boot[i].pack, name))
            return true;
    return false;
}

// --- one version -----------------------------------------------------------------------------------------------------

struct measure {
    const struct manifest *manifest;
    struct version_extent sum;
    struct version_list list; // of packs; nothing but how many is asked of it
    uint64_t blocks;          // of the member
};

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
        int64_t number = store_number_pack(&m->list, &chunk.pack);
        if (number < 0)
            return store_explain_list((int)number, error);
    }
    uint64_t end = m->blocks - first_block < MAP_LEAF_BLOCKS ? m->blocks - first_block : MAP_LEAF_BLOCKS;
    for (unsigned block = 0; block < end;) {
        struct map_run run = map_leaf_find(page, block);
        if (!run.zero) {
            m->sum.mapped_blocks += run.blocks;
            map_page_reference(page, run.reference, &chunk);
            m->sum.boot_blocks += is_boot_pack(m->manifest, &chunk.pack.name) ? run.blocks : 0;
        }
        block += run.blocks;
    }
    return 0;
}

int version_measure(struct version *v, unsigned member, struct version_extent *ret, struct error *error)
{
    if (member >= v->manifest->member_count)
        return error_set(error, EINVAL, "there is no member %u", member);
    struct measure m = {.manifest = v->manifest, .blocks = map_blocks(v->manifest->members[member].size)};
    struct map_visit visit = {.visit = measure_page, .context = &m};
    int r = sha256_make_keys(&m.list.keys);
    if (r < 0)
        return error_set(error, -r, "no random numbers can be had");
    r = store_walk_map(v, member, &visit, error);
    m.sum.packs = m.list.pack_count;
    store_free_list(&m.list);
    if (r == 0)
        *ret = m.sum;
    return r;
}

// --- two versions ----------------------------------------------------------------------------------------------------

// Sums what window b has and window a has not; both are sorted.
static void compare_windows(const struct list_window *a, const struct list_window *b, struct version_difference *sum)
{
    uint32_t last_pack = UINT32_MAX;

    for (size_t i = 0, j = 0; j < b->chunk_count; j++) {
        const struct list_chunk *chunk = &b->chunks[j];
        while (i < a->chunk_count && store_compare_chunks(&a->chunks[i], chunk) < 0)
            i++;
        if (i < a->chunk_count && store_compare_chunks(&a->chunks[i], chunk) == 0)
            continue;
        if (chunk->kind == CHUNK_PAGE) {
            sum->page_bytes += chunk->length;
            sum->pages++;
        } else {
            sum->data_bytes += chunk->length;
            sum->data_chunks++;
        }
        sum->packs += chunk->pack != last_pack;
        last_pack = chunk->pack;
    }
}

static int compare_lists(struct version *a, struct version *b, struct version_list *list,
                         struct version_difference *sum, struct error *error)
{
    for (size_t first = 0, count; first < list->pack_count; first += count) {
        struct list_window of_a = {.count = 0}, of_b = {.count = 0};
        int r = a ? store_list_window(a, list, first, &of_a, error) : 0;
        if (r < 0)
            return r;
        r = store_list_window(b, list, first, &of_b, error);
        if (r == 0) {
            compare_windows(&of_a, &of_b, sum);
            store_free_window(&of_b);
        }
        store_free_window(&of_a);
        if (r < 0)
            return r;
        count = of_b.count;
    }
    return 0;
}

static int compare(struct version *a, struct version *b, uint64_t work_maximum, struct version_difference *ret,
                   struct error *error)
{
    struct version_difference sum = {.packs = 0};
    struct version_list list;
    int r = store_list_packs(a ? a : b, work_maximum, &list, error);

    if (r < 0)
        return r;
    if (a)
        r = store_add_packs(b, &list, error);
    if (r == 0)
        r = compare_lists(a, b, &list, &sum, error);
    store_free_list(&list);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < b->manifest->boot_count; i++)
        if (!a || !is_boot_pack(a->manifest, &b->manifest->boot[i].pack)) {
            sum.boot_bytes += b->manifest->boot[i].size;
            sum.boot_packs++;
        }
    *ret = sum;
    return 0;
}

int version_compare(struct version *a, struct version *b, struct version_difference *ret, struct error *error)
{
    return compare(a, b, 0, ret, error);
}

int version_sum(struct version *v, uint64_t work_maximum, struct version_difference *ret, struct error *error)
{
    return compare(NULL, v, work_maximum, ret, error);
}

// A leaf of zeros is NULL.
static struct map_run find_run(const struct store_chunk *leaf, unsigned block, struct chunk_reference *ret)
{
    struct map_run run = {.zero = true, .blocks = MAP_LEAF_BLOCKS - block};

    if (leaf)
        run = map_leaf_find(&leaf->page, block);
    if (!run.zero)
        map_page_reference(&leaf->page, run.reference, ret);
    return run;
}

static uint64_t compare_leaves(const struct store_chunk *a, const struct store_chunk *b, unsigned blocks)
{
    uint64_t changed = 0;

    for (unsigned block = 0, n; block < blocks; block += n) {
        struct chunk_reference of_a, of_b;
        struct map_run run_a = find_run(a, block, &of_a), run_b = find_run(b, block, &of_b);
        n = run_a.blocks < run_b.blocks ? run_a.blocks : run_b.blocks;
        n = n < blocks - block ? n : blocks - block;
        if (run_a.zero != run_b.zero ||
            (!run_b.zero && (!sha256_equal(&of_a.name, &of_b.name) || run_a.block_in_chunk != run_b.block_in_chunk)))
            changed += n;
    }
    return changed;
}

// The leaf of a segment; NULL if the member is not there, or has only zeros there.
static int get_leaf(struct version *v, int member, uint64_t segment, struct store_chunk **ret, struct error *error)
{
    *ret = NULL;
    if (member < 0 || v->manifest->members[member].zero ||
        segment * MAP_LEAF_BLOCKS >= map_blocks(v->manifest->members[member].size))
        return 0;
    return store_get_leaf(v, (unsigned)member, segment, false, ret, error);
}

int version_count_changed(struct version *a, struct version *b, unsigned member, uint64_t *ret, struct error *error)
{
    int before = manifest_find_member(a->manifest, b->manifest->members[member].name);
    uint64_t blocks = map_blocks(b->manifest->members[member].size), changed = 0;
    int r = 0;

    for (uint64_t segment = 0; r == 0 && segment * MAP_LEAF_BLOCKS < blocks; segment++) {
        struct store_chunk *of_a = NULL, *of_b = NULL;
        uint64_t left = blocks - segment * MAP_LEAF_BLOCKS;
        r = get_leaf(a, before, segment, &of_a, error);
        if (r == 0)
            r = get_leaf(b, (int)member, segment, &of_b, error);
        if (r == 0 && of_a != of_b)
            changed += compare_leaves(of_a, of_b, left < MAP_LEAF_BLOCKS ? (unsigned)left : MAP_LEAF_BLOCKS);
        if (of_a)
            store_put_chunks(a->store, &of_a, 1);
        if (of_b)
            store_put_chunks(b->store, &of_b, 1);
    }
    if (r == 0)
        *ret = changed;
    return r;
}
