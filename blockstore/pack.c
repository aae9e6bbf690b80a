// Packs: the trailer and the table (the format is drawn in pack.h).
//
// A table comes from the network or from a site's directory; its hash says only that somebody signed for it. So it is
// checked as a whole before the first entry is handed to anybody:
//   1. Entries follow each other without gaps: the first chunk begins behind the magic, each next one where the one
//      before ended, and the table begins where the last one ended. Nothing can hide between chunks or overlap.
//   2. Every entry's header is one that a chunk may have, and belongs with its length.
//   3. The number of entries is the trailer's, and the table has no byte more.
#include "blockstore/pack.h"
#include "base/cursor.h"
#include <errno.h>

#include "base/banned.h"

int pack_parse_trailer(const void *bytes, size_t n, uint32_t pack_size, struct pack_trailer *ret, struct error *error)
{
    struct cursor c = cursor_over(bytes, n);
    struct pack_trailer t = {0};
    unsigned char magic[PACK_MAGIC_SIZE];

    t.table_offset = cursor_u32(&c);
    t.table_length = cursor_u32(&c);
    t.chunk_count = cursor_u32(&c);
    uint32_t reserved = cursor_u32(&c);
    cursor_copy(&c, t.table.bytes, sizeof(t.table.bytes));
    cursor_copy(&c, magic, sizeof(magic));
    if (c.failed || c.left != 0)
        return error_set(error, EBADMSG, "a pack's trailer has %zu bytes instead of %u", n, PACK_TRAILER_SIZE);
    if (memcmp(magic, PACK_TRAILER_MAGIC, sizeof(magic)) != 0)
        return error_set(error, EBADMSG, "the file does not end as a pack does");
    if (pack_size > PACK_SIZE_MAXIMUM)
        return error_set(error, EBADMSG, "a pack of %u bytes is larger than any may be", pack_size);
    if (reserved != 0 || t.chunk_count == 0 || t.table_offset < PACK_MAGIC_SIZE ||
        (uint64_t)t.table_offset + t.table_length + PACK_TRAILER_SIZE != pack_size ||
        (uint64_t)t.chunk_count * PACK_TABLE_ENTRY_SIZE > t.table_length)
        return error_set(error, EBADMSG, "a pack's trailer contradicts its size of %u bytes", pack_size);
    *ret = t;
    return 0;
}

// Cuts one entry off the table; `expected` is the offset at which its chunk must begin. False if it is malformed.
static bool cut_entry(struct cursor *c, uint32_t expected, uint32_t table_offset, struct pack_entry *ret)
{
    cursor_copy(c, ret->name.bytes, sizeof(ret->name.bytes));
    ret->offset = cursor_u32(c);
    ret->length = cursor_u32(c);
    const unsigned char *header = cursor_bytes(c, CHUNK_HEADER_SIZE);
    if (!header || ret->offset != expected || ret->length > table_offset - expected)
        return false;
    if (header[0] != CHUNK_DATA && header[0] != CHUNK_PAGE)
        return false;
    ret->kind = (enum chunk_kind)header[0];
    if (chunk_check_header(ret->kind, header, ret->length, &ret->nblocks, NULL) < 0)
        return false;
    ret->block_hashes = NULL;
    if (ret->kind == CHUNK_DATA) {
        ret->block_hashes = cursor_bytes(c, (size_t)ret->nblocks * SHA256_SIZE);
        return ret->block_hashes != NULL;
    }
    return true;
}

int pack_walk_table(const void *table, size_t n, const struct pack_trailer *trailer,
                    int (*each)(void *context, const struct pack_entry *entry), void *context, struct error *error)
{
    if (n != trailer->table_length)
        return error_set(error, EBADMSG, "a pack's table has %zu bytes instead of %u", n, trailer->table_length);

    // The first pass checks, the second hands out.
    for (int pass = 0; pass < 2; pass++) {
        struct cursor c = cursor_over(table, n);
        uint32_t at = PACK_MAGIC_SIZE;
        for (uint32_t i = 0; i < trailer->chunk_count; i++) {
            struct pack_entry entry = {0};
            if (!cut_entry(&c, at, trailer->table_offset, &entry))
                return error_set(error, EBADMSG, "entry %u of a pack's table is malformed", i);
            at += entry.length;
            int r = pass == 0 ? 0 : each(context, &entry);
            if (r != 0)
                return r;
        }
        if (c.left != 0 || at != trailer->table_offset)
            return error_set(error, EBADMSG, "a pack's table does not describe the whole pack");
    }
    return 0;
}

int pack_table_add(struct pack_table *t, const struct sha256 *name, uint32_t offset, const void *stored, size_t length,
                   const struct sha256 *block_hashes)
{
    const unsigned char *header = stored;
    size_t hashes = header[0] == CHUNK_DATA ? (size_t)header[2] * SHA256_SIZE : 0;
    unsigned char *at;

    int r = buf_reserve(&t->bytes, PACK_TABLE_ENTRY_SIZE + hashes, &at);
    if (r < 0)
        return r;
    memcpy(at, name->bytes, SHA256_SIZE);
    put_le32(at + 32, offset);
    put_le32(at + 36, (uint32_t)length);
    memcpy(at + 40, header, CHUNK_HEADER_SIZE);
    if (hashes > 0)
        memcpy(at + PACK_TABLE_ENTRY_SIZE, block_hashes, hashes);
    t->bytes.size += PACK_TABLE_ENTRY_SIZE + hashes;
    t->chunk_count++;
    return 0;
}

int pack_table_finish(struct pack_table *t, uint32_t table_offset, struct sha256 *ret_table)
{
    size_t length = t->bytes.size;
    struct sha256 hash = sha256_of(t->bytes.data, length);
    unsigned char *at;

    int r = buf_reserve(&t->bytes, PACK_TRAILER_SIZE, &at);
    if (r < 0)
        return r;
    put_le32(at, table_offset);
    put_le32(at + 4, (uint32_t)length);
    put_le32(at + 8, t->chunk_count);
    put_le32(at + 12, 0);
    memcpy(at + 16, hash.bytes, SHA256_SIZE);
    memcpy(at + 48, PACK_TRAILER_MAGIC, PACK_MAGIC_SIZE); // NOLINT(bugprone-not-null-terminated-result): no text
    t->bytes.size += PACK_TRAILER_SIZE;
    *ret_table = hash;
    return 0;
}
