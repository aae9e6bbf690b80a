// Fuzz target: the end of a pack, table and trailer. The pack's size is what the trailer asks for, so that the table is
// reached. Entries lie back to back between the magic and the table, and a table is handed out whole or not at all.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "blockstore/pack.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

struct walk {
    uint32_t count, at;
    unsigned sum;
};

static void check(int promise)
{
    if (!promise)
        abort();
}

static int check_entry(void *context, const struct pack_entry *e)
{
    struct walk *walk = context;

    check(e->offset == walk->at && e->length > CHUNK_HEADER_SIZE && e->nblocks >= 1);
    check(e->kind == CHUNK_DATA ? e->nblocks <= CHUNK_BLOCKS_MAXIMUM && e->block_hashes != NULL
                                : e->nblocks <= PAGE_BLOCKS_MAXIMUM && e->block_hashes == NULL);
    for (unsigned i = 0; e->block_hashes && i < e->nblocks * SHA256_SIZE; i++)
        walk->sum += e->block_hashes[i]; // the sanitizer sees whether they are there
    walk->at += e->length;
    walk->count++;
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct pack_trailer trailer;
    struct walk walk = {.at = PACK_MAGIC_SIZE};

    if (size < PACK_TRAILER_SIZE)
        return 0;
    size_t table_size = size - PACK_TRAILER_SIZE;
    const unsigned char *end = data + table_size;
    uint32_t pack_size = get_le32(end) + (uint32_t)size;
    if (pack_parse_trailer(end, PACK_TRAILER_SIZE, pack_size, &trailer, NULL) < 0)
        return 0;
    check(pack_size <= PACK_SIZE_MAXIMUM && trailer.table_length == table_size && trailer.chunk_count >= 1);
    unsigned char *table = malloc(table_size ? table_size : 1);
    check(table != NULL);
    memcpy(table, data, table_size);
    if (pack_walk_table(table, table_size, &trailer, check_entry, &walk, NULL) == 0)
        check(walk.count == trailer.chunk_count && walk.at == trailer.table_offset);
    else
        check(walk.count == 0);
    free(table);
    return 0;
}
