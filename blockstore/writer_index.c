// The writer's index: records in spools, and an open-addressing hash table over them.
//
// A chunk's record holds 33 hashes, those of its blocks and its name. A hash is known by its place: number
// chunk × 33 + position; that of a known pack's name by PACK_NUMBERS + the pack's. A slot of the table is a u64:
//
//     bits 63..40  a fingerprint of the hash        bits 39..0  the hash's number + 1, 0 in an empty slot
//
// so that the table takes 8 bytes a hash, and a full hash is compared (on another page) only where the fingerprint is
// equal. Probing is linear; nothing is ever removed.
//
// Invariants
//   1. Equal hashes stand in the table in the order in which they were added: their probe sequence is the same, and
//      rehashing goes by number. Blocks must therefore be added in the order of their numbers.
//   2. At most two thirds of the slots are used.
//   3. The position in the table depends on random keys, so nobody who chooses hashes (in the table of a pack that is
//      not ours) can make them collide. No answer depends on the keys.
//   4. Of equal hashes the first WRITER_INDEX_COPIES stand in the table: nor can anybody make it slow with one block
//      that their packs hold a million times.
#include "blockstore/writer_index.h"
#include "blockstore/pack.h"
#include "blockstore/spool.h"
#include <errno.h>
#include <stdlib.h>

#include "base/banned.h"

#define HASHES (CHUNK_BLOCKS_MAXIMUM + 1) // of a record; the last is the chunk's name
#define NAME CHUNK_BLOCKS_MAXIMUM
#define NUMBER_BITS 40
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)
#define PACK_NUMBERS (UINT64_C(1) << (NUMBER_BITS - 1))
#define SLOT_BITS_AT_START 15

struct chunk_record {
    struct sha256 hashes[HASHES]; // all zero: not there
    uint32_t offset, length;
    uint32_t pack_plus_one; // 0: unplaced
    uint32_t adopted;
};

struct pack_record {
    struct pack_reference reference;
    uint32_t chunks_end; // offset
    uint32_t closed, boot;
    uint32_t known; // found by its name
};

struct writer_index {
    struct site *site;
    struct spool chunks, packs, slots;
    uint64_t chunk_count, used; // `used` slots
    unsigned slot_bits;         // the table has 2^slot_bits
    uint32_t pack_count;
    struct sha256_keys keys;
};

static struct chunk_record *chunk_at(const struct writer_index *x, uint64_t chunk)
{
    return (struct chunk_record *)(void *)x->chunks.at + chunk;
}

static struct pack_record *pack_at(const struct writer_index *x, uint32_t pack)
{
    return (struct pack_record *)(void *)x->packs.at + pack;
}

static const struct sha256 *hash_at(const struct writer_index *x, uint64_t number)
{
    if (number >= PACK_NUMBERS)
        return &pack_at(x, (uint32_t)(number - PACK_NUMBERS))->reference.name;
    return &chunk_at(x, number / HASHES)->hashes[number % HASHES];
}

static uint64_t *slots_of(const struct spool *s)
{
    return (uint64_t *)(void *)s->at;
}

static uint64_t fingerprint(uint64_t mixed)
{
    return mixed >> 8 << NUMBER_BITS;
}

// False if it has WRITER_INDEX_COPIES already. (By their fingerprints: others that have the same one are too few there
// to count.)
static bool put_in_slot(uint64_t *slots, unsigned slot_bits, uint64_t mixed, uint64_t number)
{
    uint64_t mask = (UINT64_C(1) << slot_bits) - 1;
    unsigned copies = 0;
    uint64_t i;

    for (i = mixed >> (64 - slot_bits); slots[i] != 0; i = (i + 1) & mask)
        if ((slots[i] & ~NUMBER_MASK) == fingerprint(mixed) && ++copies == WRITER_INDEX_COPIES)
            return false;
    slots[i] = fingerprint(mixed) | (number + 1);
    return true;
}

static int open_spool(struct writer_index *x, struct spool *s)
{
    int fd = site_make_scratch(x->site);

    if (fd < 0)
        return fd;
    spool_open(s, fd);
    return 0;
}

// Doubles the table. The hashes are walked by their numbers, which keeps invariant 1.
static int grow_table(struct writer_index *x)
{
    unsigned bits = x->slot_bits ? x->slot_bits + 1 : SLOT_BITS_AT_START;
    struct spool s = SPOOL_CLOSED;
    int r = open_spool(x, &s);

    if (r == 0)
        r = spool_ensure(&s, sizeof(uint64_t) << bits);
    if (r < 0) {
        spool_close(&s);
        return r;
    }
    for (uint64_t i = 0; i < x->chunk_count * HASHES; i++)
        if (!sha256_is_zero(hash_at(x, i)))
            (void)put_in_slot(slots_of(&s), bits, sha256_mix(hash_at(x, i), &x->keys), i);
    for (uint64_t i = PACK_NUMBERS; i < PACK_NUMBERS + x->pack_count; i++)
        if (pack_at(x, (uint32_t)(i - PACK_NUMBERS))->known)
            (void)put_in_slot(slots_of(&s), bits, sha256_mix(hash_at(x, i), &x->keys), i);
    spool_close(&x->slots);
    x->slots = s;
    x->slot_bits = bits;
    return 0;
}

// Room for one more slot.
static int make_room(struct writer_index *x)
{
    return (x->used + 1) * 3 > (UINT64_C(2) << x->slot_bits) ? grow_table(x) : 0;
}

int writer_index_open(struct site *site, struct writer_index **ret)
{
    struct writer_index *x = calloc(1, sizeof(*x));

    if (!x)
        return -ENOMEM;
    x->site = site;
    x->chunks = x->packs = x->slots = (struct spool)SPOOL_CLOSED;
    int r = sha256_make_keys(&x->keys);
    if (r == 0)
        r = open_spool(x, &x->chunks);
    if (r == 0)
        r = open_spool(x, &x->packs);
    if (r == 0)
        r = grow_table(x);
    if (r < 0) {
        writer_index_close(x);
        return r;
    }
    *ret = x;
    return 0;
}

void writer_index_close(struct writer_index *x)
{
    if (!x)
        return;
    spool_close(&x->chunks);
    spool_close(&x->packs);
    spool_close(&x->slots);
    free(x);
}

int writer_index_open_pack(struct writer_index *x, uint32_t *ret_pack)
{
    if (x->pack_count == UINT32_MAX - 1)
        return -EFBIG;
    int r = spool_ensure(&x->packs, ((uint64_t)x->pack_count + 1) * sizeof(struct pack_record));
    if (r < 0)
        return r;
    *ret_pack = x->pack_count++;
    return 0;
}

void writer_index_close_pack(struct writer_index *x, uint32_t pack, const struct pack_reference *ref)
{
    pack_at(x, pack)->reference = *ref;
    pack_at(x, pack)->closed = 1;
}

int writer_index_add_pack(struct writer_index *x, const struct pack_reference *ref, uint32_t *ret_pack)
{
    uint32_t pack = 0;
    int r = make_room(x);
    if (r == 0)
        r = writer_index_open_pack(x, &pack);
    if (r < 0)
        return r;
    writer_index_close_pack(x, pack, ref);
    pack_at(x, pack)->known = 1;
    x->used += put_in_slot(slots_of(&x->slots), x->slot_bits, sha256_mix(&ref->name, &x->keys), PACK_NUMBERS + pack);
    *ret_pack = pack;
    return 0;
}

bool writer_index_find_pack(const struct writer_index *x, const struct sha256 *name, uint32_t *ret_pack)
{
    uint64_t at = 0, number;
    unsigned unused;

    if (!writer_index_next(x, WRITER_INDEX_PACK, name, &at, &number, &unused))
        return false;
    *ret_pack = (uint32_t)number;
    return true;
}

const struct pack_reference *writer_index_pack(const struct writer_index *x, uint32_t pack)
{
    return &pack_at(x, pack)->reference;
}

uint32_t writer_index_chunk_bytes(const struct writer_index *x, uint32_t pack)
{
    return pack_at(x, pack)->chunks_end > 0 ? pack_at(x, pack)->chunks_end - PACK_MAGIC_SIZE : 0;
}

void writer_index_mark_boot(struct writer_index *x, uint32_t pack)
{
    pack_at(x, pack)->boot = 1;
}

bool writer_index_is_boot(const struct writer_index *x, uint32_t pack)
{
    return pack_at(x, pack)->boot != 0;
}

uint64_t writer_index_chunk_count(const struct writer_index *x)
{
    return x->chunk_count;
}

int writer_index_begin_chunk(struct writer_index *x, uint64_t *ret_chunk)
{
    if ((x->chunk_count + 1) * HASHES >= PACK_NUMBERS)
        return -EFBIG;
    int r = spool_ensure(&x->chunks, (x->chunk_count + 1) * sizeof(struct chunk_record));
    if (r < 0)
        return r;
    *ret_chunk = x->chunk_count++;
    return 0;
}

static int add_hash(struct writer_index *x, uint64_t number, const struct sha256 *hash)
{
    int r = make_room(x);
    if (r < 0)
        return r;
    chunk_at(x, number / HASHES)->hashes[number % HASHES] = *hash;
    x->used += put_in_slot(slots_of(&x->slots), x->slot_bits, sha256_mix(hash, &x->keys), number);
    return 0;
}

int writer_index_add_block(struct writer_index *x, uint64_t chunk, unsigned block, const struct sha256 *hash)
{
    return add_hash(x, chunk * HASHES + block, hash);
}

int writer_index_place_chunk(struct writer_index *x, uint64_t chunk, const struct sha256 *name,
                             const struct writer_index_place *place)
{
    int r = add_hash(x, chunk * HASHES + NAME, name);
    if (r < 0)
        return r;
    struct chunk_record *record = chunk_at(x, chunk);
    record->offset = place->offset;
    record->length = place->length;
    record->pack_plus_one = place->pack + 1;
    struct pack_record *pack = pack_at(x, place->pack);
    if (place->offset + place->length > pack->chunks_end)
        pack->chunks_end = place->offset + place->length;
    return 0;
}

bool writer_index_find_place(const struct writer_index *x, uint64_t chunk, struct writer_index_place *ret)
{
    const struct chunk_record *record = chunk_at(x, chunk);

    if (record->pack_plus_one == 0)
        return false;
    *ret = (struct writer_index_place){record->pack_plus_one - 1, record->offset, record->length};
    return true;
}

int writer_index_adopt_chunk(struct writer_index *x, const struct sha256 *name, const struct writer_index_place *place,
                             uint64_t *ret_chunk)
{
    struct writer_index_place there;
    uint64_t at = 0, chunk;
    unsigned unused;

    while (writer_index_next(x, WRITER_INDEX_CHUNK, name, &at, &chunk, &unused))
        if (writer_index_find_place(x, chunk, &there) && there.pack == place->pack && there.offset == place->offset &&
            there.length == place->length) {
            *ret_chunk = chunk;
            return 0;
        }
    int r = writer_index_begin_chunk(x, &chunk);
    if (r == 0)
        r = writer_index_place_chunk(x, chunk, name, place);
    if (r < 0)
        return r;
    chunk_at(x, chunk)->adopted = 1;
    *ret_chunk = chunk;
    return 0;
}

bool writer_index_is_adopted(const struct writer_index *x, uint64_t chunk)
{
    return chunk_at(x, chunk)->adopted != 0;
}

const struct sha256 *writer_index_block_hashes(const struct writer_index *x, uint64_t chunk)
{
    return chunk_at(x, chunk)->hashes;
}

static enum writer_index_kind kind_of(uint64_t number)
{
    if (number >= PACK_NUMBERS)
        return WRITER_INDEX_PACK;
    return number % HASHES == NAME ? WRITER_INDEX_CHUNK : WRITER_INDEX_BLOCK;
}

bool writer_index_next(const struct writer_index *x, enum writer_index_kind kind, const struct sha256 *hash,
                       uint64_t *at, uint64_t *ret_chunk, unsigned *ret_block)
{
    const uint64_t *slots = slots_of(&x->slots);
    uint64_t mixed = sha256_mix(hash, &x->keys), mask = (UINT64_C(1) << x->slot_bits) - 1;
    uint64_t begin = mixed >> (64 - x->slot_bits);

    for (uint64_t i; slots[i = (begin + *at) & mask] != 0;) {
        ++*at;
        if ((slots[i] & ~NUMBER_MASK) != fingerprint(mixed))
            continue;
        uint64_t number = (slots[i] & NUMBER_MASK) - 1;
        if (kind_of(number) != kind || !sha256_equal(hash_at(x, number), hash))
            continue;
        *ret_chunk = kind == WRITER_INDEX_PACK ? number - PACK_NUMBERS : number / HASHES;
        *ret_block = kind == WRITER_INDEX_PACK ? 0 : (unsigned)(number % HASHES);
        return true;
    }
    return false;
}

bool writer_index_find(const struct writer_index *x, enum writer_index_kind kind, const struct sha256 *hash,
                       uint64_t minimum, uint64_t *ret_chunk, unsigned *ret_block)
{
    uint64_t at = 0, chunk;
    unsigned block;

    while (writer_index_next(x, kind, hash, &at, &chunk, &block))
        if (chunk >= minimum) {
            *ret_chunk = chunk;
            *ret_block = block;
            return true;
        }
    return false;
}

int writer_index_reference(const struct writer_index *x, uint64_t chunk, struct chunk_reference *ret)
{
    const struct chunk_record *record = chunk_at(x, chunk);

    if (record->pack_plus_one == 0 || !pack_at(x, record->pack_plus_one - 1)->closed)
        return -EAGAIN;
    *ret = (struct chunk_reference){.name = record->hashes[NAME],
                                    .pack = pack_at(x, record->pack_plus_one - 1)->reference,
                                    .offset = record->offset,
                                    .length = record->length};
    return 0;
}
