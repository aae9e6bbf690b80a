// See inherit.h. Two steps:
//
//   the older maps → where blocks of its boot stood, each with its rank
//   the new members, read and hashed → which blocks belong to the boot, each with its rank → sorted by rank: a profile
//
// A rank is the place in the older boot packs: chunk number × 32 + position, since the writer knew these packs first,
// in their order. What is kept is bounded by what a profile may hold, whatever the older version says of itself: an
// older boot beyond that is inherited as far as it fits.
#include "blockstore/inherit.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/file_extents.h"
#include "blockstore/parent.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define PIECE_SIZE (512u << 10)
#define PROGRESS_INTERVAL_NS 100000000u
#define PLACES_MAXIMUM 16u // of one block's bytes, in the new version; more are not followed
#define WHOLE_NUMERATOR 7u // of a member: seven eighths
#define WHOLE_DENOMINATOR 8u

struct run { // of blocks of the older boot
    uint64_t first, rank;
    unsigned blocks;
};
struct runs { // of a member, sorted
    struct run *list;
    size_t count, capacity;
    uint64_t mapped, boot; // blocks
};
struct place { // of a block of the new boot
    uint64_t rank, block;
    unsigned member;
};

struct inheritance {
    struct writer *w;
    const struct inherit_source *source;
    struct runs runs[MANIFEST_MEMBERS_MAXIMUM]; // by number in the new version
    uint64_t older_blocks;                      // of the older member that is looked at
    struct place *places;
    size_t count, capacity;
    unsigned char *seen; // for each rank, in how many places
    unsigned char *piece;
    uint64_t done, all, progress_due;
    // While a member is read
    unsigned member;
    bool whole;
    struct runs *now;
    size_t at;           // in now->list: the first run that does not end before the block
    uint64_t last, rank; // block of the boot that was met last, and its rank; valid with has_last
    bool has_last;
    uint64_t gap[INHERIT_GAP_BLOCKS]; // new blocks behind it
    unsigned pending;                 // how many
};

// --- progress --------------------------------------------------------------------------------------------------------

static void measure_members(struct inheritance *h)
{
    for (unsigned i = 0; i < h->source->member_count; i++) {
        uint64_t start, end = 0;
        while (file_extents_find_data(h->source->fds[i], end, h->source->members[i].size, &start, &end) > 0)
            h->all += end - start; // a failure is met again when they are read
    }
}

static int report(struct inheritance *h, struct error *error)
{
    uint64_t time = io_monotonic_ns();

    if (!h->source->progress || time < h->progress_due)
        return 0;
    h->progress_due = time + PROGRESS_INTERVAL_NS;
    return h->source->progress(h->source->context, "comparing", h->done, h->all) != 0
               ? error_set(error, ECANCELED, "cancelled")
               : 0;
}

// --- where the older boot's blocks stood -----------------------------------------------------------------------------

static int add_run(struct runs *r, const struct run *run, struct error *error)
{
    struct run *last = r->count ? &r->list[r->count - 1] : NULL;

    if (last && last->first + last->blocks == run->first && last->rank + last->blocks == run->rank) {
        last->blocks += run->blocks;
        return 0;
    }
    if (r->count == PROFILE_BLOCKS_MAXIMUM)
        return 0;
    if (!r->list || r->count == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 256;
        struct run *grown = realloc(r->list, capacity * sizeof(*grown));
        if (!grown)
            return error_set(error, ENOMEM, "no memory for the older boot order");
        r->list = grown;
        r->capacity = capacity;
    }
    r->list[r->count++] = *run;
    return 0;
}

static int note_page(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct inheritance *h = context;
    int r = 0;

    if (page->level > 0)
        return 0;
    // What a map says behind its member's end nobody has ever looked at.
    unsigned end = h->older_blocks - first < MAP_LEAF_BLOCKS ? (unsigned)(h->older_blocks - first) : MAP_LEAF_BLOCKS;
    for (unsigned block = 0, n; r == 0 && block < end; block += n) {
        struct map_run run = map_leaf_find(page, block);
        struct chunk_reference ref;
        uint64_t chunk;
        unsigned unused;
        n = run.blocks < end - block ? run.blocks : end - block;
        if (run.zero || !map_page_reference(page, run.reference, &ref))
            continue;
        h->now->mapped += n;
        if (!writer_index_find(h->w->index, WRITER_INDEX_CHUNK, &ref.name, 0, &chunk, &unused) ||
            chunk >= h->source->boot_chunks)
            continue;
        h->now->boot += n;
        r = add_run(h->now,
                    &(struct run){
                        .first = first + block, .rank = chunk * CHUNK_BLOCKS_MAXIMUM + run.block_in_chunk, .blocks = n},
                    error);
    }
    return r < 0 ? r : report(h, error);
}

static int find_older_boot(struct inheritance *h, struct error *error)
{
    const struct manifest *parent = h->source->parent;
    unsigned missing;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < h->source->member_count; i++) {
        int member = manifest_find_member(parent, h->source->members[i].name);
        h->now = &h->runs[i];
        h->older_blocks = member >= 0 ? map_blocks(parent->members[member].size) : 0;
        if (member >= 0)
            r = parent_walk_map(writer_site(h->w), &parent->members[member], note_page, h, &missing, error);
    }
    return r;
}

// --- which blocks of the new version belong to the boot --------------------------------------------------------------

static int add_place(struct inheritance *h, uint64_t rank, uint64_t block, struct error *error)
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
            r = add_place(h, h->rank, h->gap[i], error);
    h->pending = 0;
    h->has_last = true;
    h->last = block;
    h->rank = rank;
    return r < 0 ? r : add_place(h, rank, block, error);
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
        n = to - from < PIECE_SIZE ? (size_t)(to - from) : PIECE_SIZE;
        ssize_t got = io_read_some(fd, h->piece, n, from);
        if (got < 0)
            return error_set(error, (int)-got, "cannot read member %s at offset %llu: %s",
                             h->source->members[h->member].name, (unsigned long long)from, strerror((int)-got));
        memset(h->piece + got, 0,
               PIECE_SIZE - (size_t)got); // one that became shorter is found out when it is published
        for (size_t i = 0; r == 0 && i < n; i += BLOCK_SIZE)
            r = look_at_block(h, (from + i) / BLOCK_SIZE, h->piece + i, error);
        if (r == 0)
            r = report(h, error);
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

static int look_at_members(struct inheritance *h, struct error *error)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < h->source->member_count; i++)
        r = look_at_member(h, i, error);
    return r;
}

// --- the profile -----------------------------------------------------------------------------------------------------

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->member != y->member)
        return x->member < y->member ? -1 : 1;
    return (x->block > y->block) - (x->block < y->block);
}

static int make_profile(struct inheritance *h, struct profile **ret, struct error *error)
{
    struct profile *p CLEANUP(cleanup_profile) = profile_new();
    unsigned member;
    int r = p ? 0 : -ENOMEM;

    for (unsigned i = 0; r == 0 && i < h->source->member_count; i++)
        r = profile_add_member(p, h->source->members[i].name, h->source->members[i].size, &member);
    if (h->count > 0)
        qsort(h->places, h->count, sizeof(*h->places), compare_places);
    for (size_t i = 0; r == 0 && i < h->count; i++)
        r = profile_add_read(p, h->places[i].member, h->places[i].block, 1);
    if (r < 0 && r != -E2BIG)
        return error_set(error, -r, "no memory for the boot order");
    *ret = TAKE_PTR(p);
    return 0;
}

int inherit_profile(struct writer *w, const struct inherit_source *source, struct profile **ret, struct error *error)
{
    struct inheritance h = {.w = w, .source = source};
    int r = 0;

    if (source->boot_chunks == 0 || source->boot_chunks > PROFILE_BLOCKS_MAXIMUM) {
        *ret = NULL;
        return 0;
    }
    h.seen = calloc(source->boot_chunks, CHUNK_BLOCKS_MAXIMUM);
    h.piece = malloc(PIECE_SIZE);
    if (!h.seen || !h.piece)
        r = error_set(error, ENOMEM, "no memory for the boot order");
    measure_members(&h);
    if (r == 0)
        r = find_older_boot(&h, error);
    if (r == 0)
        r = look_at_members(&h, error);
    if (r == 0)
        r = make_profile(&h, ret, error);
    for (unsigned i = 0; i < MANIFEST_MEMBERS_MAXIMUM; i++)
        free(h.runs[i].list);
    free(h.places);
    free(h.seen);
    free(h.piece);
    return r;
}

// --- in place --------------------------------------------------------------------------------------------------------

static int take_places(struct inheritance *h, unsigned member, struct error *error)
{
    const struct runs *runs = &h->runs[member];
    int r = 0;

    h->member = member;
    if (h->source->fds[member] >= 0)
        for (uint64_t i = 0; r == 0 && runs->count > 0 && i < map_blocks(h->source->members[member].size); i++)
            r = add_place(h, runs->list[0].rank, i, error);
    else
        for (size_t i = 0; r == 0 && i < runs->count; i++)
            for (unsigned n = 0; r == 0 && n < runs->list[i].blocks; n++)
                r = add_place(h, runs->list[i].rank + n, runs->list[i].first + n, error);
    return r;
}

static int take_hashes(const struct inheritance *h, const struct profile *p, struct sha256 **ret, struct error *error)
{
    struct sha256 *hashes = calloc(p->block_count ? p->block_count : 1, sizeof(*hashes));

    if (!hashes)
        return error_set(error, ENOMEM, "no memory for the boot order");
    for (size_t i = 0; i < h->count && i < p->block_count; i++)
        hashes[i] = writer_index_block_hashes(
            h->w->index, h->places[i].rank / CHUNK_BLOCKS_MAXIMUM)[h->places[i].rank % CHUNK_BLOCKS_MAXIMUM];
    *ret = hashes;
    return 0;
}

int inherit_profile_in_place(struct writer *w, const struct inherit_source *source, struct profile **ret,
                             struct sha256 **ret_hashes, struct error *error)
{
    struct inheritance h = {.w = w, .source = source};
    struct profile *p CLEANUP(cleanup_profile) = NULL;
    int r = 0;

    if (source->boot_chunks == 0 || source->boot_chunks > PROFILE_BLOCKS_MAXIMUM) {
        *ret = NULL;
        return 0;
    }
    for (unsigned i = 0; r == 0 && i < source->member_count; i++) {
        int member = manifest_find_member(source->parent, source->members[i].name);
        h.now = &h.runs[i];
        h.older_blocks = member >= 0 ? map_blocks(source->parent->members[member].size) : 0;
        if (member >= 0)
            r = parent_walk_boot_map(writer_site(w), source->parent, (unsigned)member, note_page, &h, error);
        if (r == 0)
            r = take_places(&h, i, error);
    }
    if (r == 0)
        r = make_profile(&h, &p, error);
    if (r == 0 && p)
        r = take_hashes(&h, p, ret_hashes, error);
    if (r == 0)
        *ret = TAKE_PTR(p);
    for (unsigned i = 0; i < MANIFEST_MEMBERS_MAXIMUM; i++)
        free(h.runs[i].list);
    free(h.places);
    return r;
}
