// What a version stores: the pieces of its data and of its map, each once. A piece is the same as another only in the
// same pack, since that is where a client's cache has it (as blockstore/store_measure.c counts).
//
// A piece is known by 64 bits, from its hash and its pack's under random keys: two pieces are taken for one with a
// probability of 2^-64, whatever a publisher chooses. 16 bytes each, up to PIECES_MAXIMUM: versions of 2 TiB.
#include "catalog/index_private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "blockstore/map_walk.h"

#include "base/banned.h"

#define PIECES_MAXIMUM (16u << 20)

struct index_piece {
    uint64_t key;
    uint64_t length; // bytes
};

struct gathering {
    struct site *site;
    const struct sha256_keys *keys;
    struct index_pieces pieces;
    size_t capacity;
};

static int add(struct gathering *g, const struct chunk_reference *ref, struct error *error)
{
    if (g->pieces.count == g->capacity) {
        const size_t capacity = g->capacity ? 2 * g->capacity : 1024;
        struct index_piece *more =
            capacity > PIECES_MAXIMUM ? NULL : realloc(g->pieces.pieces, capacity * sizeof *more);
        if (!more)
            return capacity > PIECES_MAXIMUM ? error_set(error, E2BIG, "its map names more pieces than are counted")
                                             : error_set(error, ENOMEM, "out of memory");
        g->pieces.pieces = more;
        g->capacity = capacity;
    }
    const uint64_t pack = sha256_mix(&ref->pack.name, g->keys);
    g->pieces.pieces[g->pieces.count++] =
        (struct index_piece){.key = sha256_mix(&ref->name, g->keys) ^ (pack << 1 | pack >> 63), .length = ref->length};
    return 0;
}

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    const struct gathering *g = context;
    return site_read_page(g->site, ref, to, error);
}

// A page's references: data, or the pages below it.
static int add_page(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct chunk_reference ref;
    int r = 0;
    (void)first;
    for (unsigned i = 0; i < page->references && r == 0; i++)
        if (map_page_reference(page, i, &ref))
            r = add(context, &ref, error);
    return r;
}

static int by_key(const void *a, const void *b)
{
    const struct index_piece *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static void sort_once(struct index_pieces *p)
{
    size_t kept = 0;
    if (p->count > 0)
        qsort(p->pieces, p->count, sizeof *p->pieces, by_key);
    for (size_t i = 0; i < p->count; i++)
        if (kept == 0 || p->pieces[kept - 1].key != p->pieces[i].key)
            p->pieces[kept++] = p->pieces[i];
    p->count = kept;
}

int index_measure(struct site *s, const struct manifest *m, const struct sha256_keys *keys, struct index_pieces *ret,
                  struct error *error)
{
    struct gathering g = {.site = s, .keys = keys};
    struct map_walk walk = {.read = read_page, .each = add_page, .context = &g};
    int r = 0;
    for (unsigned i = 0; i < m->member_count && r == 0; i++) {
        if (!m->members[i].zero)
            r = add(&g, &m->members[i].top, error);
        if (r == 0)
            r = map_walk_member(&walk, &m->members[i], error);
    }
    if (r < 0) {
        index_free_pieces(&g.pieces);
        return r;
    }
    sort_once(&g.pieces);
    *ret = g.pieces;
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
