// Reading a member: data extents → blocks → known, zero or new → the extents of the map, and chunks for the compressor.
//
// Holes are skipped with SEEK_DATA, where the file system has it, so the time follows the data and not the size. A
// block is looked for first where the block before it was found, then by its hash.
//
// Limits on what a hostile or unlucky input can make of the map:
//   1. A segment whose blocks lie scattered over so many chunks that its leaf would overflow a page is read again, and
//      only blocks that this segment itself brought, and those of the boot set, count as known; if that is still too
//      much, only the former: then it has at most 2,049 chunks and fits.
//   2. Leaves wait in memory for packs to close; after WRITER_CUT_EXTENTS of their extents, the open pack is closed
//      early.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/file_extents.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/banned.h"

#define SEGMENT_SIZE ((uint64_t)MAP_LEAF_BLOCKS * BLOCK_SIZE)
#define PROGRESS_INTERVAL_NS 100000000u
// With fewer extents than this, each in a chunk and a pack of its own, a leaf still fits.
#define SURE_EXTENTS                                                                                                   \
    ((PAGE_BYTES_MAXIMUM - MAP_PAGE_HEADER_SIZE) / (MAP_PACK_SIZE + MAP_REFERENCE_SIZE + MAP_EXTENT_SIZE))

int writer_report_progress(struct writer *w, bool now, struct error *error)
{
    if (!w->options.progress || !w->reading)
        return 0;
    uint64_t time = io_monotonic_ns();
    if (!now && time < w->progress_due)
        return 0;
    w->progress_due = time + PROGRESS_INTERVAL_NS;
    if (w->options.progress(w->options.context, w->reading, w->done, w->all) != 0)
        return error_set(error, ECANCELED, "cancelled; the same command goes on from here");
    return 0;
}

static int read_failed(const struct writer *w, int r, uint64_t offset, struct error *error)
{
    return error_set(error, -r, "cannot read member %s at offset %" PRIu64 ": %s", w->reading, offset, strerror(-r));
}

// --- blocks --------------------------------------------------------------------------------------------------------

void writer_add_extent(struct writer *w, uint32_t block, unsigned blocks, uint64_t chunk, unsigned position)
{
    struct map_extent *last = w->extent_count ? &w->extents[w->extent_count - 1] : NULL;

    if (last && last->chunk == chunk && last->first + last->blocks == block &&
        (unsigned)(last->block_in_chunk + last->blocks) == position) {
        last->blocks = (uint16_t)(last->blocks + blocks);
        return;
    }
    w->extents[w->extent_count++] = // NOLINT(clang-analyzer-core.NullDereference): a writer that is open has them
        (struct map_extent){
            .first = block, .blocks = (uint16_t)blocks, .block_in_chunk = (uint8_t)position, .chunk = chunk};
}

// True if the block stands in the store right behind the one before it.
static bool follows_last(const struct writer *w, uint32_t block, const struct sha256 *hash, uint64_t *ret_chunk,
                         unsigned *ret_position)
{
    const struct map_extent *last = w->extent_count ? &w->extents[w->extent_count - 1] : NULL;

    if (!last || last->first + last->blocks != block || last->chunk < w->minimum)
        return false;
    unsigned position = (unsigned)(last->block_in_chunk + last->blocks);
    if (position >= CHUNK_BLOCKS_MAXIMUM ||
        !sha256_equal(&writer_index_block_hashes(w->index, last->chunk)[position], hash))
        return false;
    *ret_chunk = last->chunk;
    *ret_position = position;
    return true;
}

// Where the block is stored already: in a boot pack, if it is in one (a boot must need no other), else where the block
// before it stands, else anywhere.
static bool find_block(const struct writer *w, uint32_t block, const struct sha256 *hash, uint64_t *ret_chunk,
                       unsigned *ret_position)
{
    return (w->boot.wanted && !w->without_boot &&
            writer_find_boot(w, WRITER_INDEX_BLOCK, hash, ret_chunk, ret_position)) ||
           follows_last(w, block, hash, ret_chunk, ret_position) ||
           writer_index_find(w->index, WRITER_INDEX_BLOCK, hash, w->minimum, ret_chunk, ret_position);
}

static int add_block(struct writer *w, uint32_t block, const unsigned char *bytes, struct error *error)
{
    uint64_t chunk = 0;
    unsigned position = 0;

    if (bytes[0] == 0 && memcmp(bytes, bytes + 1, BLOCK_SIZE - 1) == 0) {
        w->counts.zero_blocks += !w->again;
        return 0;
    }
    struct sha256 hash = sha256_of(bytes, BLOCK_SIZE);
    if (find_block(w, block, &hash, &chunk, &position)) {
        w->counts.known_blocks += !w->again;
    } else {
        int r = writer_gather_block(w, bytes, &hash, &chunk, &position, error);
        if (r < 0)
            return r;
        w->counts.known_blocks -= w->again && !w->changes; // it was, when the segment was read first
    }
    writer_add_extent(w, block, 1, chunk, position);
    return 0;
}

static ssize_t read_input(struct writer *w, size_t n, uint64_t offset)
{
    if (!w->changes)
        return io_read_some(w->fd, w->piece, n, offset);
    int r = w->changes->read(w->changes->context, offset, w->piece, n);
    return r < 0 ? r : (ssize_t)n;
}

int writer_read_range(struct writer *w, uint64_t from, uint64_t to, struct error *error)
{
    while (from < to) {
        size_t n = to - from < WRITER_PIECE_SIZE ? (size_t)(to - from) : WRITER_PIECE_SIZE;
        ssize_t got = read_input(w, n, from);
        if (got < 0)
            return read_failed(w, (int)got, from, error);
        if ((size_t)got < n)
            return error_set(error, EBUSY,
                             "the file of member %s became shorter while it was read; stop what writes to "
                             "it and run the same command again",
                             w->reading);
        size_t padded = (n + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
        memset(w->piece + n, 0, padded - n);
        for (size_t i = 0; i < padded; i += BLOCK_SIZE) {
            int r = add_block(w, (uint32_t)((from + i) % SEGMENT_SIZE / BLOCK_SIZE), w->piece + i, error);
            if (r < 0)
                return r;
        }
        from += n;
        if (!w->again) {
            w->done += n;
            w->counts.data_bytes += n;
        }
        int r = writer_report_progress(w, false, error);
        if (r < 0)
            return r;
    }
    return 0;
}

// --- extents of the file -------------------------------------------------------------------------------------------

static int measure_data(struct writer *w, struct error *error)
{
    uint64_t start, end = 0;
    int r;

    w->all = 0;
    while ((r = file_extents_find_data(w->fd, end, w->size, &start, &end)) > 0)
        w->all += end - start;
    return r < 0 ? read_failed(w, r, end, error) : 0;
}

// --- segments ------------------------------------------------------------------------------------------------------

void writer_begin_segment(struct writer *w, uint32_t segment, uint64_t *ret_own)
{
    w->segment = segment;
    w->extent_count = 0;
    *ret_own = w->gathering ? w->gathering->chunk : w->next_chunk;
}

// The next data of the member in [at, limit). Of one that is given as changes nothing is known but that.
static int find_data(const struct writer *w, uint64_t at, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end)
{
    if (!w->changes)
        return file_extents_find_data(w->fd, at, limit, ret_start, ret_end);
    *ret_start = at;
    *ret_end = limit;
    return at < limit;
}

static int read_again(struct writer *w, uint64_t minimum, bool without_boot, struct error *error)
{
    uint64_t from = w->segment * SEGMENT_SIZE, start, end = from;
    uint64_t limit = w->size - from < SEGMENT_SIZE ? w->size : from + SEGMENT_SIZE;
    int r;

    w->extent_count = 0;
    w->minimum = minimum;
    w->again = true;
    w->without_boot = without_boot;
    while ((r = find_data(w, end, limit, &start, &end)) > 0) {
        r = writer_read_range(w, start, end, error);
        if (r < 0)
            return r;
    }
    w->minimum = 0;
    w->again = w->without_boot = false;
    return r < 0 ? read_failed(w, r, end, error) : 0;
}

// Closes the open pack early, so that the leaves that wait for it can go. One that holds no data keeps none waiting;
// after an interruption, where this was cut before, it is left open, or the packs would come out differently.
static int cut(struct writer *w, struct error *error)
{
    int r = writer_flush_chunk(w, error);

    if (r == 0)
        r = writer_drain_all(w, error);
    if (r == 0 && w->closed_below < w->appended_below)
        r = writer_close_pack(w, error);
    if (r == 0)
        r = writer_store_leaves(w, error);
    w->extents_since_cut = 0;
    return r;
}

static int leaf_fits(struct writer *w, bool *ret_fits, struct error *error)
{
    *ret_fits = true;
    if (w->extent_count <= SURE_EXTENTS)
        return 0;
    int r = writer_drain_all(w, error); // places every chunk but the one that is being gathered
    if (r < 0)
        return r;
    r = writer_leaf_fits(w, ret_fits);
    return r < 0 ? error_set(error, -r, "no memory for the map") : 0;
}

int writer_end_segment(struct writer *w, uint64_t own_chunks, struct error *error)
{
    bool fits;
    int r = leaf_fits(w, &fits, error);

    if (w->extent_count == 0)
        return 0;
    if (r == 0 && !fits && w->boot.wanted) {
        r = read_again(w, own_chunks, false, error);
        if (r == 0)
            r = leaf_fits(w, &fits, error);
    }
    if (r == 0 && !fits)
        r = read_again(w, own_chunks, true, error);
    if (r == 0)
        r = writer_queue_leaf(w, w->member_count - 1, error);
    if (r < 0)
        return r;
    w->extents_since_cut += w->extent_count;
    return w->extents_since_cut >= w->extents_until_cut ? cut(w, error) : 0;
}

static int read_segments(struct writer *w, struct error *error)
{
    uint64_t start, end = 0, own_chunks;
    int r;

    writer_begin_segment(w, 0, &own_chunks);
    while ((r = file_extents_find_data(w->fd, end, w->size, &start, &end)) > 0) {
        for (uint64_t stop; start < end; start = stop) {
            uint32_t segment = (uint32_t)(start / SEGMENT_SIZE);
            uint64_t segment_end = (segment + 1) * SEGMENT_SIZE;
            stop = end < segment_end ? end : segment_end;
            if (segment != w->segment) {
                r = writer_end_segment(w, own_chunks, error);
                if (r < 0)
                    return r;
                writer_begin_segment(w, segment, &own_chunks);
            }
            r = writer_read_range(w, start, stop, error);
            if (r < 0)
                return r;
        }
    }
    if (r < 0)
        return read_failed(w, r, end, error);
    return writer_end_segment(w, own_chunks, error);
}

static int fail_changed(const struct writer *w, struct error *error)
{
    return error_set(error, EBUSY,
                     "the file of member %s changed while it was read; stop what writes to it and run the "
                     "same command again",
                     w->reading);
}

int writer_read_member(struct writer *w, unsigned member, struct error *error)
{
    struct stat before, after;

    if (io->fstat(w->fd, &before) < 0)
        return read_failed(w, -errno, 0, error);
    w->reading = w->members[member].name;
    w->size = w->members[member].size;
    w->done = 0;
    w->next_chunk = writer_index_chunk_count(w->index);
    posix_fadvise(w->fd, 0, 0, POSIX_FADV_SEQUENTIAL); // only a hint
    int r = measure_data(w, error);
    if (r == 0)
        r = writer_report_progress(w, true, error);
    if (r == 0)
        r = read_segments(w, error);
    if (r == 0)
        r = writer_flush_chunk(w, error);
    if (r < 0)
        return r;
    if (io->fstat(w->fd, &after) < 0)
        return read_failed(w, -errno, 0, error);
    if (S_ISREG(after.st_mode) && (after.st_size != before.st_size || after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
                                   after.st_mtim.tv_nsec != before.st_mtim.tv_nsec))
        return fail_changed(w, error);
    return writer_report_progress(w, true, error);
}
