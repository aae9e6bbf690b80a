// What a version consists of: every pack that its map names, and, for a window of packs at a time, every chunk.
//
//   1. The list of packs is in memory as a whole: it is what version_pull returns. Chunks are not (16 TiB may have
//      134 million): the map is walked once for the packs, and once more for each window; all but the first walk find
//      the pages in the cache.
//   2. A chunk that several leaves refer to is listed once in its window. Repetitions are squeezed out whenever the
//      array is full, and a window that has more than CHUNKS_MAXIMUM without any is refused: no writer makes such.
//   3. What a leaf refers to is listed once, however often a hostile map names that leaf (a million times at most).
//   4. Packs are found by a hash with random keys: whoever makes up names for them cannot make them collide.
#include "base/cleanup.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define LIST_WINDOW (128u << 10)  // references
#define CHUNKS_MAXIMUM (2u << 20) // in a window: 100 MB, for hostile maps only
#define PACKS_MAXIMUM (8u << 20)  // of a version: 64 TiB in packs of the target size

struct listing {
    struct version_list *list;
    struct list_window *window; // NULL: the packs are being listed
    struct version_list leaves; // that were listed
    uint64_t work;
};

// --- packs ---------------------------------------------------------------------------------------------------------

static size_t slot_of(const struct version_list *list, const struct sha256 *name)
{
    // The high bits, as many as the number of slots, a power of two, has below its own.
    size_t slot = sha256_mix(name, &list->keys) >> (__builtin_clzll(list->slot_count) + 1);
    while (list->slots[slot] && !sha256_equal(&list->packs[list->slots[slot] - 1].name, name))
        slot = (slot + 1) & (list->slot_count - 1);
    return slot;
}

static int grow_packs(struct version_list *list)
{
    size_t capacity = list->pack_capacity ? list->pack_capacity * 2 : 256;
    if (capacity > PACKS_MAXIMUM)
        return -E2BIG;
    struct list_pack *packs = realloc(list->packs, capacity * sizeof(*packs));
    if (!packs)
        return -ENOMEM;
    list->packs = packs;
    uint32_t *slots = calloc(capacity * 2, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    free(list->slots);
    list->slots = slots;
    list->slot_count = capacity * 2;
    list->pack_capacity = capacity;
    for (size_t i = 0; i < list->pack_count; i++)
        slots[slot_of(list, &packs[i].name)] = (uint32_t)i + 1;
    return 0;
}

int64_t store_number_pack(struct version_list *list, const struct pack_reference *pack)
{
    if (list->pack_count == list->pack_capacity) {
        int r = grow_packs(list);
        if (r < 0)
            return r;
    }
    size_t slot = slot_of(list, &pack->name);
    if (!list->slots[slot]) {
        list->packs[list->pack_count] = (struct list_pack){.name = pack->name, .size = pack->size};
        list->slots[slot] = (uint32_t)++list->pack_count;
    }
    return (int64_t)list->slots[slot] - 1;
}

bool store_lists_pack(const struct version_list *list, const struct sha256 *name)
{
    return list->pack_count > 0 && list->slots[slot_of(list, name)] != 0;
}

// --- chunks --------------------------------------------------------------------------------------------------------

int store_compare_chunks(const void *pa, const void *pb)
{
    const struct list_chunk *a = pa, *b = pb;
    if (a->pack != b->pack)
        return a->pack < b->pack ? -1 : 1;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return memcmp(&a->name, &b->name, SHA256_SIZE);
}

static void squeeze(struct list_window *w)
{
    size_t kept = 0;
    if (w->chunk_count > 0)
        qsort(w->chunks, w->chunk_count, sizeof(*w->chunks), store_compare_chunks);
    for (size_t i = 0; i < w->chunk_count; i++)
        if (kept == 0 || store_compare_chunks(&w->chunks[kept - 1], &w->chunks[i]) != 0)
            w->chunks[kept++] = w->chunks[i];
    w->chunk_count = kept;
}

static int add_chunk(struct list_window *w, const struct list_chunk *chunk)
{
    if (w->chunk_count == w->chunk_capacity) {
        squeeze(w);
        if (w->chunk_count > w->chunk_capacity / 2 || w->chunk_capacity == 0) {
            size_t capacity = w->chunk_capacity ? w->chunk_capacity * 2 : 4096;
            if (capacity > CHUNKS_MAXIMUM)
                return -E2BIG;
            struct list_chunk *chunks = realloc(w->chunks, capacity * sizeof(*chunks));
            if (!chunks)
                return -ENOMEM;
            w->chunks = chunks;
            w->chunk_capacity = capacity;
        }
    }
    w->chunks[w->chunk_count++] = *chunk;
    return 0;
}

// --- the walk ------------------------------------------------------------------------------------------------------

static int list_reference(struct listing *l, const struct chunk_reference *ref, enum chunk_kind kind, unsigned level)
{
    int64_t number = store_number_pack(l->list, &ref->pack);
    if (number < 0)
        return (int)number;
    struct list_pack *pack = &l->list->packs[number];
    if (!l->window) {
        pack->references++;
        pack->bytes += ref->length;
        return 0;
    }
    if ((size_t)number < l->window->first || (size_t)number >= l->window->first + l->window->count)
        return 0;
    return add_chunk(l->window, &(struct list_chunk){.name = ref->name,
                                                     .pack = (uint32_t)number,
                                                     .offset = ref->offset,
                                                     .length = ref->length,
                                                     .kind = (uint8_t)kind,
                                                     .level = (uint8_t)level});
}

int store_explain_list(int r, struct error *error)
{
    if (r == -ENOMEM)
        return error_set(error, ENOMEM, "out of memory");
    if (r == -E2BIG)
        return error_set(error, EBADMSG, "this version has more packs or chunks than any image can have");
    return r;
}

// 1 if the leaf was listed before.
static int note_leaf(struct listing *l, const struct chunk_reference *ref)
{
    const int64_t known = (int64_t)l->leaves.pack_count;
    const int64_t number = store_number_pack(&l->leaves, &(struct pack_reference){.name = ref->name});
    return number < 0 ? (int)number : number < known;
}

static int count_work(struct listing *l, uint64_t work, struct error *error)
{
    l->work += work;
    return l->list->work_maximum == 0 || l->work <= l->list->work_maximum
               ? 0
               : error_set(error, E2BIG, "its map is too large to be counted now");
}

static int list_page(void *context, const struct chunk_reference *ref, const struct map_page *page,
                     uint64_t first_block, struct error *error)
{
    struct listing *l = context;
    struct chunk_reference chunk;
    (void)first_block;
    int r = count_work(l, VERSION_WORK_PAGE, error);
    if (r < 0)
        return r;
    r = list_reference(l, ref, CHUNK_PAGE, page->level);
    if (r == 0 && page->level == 0)
        r = note_leaf(l, ref);
    if (r != 0 || page->level > 0)
        return r < 0 ? store_explain_list(r, error) : 0;
    r = count_work(l, page->references, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < page->references && r == 0; i++) {
        map_page_reference(page, i, &chunk);
        r = store_check_reference(CHUNK_DATA, &chunk, error);
        if (r == 0)
            r = list_reference(l, &chunk, CHUNK_DATA, 0);
    }
    return store_explain_list(r, error);
}

static int walk_members(struct version *v, struct listing *l, struct error *error)
{
    struct map_visit visit = {.visit = list_page, .context = l};
    int r = 0;
    l->leaves.keys = l->list->keys;
    for (unsigned i = 0; i < v->manifest->member_count && r == 0; i++)
        r = store_walk_map(v, i, &visit, error);
    store_free_list(&l->leaves);
    return r;
}

int store_add_packs(struct version *v, struct version_list *list, struct error *error)
{
    return walk_members(v, &(struct listing){.list = list}, error);
}

int store_list_packs(struct version *v, uint64_t work_maximum, struct version_list *ret, struct error *error)
{
    struct version_list list = {.work_maximum = work_maximum};
    int r = sha256_make_keys(&list.keys);
    if (r < 0)
        return error_set(error, -r, "no random numbers can be had");
    r = store_add_packs(v, &list, error);
    if (r < 0) {
        store_free_list(&list);
        return r;
    }
    *ret = list;
    return 0;
}

void store_free_list(struct version_list *list)
{
    free(list->packs);
    free(list->slots);
}

int store_list_window(struct version *v, struct version_list *list, size_t first, struct list_window *ret,
                      struct error *error)
{
    struct list_window w = {.first = first};
    struct listing l = {.list = list, .window = &w};

    for (uint64_t references = 0; first + w.count < list->pack_count; w.count++) {
        references += list->packs[first + w.count].references;
        if (w.count > 0 && references > LIST_WINDOW)
            break;
    }
    int r = walk_members(v, &l, error);
    if (r < 0) {
        store_free_window(&w);
        return r;
    }
    squeeze(&w);
    for (size_t i = 0; i < w.count; i++)
        list->packs[first + i].bytes = 0;
    for (size_t i = 0; i < w.chunk_count; i++)
        list->packs[w.chunks[i].pack].bytes += w.chunks[i].length;
    *ret = w;
    return 0;
}

void store_free_window(struct list_window *w)
{
    free(w->chunks);
}
