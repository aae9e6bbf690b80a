// version_read and version_borrow: a range of a member's bytes, by way of the map, from chunks.
//
//   window:  blocks are looked up, leaf by leaf, until the range ends, or WINDOW_RUNS or STORE_BATCH_MAXIMUM distinct
//            chunks are gathered → all of these chunks are asked for together → their blocks are copied out, or lent
//
//   1. A read that is longer than a window is several, each with the store's whole waiting time.
//   2. No leaf is held while chunks are waited for.
//   3. The last block of a member is padded with zeros in its chunk; a read ends at the member's size.
//   4. What is lent lies in at most VERSION_PIECES_MAXIMUM blocks, so it is one window, with as many runs and chunks at
//      most.
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

// What every hole is lent from. Never written to, so that it takes no memory but one page of the system's.
static const unsigned char zeros[VERSION_BORROW_MAXIMUM];

// --- gathering -----------------------------------------------------------------------------------------------------

// The number of a chunk in the window, or -1 if the window is full.
static int number_chunk(struct store_window *w, const struct chunk_reference *ref)
{
    for (unsigned i = 0; i < w->ref_count; i++)
        if (sha256_equal(&w->refs[i].name, &ref->name))
            return (int)i;
    if (w->ref_count == STORE_BATCH_MAXIMUM)
        return -1;
    w->refs[w->ref_count] = *ref;
    return (int)w->ref_count++;
}

static void add_zeros(struct store_window *w, uint64_t block, uint64_t blocks)
{
    w->runs[w->run_count++] = (struct store_run){.block = block, .blocks = blocks, .chunk = STORE_RUN_ZERO};
}

// Gathers the runs from *block on that lie in one leaf, and advances *block. Returns false when the window is full.
static bool gather_leaf(struct store_window *w, const struct map_page *leaf, uint64_t *block, uint64_t end_block)
{
    uint64_t leaf_start = *block - *block % MAP_LEAF_BLOCKS;
    while (*block < end_block && *block < leaf_start + MAP_LEAF_BLOCKS) {
        struct map_run run = map_leaf_find(leaf, (unsigned)(*block - leaf_start));
        uint64_t left = end_block - *block, blocks = run.blocks < left ? run.blocks : left;
        if (w->run_count == STORE_WINDOW_RUNS)
            return false;
        if (run.zero) {
            add_zeros(w, *block, blocks);
        } else {
            struct chunk_reference ref;
            map_page_reference(leaf, run.reference, &ref);
            int chunk = number_chunk(w, &ref);
            if (chunk < 0)
                return false;
            w->runs[w->run_count++] = (struct store_run){.block = *block,
                                                         .blocks = blocks,
                                                         .chunk = (uint8_t)chunk,
                                                         .block_in_chunk = (uint8_t)run.block_in_chunk};
        }
        *block += blocks;
    }
    return true;
}

int store_gather_window(struct version *v, unsigned member, uint64_t *block, uint64_t end_block, bool ahead,
                        struct store_window *ret, struct error *error)
{
    struct store_window *w = ret;
    bool more = true;
    w->run_count = w->ref_count = 0;
    while (more && *block < end_block && w->run_count < STORE_WINDOW_RUNS) {
        struct store_chunk *leaf;
        uint64_t segment = *block / MAP_LEAF_BLOCKS;
        int r = store_get_leaf(v, member, segment, ahead, &leaf, error);
        if (r < 0)
            return r;
        if (leaf) {
            more = gather_leaf(w, &leaf->page, block, end_block);
            store_put_chunks(v->store, &leaf, 1);
        } else {
            uint64_t leaf_end = (segment + 1) * MAP_LEAF_BLOCKS;
            uint64_t stop = leaf_end < end_block ? leaf_end : end_block;
            add_zeros(w, *block, stop - *block);
            *block = stop;
        }
    }
    return 0;
}

// --- from chunks to bytes ------------------------------------------------------------------------------------------

// A window's chunks, held, each with as many blocks as the map says.
static int get_chunks(struct version *v, const struct store_window *w, struct store_chunk **ret, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    if (w->ref_count == 0)
        return 0;
    int r = store_get_chunks(v, CHUNK_DATA, 0, w->refs, w->ref_count, store_deadline(v->store), ret, error);
    for (unsigned i = 0; i < w->run_count && r == 0; i++) {
        const struct store_run *run = &w->runs[i];
        if (run->chunk == STORE_RUN_ZERO || run->block_in_chunk + run->blocks <= ret[run->chunk]->nblocks)
            continue;
        r = error_set(error, EBADMSG, "chunk %s has fewer blocks than the map says: this version is damaged",
                      sha256_to_hex(&w->refs[run->chunk].name, hex));
        store_put_chunks(v->store, ret, w->ref_count);
    }
    return r;
}

// The part of a run that lies within [offset, end) of the member, where it stands in memory (NULL: zeros).
static struct iovec part_of(const struct store_run *run, struct store_chunk *const *chunks, uint64_t offset,
                            uint64_t end)
{
    uint64_t start = run->block * BLOCK_SIZE, stop = start + run->blocks * BLOCK_SIZE;
    uint64_t first = start > offset ? start : offset, last = end < stop ? end : stop;
    unsigned char *at = NULL;
    if (run->chunk != STORE_RUN_ZERO)
        at = chunks[run->chunk]->blocks + (size_t)run->block_in_chunk * BLOCK_SIZE + (first - start);
    return (struct iovec){.iov_base = at, .iov_len = last - first};
}

static int read_range(struct version *v, unsigned member, uint64_t offset, unsigned char *to, size_t n,
                      struct error *error)
{
    struct store_window w;
    struct store_chunk *chunks[STORE_BATCH_MAXIMUM];
    uint64_t end = offset + n, end_block = (end + BLOCK_SIZE - 1) / BLOCK_SIZE;
    for (uint64_t block = offset / BLOCK_SIZE; block < end_block;) {
        int r = store_gather_window(v, member, &block, end_block, false, &w, error);
        if (r == 0)
            r = get_chunks(v, &w, chunks, error);
        if (r < 0)
            return r;
        for (unsigned i = 0; i < w.run_count; i++) {
            struct iovec part = part_of(&w.runs[i], chunks, offset, end);
            if (part.iov_base)
                memcpy(to, part.iov_base, part.iov_len);
            else
                memset(to, 0, part.iov_len);
            to += part.iov_len;
        }
        store_put_chunks(v->store, chunks, w.ref_count);
    }
    return 0;
}

// --- reading -------------------------------------------------------------------------------------------------------

static int begin(struct version *v, unsigned member, uint64_t offset, size_t n, struct error *error)
{
    const struct manifest *m = v->manifest;
    if (member >= m->member_count || offset > m->members[member].size || n > m->members[member].size - offset)
        return error_set(error, EINVAL, "the range is beyond the member's end");
    if (atomic_load(&v->cancelled))
        return error_set(error, ECANCELED, "cancelled");
    if (n > 0 && !m->members[member].zero)
        store_note_read(v, member, offset, n);
    return 0;
}

static int explain(const struct version *v, unsigned member, uint64_t offset, int result, struct error *error)
{
    const struct manifest *m = v->manifest;
    return error_prefix(error, result, "%s of %s %s at byte %llu", m->members[member].name, m->name, m->version,
                        (unsigned long long)offset);
}

int version_read(struct version *v, unsigned member, uint64_t offset, void *to, size_t n, struct error *error)
{
    int r = begin(v, member, offset, n, error);
    if (r < 0)
        return r;
    if (v->manifest->members[member].zero) {
        memset(to, 0, n);
        return 0;
    }
    r = read_range(v, member, offset, to, n, error);
    return r < 0 ? explain(v, member, offset, r, error) : 0;
}

static int lend(struct version *v, unsigned member, uint64_t offset, size_t n, struct version_pieces *ret,
                struct error *error)
{
    struct store_window w;
    uint64_t end = offset + n, end_block = (end + BLOCK_SIZE - 1) / BLOCK_SIZE, block = offset / BLOCK_SIZE;
    int r = store_gather_window(v, member, &block, end_block, false, &w, error); // all of it: invariant 4
    if (r == 0)
        r = get_chunks(v, &w, ret->chunks, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < w.run_count; i++) {
        ret->list[i] = part_of(&w.runs[i], ret->chunks, offset, end);
        if (!ret->list[i].iov_base)
            ret->list[i].iov_base = (void *)zeros; // nobody writes to what is lent
    }
    ret->count = w.run_count;
    ret->chunk_count = w.ref_count;
    return 0;
}

int version_borrow(struct version *v, unsigned member, uint64_t offset, size_t n, struct version_pieces *ret,
                   struct error *error)
{
    if (n > VERSION_BORROW_MAXIMUM)
        return error_set(error, EINVAL, "more than %u bytes at once", VERSION_BORROW_MAXIMUM);
    int r = begin(v, member, offset, n, error);
    if (r < 0)
        return r;
    ret->store = v->store;
    if (n == 0 || v->manifest->members[member].zero) {
        ret->list[0] = (struct iovec){.iov_base = (void *)zeros, .iov_len = n};
        ret->count = 1;
        ret->chunk_count = 0;
        return 0;
    }
    r = lend(v, member, offset, n, ret, error);
    return r < 0 ? explain(v, member, offset, r, error) : 0;
}

void version_return(struct version_pieces *pieces)
{
    if (pieces->chunk_count > 0)
        store_put_chunks(pieces->store, pieces->chunks, pieces->chunk_count);
    pieces->count = pieces->chunk_count = 0;
}
