// Which packs that are there already serve as boot packs.
//
// A boot pack is fetched whole, so of what it holds, a boot should use most; but what is stored anew instead has to be
// fetched once more by everyone who holds the version before. Of the known packs that hold something of it, those with
// the greatest share of dead bytes (of no use to this boot) are left out until at most an eighth of the whole boot set
// is dead, then the smallest until there are few enough to ask for (docs/decisions.md has the measurements). That is
// one rule for a parent's boot packs, which decay from version to version until what is left of one is stored afresh,
// and for its ordinary packs, of which a kernel's, say, is all needed.
//
// Packs that an interrupted publication left are not weighed: the choice must not depend on the interruption. Of these
// one is taken that holds nothing but what the boot set still lacks, as a boot pack of the same publication does.
#include "base/cleanup.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <stdlib.h>

#include "base/banned.h"

#define DEAD_SHARE 8                     // of a boot set: an eighth
#define SPARE_PACKS 4u                   // above the number that they would be if they were full
#define NEW_BLOCK_BYTES (BLOCK_SIZE / 2) // what a block that is not known will take, about

struct use {
    uint32_t pack;
    uint64_t used, bytes;
};
struct uses {
    struct use *list;
    size_t count;
    uint64_t missing; // blocks that no pack has
};

static uint64_t dead(const struct use *u)
{
    return u->bytes - u->used;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

// Those with the greatest share of dead bytes last; equal ones in the order of their numbers, the oldest last.
static int compare_shares(const void *a, const void *b)
{
    const struct use *x = a, *y = b;
    uint64_t left = dead(x) * y->bytes, right = dead(y) * x->bytes; // ≤ 64 MiB each: no overflow

    return left != right ? (left > right) - (left < right) : (x->pack < y->pack) - (x->pack > y->pack);
}

// The smallest last.
static int compare_sizes(const void *a, const void *b)
{
    const struct use *x = a, *y = b;

    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes)
                                : (x->pack < y->pack) - (x->pack > y->pack);
}

// Blocks of a chunk that are used, of all that it has, as a part of its stored bytes.
static uint64_t used_bytes(const struct writer *w, enum writer_index_kind kind, uint64_t chunk, uint32_t length,
                           unsigned used)
{
    const struct sha256 *hashes = writer_index_block_hashes(w->index, chunk);
    unsigned all = 0;

    if (kind == WRITER_INDEX_CHUNK)
        return length;
    while (all < CHUNK_BLOCKS_MAXIMUM && !sha256_is_zero(&hashes[all]))
        all++;
    return all > 0 ? (uint64_t)length * used / all : 0;
}

// The first copy of each among chunks `from` to `to` − 1, as chunk × 32 + position, sorted, each once; only of what no
// boot pack has.
static int find_copies(const struct writer *w, enum writer_index_kind kind, const struct sha256 *hashes, size_t n,
                       uint64_t from, uint64_t to, uint64_t **ret, size_t *ret_count, uint64_t *ret_missing)
{
    uint64_t *copies = malloc((n ? n : 1) * sizeof(*copies)), chunk;
    size_t count = 0, different = 0;
    unsigned position;

    if (!copies)
        return -ENOMEM;
    *ret_missing = 0;
    for (size_t i = 0; i < n; i++) {
        if (sha256_is_zero(&hashes[i]) || writer_find_boot(w, kind, &hashes[i], &chunk, &position))
            continue;
        if (writer_index_find(w->index, kind, &hashes[i], from, &chunk, &position) && chunk < to)
            copies[count++] = chunk * CHUNK_BLOCKS_MAXIMUM + position % CHUNK_BLOCKS_MAXIMUM;
        else
            ++*ret_missing;
    }
    qsort(copies, count, sizeof(*copies), compare_numbers);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || copies[i] != copies[i - 1])
            copies[different++] = copies[i];
    *ret = copies;
    *ret_count = different;
    return 0;
}

// How much of each pack is used. A pack's chunks have numbers in a row, so they stand together.
static int find_uses(const struct writer *w, enum writer_index_kind kind, const struct sha256 *hashes, size_t n,
                     uint64_t from, uint64_t to, struct uses *ret)
{
    uint64_t *copies CLEANUP_FREE = NULL;
    struct writer_index_place place;
    size_t count;

    int r = find_copies(w, kind, hashes, n, from, to, &copies, &count, &ret->missing);
    if (r < 0)
        return r;
    ret->count = 0;
    ret->list = malloc((count ? count : 1) * sizeof(*ret->list));
    if (!ret->list)
        return -ENOMEM;
    for (size_t i = 0, end; i < count; i = end) {
        uint64_t chunk = copies[i] / CHUNK_BLOCKS_MAXIMUM;
        for (end = i + 1; end < count && copies[end] / CHUNK_BLOCKS_MAXIMUM == chunk;)
            end++;
        if (!writer_index_find_place(w->index, chunk, &place))
            continue;
        if (ret->count == 0 || ret->list[ret->count - 1].pack != place.pack)
            ret->list[ret->count++] =
                (struct use){.pack = place.pack, .bytes = writer_index_chunk_bytes(w->index, place.pack)};
        ret->list[ret->count - 1].used += used_bytes(w, kind, chunk, place.length, (unsigned)(end - i));
    }
    return 0;
}

static void mark(struct writer *w, const struct uses *uses)
{
    for (size_t i = 0; i < uses->count; i++)
        writer_index_mark_boot(w->index, uses->list[i].pack);
}

// Leaves out what does not pay.
static void weigh(struct uses *u, uint64_t new_bytes)
{
    uint64_t bytes = 0, waste = 0;
    size_t kept = u->count;

    for (size_t i = 0; i < u->count; i++) {
        bytes += u->list[i].bytes;
        waste += dead(&u->list[i]);
    }
    qsort(u->list, kept, sizeof(*u->list), compare_shares);
    for (; kept > 0 && waste * DEAD_SHARE > bytes + new_bytes; kept--) {
        bytes -= u->list[kept - 1].bytes;
        waste -= dead(&u->list[kept - 1]);
        new_bytes += u->list[kept - 1].used;
    }
    qsort(u->list, kept, sizeof(*u->list), compare_sizes);
    uint64_t most = (bytes + new_bytes) / PACK_SIZE_TARGET_BOOT + SPARE_PACKS;
    u->count = kept < most ? kept : (size_t)most;
}

static void keep_only_whole(struct uses *u)
{
    size_t kept = 0;

    for (size_t i = 0; i < u->count; i++)
        if (dead(&u->list[i]) == 0)
            u->list[kept++] = u->list[i];
    u->count = kept;
}

int writer_choose_boot_packs(struct writer *w, enum writer_index_kind kind, const struct sha256 *hashes, size_t n)
{
    struct uses uses = {.list = NULL};

    int r = find_uses(w, kind, hashes, n, 0, w->boot.unfinished_chunks, &uses);
    if (r < 0)
        return r;
    weigh(&uses, kind == WRITER_INDEX_BLOCK ? uses.missing * NEW_BLOCK_BYTES : 0);
    mark(w, &uses);
    free(uses.list);
    uses.list = NULL;
    r = find_uses(w, kind, hashes, n, w->boot.unfinished_chunks, w->boot.own_chunks, &uses);
    if (r < 0)
        return r;
    keep_only_whole(&uses);
    mark(w, &uses);
    free(uses.list);
    return 0;
}
