// The map: from a member's block numbers to (chunk, block in chunk); a tree of pages.
//
// A leaf (level 0) covers MAP_LEAF_BLOCKS blocks. An index page of level n has up to MAP_FANOUT children of level
// n−1. The tree's height follows from the member's size alone (map_levels), so a short member has a leaf on top.
//
//   page      type u8 (1 leaf, 2 index) · level u8 · packs u16 · references u16 · extents u16 (0 in an index)
//             packs      × {pack SHA-256 32, size u32, table SHA-256 32}
//             references × {chunk SHA-256 32, pack number u16, offset u32, stored length u32}
//             extents    × {first block u16, blocks u16, block in chunk u8, reference number u16}
//             zeros up to a multiple of 4096 bytes
//
// A leaf's references are data chunks; extents are sorted, do not overlap, and blocks in none of them are zero. An
// index page's references are its children in order (child i covers the i-th part); one of all zero bytes means
// that all of its blocks are zero. Every page carries its own pack table, so that equal pages of two versions are
// one page. All integers are little-endian and unaligned.
#pragma once

#include "blockstore/chunk.h"
#include <stdbool.h>

#define MAP_LEAF_BLOCKS 32768u // 128 MiB: a segment
#define MAP_FANOUT 1024u
#define MAP_LEVELS_MAXIMUM 3u // a leaf below two index pages: 128 TiB
#define MAP_PAGE_HEADER_SIZE 8u
#define MAP_PACK_SIZE 68u
#define MAP_REFERENCE_SIZE 42u
#define MAP_EXTENT_SIZE 7u
#define MEMBER_SIZE_MAXIMUM (16ull << 40)

// The blocks of a member of `size` bytes, and the number of levels (1 to 3) of its map; blocks covered by one child of
// a page at `level`.
uint64_t map_blocks(uint64_t size);
unsigned map_levels(uint64_t size);
uint64_t map_child_blocks(unsigned level); // level ≥ 1

// A page that was decoded and checked as a whole: every number is in bounds, extents are sorted. It points into
// `bytes`, which the caller keeps.
struct map_page {
    const unsigned char *bytes;
    unsigned level;
    unsigned packs, references, extents;
};

// -EBADMSG unless the bytes are a page of exactly this level that obeys every rule above.
int map_page_parse(const void *bytes, size_t n, unsigned level, struct map_page *ret, struct error *error);

// Reference number i < page->references: false if it is the zero reference of an index page.
bool map_page_reference(const struct map_page *page, unsigned i, struct chunk_reference *ret);

// What a leaf says about block `block` < MAP_LEAF_BLOCKS, and how many blocks from there on it says the same of
// (consecutive blocks in one chunk, or zeros up to the next extent or the leaf's end).
struct map_run {
    bool zero;
    unsigned blocks;         // ≥ 1
    unsigned reference;      // these two: only if not zero
    unsigned block_in_chunk; // < 32
};
struct map_run map_leaf_find(const struct map_page *leaf, unsigned block);

// Building. An extent as the writer knows it; `chunk` is the writer's own number for a chunk.
struct map_extent {
    uint32_t first;  // block in the segment
    uint16_t blocks; // 1 to 32
    uint8_t block_in_chunk;
    uint64_t chunk;
};

// Writes a leaf into ret_bytes (room for PAGE_BYTES_MAXIMUM) and its size, a multiple of 4096, to *ret_size.
// `find` gives the reference of a chunk number. -E2BIG if the page would exceed its maximum: the writer then stores
// the segment's blocks anew.
int map_leaf_build(const struct map_extent *extents, unsigned n,
                   int (*find)(void *context, uint64_t chunk, struct chunk_reference *ret), void *context,
                   void *ret_bytes, size_t *ret_size);
// The same for an index page of `level` ≥ 1; a child whose length is 0 is the zero reference.
int map_index_build(unsigned level, const struct chunk_reference *children, unsigned n, void *ret_bytes,
                    size_t *ret_size);
