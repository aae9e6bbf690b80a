// Chunks: the stored form of blocks, and the only place where zstd and LZ4 are spoken.
//
// Invariants
//   1. Bytes are hashed before anything in them is looked at (chunk_decode), so a decoder sees only what somebody
//      signed for; it is still given exact limits, since the signer may be hostile.
//   2. The same blocks, kind, codec and level always give the same bytes (of one version of the library): a compressor
//      keeps its memory from chunk to chunk, but nothing of what it saw. No memory is an error, never a raw chunk.
//   3. A compressed chunk is shorter than its raw form, so CHUNK_STORED_MAXIMUM bounds every chunk.
//   4. What a zstd body says decides over no memory. Its header must be the plainest that there is: a single segment
//   (so
//      that the window is the content, and needs no buffer beside it) of exactly the chunk's size, no checksum, no
//      dictionary; and the frame ends where the body ends. So libzstd's other formats (skippable frames, several
//      frames, the formats before 1.0, each with decoders and allocations of its own) are never reached.
//
// Archives and media do not compress. zstd notices by itself (430 MB/s at level 9); LZ4-HC takes as long to find that
// out as to compress. Plain LZ4 skips through them a hundred times as fast, so where it gains nothing, LZ4-HC is not
// tried. It is asked about a sample first, because most chunks do compress.
#include "blockstore/chunk.h"
#include <errno.h>
#include <lz4.h>
#include <lz4hc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/banned.h"

#define SAMPLE_SIZE (16u << 10)
#define ZSTD_WINDOW_LOG 19    // PAGE_BYTES_MAXIMUM: no frame needs more than one segment; smaller inputs take less
#define ZSTD_LEVEL_MAXIMUM 19 // beyond, zstd's levels differ only for inputs larger than a chunk

// RFC 8878, 3.1.1: the magic number is followed by the frame header descriptor, whose bits 0 to 5 are dictionary id
// (2), checksum, reserved, unused, single segment; the other two are the length of the content size.
#define ZSTD_DESCRIPTOR_AT 4u
#define ZSTD_DESCRIPTOR_MASK 0x3fu
#define ZSTD_DESCRIPTOR_PLAIN 0x20u // single segment, and none of the others

// --- encoding ------------------------------------------------------------------------------------------------------

struct chunk_encoder {
    enum chunk_codec codec;
    int level;
    ZSTD_CCtx *zstd;       // of CHUNK_ZSTD
    LZ4_streamHC_t *lz4hc; // of CHUNK_LZ4; begins anew with every chunk
};

// Raw, unless the codec saves at least 3 % (docs/formats.md, "Chunk").
static size_t compressed_maximum(size_t raw)
{
    return raw * 97 / 100;
}

static unsigned blocks_maximum(enum chunk_kind kind)
{
    return kind == CHUNK_PAGE ? PAGE_BLOCKS_MAXIMUM : CHUNK_BLOCKS_MAXIMUM;
}

int chunk_level_maximum(enum chunk_codec codec)
{
    return codec == CHUNK_LZ4 ? LZ4HC_CLEVEL_MAX : ZSTD_LEVEL_MAXIMUM;
}

int chunk_encoder_new(enum chunk_codec codec, int level, struct chunk_encoder **ret)
{
    if ((codec != CHUNK_LZ4 && codec != CHUNK_ZSTD) || level < 1 || level > chunk_level_maximum(codec))
        return -EINVAL;
    struct chunk_encoder *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->codec = codec;
    e->level = level;
    if (codec == CHUNK_ZSTD)
        e->zstd = ZSTD_createCCtx();
    else
        e->lz4hc = malloc(sizeof(*e->lz4hc));
    if (!e->zstd && !e->lz4hc) {
        chunk_encoder_free(e);
        return -ENOMEM;
    }
    if (e->zstd) { // both values are within their bounds, which is all that could be wrong
        ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_compressionLevel, level);
        ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_windowLog, ZSTD_WINDOW_LOG);
    }
    *ret = e;
    return 0;
}

void chunk_encoder_free(struct chunk_encoder *e)
{
    if (!e)
        return;
    ZSTD_freeCCtx(e->zstd);
    free(e->lz4hc);
    free(e);
}

// The compressed length; 0 if that would be more than `maximum`; -ENOMEM.
static int compress_zstd(struct chunk_encoder *e, const void *blocks, size_t raw, void *to, size_t maximum)
{
    size_t n = ZSTD_compress2(e->zstd, to, maximum, blocks, raw);

    if (!ZSTD_isError(n))
        return (int)n;
    return ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall ? 0 : -ENOMEM; // nothing else can fail here
}

static bool plain_lz4_gains(const void *bytes, size_t n, void *scratch)
{
    return LZ4_compress_default(bytes, scratch, (int)n, (int)n - 1) > 0;
}

static int compress_lz4(struct chunk_encoder *e, const void *blocks, size_t raw, void *to, size_t maximum)
{
    if (!plain_lz4_gains(blocks, raw < SAMPLE_SIZE ? raw : SAMPLE_SIZE, to) && !plain_lz4_gains(blocks, raw, to))
        return 0;
    return LZ4_compress_HC_extStateHC(e->lz4hc, blocks, to, (int)raw, (int)maximum, e->level);
}

int chunk_encode(struct chunk_encoder *e, enum chunk_kind kind, const void *blocks, unsigned nblocks, void *ret_stored)
{
    unsigned char *stored = ret_stored;
    size_t raw = (size_t)nblocks * BLOCK_SIZE;
    int (*compress)(struct chunk_encoder *, const void *, size_t, void *, size_t) =
        e->codec == CHUNK_ZSTD ? compress_zstd : compress_lz4;

    int compressed = compress(e, blocks, raw, stored + CHUNK_HEADER_SIZE, compressed_maximum(raw));
    if (compressed < 0)
        return compressed;
    stored[0] = (unsigned char)kind;
    stored[1] = (unsigned char)(compressed > 0 ? e->codec : CHUNK_RAW);
    stored[2] = (unsigned char)nblocks;
    stored[3] = 0;
    if (compressed > 0)
        return (int)CHUNK_HEADER_SIZE + compressed;
    memcpy(stored + CHUNK_HEADER_SIZE, blocks, raw);
    return (int)(CHUNK_HEADER_SIZE + raw);
}

// --- decoding ------------------------------------------------------------------------------------------------------

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
    case CHUNK_ZSTD:
        if (length >= raw)
            return error_set(error, EBADMSG, "a compressed chunk of %u blocks has %zu bytes", nblocks, length);
        break;
    default:
        return error_set(error, EBADMSG, "a chunk uses the unknown codec %u; a newer Rondo may know it", header[1]);
    }
    *ret_nblocks = nblocks;
    return 0;
}

static pthread_once_t decoder_once = PTHREAD_ONCE_INIT;
static pthread_key_t decoder_key;
static int decoder_key_result;

static void free_decoder(void *decoder)
{
    ZSTD_freeDCtx(decoder);
}

static void make_decoder_key(void)
{
    decoder_key_result = pthread_key_create(&decoder_key, free_decoder);
}

// This thread's context, made when it is first asked for; NULL if there is no memory.
static ZSTD_DCtx *own_decoder(void)
{
    pthread_once(&decoder_once, make_decoder_key);
    if (decoder_key_result != 0)
        return NULL;
    ZSTD_DCtx *decoder = pthread_getspecific(decoder_key);
    if (decoder)
        return decoder;
    decoder = ZSTD_createDCtx();
    if (decoder && pthread_setspecific(decoder_key, decoder) != 0) {
        ZSTD_freeDCtx(decoder);
        return NULL;
    }
    return decoder;
}

// Invariant 4.
static bool is_plain_frame(const unsigned char *body, size_t length, size_t raw)
{
    const unsigned char magic[] = {0x28, 0xb5, 0x2f, 0xfd};

    return length > ZSTD_DESCRIPTOR_AT && memcmp(body, magic, sizeof(magic)) == 0 &&
           (body[ZSTD_DESCRIPTOR_AT] & ZSTD_DESCRIPTOR_MASK) == ZSTD_DESCRIPTOR_PLAIN &&
           ZSTD_getFrameContentSize(body, length) == raw && ZSTD_findFrameCompressedSize(body, length) == length;
}

// 0, -EBADMSG or -ENOMEM. The one-shot decoder takes what it has written for its window, and allocates nothing.
static int decompress_zstd(const unsigned char *body, size_t length, void *ret_blocks, size_t raw)
{
    if (!is_plain_frame(body, length, raw))
        return -EBADMSG;
    ZSTD_DCtx *decoder = own_decoder();
    if (!decoder)
        return -ENOMEM;
    const size_t n = ZSTD_decompressDCtx(decoder, ret_blocks, raw, body, length); // errors are larger
    if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
        return -ENOMEM;
    return n == raw ? 0 : -EBADMSG;
}

static int decompress_lz4(const unsigned char *body, size_t length, void *ret_blocks, size_t raw)
{
    int n = LZ4_decompress_safe((const char *)body, ret_blocks, (int)length, (int)raw);
    return n >= 0 && (size_t)n == raw ? 0 : -EBADMSG;
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

    const unsigned char *body = (const unsigned char *)stored + CHUNK_HEADER_SIZE;
    size_t raw = (size_t)nblocks * BLOCK_SIZE;
    switch (((const unsigned char *)stored)[1]) {
    case CHUNK_RAW:
        memcpy(ret_blocks, body, raw);
        break;
    case CHUNK_LZ4:
        r = decompress_lz4(body, length - CHUNK_HEADER_SIZE, ret_blocks, raw);
        break;
    default: // CHUNK_ZSTD: the header was checked
        r = decompress_zstd(body, length - CHUNK_HEADER_SIZE, ret_blocks, raw);
    }
    if (r == -ENOMEM)
        return error_set(error, ENOMEM, "out of memory");
    if (r < 0)
        return error_set(error, EBADMSG, "chunk %s does not decompress to its %u blocks", sha256_to_hex(name, hex),
                         nblocks);
    *ret_nblocks = nblocks;
    return 0;
}
