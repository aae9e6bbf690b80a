// Fuzz target: a stored chunk whose hash is right (its signer may still be hostile). Decoding gives exactly the blocks
// that the header counts, or nothing; what was decoded comes back from its own encoding.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "blockstore/chunk.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(int promise)
{
    if (!promise)
        abort();
}

static unsigned char *make(size_t n)
{
    unsigned char *p = malloc(n ? n : 1);
    check(p != NULL);
    return p;
}

static void check_encoding(enum chunk_codec codec, enum chunk_kind kind, const unsigned char *blocks, unsigned nblocks)
{
    unsigned char *stored = make(CHUNK_HEADER_SIZE + (size_t)nblocks * BLOCK_SIZE);
    unsigned char *back = make((size_t)nblocks * BLOCK_SIZE);
    unsigned again = 0;

    struct chunk_encoder *e = NULL;
    check(chunk_encoder_new(codec, 1, &e) == 0);
    int length = chunk_encode(e, kind, blocks, nblocks, stored);
    chunk_encoder_free(e);
    check(length > 0);
    struct sha256 name = sha256_of(stored, (size_t)length);
    check(chunk_decode(kind, &name, stored, (size_t)length, back, &again, NULL) == 0 && again == nblocks);
    check(memcmp(blocks, back, (size_t)nblocks * BLOCK_SIZE) == 0);
    free(stored);
    free(back);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    enum chunk_kind kind = size > 0 && data[0] == CHUNK_PAGE ? CHUNK_PAGE : CHUNK_DATA;
    // Room for what the header claims, and not a byte more.
    size_t claimed = size > 2 ? (size_t)data[2] * BLOCK_SIZE : 0;
    unsigned char *blocks = make(claimed);
    struct sha256 name = sha256_of(data, size);
    unsigned nblocks = 0;

    if (chunk_decode(kind, &name, data, size, blocks, &nblocks, NULL) == 0) {
        check(nblocks >= 1 && (size_t)nblocks * BLOCK_SIZE == claimed);
        check(size <= CHUNK_HEADER_SIZE + claimed);
        check_encoding(CHUNK_LZ4, kind, blocks, nblocks);
        check_encoding(CHUNK_ZSTD, kind, blocks, nblocks);
    }
    free(blocks);
    return 0;
}
