// The writer's index: every chunk and every block that is known, found by hash.
//
// Chunks are numbered from 0: first those of the known packs, then the new ones in the order in which they were begun.
// A new chunk is unplaced until it is appended to a pack; a pack has no name until it is closed.
//
// All of it lies in spools (3 of them): 1,072 bytes a chunk, 84 a pack, and a hash table of 8-byte slots. One thread.
#pragma once

#include "blockstore/chunk.h"
#include "blockstore/site.h"
#include <stdbool.h>

struct writer_index;

// What a hash names: a block's bytes, a whole stored chunk, or a known pack.
enum writer_index_kind { WRITER_INDEX_BLOCK, WRITER_INDEX_CHUNK, WRITER_INDEX_PACK };

int writer_index_open(struct site *site, struct writer_index **ret); // 0 or -errno; `site` must outlive it
void writer_index_close(struct writer_index *x);

// Packs. A known pack has its reference from the start, and is found by its name; an open one gets it when it is
// closed.
int writer_index_add_pack(struct writer_index *x, const struct pack_reference *ref, uint32_t *ret_pack);
bool writer_index_find_pack(const struct writer_index *x, const struct sha256 *name, uint32_t *ret_pack);
int writer_index_open_pack(struct writer_index *x, uint32_t *ret_pack);
void writer_index_close_pack(struct writer_index *x, uint32_t pack, const struct pack_reference *ref);
const struct pack_reference *writer_index_pack(const struct writer_index *x, uint32_t pack); // of a closed one
uint32_t writer_index_chunk_bytes(const struct writer_index *x, uint32_t pack);              // stored, of its chunks
// A mark, which is false at first: the pack is one of those that a boot fetches whole.
void writer_index_mark_boot(struct writer_index *x, uint32_t pack);
bool writer_index_is_boot(const struct writer_index *x, uint32_t pack);

// Chunks. Blocks must be added in the order of their numbers; each hash is found from then on, but of equal ones only
// the first WRITER_INDEX_COPIES: no honest site comes near, and one more is stored again at worst.
#define WRITER_INDEX_COPIES 1024u
uint64_t writer_index_chunk_count(const struct writer_index *x);
int writer_index_begin_chunk(struct writer_index *x, uint64_t *ret_chunk);
int writer_index_add_block(struct writer_index *x, uint64_t chunk, unsigned block, const struct sha256 *hash);

// Where a chunk lies; this also makes it findable by its name.
struct writer_index_place {
    uint32_t pack, offset, length;
};
int writer_index_place_chunk(struct writer_index *x, uint64_t chunk, const struct sha256 *name,
                             const struct writer_index_place *place);
bool writer_index_find_place(const struct writer_index *x, uint64_t chunk, struct writer_index_place *ret);

// A chunk of a known pack of which nothing else is known: its blocks have no hashes. Found if it is there already.
int writer_index_adopt_chunk(struct writer_index *x, const struct sha256 *name, const struct writer_index_place *place,
                             uint64_t *ret_chunk);
bool writer_index_is_adopted(const struct writer_index *x, uint64_t chunk);

// The hashes of a chunk's blocks, in order; valid until the next add.
const struct sha256 *writer_index_block_hashes(const struct writer_index *x, uint64_t chunk);

// The first one that was added with this hash, among chunks from number `minimum` on.
bool writer_index_find(const struct writer_index *x, enum writer_index_kind kind, const struct sha256 *hash,
                       uint64_t minimum, uint64_t *ret_chunk, unsigned *ret_block);

// Walks all that were added with this hash, in the order in which they were added: *at is 0 at first, and the walk's
// own. Nothing may be added meanwhile.
bool writer_index_next(const struct writer_index *x, enum writer_index_kind kind, const struct sha256 *hash,
                       uint64_t *at, uint64_t *ret_chunk, unsigned *ret_block);

// The full reference: -EAGAIN while the chunk is unplaced or its pack is open.
int writer_index_reference(const struct writer_index *x, uint64_t chunk, struct chunk_reference *ret);
