// See inherit.h. Its steps:
//
//   the older maps → where blocks of its boot stood, each with its rank
//   the new members, read and hashed → which blocks belong to the boot, each with its rank (inherit_match.c)
//   → sorted by rank: a profile
//
// A rank is the place in the older boot packs: chunk number × 32 + position, since the writer knew these packs first,
// in their order. What is kept is bounded by what a profile may hold, whatever the older version says of itself: an
// older boot beyond that is inherited as far as it fits.
#include "base/cleanup.h"
#include "blockstore/inherit_private.h"
#include "blockstore/parent.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

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
    return r < 0 ? r : inherit_report(h, error);
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
    h.piece = malloc(INHERIT_PIECE_SIZE);
    if (!h.seen || !h.piece)
        r = error_set(error, ENOMEM, "no memory for the boot order");
    inherit_measure_members(&h);
    if (r == 0)
        r = find_older_boot(&h, error);
    if (r == 0)
        r = inherit_look_at_members(&h, error);
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
            r = inherit_add_place(h, runs->list[0].rank, i, error);
    else
        for (size_t i = 0; r == 0 && i < runs->count; i++)
            for (unsigned n = 0; r == 0 && n < runs->list[i].blocks; n++)
                r = inherit_add_place(h, runs->list[i].rank + n, runs->list[i].first + n, error);
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
