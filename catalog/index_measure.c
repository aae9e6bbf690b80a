// What a version stores: the pieces of its data and of its map, each once. A piece is the same as another only in the
// same pack, since that is where a client's cache has it (as blockstore/store_measure.c counts).
//
// A piece is known by 64 bits, from its hash and its pack's under random keys: two pieces are taken for one with a
// probability of 2^-64, whatever a publisher chooses. 16 bytes each, up to PIECES_MAXIMUM: versions of 1.5 TiB.
//
// 1. Each page is read once, however often a hostile map names it: the work grows with the bytes that the site stores.
#include "catalog/index_private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "blockstore/map_walk.h"

#include "base/banned.h"

#define PIECES_MAXIMUM (12u << 20)

struct index_piece {
    uint64_t key;    // never 0
    uint32_t length; // bytes
    bool walked;     // a page of which everything below is in here, too
};

// A hash table while it grows, by the keys' low bits; at most three quarters of it are full.
struct gathering {
    struct site *site;
    const struct sha256_keys *keys;
    struct index_piece *slots; // key 0: free
    size_t count, capacity;
    uint64_t blocks;             // of the member
    struct chunk_reference page; // that was read last
};

static uint64_t key_of(const struct gathering *g, const struct chunk_reference *ref)
{
    const uint64_t pack = sha256_mix(&ref->pack.name, g->keys);
    const uint64_t key = sha256_mix(&ref->name, g->keys) ^ (pack << 1 | pack >> 63);
    return key ? key : 1;
}

// The piece's slot, or the free one where it would be.
static struct index_piece *find(const struct gathering *g, uint64_t key)
{
    size_t slot = (key ^ key >> 32) & (g->capacity - 1); // sha256_mix is best in its high bits
    while (g->slots[slot].key && g->slots[slot].key != key)
        slot = (slot + 1) & (g->capacity - 1);
    return &g->slots[slot];
}

static int grow(struct gathering *g, struct error *error)
{
    struct gathering more = {.capacity = g->capacity ? 2 * g->capacity : 1024};
    if (g->count == PIECES_MAXIMUM)
        return error_set(error, E2BIG, "its map names more pieces than are counted");
    if (g->count < g->capacity / 4 * 3)
        return 0;
    more.slots = calloc(more.capacity, sizeof *more.slots);
    if (!more.slots) {
        error_set(error, ENOMEM, "out of memory");
        return -ENOMEM;
    }
    for (size_t i = 0; i < g->capacity; i++)
        if (g->slots[i].key)
            *find(&more, g->slots[i].key) = g->slots[i];
    free(g->slots);
    g->slots = more.slots;
    g->capacity = more.capacity;
    return 0;
}

static int add(struct gathering *g, const struct chunk_reference *ref, struct error *error)
{
    const uint64_t key = key_of(g, ref);
    int r = grow(g, error);
    if (r < 0)
        return r;
    struct index_piece *piece = find(g, key);
    g->count += piece->key == 0;
    if (piece->key == 0)
        *piece = (struct index_piece){.key = key, .length = ref->length};
    return 0;
}

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    struct gathering *g = context;
    g->page = *ref;
    return site_read_page(g->site, ref, to, error);
}

static bool was_walked(void *context, const struct chunk_reference *ref)
{
    const struct gathering *g = context;
    return find(g, key_of(g, ref))->walked;
}

// A page's references: data, or the pages below it.
static int add_page(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct gathering *g = context;
    struct chunk_reference ref;
    int r = 0;
    // Of a page that reaches beyond the member's end, what is there is not walked: another place may be within.
    if (page->level == 0 || first + page->references * map_child_blocks(page->level) <= g->blocks)
        find(g, key_of(g, &g->page))->walked = true;
    for (unsigned i = 0; i < page->references && r == 0; i++)
        if (map_page_reference(page, i, &ref))
            r = add(g, &ref, error);
    return r;
}

static int by_key(const void *a, const void *b)
{
    const struct index_piece *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

// The table as a sorted list.
static struct index_pieces list_pieces(struct gathering *g)
{
    struct index_pieces p = {.pieces = g->slots};
    for (size_t i = 0; i < g->capacity; i++)
        if (g->slots[i].key)
            p.pieces[p.count++] = g->slots[i];
    if (p.count > 0)
        qsort(p.pieces, p.count, sizeof *p.pieces, by_key);
    return p;
}

int index_measure(struct site *s, const struct manifest *m, const struct sha256_keys *keys, struct index_pieces *ret,
                  struct error *error)
{
    struct gathering g = {.site = s, .keys = keys};
    struct map_walk walk = {.read = read_page, .each = add_page, .skip = was_walked, .context = &g};
    int r = 0;
    for (unsigned i = 0; i < m->member_count && r == 0; i++) {
        g.blocks = map_blocks(m->members[i].size);
        if (!m->members[i].zero)
            r = add(&g, &m->members[i].top, error);
        if (r == 0)
            r = map_walk_member(&walk, &m->members[i], error);
    }
    if (r < 0) {
        free(g.slots);
        return r;
    }
    *ret = list_pieces(&g);
    return 0;
}

void index_free_pieces(struct index_pieces *p)
{
    free(p->pieces);
    *p = (struct index_pieces){.pieces = NULL};
}

uint64_t index_sum_pieces(const struct index_pieces *p, const struct index_pieces *before)
{
    uint64_t sum = 0;
    for (size_t i = 0, j = 0; i < p->count; i++) {
        while (before && j < before->count && before->pieces[j].key < p->pieces[i].key)
            j++;
        if (!before || j == before->count || before->pieces[j].key != p->pieces[i].key)
            sum += p->pieces[i].length;
    }
    return sum;
}
