// Which blocks of a new version belong to its boot (inherit.h has the rules): the new members are read and hashed, and
// each block is looked for in the older version, by its bytes and by its place.
#include "blockstore/inherit_private.h"

#include "base/io.h"
#include "blockstore/file_extents.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define PROGRESS_INTERVAL_NS 100000000u
#define PLACES_MAXIMUM 16u // of one block's bytes, in the new version; more are not followed
#define WHOLE_NUMERATOR 7u // of a member: seven eighths
#define WHOLE_DENOMINATOR 8u

// --- progress --------------------------------------------------------------------------------------------------------

void inherit_measure_members(struct inheritance *h)
{
    for (unsigned i = 0; i < h->source->member_count; i++) {
        uint64_t start, end = 0;
        while (file_extents_find_data(h->source->fds[i], end, h->source->members[i].size, &start, &end) > 0)
            h->all += end - start; // a failure is met again when they are read
    }
}

int inherit_report(struct inheritance *h, struct error *error)
{
    uint64_t time = io_monotonic_ns();

    if (!h->source->progress || time < h->progress_due)
        return 0;
    h->progress_due = time + PROGRESS_INTERVAL_NS;
    return h->source->progress(h->source->context, "comparing", h->done, h->all) != 0
               ? error_set(error, ECANCELED, "cancelled")
               : 0;
}

// --- blocks ----------------------------------------------------------------------------------------------------------

int inherit_add_place(struct inheritance *h, uint64_t rank, uint64_t block, struct error *error)
{
    if (h->count == PROFILE_BLOCKS_MAXIMUM)
        return 0;
    if (h->count == h->capacity) {
        size_t capacity = h->capacity ? 2 * h->capacity : 4096;
        struct place *grown = realloc(h->places, capacity * sizeof(*grown));
        if (!grown)
            return error_set(error, ENOMEM, "no memory for the boot order");
        h->places = grown;
        h->capacity = capacity;
    }
    h->places[h->count++] = (struct place){.rank = rank, .block = block, .member = h->member};
    return 0;
}

// A block of the boot, and the new ones between the last block of it and this one. (What else lies there is zeros.)
static int add_boot_block(struct inheritance *h, uint64_t rank, uint64_t block, struct error *error)
{
    int r = 0;

    if (h->pending > 0 && block - h->last <= INHERIT_GAP_BLOCKS + 1)
        for (unsigned i = 0; r == 0 && i < h->pending; i++)
            r = inherit_add_place(h, h->rank, h->gap[i], error);
    h->pending = 0;
    h->has_last = true;
    h->last = block;
    h->rank = rank;
    return r < 0 ? r : inherit_add_place(h, rank, block, error);
}

// The rank of what stood here in the older version.
static bool find_older_rank(struct inheritance *h, uint64_t block, uint64_t *ret)
{
    const struct runs *r = h->now;

    while (h->at < r->count && r->list[h->at].first + r->list[h->at].blocks <= block)
        h->at++;
    if (h->at == r->count || r->list[h->at].first > block)
        return false;
    *ret = r->list[h->at].rank + (block - r->list[h->at].first);
    return true;
}

static int look_at_block(struct inheritance *h, uint64_t block, const unsigned char *bytes, struct error *error)
{
    uint64_t chunk = 0, rank;
    unsigned position = 0;

    if (bytes[0] == 0 && memcmp(bytes, bytes + 1, BLOCK_SIZE - 1) == 0)
        return 0;
    struct sha256 hash = sha256_of(bytes, BLOCK_SIZE);
    bool known = writer_index_find(h->w->index, WRITER_INDEX_BLOCK, &hash, 0, &chunk, &position);
    if (known && chunk < h->source->boot_chunks) {
        rank = chunk * CHUNK_BLOCKS_MAXIMUM + position;
        if (!h->whole && h->seen[rank] == PLACES_MAXIMUM)
            return 0;
        if (!h->whole)
            h->seen[rank]++;
        return add_boot_block(h, rank, block, error);
    }
    if (!known && find_older_rank(h, block, &rank))
        return add_boot_block(h, rank, block, error);
    if (h->whole)
        return add_boot_block(h, h->rank, block, error);
    if (!known && h->has_last && block - h->last <= INHERIT_GAP_BLOCKS)
        h->gap[h->pending++] = block;
    else
        h->has_last = false, h->pending = 0;
    return 0;
}

static int look_at_range(struct inheritance *h, int fd, uint64_t from, uint64_t to, struct error *error)
{
    int r = 0;

    for (size_t n; r == 0 && from < to; from += n, h->done += n) {
        n = to - from < INHERIT_PIECE_SIZE ? (size_t)(to - from) : INHERIT_PIECE_SIZE;
        ssize_t got = io_read_some(fd, h->piece, n, from);
        if (got < 0)
            return error_set(error, (int)-got, "cannot read member %s at offset %llu: %s",
                             h->source->members[h->member].name, (unsigned long long)from, strerror((int)-got));
        memset(h->piece + got, 0,
               INHERIT_PIECE_SIZE - (size_t)got); // one that became shorter is found out when it is published
        for (size_t i = 0; r == 0 && i < n; i += BLOCK_SIZE)
            r = look_at_block(h, (from + i) / BLOCK_SIZE, h->piece + i, error);
        if (r == 0)
            r = inherit_report(h, error);
    }
    return r;
}

static int look_at_member(struct inheritance *h, unsigned member, struct error *error)
{
    const uint64_t size = h->source->members[member].size;
    const int fd = h->source->fds[member];
    uint64_t start, end = 0;
    int r;

    h->member = member;
    h->now = &h->runs[member];
    h->whole = h->now->boot > 0 && h->now->boot >= h->now->mapped / WHOLE_DENOMINATOR * WHOLE_NUMERATOR;
    h->at = 0;
    h->has_last = false;
    h->pending = 0;
    h->rank = h->now->count > 0 ? h->now->list[0].rank : 0;
    while ((r = file_extents_find_data(fd, end, size, &start, &end)) > 0) {
        r = look_at_range(h, fd, start, end, error);
        if (r < 0)
            return r;
    }
    return r < 0 ? error_set(error, -r, "cannot read member %s: %s", h->source->members[member].name, strerror(-r)) : 0;
}

int inherit_look_at_members(struct inheritance *h, struct error *error)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < h->source->member_count; i++)
        r = look_at_member(h, i, error);
    return r;
}
