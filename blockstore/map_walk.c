// See map_walk.h.
//
//   1. Nothing of a page is looked at before its bytes were found to hash to its name.
//   2. Children beyond the member's end are not followed: no reader looks at them.
#include "blockstore/map_walk.h"
#include "base/cleanup.h"
#include <stdlib.h>

#include "base/banned.h"

int map_walk_read_page(const struct map_walk *w, const struct chunk_reference *ref, unsigned level, void *bytes,
                       struct map_page *ret, struct error *error)
{
    unsigned nblocks = 0;
    if (ref->length > PAGE_STORED_MAXIMUM)
        return error_set(error, EBADMSG, "a map page is too long");
    CLEANUP_FREE void *stored = malloc(ref->length);
    if (!stored)
        return error_set(error, ENOMEM, "out of memory");
    int r = w->read(w->context, ref, stored, error);
    if (r == 0)
        r = chunk_decode(CHUNK_PAGE, &ref->name, stored, ref->length, bytes, &nblocks, error);
    return r < 0 ? r : map_page_parse(bytes, (size_t)nblocks * BLOCK_SIZE, level, ret, error);
}

static int walk_page(struct map_walk *w, uint64_t blocks, const struct chunk_reference *ref, unsigned level,
                     uint64_t first, struct error *error)
{
    struct map_page page = {.references = 0};
    if (w->skip && w->skip(w->context, ref))
        return 0;
    CLEANUP_FREE void *bytes = malloc(PAGE_BYTES_MAXIMUM);
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
    int r = map_walk_read_page(w, ref, level, bytes, &page, error);
    if (r == -ENOENT) {
        w->missing++;
        return 0;
    }
    if (r == 0)
        r = w->each(w->context, &page, first, error);
    for (unsigned i = 0; r == 0 && level > 0 && i < page.references; i++) {
        struct chunk_reference child;
        uint64_t block = first + i * map_child_blocks(level);
        if (block >= blocks)
            break;
        if (map_page_reference(&page, i, &child))
            r = walk_page(w, blocks, &child, level - 1, block, error);
    }
    return r;
}

int map_walk_member(struct map_walk *w, const struct manifest_member *member, struct error *error)
{
    if (member->zero || member->size == 0)
        return 0;
    return walk_page(w, map_blocks(member->size), &member->top, map_levels(member->size) - 1, 0, error);
}
