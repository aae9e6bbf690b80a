// See block_request.h. The chain: a header of 16 bytes, the data, a status byte at the very end, divided into segments
// in any way (2.7.4.2). The header and the ranges of a discard are copied before they are looked at; the data goes
// straight between the guest's memory and the file.
#include "vmm/block_request.h"

#include "base/vector.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <string.h>

#include "base/banned.h"

#define HEADER_SIZE sizeof(struct virtio_blk_outhdr)
#define RANGE_SIZE sizeof(struct virtio_blk_discard_write_zeroes)

struct request {
    struct block_backend *backend;
    const struct virtqueue_chain *chain;
    uint64_t sector;
    struct block_outcome outcome;
};

// Within the disk, without wrapping round (TRUST T25).
static bool fits(const struct block_backend *b, uint64_t sector, uint64_t bytes)
{
    return bytes % BLOCK_SECTOR == 0 && bytes <= b->size && sector <= (b->size - bytes) / BLOCK_SECTOR;
}

static int read_or_write(struct request *q, bool writes)
{
    const struct virtqueue_chain *c = q->chain;
    size_t n = writes ? c->readable_bytes - HEADER_SIZE : c->writable_bytes - 1;
    struct iovec pieces[VECTOR_MAXIMUM];
    if (!fits(q->backend, q->sector, n) || (writes && q->backend->read_only))
        return -EINVAL;
    if (n == 0)
        return 0;
    struct vector v = vector_over(writes ? c->segments : c->segments + c->readable);
    if (writes)
        vector_skip(&v, HEADER_SIZE);
    vector_take(&v, n, pieces);
    uint64_t offset = q->sector * BLOCK_SECTOR;
    int r = writes ? q->backend->write(q->backend, offset, pieces, n) : q->backend->read(q->backend, offset, pieces, n);
    if (r < 0)
        return r;
    q->outcome.bytes = n;
    if (!writes)
        q->outcome.written = (uint32_t)n;
    return 0;
}

static int perform_range(struct request *q, bool zeroes, const struct virtio_blk_discard_write_zeroes *range)
{
    uint64_t sector = range->sector, n = (uint64_t)range->num_sectors * BLOCK_SECTOR;
    if (range->flags & ~(zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u))
        return -EOPNOTSUPP; // 5.2.6.2: unknown flags are unsupported
    if (n > BLOCK_RANGE_SECTORS_MAXIMUM * (uint64_t)BLOCK_SECTOR || !fits(q->backend, sector, n))
        return -EINVAL;
    if (n == 0)
        return 0;
    int r = zeroes ? q->backend->write_zeroes(q->backend, sector * BLOCK_SECTOR, n)
                   : q->backend->discard(q->backend, sector * BLOCK_SECTOR, n);
    if (r == 0)
        q->outcome.bytes += n;
    return r;
}

static int discard_or_zero(struct request *q, bool zeroes)
{
    struct virtio_blk_discard_write_zeroes ranges[BLOCK_RANGES_MAXIMUM];
    size_t n = q->chain->readable_bytes - HEADER_SIZE;
    if (q->backend->read_only || n > sizeof ranges || n % RANGE_SIZE != 0)
        return -EINVAL;
    virtqueue_gather(q->chain, HEADER_SIZE, ranges, n);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n / RANGE_SIZE; i++)
        r = perform_range(q, zeroes, &ranges[i]);
    return r;
}

static int tell_serial(struct request *q, const unsigned char *serial)
{
    size_t n = q->chain->writable_bytes - 1;
    n = n < BLOCK_SERIAL_SIZE ? n : BLOCK_SERIAL_SIZE;
    virtqueue_scatter(q->chain, 0, serial, n);
    q->outcome.written = (uint32_t)n;
    return 0;
}

static int perform(struct request *q, uint32_t type, const unsigned char *serial)
{
    q->outcome.kind = BLOCK_OTHER;
    switch (type) {
    case VIRTIO_BLK_T_IN:
        q->outcome.kind = BLOCK_READ;
        return read_or_write(q, false);
    case VIRTIO_BLK_T_OUT:
        q->outcome.kind = BLOCK_WRITE;
        return read_or_write(q, true);
    case VIRTIO_BLK_T_FLUSH:
        q->outcome.kind = BLOCK_FLUSH;
        return q->backend->read_only ? 0 : q->backend->flush(q->backend);
    case VIRTIO_BLK_T_DISCARD:
        q->outcome.kind = BLOCK_DISCARD;
        return discard_or_zero(q, false);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        q->outcome.kind = BLOCK_WRITE_ZEROES;
        return discard_or_zero(q, true);
    case VIRTIO_BLK_T_GET_ID:
        return tell_serial(q, serial);
    default:
        return -EOPNOTSUPP;
    }
}

int block_request_perform(struct block_backend *backend, const unsigned char serial[static BLOCK_SERIAL_SIZE],
                          const struct virtqueue_chain *chain, struct block_outcome *ret)
{
    struct virtio_blk_outhdr header;
    if (chain->readable_bytes < HEADER_SIZE || chain->writable_bytes < 1)
        return -EPROTO;
    virtqueue_gather(chain, 0, &header, sizeof header);
    struct request q = {.backend = backend, .chain = chain, .sector = header.sector};
    int r = perform(&q, header.type, serial);
    unsigned char status = r == 0 ? VIRTIO_BLK_S_OK : r == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
    virtqueue_scatter(chain, chain->writable_bytes - 1, &status, 1);
    q.outcome.failed = r < 0;
    // What counts as written is contiguous from the first byte (2.7.8.2), and the status is the last.
    if (q.outcome.written + UINT64_C(1) == chain->writable_bytes)
        q.outcome.written++;
    *ret = q.outcome;
    return 0;
}
