// Chunks: up to 32 blocks packed and compressed together; the unit of hashing, transfer and caching.
//
// Stored form (docs/formats.md, "Chunk"): {kind u8, codec u8, nblocks u8, 0}, then nblocks × 4096 bytes, raw, as one
// zstd frame, or as one LZ4 block. A chunk's name is the SHA-256 of all of that, so codec and length cannot be
// confused. Pages of the map are stored as chunks of kind page and may have up to 128 blocks.
//
// Nothing is decoded before its hash was found equal to its name.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include <stddef.h>
#include <stdint.h>

#define BLOCK_SIZE 4096u
#define CHUNK_HEADER_SIZE 4u
#define CHUNK_BLOCKS_MAXIMUM 32u                                       // of a data chunk: 128 KiB
#define PAGE_BLOCKS_MAXIMUM 128u                                       // of a page chunk: 512 KiB
#define CHUNK_BYTES_MAXIMUM (CHUNK_BLOCKS_MAXIMUM * BLOCK_SIZE)        // decoded
#define PAGE_BYTES_MAXIMUM (PAGE_BLOCKS_MAXIMUM * BLOCK_SIZE)          // decoded
#define CHUNK_STORED_MAXIMUM (CHUNK_HEADER_SIZE + CHUNK_BYTES_MAXIMUM) // raw is the fallback, so no more
#define PAGE_STORED_MAXIMUM (CHUNK_HEADER_SIZE + PAGE_BYTES_MAXIMUM)

enum chunk_kind { CHUNK_DATA = 1, CHUNK_PAGE = 2 };
enum chunk_codec { CHUNK_RAW = 0, CHUNK_LZ4 = 1, CHUNK_ZSTD = 2 };

// What a publisher gets who does not choose: docs/benchmarks.md has the measurements.
#define CHUNK_CODEC_DEFAULT CHUNK_ZSTD
#define CHUNK_LEVEL_DEFAULT 9 // of either codec

// Where a chunk lives. A pack is named with everything that a reader needs to check it.
struct pack_reference {
    struct sha256 name;  // SHA-256 of the whole file
    uint32_t size;       // of the file, in bytes; ≤ PACK_SIZE_MAXIMUM
    struct sha256 table; // SHA-256 of its table
};

struct chunk_reference {
    struct sha256 name;
    struct pack_reference pack;
    uint32_t offset; // in the pack
    uint32_t length; // stored bytes, header included
};

// The highest level of zstd or LZ4-HC that may be asked for; the lowest is 1.
int chunk_level_maximum(enum chunk_codec codec);

// A compressor with its memory (zstd 9: 1.3 MiB, LZ4: 256 KiB), for one thread at a time. chunk_encoder_new returns 0,
// -EINVAL (another codec or level) or -ENOMEM.
struct chunk_encoder;
int chunk_encoder_new(enum chunk_codec codec, int level, struct chunk_encoder **ret);
void chunk_encoder_free(struct chunk_encoder *e); // NULL is fine

// Encodes `nblocks` blocks (1 to the kind's maximum), raw where the codec gains less than 3 %. ret_stored holds
// CHUNK_HEADER_SIZE + nblocks × BLOCK_SIZE bytes. Returns the stored length, or -ENOMEM.
int chunk_encode(struct chunk_encoder *e, enum chunk_kind kind, const void *blocks, unsigned nblocks, void *ret_stored);

// Checks the header of stored bytes whose hash is already known to be right: -EBADMSG if the kind is another, a
// reserved codec or value is used, or length and block count cannot belong together.
int chunk_check_header(enum chunk_kind kind, const void *stored, size_t length, unsigned *ret_nblocks,
                       struct error *error);

// Verifies stored bytes against their name, then decodes exactly nblocks × 4096 bytes into `ret_blocks` (room for
// the kind's maximum). -EBADMSG if the hash, the header or the decoding is wrong; -ENOMEM only for a thread's first
// zstd chunk: each thread that decodes keeps one context (94 KiB) until it ends, and nothing else is ever allocated.
int chunk_decode(enum chunk_kind kind, const struct sha256 *name, const void *stored, size_t length, void *ret_blocks,
                 unsigned *ret_nblocks, struct error *error);
