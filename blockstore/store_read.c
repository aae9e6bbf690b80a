// version_read: a range of a member's bytes, by way of the map, from chunks.
//
//   window:  blocks are looked up, leaf by leaf, until the range ends, or WINDOW_RUNS or STORE_BATCH_MAXIMUM distinct
//            chunks are gathered → all of these chunks are asked for together → their blocks are copied out
//
//   1. A read that is longer than a window is several, each with the store's whole waiting time.
//   2. No leaf is held while chunks are waited for.
//   3. The last block of a member is padded with zeros in its chunk; a read ends at the member's size.
#include "base/cleanup.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define WINDOW_RUNS 512u

// Blocks that lie one behind the other in one chunk, and where the caller wants their bytes.
struct run {
    uint64_t block; // of the member
    uint16_t blocks;
    uint8_t chunk; // number in the window
    uint8_t block_in_chunk;
};

struct window {
    struct version *v;
    unsigned member;
    uint64_t offset, end; // what the whole read wants, in bytes of the member
    unsigned char *to;    // where the byte at `offset` goes
    struct run runs[WINDOW_RUNS];
    struct chunk_reference refs[STORE_BATCH_MAXIMUM];
    unsigned run_count, ref_count;
};

// Copies the part of block `block` and those behind it that the caller wants; from NULL: zeros.
static void copy_blocks(const struct window *w, uint64_t block, unsigned blocks, const unsigned char *from)
{
    uint64_t start = block * BLOCK_SIZE, end = start + (uint64_t)blocks * BLOCK_SIZE;
    uint64_t first = start > w->offset ? start : w->offset, last = end < w->end ? end : w->end;
    if (from)
        memcpy(w->to + (first - w->offset), from + (first - start), last - first);
    else
        memset(w->to + (first - w->offset), 0, last - first);
}

// The number of a chunk in the window, or -1 if the window is full.
static int number_chunk(struct window *w, const struct chunk_reference *ref)
{
    for (unsigned i = 0; i < w->ref_count; i++)
        if (sha256_equal(&w->refs[i].name, &ref->name))
            return (int)i;
    if (w->ref_count == STORE_BATCH_MAXIMUM)
        return -1;
    w->refs[w->ref_count] = *ref;
    return (int)w->ref_count++;
}

// Gathers the runs from *block on that lie in one leaf, and advances *block. Returns false when the window is full.
static bool gather_leaf(struct window *w, const struct map_page *leaf, uint64_t *block, uint64_t end_block)
{
    uint64_t leaf_start = *block - *block % MAP_LEAF_BLOCKS;
    while (*block < end_block && *block < leaf_start + MAP_LEAF_BLOCKS) {
        struct map_run run = map_leaf_find(leaf, (unsigned)(*block - leaf_start));
        uint64_t left = end_block - *block;
        unsigned blocks = run.blocks < left ? run.blocks : (unsigned)left;
        if (run.zero) {
            copy_blocks(w, *block, blocks, NULL);
        } else {
            struct chunk_reference ref;
            map_page_reference(leaf, run.reference, &ref);
            int chunk = w->run_count < WINDOW_RUNS ? number_chunk(w, &ref) : -1;
            if (chunk < 0)
                return false;
            w->runs[w->run_count++] = (struct run){.block = *block,
                                                   .blocks = (uint16_t)blocks,
                                                   .chunk = (uint8_t)chunk,
                                                   .block_in_chunk = (uint8_t)run.block_in_chunk};
        }
        *block += blocks;
    }
    return true;
}

static int gather(struct window *w, uint64_t *block, uint64_t end_block, struct error *error)
{
    bool more = true;
    w->run_count = w->ref_count = 0;
    while (more && *block < end_block) {
        struct store_chunk *leaf;
        uint64_t segment = *block / MAP_LEAF_BLOCKS;
        int r = store_get_leaf(w->v, w->member, segment, &leaf, error);
        if (r < 0)
            return r;
        if (leaf) {
            more = gather_leaf(w, &leaf->page, block, end_block);
            store_put_chunks(w->v->store, &leaf, 1);
        } else {
            uint64_t leaf_end = (segment + 1) * MAP_LEAF_BLOCKS;
            uint64_t stop = leaf_end < end_block ? leaf_end : end_block;
            copy_blocks(w, *block, (unsigned)(stop - *block), NULL);
            *block = stop;
        }
    }
    return 0;
}

static int copy_chunks(struct window *w, struct store_chunk *const *chunks, struct error *error)
{
    for (unsigned i = 0; i < w->run_count; i++) {
        const struct run *run = &w->runs[i];
        const struct store_chunk *c = chunks[run->chunk];
        char hex[SHA256_HEX_SIZE];
        if ((unsigned)run->block_in_chunk + run->blocks > c->nblocks)
            return error_set(error, EBADMSG, "chunk %s has fewer blocks than the map says: this version is damaged",
                             sha256_to_hex(&c->ref.name, hex));
        copy_blocks(w, run->block, run->blocks, c->blocks + (size_t)run->block_in_chunk * BLOCK_SIZE);
    }
    return 0;
}

static int read_window(struct window *w, uint64_t *block, uint64_t end_block, struct error *error)
{
    struct store_chunk *chunks[STORE_BATCH_MAXIMUM];
    int r = gather(w, block, end_block, error);
    if (r < 0 || w->ref_count == 0)
        return r;
    r = store_get_chunks(w->v, CHUNK_DATA, 0, w->refs, w->ref_count, store_deadline(w->v->store), chunks, error);
    if (r < 0)
        return r;
    r = copy_chunks(w, chunks, error);
    store_put_chunks(w->v->store, chunks, w->ref_count);
    return r;
}

int version_read(struct version *v, unsigned member, uint64_t offset, void *to, size_t n, struct error *error)
{
    const struct manifest *manifest = v->manifest;
    if (member >= manifest->member_count || offset > manifest->members[member].size ||
        n > manifest->members[member].size - offset)
        return error_set(error, EINVAL, "the range is beyond the member's end");
    if (atomic_load(&v->cancelled))
        return error_set(error, ECANCELED, "cancelled");
    if (n == 0)
        return 0;
    if (manifest->members[member].zero) {
        memset(to, 0, n);
        return 0;
    }
    struct window *w CLEANUP_FREE = malloc(sizeof(*w));
    if (!w)
        return error_set(error, ENOMEM, "out of memory");
    w->v = v;
    w->member = member;
    w->offset = offset;
    w->end = offset + n;
    w->to = to;
    uint64_t end_block = (w->end + BLOCK_SIZE - 1) / BLOCK_SIZE;
    int r = 0;
    for (uint64_t block = offset / BLOCK_SIZE; block < end_block && r == 0;)
        r = read_window(w, &block, end_block, error);
    if (r < 0)
        return error_prefix(error, r, "%s of %s %s at byte %llu", manifest->members[member].name, manifest->name,
                            manifest->version, (unsigned long long)offset);
    return 0;
}
