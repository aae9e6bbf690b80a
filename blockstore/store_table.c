// The table of chunks: every chunk that is in memory, or that somebody waits for, by (kind, name).
//
//   1. A chunk is in the table from store_add_chunk until it is evicted, fails, or is given up unfetched.
//   2. It is freed when it is out of the table and nobody holds it.
//   3. A pool counts all READY chunks of its kind; only those without users are in its list and can be evicted, so
//      what is in use may exceed the limit, by what the threads hold (STORE_BATCH_MAXIMUM each).
//   4. A chunk is in at most one list: WANTED in store.wanted, READY without users in its pool's.
//   5. A whole chunk of data is a piece of blocks.h; what is smaller, and pages, are of malloc, in their own size.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/blocks.h"
#include "blockstore/pack.h"
#include "blockstore/store_private.h"
#include <limits.h>
#include <string.h>

#include "base/banned.h"

#define RELAX_BATCH 32u // chunks given back before others may have the mutex

static struct store_chunk **bucket_of(struct store *s, const struct sha256 *name)
{
    return &s->buckets[(name->bytes[0] | (unsigned)name->bytes[1] << 8) % STORE_BUCKETS];
}

static struct chunk_pool *pool_of(struct store *s, enum chunk_kind kind)
{
    return &s->pools[kind == CHUNK_PAGE];
}

static size_t cost_of(const struct store_chunk *c)
{
    return sizeof(*c) + (size_t)c->nblocks * BLOCK_SIZE;
}

// --- lists ---------------------------------------------------------------------------------------------------------

static void list_append(struct chunk_list *l, struct store_chunk *c)
{
    c->list_before = l->last;
    c->list_after = NULL;
    *(l->last ? &l->last->list_after : &l->first) = c;
    l->last = c;
}

static void list_remove(struct chunk_list *l, struct store_chunk *c)
{
    *(c->list_before ? &c->list_before->list_after : &l->first) = c->list_after;
    *(c->list_after ? &c->list_after->list_before : &l->last) = c->list_before;
    c->list_before = c->list_after = NULL;
}

// --- the table -----------------------------------------------------------------------------------------------------

struct store_chunk *store_find_chunk(struct store *s, enum chunk_kind kind, const struct sha256 *name)
{
    for (struct store_chunk *c = *bucket_of(s, name); c; c = c->next)
        if (c->kind == kind && sha256_equal(&c->ref.name, name))
            return c;
    return NULL;
}

struct store_chunk *store_add_chunk(struct store *s, struct version *v, enum chunk_kind kind, unsigned level,
                                    const struct chunk_reference *ref)
{
    struct store_chunk *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    if (kind == CHUNK_DATA && store_memory_missed(&s->memory, &ref->name, CHUNK_BYTES_MAXIMUM)) {
        s->pools[0].limit = s->memory.limit;
        store_want_helpers(s); // who will give it back
    }
    struct store_chunk **bucket = bucket_of(s, &ref->name);
    c->ref = *ref;
    c->kind = kind;
    c->level = level;
    c->state = CHUNK_UNCHECKED;
    c->users = 1;
    c->owner = v;
    c->next = *bucket;
    *bucket = c;
    return c;
}

static void unlink_from_bucket(struct store *s, struct store_chunk *c)
{
    struct store_chunk **at = bucket_of(s, &c->ref.name);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
}

// Rule 5.
static void free_blocks(enum chunk_kind kind, unsigned nblocks, unsigned char *blocks)
{
    if (kind == CHUNK_DATA && nblocks == CHUNK_BLOCKS_MAXIMUM)
        blocks_free(blocks);
    else
        free(blocks);
}

static void free_chunk(struct store_chunk *c)
{
    free_blocks(c->kind, c->nblocks, c->blocks);
    free(c->error);
    free(c);
}

// A READY chunk leaves the table.
static void waste_ahead(struct store *s, const struct store_chunk *c)
{
    if (!c->ahead)
        return;
    s->ahead_bytes -= cost_of(c);
    atomic_fetch_add(&s->ahead_wasted, 1);
}

// At most so many chunks. True if that was not enough.
static bool evict_some(struct store *s, struct chunk_pool *pool, unsigned at_most)
{
    for (; pool->bytes > pool->limit && pool->idle.first; at_most--) {
        if (at_most == 0)
            return true;
        struct store_chunk *c = pool->idle.first;
        list_remove(&pool->idle, c);
        pool->bytes -= cost_of(c);
        waste_ahead(s, c);
        if (c->kind == CHUNK_DATA)
            store_memory_evicted(&s->memory, &c->ref.name, cost_of(c));
        unlink_from_bucket(s, c);
        free_chunk(c);
    }
    return false;
}

static void evict(struct store *s, struct chunk_pool *pool)
{
    evict_some(s, pool, UINT_MAX);
}

bool store_relax_memory(struct store *s)
{
    store_memory_relax(&s->memory);
    s->pools[0].limit = s->memory.limit;
    return evict_some(s, &s->pools[0], RELAX_BATCH);
}

void store_forget_chunk(struct store *s, enum chunk_kind kind, const struct sha256 *name)
{
    struct store_chunk *c = store_find_chunk(s, kind, name);
    if (!c || c->state != CHUNK_READY)
        return;
    unlink_from_bucket(s, c);
    pool_of(s, kind)->bytes -= cost_of(c);
    waste_ahead(s, c);
    c->forgotten = true;
    if (c->users > 0)
        return;
    list_remove(&pool_of(s, kind)->idle, c);
    free_chunk(c);
}

void store_hold_chunk(struct store *s, struct store_chunk *c)
{
    if (c->users++ == 0 && c->state == CHUNK_READY)
        list_remove(&pool_of(s, c->kind)->idle, c);
}

void store_want_chunk(struct store *s, struct store_chunk *c)
{
    if (c->ahead && c->state == CHUNK_READY && !c->forgotten)
        s->ahead_bytes -= cost_of(c);
    c->ahead = false;
}

void store_release_chunk(struct store *s, struct store_chunk *c)
{
    if (--c->users > 0)
        return;
    if (c->forgotten) {
        free_chunk(c);
        return;
    }
    switch (c->state) {
    case CHUNK_READY:
        list_append(&pool_of(s, c->kind)->idle, c);
        evict(s, pool_of(s, c->kind));
        break;
    case CHUNK_FAILED:
        free_chunk(c);
        break;
    case CHUNK_WANTED:
        list_remove(&s->wanted, c);
        unlink_from_bucket(s, c);
        free_chunk(c);
        break;
    case CHUNK_UNCHECKED:
        unlink_from_bucket(s, c);
        free_chunk(c);
        break;
    case CHUNK_LOADING:
    case CHUNK_FETCHING:
        break; // whoever set that state will end it, and then finds no users
    }
}

// --- states --------------------------------------------------------------------------------------------------------

void store_set_state(struct store *s, struct store_chunk *c, enum chunk_state state)
{
    if (c->state == CHUNK_WANTED && state != CHUNK_WANTED)
        list_remove(&s->wanted, c);
    if (c->state != CHUNK_WANTED && state == CHUNK_WANTED)
        list_append(&s->wanted, c);
    c->state = state;
    pthread_cond_broadcast(&s->changed);
}

void store_retry_wanted(struct store *s, const struct sha256 *pack)
{
    s->arrivals++;
    for (struct store_chunk *c = s->wanted.first, *after; c; c = after) {
        after = c->list_after;
        if (sha256_equal(&c->ref.pack.name, pack))
            store_set_state(s, c, CHUNK_UNCHECKED);
    }
}

void store_publish_chunk(struct store *s, struct store_chunk *c, struct decoded *d)
{
    struct chunk_pool *pool = pool_of(s, c->kind);
    c->blocks = TAKE_PTR(d->blocks);
    c->nblocks = d->nblocks;
    c->page = d->page;
    pool->bytes += cost_of(c);
    if (c->ahead) {
        s->ahead_bytes += cost_of(c);
        atomic_fetch_add(&s->ahead, 1);
    }
    store_set_state(s, c, CHUNK_READY);
    if (c->users == 0)
        list_append(&pool->idle, c);
    evict(s, pool);
}

void store_fail_chunk(struct store *s, struct store_chunk *c, int result, const struct error *error)
{
    c->result = result;
    c->error = error ? malloc(sizeof(*c->error)) : NULL;
    if (c->error)
        *c->error = *error;
    unlink_from_bucket(s, c);
    store_set_state(s, c, CHUNK_FAILED);
    if (c->users == 0)
        free_chunk(c);
}

void store_free_table(struct store *s)
{
    for (unsigned i = 0; i < STORE_BUCKETS; i++)
        for (struct store_chunk *c = s->buckets[i], *next; c; c = next) {
            next = c->next;
            free_chunk(c);
        }
}

// --- from stored bytes ----------------------------------------------------------------------------------------------

int store_check_reference(enum chunk_kind kind, const struct chunk_reference *ref, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    uint32_t maximum = kind == CHUNK_PAGE ? PAGE_STORED_MAXIMUM : CHUNK_STORED_MAXIMUM;
    if (ref->length <= CHUNK_HEADER_SIZE || ref->length > maximum || ref->pack.size > PACK_SIZE_MAXIMUM ||
        ref->offset < PACK_MAGIC_SIZE || ref->offset > ref->pack.size || ref->length > ref->pack.size - ref->offset)
        return error_set(error, EBADMSG, "the reference to chunk %s is out of bounds: this version is damaged",
                         sha256_to_hex(&ref->name, hex));
    return 0;
}

// What was decoded, in a piece of memory of its own size (rule 5). Copied, because realloc would leave it in the
// mapping that malloc made for the maximum, of which the last page holds 16 bytes: two pages for a map page of one, and
// of those we keep a thousand.
static unsigned char *copy_of(const unsigned char *blocks, size_t n)
{
    unsigned char *copy = io->malloc(n);
    return copy ? memcpy(copy, blocks, n) : NULL;
}

int store_decode(enum chunk_kind kind, unsigned level, const struct chunk_reference *ref, const void *stored,
                 struct decoded *ret, struct error *error)
{
    struct decoded d = {0};
    unsigned maximum = kind == CHUNK_PAGE ? PAGE_BLOCKS_MAXIMUM : CHUNK_BLOCKS_MAXIMUM;
    unsigned char *blocks = kind == CHUNK_PAGE ? io->malloc(PAGE_BYTES_MAXIMUM) : blocks_new();
    if (!blocks)
        return error_set(error, ENOMEM, "out of memory");
    int r = chunk_decode(kind, &ref->name, stored, ref->length, blocks, &d.nblocks, error);
    if (r == 0 && d.nblocks == maximum) {
        d.blocks = blocks;
    } else {
        if (r == 0 && !(d.blocks = copy_of(blocks, (size_t)d.nblocks * BLOCK_SIZE)))
            r = error_set(error, ENOMEM, "out of memory");
        free_blocks(kind, maximum, blocks);
    }
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        // Whose fault it is decides whether another source can help; this second hashing is for failures only.
        struct sha256 actual = sha256_of(stored, ref->length);
        return sha256_equal(&actual, &ref->name) ? -EPROTO : -EBADMSG;
    }
    size_t n = (size_t)d.nblocks * BLOCK_SIZE;
    if (kind == CHUNK_PAGE && map_page_parse(d.blocks, n, level, &d.page, error) < 0) {
        free(d.blocks);
        return -EPROTO;
    }
    *ret = d;
    return 0;
}

int store_load_chunk(struct store *s, const struct store_chunk *c, struct decoded *ret, struct error *error)
{
    if (!s->cache)
        return -ENOENT;
    unsigned char *stored = io->malloc(c->ref.length);
    if (!stored)
        return error_set(error, ENOMEM, "out of memory");
    int r = cache_read(s->cache, &c->ref.pack.name, c->ref.offset, stored, c->ref.length);
    if (r == 0)
        r = store_decode(c->kind, c->level, &c->ref, stored, ret, error);
    free(stored);
    if (r == -EBADMSG)
        atomic_fetch_add(&s->wrong, 1);
    if (r == -EBADMSG || r == -EIO) {
        cache_distrust(s->cache, &c->ref.pack.name);
        return -ENOENT; // to be fetched anew, which heals it
    }
    return r;
}
