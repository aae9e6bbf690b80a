// Fuzz target: a map page (padded with zeros to whole blocks, as a decoded chunk is). What passes the parser can be
// walked without leaving the page, its packs or the segment, and every block has exactly one place.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "blockstore/map.h"
#include "blockstore/pack.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(int promise)
{
    if (!promise)
        abort();
}

static void check_reference(const struct chunk_reference *ref, unsigned level)
{
    check(ref->pack.size <= PACK_SIZE_MAXIMUM && ref->offset >= PACK_MAGIC_SIZE);
    check(ref->length > CHUNK_HEADER_SIZE && ref->length <= (level ? PAGE_STORED_MAXIMUM : CHUNK_STORED_MAXIMUM));
    check((uint64_t)ref->offset + ref->length <= ref->pack.size - PACK_TRAILER_SIZE);
}

static void walk_leaf(const struct map_page *leaf)
{
    unsigned block = 0, mapped = 0;

    while (block < MAP_LEAF_BLOCKS) {
        struct map_run run = map_leaf_find(leaf, block);
        check(run.blocks >= 1 && run.blocks <= MAP_LEAF_BLOCKS - block);
        struct map_run last = map_leaf_find(leaf, block + run.blocks - 1);
        check(last.zero == run.zero && last.blocks == 1);
        if (!run.zero) {
            check(run.reference < leaf->references && run.block_in_chunk + run.blocks <= CHUNK_BLOCKS_MAXIMUM);
            check(last.reference == run.reference && last.block_in_chunk == run.block_in_chunk + run.blocks - 1);
            mapped++;
        }
        block += run.blocks;
    }
    check(mapped == leaf->extents);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    size_t padded = (size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
    unsigned char *bytes = calloc(1, padded ? padded : 1);
    struct chunk_reference ref;
    struct map_page page;

    check(bytes != NULL);
    if (size > 0)
        memcpy(bytes, data, size);
    for (unsigned level = 0; level <= MAP_LEVELS_MAXIMUM; level++) {
        if (map_page_parse(bytes, padded, level, &page, NULL) < 0)
            continue;
        check(level < MAP_LEVELS_MAXIMUM && bytes[1] == level);
        for (unsigned i = 0; i < page.references; i++)
            if (map_page_reference(&page, i, &ref))
                check_reference(&ref, level);
            else
                check(level > 0);
        if (level == 0)
            walk_leaf(&page);
    }
    free(bytes);
    return 0;
}
