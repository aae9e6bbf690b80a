// Maps: checking, reading and building pages (the format is drawn in map.h).
//
// Reading. map_page_parse checks a page once and as a whole; map_page_reference and map_leaf_find then trust it. What
// it guarantees:
//   1. The counts describe exactly the bytes that are there; the rest of the last block is zeros.
//   2. Every reference names a pack of the page's table and lies inside that pack's chunks, with a length that a chunk
//      of the kind below (data under a leaf, page under an index) can have.
//   3. Extents are sorted, do not overlap, end within the segment, and stay within 32 blocks of their chunk.
//
// Building. Packs and references are numbered in the order of their first use, so that a page's bytes follow from its
// extents alone.
#include "blockstore/map.h"
#include "base/cleanup.h"
#include "base/cursor.h"
#include "blockstore/pack.h"
#include <errno.h>
#include <stdlib.h>

#include "base/banned.h"

enum page_type { PAGE_LEAF = 1, PAGE_INDEX = 2 };

// --- shape ---------------------------------------------------------------------------------------------------------

uint64_t map_blocks(uint64_t size)
{
    return size / BLOCK_SIZE + (size % BLOCK_SIZE != 0);
}

unsigned map_levels(uint64_t size)
{
    uint64_t blocks = map_blocks(size);
    unsigned levels = 1;

    for (uint64_t covered = MAP_LEAF_BLOCKS; covered < blocks && levels < MAP_LEVELS_MAXIMUM; covered *= MAP_FANOUT)
        levels++;
    return levels;
}

uint64_t map_child_blocks(unsigned level)
{
    uint64_t blocks = MAP_LEAF_BLOCKS;

    for (unsigned i = 1; i < level; i++)
        blocks *= MAP_FANOUT;
    return blocks;
}

static size_t page_used(size_t packs, size_t references, size_t extents)
{
    return MAP_PAGE_HEADER_SIZE + packs * MAP_PACK_SIZE + references * MAP_REFERENCE_SIZE + extents * MAP_EXTENT_SIZE;
}

static size_t round_to_blocks(size_t n)
{
    return (n + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
}

// --- reading -------------------------------------------------------------------------------------------------------

static const unsigned char *pack_at(const struct map_page *p, unsigned i)
{
    return p->bytes + page_used(i, 0, 0);
}

static const unsigned char *reference_at(const struct map_page *p, unsigned i)
{
    return p->bytes + page_used(p->packs, i, 0);
}

static const unsigned char *extent_at(const struct map_page *p, unsigned i)
{
    return p->bytes + page_used(p->packs, p->references, i);
}

static bool all_zero(const unsigned char *bytes, size_t n)
{
    return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

static bool reference_is_sound(const struct map_page *p, unsigned i)
{
    const unsigned char *r = reference_at(p, i);
    uint32_t pack = get_le16(r + 32), offset = get_le32(r + 34), length = get_le32(r + 38);

    if (p->level > 0 && all_zero(r, MAP_REFERENCE_SIZE))
        return true;
    if (pack >= p->packs || offset < PACK_MAGIC_SIZE || length <= CHUNK_HEADER_SIZE ||
        length > (p->level > 0 ? PAGE_STORED_MAXIMUM : CHUNK_STORED_MAXIMUM))
        return false;
    return (uint64_t)offset + length + PACK_TABLE_ENTRY_SIZE + PACK_TRAILER_SIZE <= get_le32(pack_at(p, pack) + 32);
}

static bool extents_are_sound(const struct map_page *p)
{
    unsigned end = 0;

    for (unsigned i = 0; i < p->extents; i++) {
        const unsigned char *e = extent_at(p, i);
        unsigned first = get_le16(e), blocks = get_le16(e + 2), in_chunk = e[4], reference = get_le16(e + 5);
        if (first < end || blocks == 0 || first + blocks > MAP_LEAF_BLOCKS ||
            in_chunk + blocks > CHUNK_BLOCKS_MAXIMUM || reference >= p->references)
            return false;
        end = first + blocks;
    }
    return true;
}

int map_page_parse(const void *bytes, size_t n, unsigned level, struct map_page *ret, struct error *error)
{
    struct cursor c = cursor_over(bytes, n);
    struct map_page p = {.bytes = bytes, .level = level};
    unsigned type = cursor_u8(&c);
    unsigned own_level = cursor_u8(&c);
    p.packs = cursor_u16(&c);
    p.references = cursor_u16(&c);
    p.extents = cursor_u16(&c);

    if (c.failed || n > PAGE_BYTES_MAXIMUM || n % BLOCK_SIZE != 0)
        return error_set(error, EBADMSG, "a map page of %zu bytes cannot be", n);
    if (level >= MAP_LEVELS_MAXIMUM || own_level != level || type != (level == 0 ? PAGE_LEAF : PAGE_INDEX))
        return error_set(error, EBADMSG, "a map page of type %u and level %u stands where level %u belongs", type,
                         own_level, level);
    if (level > 0 && (p.extents != 0 || p.references > MAP_FANOUT))
        return error_set(error, EBADMSG, "an index page has %u children and %u extents", p.references, p.extents);

    size_t used = page_used(p.packs, p.references, p.extents);
    if (round_to_blocks(used) != n || !all_zero(p.bytes + used, n - used))
        return error_set(error, EBADMSG,
                         "a map page's counts (%u packs, %u references, %u extents) contradict its "
                         "%zu bytes",
                         p.packs, p.references, p.extents, n);
    for (unsigned i = 0; i < p.packs; i++)
        if (get_le32(pack_at(&p, i) + 32) > PACK_SIZE_MAXIMUM)
            return error_set(error, EBADMSG, "a map page names a pack that is larger than any may be");
    for (unsigned i = 0; i < p.references; i++)
        if (!reference_is_sound(&p, i))
            return error_set(error, EBADMSG, "reference %u of a map page lies outside of its pack", i);
    if (!extents_are_sound(&p))
        return error_set(error, EBADMSG, "a map page's extents are out of order or out of bounds");
    *ret = p;
    return 0;
}

bool map_page_reference(const struct map_page *page, unsigned i, struct chunk_reference *ret)
{
    const unsigned char *r = reference_at(page, i);

    if (get_le32(r + 38) == 0)
        return false;
    const unsigned char *pack = pack_at(page, get_le16(r + 32));
    memcpy(ret->name.bytes, r, SHA256_SIZE);
    memcpy(ret->pack.name.bytes, pack, SHA256_SIZE);
    ret->pack.size = get_le32(pack + 32);
    memcpy(ret->pack.table.bytes, pack + 36, SHA256_SIZE);
    ret->offset = get_le32(r + 34);
    ret->length = get_le32(r + 38);
    return true;
}

struct map_run map_leaf_find(const struct map_page *leaf, unsigned block)
{
    unsigned low = 0, high = leaf->extents; // the first extent that begins after `block` lies in [low, high]

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (get_le16(extent_at(leaf, middle)) <= block)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0) {
        const unsigned char *e = extent_at(leaf, low - 1);
        unsigned into = block - get_le16(e), blocks = get_le16(e + 2);
        if (into < blocks)
            return (struct map_run){
                .blocks = blocks - into, .reference = get_le16(e + 5), .block_in_chunk = e[4] + into};
    }
    unsigned next = low < leaf->extents ? get_le16(extent_at(leaf, low)) : MAP_LEAF_BLOCKS;
    return (struct map_run){.zero = true, .blocks = next - block};
}

// --- building ------------------------------------------------------------------------------------------------------

// The three parts of a page under construction. Packs and references grow side by side, so each has its own memory;
// a hash table finds the number of a chunk or pack that has one already.
#define SLOTS 32768u          // more than twice the references that fit into a page
#define SLOT_EMPTY UINT16_MAX // more than any number
#define PACKS_MAXIMUM (PAGE_BYTES_MAXIMUM / MAP_PACK_SIZE)
#define REFERENCES_MAXIMUM (PAGE_BYTES_MAXIMUM / MAP_REFERENCE_SIZE)
_Static_assert(REFERENCES_MAXIMUM * 2 < SLOTS, "the hash tables must never fill up");

struct page_builder {
    unsigned packs, references;
    uint16_t pack_slots[SLOTS], chunk_slots[SLOTS];
    uint64_t chunks[REFERENCES_MAXIMUM]; // the writer's number for each reference of a leaf
    unsigned char pack_bytes[PACKS_MAXIMUM * MAP_PACK_SIZE];
    unsigned char reference_bytes[REFERENCES_MAXIMUM * MAP_REFERENCE_SIZE];
};

static struct page_builder *builder_new(void)
{
    struct page_builder *b = malloc(sizeof(*b));

    if (b) {
        b->packs = b->references = 0;
        memset(b->pack_slots, 0xff, sizeof(b->pack_slots));
        memset(b->chunk_slots, 0xff, sizeof(b->chunk_slots));
    }
    return b;
}

// The number of a pack in the page's table, added if it is new; -E2BIG if there is no room.
static int builder_number_pack(struct page_builder *b, const struct pack_reference *pack)
{
    unsigned slot = get_le32(pack->name.bytes) % SLOTS;

    for (; b->pack_slots[slot] != SLOT_EMPTY; slot = (slot + 1) % SLOTS)
        if (memcmp(b->pack_bytes + b->pack_slots[slot] * MAP_PACK_SIZE, pack->name.bytes, SHA256_SIZE) == 0)
            return b->pack_slots[slot];
    if (b->packs >= PACKS_MAXIMUM)
        return -E2BIG;
    unsigned char *at = b->pack_bytes + b->packs * MAP_PACK_SIZE;
    memcpy(at, pack->name.bytes, SHA256_SIZE);
    put_le32(at + 32, pack->size);
    memcpy(at + 36, pack->table.bytes, SHA256_SIZE);
    b->pack_slots[slot] = (uint16_t)b->packs;
    return (int)b->packs++;
}

static int builder_add_reference(struct page_builder *b, const struct chunk_reference *ref)
{
    if (b->references >= REFERENCES_MAXIMUM)
        return -E2BIG;
    unsigned char *at = b->reference_bytes + b->references * MAP_REFERENCE_SIZE;
    if (ref->length == 0) {
        memset(at, 0, MAP_REFERENCE_SIZE);
    } else {
        int pack = builder_number_pack(b, &ref->pack);
        if (pack < 0)
            return pack;
        memcpy(at, ref->name.bytes, SHA256_SIZE);
        put_le16(at + 32, (uint16_t)pack);
        put_le32(at + 34, ref->offset);
        put_le32(at + 38, ref->length);
    }
    return (int)b->references++;
}

// The number of a chunk among the page's references, looked up and added if it is new.
static int builder_number_chunk(struct page_builder *b, uint64_t chunk,
                                int (*find)(void *context, uint64_t chunk, struct chunk_reference *ret), void *context)
{
    unsigned slot = (unsigned)((chunk * 0x9e3779b97f4a7c15ull) >> 49); // Fibonacci hashing; 15 bits: SLOTS
    struct chunk_reference ref;

    for (; b->chunk_slots[slot] != SLOT_EMPTY; slot = (slot + 1) % SLOTS)
        if (b->chunks[b->chunk_slots[slot]] == chunk)
            return b->chunk_slots[slot];
    int r = find(context, chunk, &ref);
    if (r < 0)
        return r;
    int number = builder_add_reference(b, &ref);
    if (number < 0)
        return number;
    b->chunks[number] = chunk;
    b->chunk_slots[slot] = (uint16_t)number;
    return number;
}

// Puts the parts together; `extents` of them follow, at *ret_extents. -E2BIG if that exceeds a page.
static int builder_assemble(const struct page_builder *b, unsigned level, size_t extents, unsigned char *page,
                            unsigned char **ret_extents, size_t *ret_size)
{
    size_t used = page_used(b->packs, b->references, extents);

    if (used > PAGE_BYTES_MAXIMUM || extents > UINT16_MAX)
        return -E2BIG;
    size_t size = round_to_blocks(used);
    page[0] = level == 0 ? PAGE_LEAF : PAGE_INDEX;
    page[1] = (unsigned char)level;
    put_le16(page + 2, (uint16_t)b->packs);
    put_le16(page + 4, (uint16_t)b->references);
    put_le16(page + 6, (uint16_t)extents);
    unsigned char *at = page + MAP_PAGE_HEADER_SIZE;
    memcpy(at, b->pack_bytes, b->packs * MAP_PACK_SIZE);
    at += b->packs * MAP_PACK_SIZE;
    memcpy(at, b->reference_bytes, b->references * MAP_REFERENCE_SIZE);
    memset(page + used, 0, size - used);
    *ret_extents = at + b->references * MAP_REFERENCE_SIZE;
    *ret_size = size;
    return 0;
}

int map_leaf_build(const struct map_extent *extents, unsigned n,
                   int (*find)(void *context, uint64_t chunk, struct chunk_reference *ret), void *context,
                   void *ret_bytes, size_t *ret_size)
{
    struct page_builder *b CLEANUP_FREE = builder_new();
    uint16_t *numbers CLEANUP_FREE = malloc((n ? n : 1) * sizeof(*numbers));
    unsigned char *at;

    if (!b || !numbers)
        return -ENOMEM;
    for (unsigned i = 0; i < n; i++) {
        int number = builder_number_chunk(b, extents[i].chunk, find, context);
        if (number < 0)
            return number;
        numbers[i] = (uint16_t)number;
    }
    int r = builder_assemble(b, 0, n, ret_bytes, &at, ret_size);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < n; i++, at += MAP_EXTENT_SIZE) {
        put_le16(at, (uint16_t)extents[i].first);
        put_le16(at + 2, extents[i].blocks);
        at[4] = extents[i].block_in_chunk;
        put_le16(at + 5, numbers[i]);
    }
    return 0;
}

int map_index_build(unsigned level, const struct chunk_reference *children, unsigned n, void *ret_bytes,
                    size_t *ret_size)
{
    struct page_builder *b CLEANUP_FREE = builder_new();
    unsigned char *end;

    if (!b)
        return -ENOMEM;
    for (unsigned i = 0; i < n; i++) {
        int number = builder_add_reference(b, &children[i]);
        if (number < 0)
            return number;
    }
    return builder_assemble(b, level, 0, ret_bytes, &end, ret_size);
}
