// The writer's side of the map: when each page is built and stored.
//
// A page names packs by their hashes, so it can only be built when the packs of everything it refers to are closed, and
// lies in a later pack itself (rule 4 of writer.h). Leaves wait in a queue, in the order in which their segments ended;
// the first one is stored as soon as all its packs are closed, into the pack that is then open, among the chunks that
// follow. What remains at the end follows in a pack of its own, then the index pages, level by level.
//
// A page that is stored already, by this publication or in a known pack, is found by its chunk's name and not stored
// again; so whatever did not change since the parent costs nothing. Pages that a boot needs go other ways
// (writer_boot_pages.c).
#include "base/cleanup.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct writer_leaf {
    struct writer_leaf *next;
    unsigned member;
    bool boot;
    uint32_t segment;
    uint64_t after;  // its place in the stream: behind this many chunks
    uint64_t before; // all its chunks have lower numbers, but those that were adopted, whose packs are closed
    unsigned count;
    struct map_extent extents[];
};

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

// Sorts, and moves each number's first to the front; returns how many different ones there are.
static unsigned count_different(uint64_t *numbers, unsigned n)
{
    unsigned different = 0;

    qsort(numbers, n, sizeof(*numbers), compare_numbers);
    for (unsigned i = 0; i < n; i++)
        if (i == 0 || numbers[i] != numbers[i - 1])
            numbers[different++] = numbers[i];
    return different;
}

int writer_leaf_fits(struct writer *w, bool *ret_fits)
{
    unsigned n = w->extent_count, placed = 0;
    uint64_t *numbers CLEANUP_FREE = malloc((n ? n : 1) * sizeof(*numbers));
    struct writer_index_place place;

    if (!numbers)
        return -ENOMEM;
    for (unsigned i = 0; i < n; i++)
        numbers[i] = w->extents[i].chunk;
    unsigned chunks = count_different(numbers, n);
    for (unsigned i = 0; i < chunks; i++)
        if (writer_index_find_place(w->index, numbers[i], &place))
            numbers[placed++] = place.pack;
    // The chunk that is still being gathered may need one pack more.
    unsigned packs = count_different(numbers, placed) + 1;
    *ret_fits = MAP_PAGE_HEADER_SIZE + (uint64_t)packs * MAP_PACK_SIZE + (uint64_t)chunks * MAP_REFERENCE_SIZE +
                    (uint64_t)n * MAP_EXTENT_SIZE <=
                PAGE_BYTES_MAXIMUM;
    return 0;
}

int writer_queue_leaf(struct writer *w, unsigned member, struct error *error)
{
    unsigned n = w->extent_count;
    struct writer_leaf *leaf = malloc(sizeof(*leaf) + n * sizeof(*leaf->extents));

    if (!leaf)
        return error_set(error, ENOMEM, "no memory for the map");
    *leaf = (struct writer_leaf){.member = member, .segment = w->segment, .after = w->submitted, .count = n};
    leaf->boot = w->boot.wanted && (map_levels(w->members[member].size) == 1 ||
                                    writer_is_boot_range(w, member, w->segment, w->segment + UINT64_C(1)));
    memcpy(leaf->extents, w->extents, n * sizeof(*leaf->extents));
    for (unsigned i = 0; i < n; i++)
        if (leaf->extents[i].chunk >= leaf->before && !writer_index_is_adopted(w->index, leaf->extents[i].chunk))
            leaf->before = leaf->extents[i].chunk + 1;
    *w->last_leaf = leaf;
    w->last_leaf = &leaf->next;
    return writer_store_leaves(w, error);
}

int writer_add_page(struct writer_page_list *list, const struct writer_page *page, struct error *error)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct writer_page *grown = realloc(list->pages, capacity * sizeof(*grown));
        if (!grown)
            return error_set(error, ENOMEM, "no memory for the map");
        list->pages = grown;
        list->capacity = capacity;
    }
    list->pages[list->count++] = *page;
    return 0;
}

// Stores the page of `size` bytes in w->page, unless it is stored already, and adds it to the list.
static int store_page(struct writer *w, size_t size, struct writer_page_list *list, unsigned member, uint32_t position,
                      struct error *error)
{
    int length = chunk_encode(w->encoder, CHUNK_PAGE, w->page, (unsigned)(size / BLOCK_SIZE), w->page_stored);
    if (length < 0)
        return error_set(error, -length, "out of memory to compress");
    struct sha256 name = sha256_of(w->page_stored, (size_t)length);
    uint64_t chunk;
    unsigned unused;

    if (!writer_index_find(w->index, WRITER_INDEX_CHUNK, &name, 0, &chunk, &unused)) {
        int r = writer_index_begin_chunk(w->index, &chunk);
        if (r < 0)
            return site_write_failed(w->site, error, r, "the block index");
        r = writer_append_chunk(w, chunk, &name, w->page_stored, (size_t)length, NULL, error);
        if (r < 0)
            return r;
        if (w->pack.size >= PACK_SIZE_TARGET)
            r = writer_close_pack(w, error);
        if (r < 0)
            return r;
    }
    return writer_add_page(list, &(struct writer_page){.member = member, .position = position, .chunk = chunk}, error);
}

static int find_reference(void *context, uint64_t chunk, struct chunk_reference *ret)
{
    return writer_index_reference(context, chunk, ret);
}

int writer_store_leaves(struct writer *w, struct error *error)
{
    for (struct writer_leaf *leaf; (leaf = w->first_leaf);) {
        if (leaf->after > w->appended || leaf->before > w->closed_below)
            return 0;
        size_t size;
        int r = map_leaf_build(leaf->extents, leaf->count, find_reference, w->index, w->page, &size);
        if (r < 0)
            return error_set(error, -r, "cannot build the map: %s", strerror(-r));
        r = leaf->boot ? writer_keep_page(w, size, leaf->member, leaf->segment, error)
                       : store_page(w, size, &w->pages[0], leaf->member, leaf->segment, error);
        if (r < 0)
            return r;
        w->first_leaf = leaf->next;
        if (!w->first_leaf)
            w->last_leaf = &w->first_leaf;
        free(leaf);
    }
    return 0;
}

void writer_drop_leaves(struct writer *w)
{
    for (struct writer_leaf *leaf; (leaf = w->first_leaf);) {
        w->first_leaf = leaf->next;
        free(leaf);
    }
    for (unsigned i = 0; i <= MAP_LEVELS_MAXIMUM; i++)
        free(w->pages[i].pages);
}

// Builds and stores the index page over the pages from number *at on that belong to it, and moves *at behind them.
static int store_index(struct writer *w, unsigned level, const struct writer_page_list *below, size_t *at,
                       struct writer_page_list *list, struct error *error)
{
    const struct writer_page first = below->pages[*at];
    uint32_t position = first.position / MAP_FANOUT;
    uint64_t child_blocks = map_child_blocks(level), blocks = map_blocks(w->members[first.member].size);
    uint64_t children_left = (blocks + child_blocks - 1) / child_blocks - (uint64_t)position * MAP_FANOUT;
    unsigned children = children_left < MAP_FANOUT ? (unsigned)children_left : MAP_FANOUT;
    struct chunk_reference *references CLEANUP_FREE = calloc(children, sizeof(*references));
    bool boot = w->boot.wanted && map_levels(w->members[first.member].size) == level + 1;
    size_t i = *at, size = 0;
    int r = references ? 0 : -ENOMEM;

    while (r == 0 && i < below->count && below->pages[i].member == first.member &&
           below->pages[i].position / MAP_FANOUT == position) {
        const struct writer_page *child = &below->pages[i++];
        boot = boot || child->boot;
        r = writer_index_reference(w->index, child->chunk, &references[child->position % MAP_FANOUT]);
        if (r == -EAGAIN) { // its pack is still open
            r = writer_close_pack(w, error);
            if (r < 0)
                return r;
            r = writer_index_reference(w->index, child->chunk, &references[child->position % MAP_FANOUT]);
        }
    }
    if (r == 0)
        r = map_index_build(level, references, children, w->page, &size);
    if (r < 0)
        return error_set(error, -r, "cannot build the map: %s", strerror(-r));
    *at = i;
    return boot ? writer_keep_page(w, size, first.member, position, error)
                : store_page(w, size, list, first.member, position, error);
}

static int compare_pages(const void *a, const void *b)
{
    const struct writer_page *x = a, *y = b;

    return x->member != y->member ? (x->member > y->member) - (x->member < y->member)
                                  : (x->position > y->position) - (x->position < y->position);
}

// From the pages of one level to those of the next; pages of members that have no more levels are their tops.
static int store_level(struct writer *w, unsigned level, struct error *error)
{
    struct writer_page_list *below = &w->pages[level - 1], *list = &w->pages[level];
    int r = 0;

    // Pages that were adopted, that had to wait, and that a boot needs came each in an order of their own.
    if (below->count > 0)
        qsort(below->pages, below->count, sizeof(*below->pages), compare_pages);
    for (size_t i = 0; r == 0 && i < below->count;) {
        const struct writer_page *page = &below->pages[i];
        if (map_levels(w->members[page->member].size) == level) {
            w->members[page->member].top = page->chunk;
            w->members[page->member].has_top = true;
            i++;
        } else {
            r = store_index(w, level, below, &i, list, error);
        }
    }
    return r < 0 ? r : writer_store_kept_pages(w, list, error);
}

int writer_store_indexes(struct writer *w, struct error *error)
{
    int r = writer_store_kept_pages(w, &w->pages[0], error);

    for (unsigned level = 1; r == 0 && level <= MAP_LEVELS_MAXIMUM; level++)
        r = store_level(w, level, error);
    return r;
}
