// The overlay's requests: who may change which block when. (What is read from where: overlay_read.c.)
//
// A block's state, in the map (overlay_map.c), on each edge what moves it:
//
//            write (whole block, merged first)
//     base ─────────────────────────────────────> data ──write: in place──> data
//       └──discard, zeroes──> zero ──write──────────^ └──discard, zeroes: the hole is punched──> zero
//
// 1. Whoever changes a block holds its range lock (overlay_lock.c) from the look at its state to the change of it
//    (rule 1). A request is cut into pieces, each with a lock of its own: the part of a block at either end, which may
//    need a slow read of the base, and runs of whole blocks of one map page, which never do. So nobody waits for a read
//    of another block than their own.
// 2. A block that becomes data is written whole before its bits are set in memory; a write that fails on the way leaves
//    bytes in disk.data that nothing refers to (rule 1).
// 3. A discard sets "zero" first, then punches, both under the lock: whoever writes the block next waits for that, so a
//    hole never falls into newer data (rule 2).
// 4. Space for map page and blocks is there before data is written (rule 5). On -ENOSPC the states are unchanged.
// 5. Readers hold no lock: they take the state of a run, then read. A request that changes the block in between
//    overlaps the read in time, and either answer is right. What a state sends a reader to is never older than the
//    state: data was written before its bits, and a punched block reads as the zeros it became.
// 6. After a failed flush every request is refused (rule 4).
// 7. Blocks behind the end of the base read as zeros in the state "base"; a discard leaves them so, and costs nothing.
// 8. States are the top layer's, the only one that is written to. In the state "base" a block is what the layers below
//    say (overlay_lower.c), and the base where none of them says anything; where one does, invariant 7 does not hold.
#include "blockstore/overlay.h"
#include "blockstore/overlay_private.h"

#include "base/io.h"
#include "base/vector.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/banned.h"

uint64_t overlay_size(const struct overlay *o)
{
    return o->blocks * OVERLAY_BLOCK_SIZE;
}

void overlay_set_write_through(struct overlay *o, bool on)
{
    o->write_through = on;
}

int overlay_count(struct overlay *o, struct overlay_counts *ret)
{
    struct overlay_counts counts;
    int r = overlay_map_count(o, &counts);
    if (r < 0)
        return r;
    counts.flushes = o->flusher.requests;
    pthread_mutex_lock(&o->flusher.lock);
    counts.rounds = o->flusher.finished;
    pthread_mutex_unlock(&o->flusher.lock);
    *ret = counts;
    return 0;
}

// Space in the top layer for those of the blocks that are not data there yet; sets *ret_fresh if there are any. Under
// their lock.
static int allocate_blocks(struct overlay *o, uint64_t block, uint64_t count, bool *ret_fresh)
{
    bool fresh = false;
    while (count > 0) {
        struct overlay_place place;
        uint64_t run;
        int r = overlay_map_find_run(o, block, count, &place, &run);
        if (r == 0 && place.state != OVERLAY_DATA) {
            fresh = true;
            r = overlay_file_allocate(o->data, block * OVERLAY_BLOCK_SIZE, run * OVERLAY_BLOCK_SIZE);
        }
        if (r < 0)
            return r;
        block += run;
        count -= run;
    }
    *ret_fresh = fresh;
    return 0;
}

static int write_data(const struct overlay *o, struct vector *from, size_t n, uint64_t offset)
{
    struct iovec pieces[VECTOR_MAXIMUM];
    unsigned count = vector_take(from, n, pieces);
    int r = io_writev_full(o->data, pieces, count, n, offset);
    return r == -EDQUOT ? -ENOSPC : r;
}

// Whole blocks of one map page, under their lock (invariants 2 and 4).
static int store_blocks(struct overlay *o, uint64_t block, uint64_t count, struct vector *from)
{
    struct overlay_page *page;
    int r = overlay_map_pin(o, block / OVERLAY_PAGE_BLOCKS, &page);
    if (r < 0)
        return r;
    bool fresh = false;
    r = overlay_map_allocate(o, page);
    if (r == 0)
        r = allocate_blocks(o, block, count, &fresh);
    if (r == 0)
        r = write_data(o, from, (size_t)count * OVERLAY_BLOCK_SIZE, block * OVERLAY_BLOCK_SIZE);
    if (r == 0 && fresh)
        overlay_map_set(o, page, block % OVERLAY_PAGE_BLOCKS, count, OVERLAY_DATA);
    overlay_map_unpin(o, page);
    return r;
}

static int write_blocks(struct overlay *o, uint64_t block, uint64_t count, struct vector *from)
{
    struct overlay_range range;
    overlay_lock_take(&o->lock, &range, block, block + count - 1);
    int r = store_blocks(o, block, count, from);
    overlay_lock_release(&o->lock, &range);
    return r;
}

// What can be done of that without a look at what is not in memory or in the top layer: 1 if nothing. *ret_place then
// says where the block's bytes are.
static int change_part(struct overlay *o, uint64_t block, size_t within, struct vector *from, size_t n,
                       struct overlay_place *ret_place)
{
    static const unsigned char zeros[OVERLAY_BLOCK_SIZE];
    const struct iovec whole = {.iov_base = (void *)zeros, .iov_len = sizeof zeros};
    struct vector zero_bytes = vector_over(&whole);
    uint64_t offset = block * OVERLAY_BLOCK_SIZE, run;
    struct overlay_page *page;
    int r = overlay_map_pin(o, block / OVERLAY_PAGE_BLOCKS, &page);
    if (r < 0)
        return r;
    r = overlay_find_place(o, block, 1, ret_place, &run);
    if (r == 0 && ret_place->state == OVERLAY_DATA && ret_place->data == o->data)
        r = write_data(o, from ? from : &zero_bytes, n, offset + within);
    else if (r == 0)
        r = from || ret_place->state == OVERLAY_DATA ||
            (ret_place->state == OVERLAY_BASE && offset < o->base.size); // otherwise: zeros over zeros
    overlay_map_unpin(o, page);
    return r;
}

// A part of one block, under its lock. `from` NULL stands for zeros. Nothing is pinned during the read, which may be
// slow: should the layer below be another one afterwards, the block's bytes are still those.
static int merge_part(struct overlay *o, uint64_t block, size_t within, struct vector *from, size_t n)
{
    unsigned char merged[OVERLAY_BLOCK_SIZE] = {0};
    const struct iovec whole = {.iov_base = merged, .iov_len = sizeof merged};
    struct vector block_bytes = vector_over(&whole), read_bytes = block_bytes;
    struct overlay_place place;
    int r = change_part(o, block, within, from, n, &place);
    if (r <= 0)
        return r;
    r = overlay_read_place(o, &place, block * OVERLAY_BLOCK_SIZE, &read_bytes, sizeof merged);
    if (r < 0)
        return r;
    if (from)
        vector_copy_from(from, merged + within, n);
    else
        memset(merged + within, 0, n);
    return store_blocks(o, block, 1, &block_bytes);
}

static int write_part(struct overlay *o, uint64_t block, size_t within, struct vector *from, size_t n)
{
    struct overlay_range range;
    overlay_lock_take(&o->lock, &range, block, block);
    int r = merge_part(o, block, within, from, n);
    overlay_lock_release(&o->lock, &range);
    return r;
}

// One block of a discard, or several at the same place: sets "zero", then punches (invariant 3).
static int drop_run(struct overlay *o, struct overlay_page *page, uint64_t block, uint64_t count,
                    const struct overlay_place *place)
{
    if (place->state == OVERLAY_ZERO)
        return 0;
    int r = overlay_map_allocate(o, page);
    if (r < 0)
        return r;
    overlay_map_set(o, page, block % OVERLAY_PAGE_BLOCKS, count, OVERLAY_ZERO);
    if (place->state == OVERLAY_BASE || place->data != o->data)
        return 0;
    off_t offset = (off_t)(block * OVERLAY_BLOCK_SIZE), n = (off_t)(count * OVERLAY_BLOCK_SIZE);
    while (io->fallocate(o->data, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, n) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            return 0; // the blocks read as zeros all the same; only their space is not given back
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

// Whole blocks of one map page, under their lock.
static int drop_blocks(struct overlay *o, uint64_t block, uint64_t count)
{
    uint64_t base_blocks = (o->base.size + OVERLAY_BLOCK_SIZE - 1) / OVERLAY_BLOCK_SIZE;
    struct overlay_page *page;
    int r = overlay_map_pin(o, block / OVERLAY_PAGE_BLOCKS, &page);
    if (r < 0)
        return r;
    while (r == 0 && count > 0) {
        struct overlay_place place;
        uint64_t run;
        r = overlay_find_place(o, block, count, &place, &run);
        if (r < 0)
            break;
        uint64_t changed = run;
        if (place.state == OVERLAY_BASE) // invariant 7
            changed = block >= base_blocks ? 0 : run < base_blocks - block ? run : base_blocks - block;
        if (changed > 0)
            r = drop_run(o, page, block, changed, &place);
        block += run;
        count -= run;
    }
    overlay_map_unpin(o, page);
    return r;
}

// How many blocks of the range lie in the map page of the first.
static uint64_t blocks_of_page(uint64_t block, uint64_t count)
{
    uint64_t left = OVERLAY_PAGE_BLOCKS - block % OVERLAY_PAGE_BLOCKS;
    return count < left ? count : left;
}

static int drop_range(struct overlay *o, uint64_t block, uint64_t count)
{
    int r = 0;
    while (r == 0 && count > 0) {
        uint64_t piece = blocks_of_page(block, count);
        struct overlay_range range;
        overlay_lock_take(&o->lock, &range, block, block + piece - 1);
        r = drop_blocks(o, block, piece);
        overlay_lock_release(&o->lock, &range);
        block += piece;
        count -= piece;
    }
    return r;
}

// Rule 6: without FLUSH, a change is acknowledged when it is stable.
static int finish_change(struct overlay *o, int r)
{
    return r == 0 && o->write_through ? overlay_flusher_round(o) : r;
}

int overlay_writev(struct overlay *o, uint64_t offset, const struct iovec *from, size_t n)
{
    int r = overlay_check_request(o, offset, n);
    struct vector at = vector_over(from);
    while (r == 0 && n > 0) {
        uint64_t block = offset / OVERLAY_BLOCK_SIZE;
        size_t within = offset % OVERLAY_BLOCK_SIZE, piece = OVERLAY_BLOCK_SIZE - within;
        if (within > 0 || n < OVERLAY_BLOCK_SIZE) {
            piece = n < piece ? n : piece;
            r = write_part(o, block, within, &at, piece);
        } else {
            uint64_t count = blocks_of_page(block, n / OVERLAY_BLOCK_SIZE);
            piece = (size_t)count * OVERLAY_BLOCK_SIZE;
            r = write_blocks(o, block, count, &at);
        }
        offset += piece;
        n -= piece;
    }
    return finish_change(o, r);
}

int overlay_write(struct overlay *o, uint64_t offset, const void *from, size_t n)
{
    const struct iovec whole = {.iov_base = (void *)from, .iov_len = n};
    return overlay_writev(o, offset, &whole, n);
}

int overlay_discard(struct overlay *o, uint64_t offset, uint64_t n)
{
    int r = overlay_check_request(o, offset, n);
    if (r < 0)
        return r;
    uint64_t first = (offset + OVERLAY_BLOCK_SIZE - 1) / OVERLAY_BLOCK_SIZE, end = (offset + n) / OVERLAY_BLOCK_SIZE;
    if (first < end)
        r = drop_range(o, first, end - first);
    return finish_change(o, r);
}

int overlay_write_zeroes(struct overlay *o, uint64_t offset, uint64_t n)
{
    int r = overlay_check_request(o, offset, n);
    while (r == 0 && n > 0) {
        uint64_t block = offset / OVERLAY_BLOCK_SIZE, piece;
        size_t within = offset % OVERLAY_BLOCK_SIZE;
        if (within > 0 || n < OVERLAY_BLOCK_SIZE) {
            piece = n < OVERLAY_BLOCK_SIZE - within ? n : OVERLAY_BLOCK_SIZE - within;
            r = write_part(o, block, within, NULL, (size_t)piece);
        } else {
            piece = n - n % OVERLAY_BLOCK_SIZE;
            r = drop_range(o, block, piece / OVERLAY_BLOCK_SIZE);
        }
        offset += piece;
        n -= piece;
    }
    return finish_change(o, r);
}
