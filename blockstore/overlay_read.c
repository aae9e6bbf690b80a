// What the overlay's readers get: each run of blocks from where its state sends them. They hold no lock (overlay.c,
// invariants 5, 7 and 8).
#include "blockstore/overlay.h"
#include "blockstore/overlay_private.h"

#include "base/io.h"
#include "base/vector.h"

#include <errno.h>

#include "base/banned.h"

int overlay_check_request(const struct overlay *o, uint64_t offset, uint64_t n)
{
    uint64_t size = overlay_size(o);
    if (offset > size || n > size - offset)
        return -EINVAL;
    return o->flusher.failed ? -EIO : 0;
}

// Bytes of the base, and zeros behind its end.
static int read_base(const struct overlay *o, uint64_t offset, struct vector *to, size_t n)
{
    size_t there = 0;
    if (offset < o->base.size)
        there = n < o->base.size - offset ? n : (size_t)(o->base.size - offset);
    if (there > 0) {
        struct iovec pieces[VECTOR_MAXIMUM];
        int r = o->base.read(o->base.context, offset, pieces, vector_take(to, there, pieces), there);
        if (r < 0)
            return r;
    }
    vector_zero(to, n - there);
    return 0;
}

static int read_data(int data, uint64_t offset, struct vector *to, size_t n)
{
    struct iovec pieces[VECTOR_MAXIMUM];
    unsigned count = vector_take(to, n, pieces);
    return io_readv_full(data, pieces, count, n, offset);
}

int overlay_find_place(struct overlay *o, uint64_t block, uint64_t maximum, struct overlay_place *ret_place,
                       uint64_t *ret_count)
{
    struct overlay_place place;
    uint64_t count;
    int r = overlay_map_find_run(o, block, maximum, &place, &count);
    if (r < 0)
        return r;
    if (place.state == OVERLAY_BASE && o->lower.count > 0)
        return overlay_lower_find_run(o, block, count, ret_place, ret_count);
    *ret_place = place;
    *ret_count = count;
    return 0;
}

int overlay_read_place(const struct overlay *o, const struct overlay_place *place, uint64_t offset, struct vector *to,
                       size_t n)
{
    switch (place->state) {
    case OVERLAY_DATA:
        return read_data(place->data, offset, to, n);
    case OVERLAY_ZERO:
        vector_zero(to, n);
        return 0;
    case OVERLAY_BASE:
        break;
    }
    return read_base(o, offset, to, n);
}

int overlay_readv(struct overlay *o, uint64_t offset, const struct iovec *to, size_t n)
{
    int r = overlay_check_request(o, offset, n);
    struct vector at = vector_over(to);
    while (r == 0 && n > 0) {
        uint64_t block = offset / OVERLAY_BLOCK_SIZE, within = offset % OVERLAY_BLOCK_SIZE, count;
        struct overlay_place place;
        r = overlay_find_place(o, block, (within + n + OVERLAY_BLOCK_SIZE - 1) / OVERLAY_BLOCK_SIZE, &place, &count);
        if (r < 0)
            break;
        uint64_t run = count * OVERLAY_BLOCK_SIZE - within;
        size_t piece = n < run ? n : (size_t)run;
        r = overlay_read_place(o, &place, offset, &at, piece);
        offset += piece;
        n -= piece;
    }
    return r;
}

int overlay_read(struct overlay *o, uint64_t offset, void *to, size_t n)
{
    const struct iovec whole = {.iov_base = to, .iov_len = n};
    return overlay_readv(o, offset, &whole, n);
}
