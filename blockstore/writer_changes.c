// A member from an older version and what changed since: its older map is walked from the top, and what follows depends
// on what lies below a page:
//
//   nothing changed ──▶ the page is adopted: its reference is all that is known of it, and it is not read (unless the
//                       boot reads below it: such pages are made anew, or found to be the same)
//   something did   ──▶ an index page: its children are walked, and a new page is made of them (writer_pages.c)
//                   ──▶ a leaf: blocks that did not change keep their extents; those that did are read, and are dropped
//                       as zeros, found among known blocks or gathered, as any other member's are (writer_member.c)
//
// 1. Chunks and pages that are adopted lie in packs of the site already, so their leaves wait for no pack
//    (writer_pages.c), and their blocks are found by nobody: they have no hashes here.
// 2. Where the member grew, the page in which the older one ends is made anew: what the older map says behind that end
//    is not taken over, nor is a last block that was not whole, as no reader has ever looked at it. It is read.
// 3. A leaf that would not fit any more is made of blocks that are stored afresh, all of them (writer_member.c).
// 4. Memory: a page of each level, and an entry for each child of the index pages that are made anew.
#include "base/cleanup.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct merge {
    struct writer *w;
    const struct writer_changes *changes;
    unsigned member, base_levels;
    uint64_t base_blocks, blocks;
    uint64_t older;                           // blocks of which the older map is believed (2.)
    unsigned char *bytes[MAP_LEVELS_MAXIMUM]; // of a page on each level
    // The first changed blocks at or behind where the walk is; empty at the end of the member if there are none.
    uint64_t change, change_end;
    bool change_zero;
    struct error *error;
};

static int adopt(struct merge *m, const struct chunk_reference *ref, uint64_t *ret_chunk)
{
    struct writer_index *x = m->w->index;
    struct writer_index_place place = {.offset = ref->offset, .length = ref->length};
    char hex[SHA256_HEX_SIZE];
    bool known = writer_index_find_pack(x, &ref->pack.name, &place.pack);
    const struct pack_reference *pack = known ? writer_index_pack(x, place.pack) : &ref->pack;
    uint64_t chunks = writer_index_chunk_count(x);

    if (pack->size != ref->pack.size || !sha256_equal(&pack->table, &ref->pack.table))
        return error_set(m->error, EBADMSG, "the map of the older version says two things of the pack %s",
                         sha256_to_hex(&ref->pack.name, hex));
    int r = known ? 0 : writer_index_add_pack(x, &ref->pack, &place.pack);
    if (r == 0)
        r = writer_index_adopt_chunk(x, &ref->name, &place, ret_chunk);
    if (r < 0)
        return site_write_failed(m->w->site, m->error, r, "the block index");
    if (m->changes->foreign && *ret_chunk >= chunks)
        return error_set(m->error, EBADMSG, "the pack %s does not hold the chunk that the older version's map says",
                         sha256_to_hex(&ref->pack.name, hex));
    return 0;
}

// --- changes -------------------------------------------------------------------------------------------------------

// Makes m->change what the first changed blocks at or behind `block` are.
static int seek_change(struct merge *m, uint64_t block)
{
    uint64_t first, count;
    int r;

    if (block < m->change_end) {
        m->change = block > m->change ? block : m->change;
        return 0;
    }
    r = m->changes->find_change(m->changes->context, block, &first, &count, &m->change_zero);
    if (r < 0)
        return error_set(m->error, -r, "cannot find what changed of member %s: %s", m->w->members[m->member].name,
                         strerror(-r));
    m->change = r > 0 && first < m->blocks ? first : m->blocks;
    m->change_end = m->change == m->blocks ? m->blocks : first + count;
    return 0;
}

// What leads to the blocks of a boot goes into packs of its own, wherever it was (writer_boot_pages.c); so does every
// member's top.
static bool is_in_boot(const struct merge *m, uint64_t first, uint64_t end)
{
    return m->w->boot.wanted &&
           ((first == 0 && end == m->blocks) || writer_is_boot_range(m->w, m->member, first / MAP_LEAF_BLOCKS,
                                                                     (end + MAP_LEAF_BLOCKS - 1) / MAP_LEAF_BLOCKS));
}

// Whether the page over blocks [first, end) is to be made anew.
static int is_changed(struct merge *m, uint64_t first, uint64_t end, bool *ret)
{
    int r = seek_change(m, first);

    if (end > m->blocks)
        end = m->blocks;
    *ret = m->change < end || m->changes->foreign || is_in_boot(m, first, end) ||
           (m->changes->size > m->changes->base->size && first < m->base_blocks && m->older < end);
    return r;
}

// --- leaves --------------------------------------------------------------------------------------------------------

static bool is_in_boot_pack(const struct writer *w, uint64_t chunk)
{
    struct writer_index_place place;

    return writer_index_find_place(w->index, chunk, &place) && writer_index_is_boot(w->index, place.pack);
}

// A block that is in a boot pack is taken from there: a boot must need no other.
static void keep_run(struct writer *w, unsigned block, unsigned count, uint64_t chunk, unsigned position)
{
    if (!w->boot.wanted || is_in_boot_pack(w, chunk)) {
        writer_add_extent(w, block, count, chunk, position);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        struct sha256 hash = writer_index_block_hashes(w->index, chunk)[position + i];
        uint64_t boot_chunk = 0;
        unsigned boot_position = 0;
        bool found =
            !sha256_is_zero(&hash) && writer_find_boot(w, WRITER_INDEX_BLOCK, &hash, &boot_chunk, &boot_position);
        writer_add_extent(w, block + i, 1, found ? boot_chunk : chunk, found ? boot_position : position + i);
    }
}

// Blocks [from, to) of the segment as the older leaf has them. `chunks` are the numbers of its references, or
// UINT64_MAX.
static int keep_blocks(struct merge *m, const struct map_page *leaf, uint64_t *chunks, unsigned from, unsigned to)
{
    char hex[SHA256_HEX_SIZE];

    for (unsigned block = from, n; block < to; block += n) {
        struct map_run run = map_leaf_find(leaf, block);
        struct chunk_reference ref;
        n = run.blocks < to - block ? run.blocks : to - block;
        if (run.zero || !map_page_reference(leaf, run.reference, &ref))
            continue;
        if (chunks[run.reference] == UINT64_MAX) {
            int r = adopt(m, &ref, &chunks[run.reference]);
            if (r < 0)
                return r;
        }
        // A page, or a chunk that is not as long: nobody could read that.
        if (m->changes->foreign &&
            sha256_is_zero(&writer_index_block_hashes(m->w->index, chunks[run.reference])[run.block_in_chunk + n - 1]))
            return error_set(m->error, EBADMSG, "the older version's map wants more of a chunk of pack %s than it has",
                             sha256_to_hex(&ref.pack.name, hex));
        keep_run(m->w, block, n, chunks[run.reference], run.block_in_chunk);
    }
    return 0;
}

static int read_blocks(struct merge *m, uint64_t first, unsigned from, unsigned to)
{
    uint64_t start = (first + from) * BLOCK_SIZE, end = (first + to) * BLOCK_SIZE;

    return writer_read_range(m->w, start, end < m->changes->size ? end : m->changes->size, m->error);
}

// `leaf` NULL: all zeros.
static int merge_leaf(struct merge *m, const struct map_page *leaf, uint32_t segment)
{
    uint64_t first = (uint64_t)segment * MAP_LEAF_BLOCKS, own_chunks;
    unsigned count = m->blocks - first < MAP_LEAF_BLOCKS ? (unsigned)(m->blocks - first) : MAP_LEAF_BLOCKS;
    unsigned older = m->older <= first ? 0 : m->older - first < count ? (unsigned)(m->older - first) : count;
    uint64_t *chunks CLEANUP_FREE = malloc((leaf && leaf->references ? leaf->references : 1) * sizeof(*chunks));
    int r = chunks ? 0 : error_set(m->error, ENOMEM, "no memory for the map");

    for (unsigned i = 0; chunks && leaf && i < leaf->references; i++)
        chunks[i] = UINT64_MAX;
    writer_begin_segment(m->w, segment, &own_chunks);
    for (unsigned at = 0, to; r == 0 && at < count; at = to) {
        r = seek_change(m, first + at);
        if (r < 0)
            return r;
        if (m->change > first + at) { // not changed up to there
            to = m->change - first < count ? (unsigned)(m->change - first) : count;
            if (leaf && at < older)
                r = keep_blocks(m, leaf, chunks, at, to < older ? to : older);
            if (r == 0 && first + older < m->base_blocks && at <= older && older < to) // the older end's block
                r = read_blocks(m, first, older, older + 1);
            continue;
        }
        to = m->change_end - first < count ? (unsigned)(m->change_end - first) : count;
        m->w->counts.changed_blocks += to - at;
        if (!m->change_zero)
            r = read_blocks(m, first, at, to);
    }
    return r < 0 ? r : writer_end_segment(m->w, own_chunks, m->error);
}

// --- the walk ------------------------------------------------------------------------------------------------------

static int read_page(struct merge *m, const struct chunk_reference *ref, unsigned level, struct map_page *ret)
{
    if (!m->bytes[level] && !(m->bytes[level] = malloc(PAGE_BYTES_MAXIMUM)))
        return error_set(m->error, ENOMEM, "no memory for the map");
    return m->changes->read_page(m->changes->context, ref, level, m->bytes[level], ret, m->error);
}

static int adopt_page(struct merge *m, const struct chunk_reference *ref, unsigned level, uint32_t position)
{
    struct writer_page page = {.member = m->member, .position = position};
    int r = adopt(m, ref, &page.chunk);

    return r < 0 ? r : writer_add_page(&m->w->pages[level], &page, m->error);
}

static int walk(struct merge *m, const struct chunk_reference *ref, unsigned level, uint32_t position);

// The children of an index page; `page` is the older one, or NULL: all zeros, or one above the older map's top.
static int walk_children(struct merge *m, const struct map_page *page, unsigned level, uint32_t position)
{
    uint64_t part = map_child_blocks(level), first = position * part * MAP_FANOUT;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < MAP_FANOUT && first + i * part < m->blocks; i++) {
        const struct chunk_reference *older = NULL;
        struct chunk_reference child;
        if (page && first + i * part < m->base_blocks) {
            if (i >= page->references)
                return error_set(m->error, EBADMSG, "a map page of the older version ends too early");
            older = map_page_reference(page, i, &child) ? &child : NULL;
        } else if (level == m->base_levels && position == 0 && i == 0 && !m->changes->base->zero) {
            older = &m->changes->base->top;
        }
        r = walk(m, older, level - 1, position * MAP_FANOUT + i);
    }
    return r;
}

static int walk(struct merge *m, const struct chunk_reference *ref, unsigned level, uint32_t position)
{
    uint64_t covered = map_child_blocks(level + 1), first = position * covered;
    struct map_page page;
    bool changed;
    int r = is_changed(m, first, first + covered, &changed);

    if (r < 0)
        return r;
    if (!changed)
        return ref ? adopt_page(m, ref, level, position) : 0;
    if (ref && (r = read_page(m, ref, level, &page)) < 0)
        return r;
    if (level == 0)
        return merge_leaf(m, ref ? &page : NULL, position);
    return walk_children(m, ref ? &page : NULL, level, position);
}

static int measure_changes(struct merge *m)
{
    m->w->all = 0;
    for (uint64_t block = 0; block < m->blocks;) {
        int r = seek_change(m, block);
        if (r < 0)
            return r;
        if (!m->change_zero && m->change < m->blocks)
            m->w->all += (m->change_end - m->change) * BLOCK_SIZE;
        block = m->change_end;
    }
    m->change = m->change_end = 0;
    return 0;
}

int writer_merge_member(struct writer *w, unsigned member, const struct writer_changes *changes, struct error *error)
{
    struct merge m = {.w = w,
                      .changes = changes,
                      .member = member,
                      .base_levels = map_levels(changes->base->size),
                      .base_blocks = map_blocks(changes->base->size),
                      .blocks = map_blocks(changes->size),
                      .older = changes->size > changes->base->size ? changes->base->size / BLOCK_SIZE
                                                                   : map_blocks(changes->base->size),
                      .error = error};
    unsigned top = map_levels(changes->size) - 1;

    w->reading = w->members[member].name;
    w->changes = changes;
    w->size = changes->size;
    w->done = 0;
    w->next_chunk = writer_index_chunk_count(w->index);
    int r = measure_changes(&m);
    if (r == 0)
        r = writer_report_progress(w, true, error);
    if (r == 0)
        r = walk(&m, top < m.base_levels && !changes->base->zero ? &changes->base->top : NULL, top, 0);
    if (r == 0)
        r = writer_flush_chunk(w, error);
    if (r == 0)
        r = writer_report_progress(w, true, error);
    for (unsigned i = 0; i < MAP_LEVELS_MAXIMUM; i++)
        free(m.bytes[i]);
    w->changes = NULL;
    return r;
}
