// Chunks: the stored form of blocks, and the only place where LZ4 is spoken.
//
// Invariants
//   1. Bytes are hashed before anything in them is looked at (chunk_decode), so a decoder sees only what somebody
//      signed for; it is still given exact limits, since the signer may be hostile.
//   2. The same blocks, kind and level always give the same bytes: the compressor's state lives on the stack, starts
//      fresh for every chunk, and cannot fail for lack of memory.
//   3. An LZ4 chunk is shorter than its raw form, so CHUNK_STORED_MAXIMUM bounds every chunk.
//
// Archives and media do not compress, and LZ4-HC takes as long to find that out as to compress. Plain LZ4 skips through
// them a hundred times as fast, so where it gains nothing, the chunk is raw. It is asked about a sample first, because
// most chunks do compress.
#include "blockstore/chunk.h"
#include <errno.h>
#include <lz4.h>
#include <lz4hc.h>
#include <string.h>

#include "base/banned.h"

#define SAMPLE_SIZE (16u << 10)

// Raw, unless LZ4 saves at least 3 % (FORMATS, "Chunk").
static size_t compressed_maximum(size_t raw)
{
    return raw * 97 / 100;
}

static unsigned blocks_maximum(enum chunk_kind kind)
{
    return kind == CHUNK_PAGE ? PAGE_BLOCKS_MAXIMUM : CHUNK_BLOCKS_MAXIMUM;
}

static bool plain_lz4_gains(const void *bytes, size_t n, void *scratch)
{
    return LZ4_compress_default(bytes, scratch, (int)n, (int)n - 1) > 0;
}

static bool is_compressible(const void *blocks, size_t raw, void *scratch)
{
    return plain_lz4_gains(blocks, raw < SAMPLE_SIZE ? raw : SAMPLE_SIZE, scratch) ||
           plain_lz4_gains(blocks, raw, scratch);
}

size_t chunk_encode(enum chunk_kind kind, int level, const void *blocks, unsigned nblocks, void *ret_stored)
{
    unsigned char *stored = ret_stored;
    size_t raw = (size_t)nblocks * BLOCK_SIZE;
    LZ4_streamHC_t state; // 256 KiB

    int compressed = 0;
    if (is_compressible(blocks, raw, stored + CHUNK_HEADER_SIZE))
        compressed = LZ4_compress_HC_extStateHC(&state, blocks, (char *)stored + CHUNK_HEADER_SIZE, (int)raw,
                                                (int)compressed_maximum(raw), level);
    stored[0] = (unsigned char)kind;
    stored[1] = compressed > 0 ? CHUNK_LZ4 : CHUNK_RAW;
    stored[2] = (unsigned char)nblocks;
    stored[3] = 0;
    if (compressed > 0)
        return CHUNK_HEADER_SIZE + (size_t)compressed;
    memcpy(stored + CHUNK_HEADER_SIZE, blocks, raw);
    return CHUNK_HEADER_SIZE + raw;
}

int chunk_check_header(enum chunk_kind kind, const void *stored, size_t length, unsigned *ret_nblocks,
                       struct error *error)
{
    const unsigned char *header = stored;

    if (length <= CHUNK_HEADER_SIZE)
        return error_set(error, EBADMSG, "a chunk of %zu bytes is too short", length);
    if (header[0] != (unsigned char)kind)
        return error_set(error, EBADMSG, "a chunk of kind %u stands where one of kind %u belongs", header[0],
                         (unsigned)kind);
    unsigned nblocks = header[2];
    if (nblocks == 0 || nblocks > blocks_maximum(kind) || header[3] != 0)
        return error_set(error, EBADMSG, "a chunk's header is not one of version 1 (%u blocks)", nblocks);

    size_t raw = CHUNK_HEADER_SIZE + (size_t)nblocks * BLOCK_SIZE;
    switch (header[1]) {
    case CHUNK_RAW:
        if (length != raw)
            return error_set(error, EBADMSG, "a raw chunk of %u blocks has %zu bytes", nblocks, length);
        break;
    case CHUNK_LZ4:
        if (length >= raw)
            return error_set(error, EBADMSG, "a compressed chunk of %u blocks has %zu bytes", nblocks, length);
        break;
    default:
        return error_set(error, EBADMSG, "a chunk uses the unknown codec %u; a newer Rondo may know it", header[1]);
    }
    *ret_nblocks = nblocks;
    return 0;
}

int chunk_decode(enum chunk_kind kind, const struct sha256 *name, const void *stored, size_t length, void *ret_blocks,
                 unsigned *ret_nblocks, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    unsigned nblocks = 0;

    struct sha256 actual = sha256_of(stored, length);
    if (!sha256_equal(&actual, name))
        return error_set(error, EBADMSG, "the bytes of chunk %s do not match its name", sha256_to_hex(name, hex));
    int r = chunk_check_header(kind, stored, length, &nblocks, error);
    if (r < 0)
        return error_prefix(error, r, "chunk %s", sha256_to_hex(name, hex));

    const char *body = (const char *)stored + CHUNK_HEADER_SIZE;
    size_t raw = (size_t)nblocks * BLOCK_SIZE;
    if (((const unsigned char *)stored)[1] == CHUNK_RAW) {
        memcpy(ret_blocks, body, raw);
    } else {
        int n = LZ4_decompress_safe(body, ret_blocks, (int)(length - CHUNK_HEADER_SIZE), (int)raw);
        if (n < 0 || (size_t)n != raw)
            return error_set(error, EBADMSG, "chunk %s does not decompress to its %u blocks", sha256_to_hex(name, hex),
                             nblocks);
    }
    *ret_nblocks = nblocks;
    return 0;
}
