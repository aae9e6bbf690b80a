// Packs: immutable files of chunks, named by the SHA-256 of the whole file; what a web server stores.
//
//   "RONDOPK1"                                   8 bytes
//   chunks, back to back
//   table: for each chunk, in the order of offsets
//       chunk's SHA-256                          32
//       offset u32, stored length u32            8
//       kind u8, codec u8, nblocks u8, 0         4    as in the chunk's own header
//       SHA-256 of each of its blocks            32 × nblocks; none for a page
//   trailer, the last 56 bytes
//       offset u32 and length u32 of the table, number of chunks u32, 0 u32
//       SHA-256 of the table                     32
//       "RONDOPKE"                               8
//
// The table makes a pack self-describing and lets a publisher deduplicate against it without its data.
#pragma once

#include "base/buf.h"
#include "blockstore/chunk.h"

#define PACK_MAGIC "RONDOPK1"
#define PACK_TRAILER_MAGIC "RONDOPKE"
#define PACK_MAGIC_SIZE 8u
#define PACK_TRAILER_SIZE 56u
#define PACK_SIZE_TARGET (8u << 20) // a pack is closed when its chunks reach this
// A boot pack is closed sooner. It is fetched whole by one request, over several connections at a time, and what waits
// for it waits for all that stands before it: at 100 Mbit/s and 20 ms, 2 MiB are 8 round trips, so that asking costs
// little, and a boot of 24 MiB still takes few requests (docs/decisions.md).
#define PACK_SIZE_TARGET_BOOT (2u << 20)
#define PACK_SIZE_MAXIMUM (64u << 20)
#define PACK_TABLE_ENTRY_SIZE 44u // without block hashes

struct pack_trailer {
    uint32_t table_offset, table_length, chunk_count;
    struct sha256 table;
};

// Parses the last PACK_TRAILER_SIZE bytes of a pack of `pack_size` bytes; -EBADMSG if anything is out of bounds.
int pack_parse_trailer(const void *bytes, size_t n, uint32_t pack_size, struct pack_trailer *ret, struct error *error);

struct pack_entry {
    struct sha256 name;
    uint32_t offset, length;
    enum chunk_kind kind;
    unsigned nblocks;
    const unsigned char *block_hashes; // nblocks × 32 bytes inside the table; NULL for a page
};

// Walks a table whose hash was checked: calls `each` for every entry, in order, after the entry was checked to lie
// between the magic and the table, after the entry before it. A non-zero return of `each` ends the walk.
int pack_walk_table(const void *table, size_t n, const struct pack_trailer *trailer,
                    int (*each)(void *context, const struct pack_entry *entry), void *context, struct error *error);

// Builds the table while a pack is written.
struct pack_table {
    struct buf bytes; // BUF_WITH_MAXIMUM(PACK_SIZE_MAXIMUM)
    uint32_t chunk_count;
};
int pack_table_add(struct pack_table *t, const struct sha256 *name, uint32_t offset, const void *stored, size_t length,
                   const struct sha256 *block_hashes);
// Appends the trailer for a table that starts at `table_offset`; *ret_table is its hash.
int pack_table_finish(struct pack_table *t, uint32_t table_offset, struct sha256 *ret_table);
