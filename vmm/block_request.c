// See block_request.h. The chain: a header of 16 bytes, the data, a status byte at the very end, divided into segments
// in any way (2.7.4.2). The header and the ranges of a discard are copied before they are looked at; the data goes
// straight between the guest's memory and the file.
#include "vmm/block_request.h"

#include "base/cursor.h"
#include "base/vector.h"

#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define HEADER_SIZE 16u
#define RANGE_SIZE 16u

enum { TYPE_IN = 0, TYPE_OUT = 1, TYPE_FLUSH = 4, TYPE_GET_ID = 8, TYPE_DISCARD = 11, TYPE_WRITE_ZEROES = 13 };
enum { STATUS_OK = 0, STATUS_ERROR = 1, STATUS_UNSUPPORTED = 2 };
#define RANGE_UNMAP 1u // the only flag of a range, and for write-zeroes alone

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

static int perform_range(struct request *q, bool zeroes, const unsigned char *bytes)
{
    struct cursor c = cursor_over(bytes, RANGE_SIZE);
    uint64_t sector = cursor_u64(&c);
    uint32_t sectors = cursor_u32(&c), flags = cursor_u32(&c);
    if (flags & ~(zeroes ? RANGE_UNMAP : 0u))
        return -EOPNOTSUPP; // 5.2.6.2: unknown flags are unsupported
    uint64_t n = (uint64_t)sectors * BLOCK_SECTOR;
    if (sectors > BLOCK_RANGE_SECTORS_MAXIMUM || !fits(q->backend, sector, n))
        return -EINVAL;
    if (sectors == 0)
        return 0;
    int r = zeroes ? q->backend->write_zeroes(q->backend, sector * BLOCK_SECTOR, n)
                   : q->backend->discard(q->backend, sector * BLOCK_SECTOR, n);
    if (r == 0)
        q->outcome.bytes += n;
    return r;
}

static int discard_or_zero(struct request *q, bool zeroes)
{
    unsigned char ranges[BLOCK_RANGES_MAXIMUM * RANGE_SIZE];
    size_t n = q->chain->readable_bytes - HEADER_SIZE;
    if (q->backend->read_only || n > sizeof ranges || n % RANGE_SIZE != 0)
        return -EINVAL;
    virtqueue_gather(q->chain, HEADER_SIZE, ranges, n);
    int r = 0;
    for (size_t at = 0; r == 0 && at < n; at += RANGE_SIZE)
        r = perform_range(q, zeroes, ranges + at);
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
    case TYPE_IN:
        q->outcome.kind = BLOCK_READ;
        return read_or_write(q, false);
    case TYPE_OUT:
        q->outcome.kind = BLOCK_WRITE;
        return read_or_write(q, true);
    case TYPE_FLUSH:
        q->outcome.kind = BLOCK_FLUSH;
        return q->backend->read_only ? 0 : q->backend->flush(q->backend);
    case TYPE_DISCARD:
        q->outcome.kind = BLOCK_DISCARD;
        return discard_or_zero(q, false);
    case TYPE_WRITE_ZEROES:
        q->outcome.kind = BLOCK_WRITE_ZEROES;
        return discard_or_zero(q, true);
    case TYPE_GET_ID:
        return tell_serial(q, serial);
    default:
        return -EOPNOTSUPP;
    }
}

int block_request_perform(struct block_backend *backend, const unsigned char serial[static BLOCK_SERIAL_SIZE],
                          const struct virtqueue_chain *chain, struct block_outcome *ret)
{
    unsigned char header[HEADER_SIZE];
    if (chain->readable_bytes < HEADER_SIZE || chain->writable_bytes < 1)
        return -EPROTO;
    virtqueue_gather(chain, 0, header, sizeof header);
    struct cursor c = cursor_over(header, sizeof header);
    uint32_t type = cursor_u32(&c);
    cursor_u32(&c); // reserved
    struct request q = {.backend = backend, .chain = chain, .sector = cursor_u64(&c)};
    int r = perform(&q, type, serial);
    unsigned char status = r == 0 ? STATUS_OK : r == -EOPNOTSUPP ? STATUS_UNSUPPORTED : STATUS_ERROR;
    virtqueue_scatter(chain, chain->writable_bytes - 1, &status, 1);
    q.outcome.failed = r < 0;
    // What counts as written is contiguous from the first byte (2.7.8.2), and the status is the last.
    if (q.outcome.written + UINT64_C(1) == chain->writable_bytes)
        q.outcome.written++;
    *ret = q.outcome;
    return 0;
}
