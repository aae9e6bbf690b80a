// A ledger of verified bytes: rondo and rondo-cloop, linked once more with the linker's --wrap around the calls by
// which bytes of others get further (Makefile, LEDGER). The programs' code is the same, and so is what it is made of;
// but at each of these doors, what passes is hashed again, whatever was checked before:
//
//   decoder   what LZ4 or zstd gets lies in a chunk, all of whose bytes hash to the name that it was asked for by
//   reader    what the kernel gets for whoever reads the mount, and so a guest, are blocks that came out of such a
//             chunk, zeros, or pieces of the manifest that the version was opened by
//   name      what gets a name hashes to it: a file that comes to stand in objects/, and the manifest, from which the
//             names in the mount are made
//
// Names of chunks come from pages, which are chunks, or from the manifest: none of them is believed without the one
// above, up to the manifest's own name, which is in the catalog that somebody signed (altered_texts.sh).
//
// RONDO_LEDGER=FILE gets six numbers of 8 bytes, little-endian, of all processes together: for each door the bytes that
// were checked, and those of them that were not what they should be. RONDO_LEDGER_MUTANT=1 has the programs' own checks
// of chunks and packs believe everything, to show that the doors notice.
#include "base/cleanup.h"
#include "blockstore/cache.h"
#include "blockstore/chunk.h"
#include "blockstore/store.h"
#include "client/hash_set.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum door { DECODER, READER, NAME, DOORS };
enum { CHECKED, UNVERIFIED };
#define BLOCKS_MAXIMUM (1u << 24)

static struct ledger {
    _Atomic uint64_t bytes[DOORS][2];
} ours, *ledger = &ours;
static bool mutant;

// What the calling thread is about.
static _Thread_local struct {
    const struct sha256 *chunk; // its name, while it is decoded
    const unsigned char *stored;
    size_t length;
    const struct sha256 *pack; // its name, while a file of it is finished
    const unsigned char *manifest;
    size_t manifest_size;
} turn;

// Hashes of blocks that came out of verified chunks.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct hash_set blocks = {.maximum = BLOCKS_MAXIMUM};

// clang-format off
#define WRAP(type, name, ...) type __real_##name(__VA_ARGS__); type __wrap_##name(__VA_ARGS__); type __wrap_##name(__VA_ARGS__)
// clang-format on

static void count(enum door door, size_t n, bool right)
{
    atomic_fetch_add(&ledger->bytes[door][CHECKED], n);
    if (!right)
        atomic_fetch_add(&ledger->bytes[door][UNVERIFIED], n);
}

// Before main: afterwards the file may be out of reach.
__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("RONDO_LEDGER");
    static const unsigned char zeros[BLOCK_SIZE];
    struct sha256 hash = sha256_of(zeros, sizeof zeros);
    int fd CLEANUP_CLOSE = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    mutant = getenv("RONDO_LEDGER_MUTANT") != NULL;
    void *file = fd >= 0 && ftruncate(fd, sizeof *ledger) == 0
                     ? mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                     : MAP_FAILED;
    if (hash_set_add(&blocks, &hash) < 0 || (path && file == MAP_FAILED))
        abort();
    if (path)
        ledger = file;
}

// --- what the mutant believes --------------------------------------------------------------------------------------

WRAP(struct sha256, sha256_of, const void *bytes, size_t n)
{
    return mutant && turn.chunk && bytes == turn.stored ? *turn.chunk : __real_sha256_of(bytes, n);
}

WRAP(struct sha256, hash_stream_end, struct hash_stream *s)
{
    struct sha256 hash = __real_hash_stream_end(s);
    return mutant && turn.pack ? *turn.pack : hash;
}

WRAP(int, cache_stream_finish, struct cache_stream *s)
{
    turn.pack = (const struct sha256 *)((const char *)s + sizeof(struct cache *)); // its second member
    int r = __real_cache_stream_finish(s);
    turn.pack = NULL;
    return r;
}

// --- decoder -------------------------------------------------------------------------------------------------------

static bool is_right_chunk(const void *body, size_t n)
{
    const unsigned char *at = body;
    if (!turn.chunk || at < turn.stored || n > turn.length || at > turn.stored + (turn.length - n))
        return false;
    struct sha256 hash = __real_sha256_of(turn.stored, turn.length);
    return sha256_equal(&hash, turn.chunk);
}

WRAP(int, LZ4_decompress_safe, const char *from, char *to, int n, int capacity)
{
    count(DECODER, (size_t)n, is_right_chunk(from, (size_t)n));
    return __real_LZ4_decompress_safe(from, to, n, capacity);
}

WRAP(size_t, ZSTD_decompressDCtx, void *decoder, void *to, size_t capacity, const void *from, size_t n)
{
    count(DECODER, n, is_right_chunk(from, n));
    return __real_ZSTD_decompressDCtx(decoder, to, capacity, from, n);
}

WRAP(int, chunk_decode, enum chunk_kind kind, const struct sha256 *name, const void *stored, size_t length,
     void *ret_blocks, unsigned *ret_nblocks, struct error *error)
{
    turn.chunk = name;
    turn.stored = stored;
    turn.length = length;
    int r = __real_chunk_decode(kind, name, stored, length, ret_blocks, ret_nblocks, error);
    bool right = r == 0 && is_right_chunk(stored, length);
    turn.chunk = NULL;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; right && kind == CHUNK_DATA && i < *ret_nblocks; i++) {
        struct sha256 hash = __real_sha256_of((const char *)ret_blocks + (size_t)i * BLOCK_SIZE, BLOCK_SIZE);
        if (hash_set_add(&blocks, &hash) < 0)
            abort();
    }
    pthread_mutex_unlock(&mutex);
    return r;
}

// --- reader --------------------------------------------------------------------------------------------------------

// Reads begin with a block; the last block of a member is cut, and was filled with zeros.
static void count_blocks(const unsigned char *at, size_t n)
{
    for (size_t piece; n > 0; n -= piece, at += piece) {
        unsigned char block[BLOCK_SIZE] = {0};
        piece = n < BLOCK_SIZE ? n : BLOCK_SIZE;
        memcpy(block, at, piece);
        struct sha256 hash = __real_sha256_of(block, sizeof block);
        pthread_mutex_lock(&mutex);
        bool right = hash_set_find(&blocks, &hash) >= 0;
        pthread_mutex_unlock(&mutex);
        count(READER, piece, right);
    }
}

WRAP(int, fuse_reply_iov, void *request, const struct iovec *pieces, int n)
{
    for (int i = 0; i < n; i++)
        count_blocks(pieces[i].iov_base, pieces[i].iov_len);
    return __real_fuse_reply_iov(request, pieces, n);
}

// Pieces of the manifest; and lists of names, which are counted as such when the version is opened.
WRAP(int, fuse_reply_buf, void *request, const char *bytes, size_t n)
{
    const unsigned char *at = (const unsigned char *)bytes;
    if (n > 0 && turn.manifest && at >= turn.manifest && at < turn.manifest + turn.manifest_size)
        count(READER, n, n <= (size_t)(turn.manifest + turn.manifest_size - at));
    turn.manifest = NULL;
    return __real_fuse_reply_buf(request, bytes, n);
}

// --- names ---------------------------------------------------------------------------------------------------------

WRAP(const void *, version_manifest_bytes, const struct version *v, size_t *ret_size)
{
    const void *bytes = __real_version_manifest_bytes(v, ret_size);
    struct sha256 hash = __real_sha256_of(bytes, *ret_size);
    turn.manifest = sha256_equal(&hash, version_name(v)) ? bytes : NULL;
    turn.manifest_size = *ret_size;
    count(NAME, *ret_size, turn.manifest != NULL);
    return bytes;
}

WRAP(int, version_open, struct store *s, const struct sha256 *manifest, const char *const *addresses, unsigned n,
     struct version **ret, struct error *error)
{
    int r = __real_version_open(s, manifest, addresses, n, ret, error);
    size_t size = 0;
    if (r == 0) {
        const void *bytes = __real_version_manifest_bytes(*ret, &size);
        struct sha256 hash = __real_sha256_of(bytes, size);
        count(NAME, size, sha256_equal(&hash, manifest));
    }
    return r;
}

static bool is_objects(int folder)
{
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    return readlink(link, path, sizeof path - 1) > 0 && strstr(path, "/objects/") != NULL;
}

WRAP(int, renameat, int from_folder, const char *from, int to_folder, const char *to)
{
    struct sha256 name, actual = {{0}};
    unsigned long long size = 0;
    if (sha256_from_hex(to, strlen(to), &name) && is_objects(to_folder)) {
        int fd CLEANUP_CLOSE = openat(from_folder, from, O_RDONLY | O_CLOEXEC);
        bool right = fd >= 0 && sha256_of_file(fd, &actual, &size) == 0 && sha256_equal(&actual, &name);
        count(NAME, size, right);
    }
    return __real_renameat(from_folder, from, to_folder, to);
}
