// The boot set: the blocks of a profile, in its order, in packs of their own.
//
//   read and hash them all → choose the known packs that serve as boot packs (writer_boot_choice.c) → gather those that
//   are in none, in the profile's order, into new boot packs → list all of these packs by their first use
//
// All of that comes before the first member is read. The members then find these blocks stored, and refer to the boot
// packs' copies whatever other copies there are; so a boot needs no other pack of data. The pages follow at the end
// (writer_boot_pages.c).
//
// The packs follow from profile, blocks and known packs alone (rule 1 of writer.h). After an interruption the boot
// packs that were finished are known: each holds nothing but blocks of this boot set that no older boot pack has, by
// which they are found again.
//
// What the profile bounds lies in memory: 32 bytes for each of its blocks, at most 8 MiB.
#include "base/io.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/banned.h"

#define PIECE_BLOCKS (WRITER_PIECE_SIZE / BLOCK_SIZE)

bool writer_find_boot(const struct writer *w, enum writer_index_kind kind, const struct sha256 *hash,
                      uint64_t *ret_chunk, unsigned *ret_position)
{
    struct writer_index_place place;
    uint64_t at = 0, chunk;
    unsigned position;

    while (writer_index_next(w->index, kind, hash, &at, &chunk, &position)) {
        // A chunk without a place is being gathered or compressed.
        if (writer_index_find_place(w->index, chunk, &place) ? writer_index_is_boot(w->index, place.pack)
                                                             : w->boot.packing && chunk >= w->boot.own_chunks) {
            *ret_chunk = chunk;
            *ret_position = position;
            return true;
        }
    }
    return false;
}

bool writer_list_pack(const struct writer *w, uint64_t chunk, uint32_t *packs, unsigned *count, unsigned maximum)
{
    struct writer_index_place place;

    if (!writer_index_find_place(w->index, chunk, &place))
        return true;
    for (unsigned i = *count; i-- > 0;)
        if (packs[i] == place.pack)
            return true;
    if (*count == maximum)
        return false;
    packs[(*count)++] = place.pack;
    return true;
}

// --- segments ------------------------------------------------------------------------------------------------------

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

// Which segments the profile touches, zeros or not: a boot needs their leaves.
static int note_segments(struct writer *w, const struct profile *p)
{
    size_t count = 0, different = 0;

    for (size_t i = 0; i < p->read_count; i++)
        count += (p->reads[i].first % MAP_LEAF_BLOCKS + p->reads[i].blocks - 1) / MAP_LEAF_BLOCKS + 1;
    uint64_t *segments = malloc((count ? count : 1) * sizeof(*segments));
    if (!segments)
        return -ENOMEM;
    count = 0;
    for (size_t i = 0; i < p->read_count; i++) {
        const struct profile_read *read = &p->reads[i];
        for (uint64_t s = read->first / MAP_LEAF_BLOCKS; s <= (read->first + read->blocks - 1) / MAP_LEAF_BLOCKS; s++)
            segments[count++] = (uint64_t)read->member << 32 | s;
    }
    qsort(segments, count, sizeof(*segments), compare_numbers);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || segments[i] != segments[i - 1])
            segments[different++] = segments[i];
    w->boot.segments = segments;
    w->boot.segment_count = different;
    memcpy(w->boot.members, p->members, sizeof(p->members));
    w->boot.member_count = p->member_count;
    return 0;
}

bool writer_is_boot_range(const struct writer *w, unsigned member, uint64_t first, uint64_t end)
{
    for (uint64_t i = 0; i < w->boot.member_count; i++) {
        if (strcmp(w->boot.members[i].name, w->members[member].name) != 0)
            continue;
        size_t low = 0, high = w->boot.segment_count; // the first that is not below the range lies in [low, high]
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (w->boot.segments[middle] < (i << 32 | first))
                low = middle + 1;
            else
                high = middle;
        }
        return low < w->boot.segment_count && w->boot.segments[low] < (i << 32) + end;
    }
    return false;
}

// --- blocks --------------------------------------------------------------------------------------------------------

// Reads blocks of a member into w->piece, zeros behind its end.
static int read_piece(struct writer *w, const struct writer_boot_source *source, const struct profile_member *member,
                      uint64_t first, unsigned blocks, struct error *error)
{
    const struct writer_changes *changes = source->changes;
    uint64_t offset = first * BLOCK_SIZE, left = member->size - offset;
    size_t wanted = (size_t)blocks * BLOCK_SIZE, n = left < wanted ? (size_t)left : wanted;
    ssize_t got =
        changes ? changes->read(changes->context, offset, w->piece, n) : io_read_some(source->fd, w->piece, n, offset);

    if (changes && got == 0)
        got = (ssize_t)n;
    if (got < 0)
        return error_set(error, (int)-got, "cannot read member %s at offset %llu: %s", member->name,
                         (unsigned long long)offset, strerror((int)-got));
    if ((size_t)got < n)
        return error_set(error, EBUSY, "the file of member %s became shorter while it was read", member->name);
    memset(w->piece + n, 0, wanted - n);
    return 0;
}

// Calls `each` for every piece of the profile, with the number of its first block.
static int
walk_pieces(struct writer *w, const struct profile *p, struct sha256 *hashes, const struct writer_boot_source *sources,
            int (*each)(struct writer *w, const struct profile_member *member, const struct writer_boot_source *source,
                        uint64_t first, unsigned blocks, struct sha256 *hashes, struct error *error),
            struct error *error)
{
    size_t at = 0;

    for (size_t i = 0; i < p->read_count; i++) {
        const struct profile_read *read = &p->reads[i];
        for (uint32_t done = 0; done < read->blocks;) {
            unsigned n = read->blocks - done < PIECE_BLOCKS ? read->blocks - done : PIECE_BLOCKS;
            int r =
                each(w, &p->members[read->member], &sources[read->member], read->first + done, n, hashes + at, error);
            if (r == 0)
                r = writer_report_progress(w, false, error);
            if (r < 0)
                return r;
            done += n;
            at += n;
        }
    }
    return 0;
}

static int hash_blocks(struct writer *w, const struct profile_member *member, const struct writer_boot_source *source,
                       uint64_t first, unsigned blocks, struct sha256 *hashes, struct error *error)
{
    int r = read_piece(w, source, member, first, blocks, error);

    for (unsigned i = 0; r == 0 && i < blocks; i++) {
        const unsigned char *bytes = w->piece + (size_t)i * BLOCK_SIZE;
        bool zero = bytes[0] == 0 && memcmp(bytes, bytes + 1, BLOCK_SIZE - 1) == 0;
        if (zero)
            memset(&hashes[i], 0, sizeof(hashes[i]));
        else
            hashes[i] = sha256_of(bytes, BLOCK_SIZE);
    }
    return r;
}

// Of a member that is given as changes, only what changed.
static int hash_piece(struct writer *w, const struct profile_member *member, const struct writer_boot_source *source,
                      uint64_t first, unsigned blocks, struct sha256 *hashes, struct error *error)
{
    const struct writer_changes *changes = source->changes;
    uint64_t end = first + blocks, at, count;
    bool zero;
    int r = changes ? 0 : hash_blocks(w, member, source, first, blocks, hashes, error);

    for (uint64_t block = first; changes && block < end; block = at + count) {
        r = changes->find_change(changes->context, block, &at, &count, &zero);
        if (r < 0)
            return error_set(error, -r, "cannot find what changed of member %s: %s", member->name, strerror(-r));
        if (r == 0 || at >= end)
            break;
        count = count < end - at ? count : end - at;
        r = hash_blocks(w, member, source, at, (unsigned)count, hashes + (at - first), error);
        if (r < 0)
            return r;
    }
    for (unsigned i = 0; i < blocks; i++)
        w->boot.blocks += !sha256_is_zero(&hashes[i]);
    return r < 0 ? r : 0;
}

// Gathers the blocks that no boot pack has; reads only if there are any, and of changes only these.
static int pack_piece(struct writer *w, const struct profile_member *member, const struct writer_boot_source *source,
                      uint64_t first, unsigned blocks, struct sha256 *hashes, struct error *error)
{
    bool is_read = false;
    uint64_t chunk;
    unsigned position;
    int r = 0;

    w->done += (uint64_t)blocks * BLOCK_SIZE;
    for (unsigned i = 0; r == 0 && i < blocks; i++) {
        const unsigned char *bytes = w->piece + (source->changes ? 0 : (size_t)i * BLOCK_SIZE);
        if (sha256_is_zero(&hashes[i]) || writer_find_boot(w, WRITER_INDEX_BLOCK, &hashes[i], &chunk, &position))
            continue;
        if (source->changes)
            r = read_piece(w, source, member, first + i, 1, error);
        else if (!is_read)
            r = read_piece(w, source, member, first, blocks, error);
        if (r < 0)
            break;
        is_read = true;
        struct sha256 now = sha256_of(bytes, BLOCK_SIZE);
        if (!sha256_equal(&now, &hashes[i]) && source->changes)
            return error_set(error, EBADMSG, "a boot pack of the older version does not hold what its table says");
        if (!sha256_equal(&now, &hashes[i]))
            return error_set(error, EBUSY,
                             "the file of member %s changed while it was read; stop what writes to it and run the "
                             "same command again",
                             member->name);
        r = writer_gather_block(w, bytes, &hashes[i], &chunk, &position, error);
    }
    return r;
}

// The packs that hold the blocks, each where it is first needed. The order of a boot is that of its reads: an older
// pack may well come behind a new one.
static void list_packs(struct writer *w, const struct sha256 *hashes, size_t n)
{
    uint64_t chunk;
    unsigned position;

    for (size_t i = 0; i < n; i++)
        if (!sha256_is_zero(&hashes[i]) && writer_find_boot(w, WRITER_INDEX_BLOCK, &hashes[i], &chunk, &position) &&
            !writer_list_pack(w, chunk, w->boot.data_packs, &w->boot.data_pack_count, WRITER_BOOT_DATA_PACKS))
            w->boot.cut = true;
}

static int pack_blocks(struct writer *w, const struct profile *p, const struct writer_boot_source *sources,
                       struct sha256 *hashes, struct error *error)
{
    w->done = 0;
    w->all = p->block_count * BLOCK_SIZE;
    int r = walk_pieces(w, p, hashes, sources, hash_piece, error);
    if (r < 0)
        return r;
    r = writer_choose_boot_packs(w, WRITER_INDEX_BLOCK, hashes, p->block_count);
    if (r < 0)
        return error_set(error, -r, "no memory for the boot profile");
    uint64_t new_before = w->counts.new_blocks;
    w->boot.packing = true;
    r = walk_pieces(w, p, hashes, sources, pack_piece, error);
    if (r == 0)
        r = writer_flush_chunk(w, error);
    if (r == 0)
        r = writer_drain_all(w, error);
    if (r == 0)
        r = writer_close_pack(w, error);
    w->boot.packing = false;
    // They are met again, as known, when their members are read.
    w->counts.known_blocks -= w->counts.new_blocks - new_before;
    if (r == 0)
        list_packs(w, hashes, p->block_count);
    return r;
}

int writer_pack_boot(struct writer *w, const struct profile *p, const struct writer_boot_source *sources,
                     struct sha256 *hashes, struct error *error)
{
    int r = note_segments(w, p);

    if (r < 0)
        error_set(error, -r, "no memory for the boot profile");
    w->reading = "boot";
    w->boot.wanted = true;
    if (r == 0)
        r = pack_blocks(w, p, sources, hashes, error);
    w->reading = NULL;
    return r;
}

void writer_drop_boot(struct writer *w)
{
    free(w->boot.segments);
    free(w->boot.pages);
    spool_close(&w->boot.page_bytes);
}
