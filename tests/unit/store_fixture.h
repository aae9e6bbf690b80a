// A small site for tests of readers, made by hand from chunks and map pages: three members whose every byte follows
// from its offset, in packs that are small enough to have several of them.
//
//   disk     two segments and a bit (or 1 TiB), with data at its beginning and around the border of the segments,
//            and one extent that repeats an earlier chunk
//   kernel   a few blocks, ending within one; one leaf is its whole map
//   initrd   zeros only
#pragma once

#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/manifest.h"
#include "blockstore/pack.h"
#include "blockstore/store.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/remove_tree.h"

#define DISK 0u
#define KERNEL 1u
#define INITRD 2u

#define FIRST_BLOCKS 2048u                   // data at the disk's beginning
#define BORDER_FIRST (MAP_LEAF_BLOCKS - 96u) // and around the border of its first two segments
#define BORDER_BLOCKS 608u
#define REPEAT_FIRST 20000u // where blocks 0 to 31 stand again
#define KERNEL_SIZE (5u * BLOCK_SIZE + 123u)
#define INITRD_SIZE 100000u
#define SITE_PACKS_MAXIMUM 64u
#define SITE_PACK_TARGET (1u << 20)

struct test_pack {
    struct buf bytes;
    struct pack_table table;
    struct sha256 name, table_name;
    bool closed;
};

struct test_chunk {
    unsigned pack;
    struct chunk_reference ref; // its pack is filled in when that is closed
};

struct test_site {
    char folder[64]; // a site: objects/…
    char cache[64];
    uint64_t disk_size;
    struct sha256 manifest;
    struct test_pack packs[SITE_PACKS_MAXIMUM];
    unsigned pack_count;
    struct test_chunk chunks[512];
    unsigned chunk_count;
    unsigned top, kernel; // chunks: the members' top pages
    struct manifest_boot boot[MANIFEST_BOOT_MAXIMUM];
    unsigned boot_count;
};

// --- what the members hold -----------------------------------------------------------------------------------------

static inline bool site_block_is_data(uint64_t block)
{
    return block < FIRST_BLOCKS || (block >= BORDER_FIRST && block < BORDER_FIRST + BORDER_BLOCKS) ||
           (block >= REPEAT_FIRST && block < REPEAT_FIRST + 32);
}

static inline void site_fill_block(unsigned member, uint64_t block, unsigned char *to)
{
    if (member == DISK && block >= REPEAT_FIRST && block < REPEAT_FIRST + 32)
        block -= REPEAT_FIRST;
    uint64_t x = (block + 1) * UINT64_C(0x9e3779b97f4a7c15) + member;
    for (unsigned i = 0; i < BLOCK_SIZE; i++) {
        if (i < 1700) // what does not compress
            x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        to[i] = (unsigned char)((x >> 56) | 1);
    }
}

static inline void site_fill(const struct test_site *s, unsigned member, uint64_t offset, unsigned char *to, size_t n)
{
    unsigned char bytes[BLOCK_SIZE];
    (void)s;
    while (n > 0) {
        uint64_t block = offset / BLOCK_SIZE;
        size_t within = offset % BLOCK_SIZE, take = n < BLOCK_SIZE - within ? n : BLOCK_SIZE - within;
        if (member == INITRD || (member == DISK && !site_block_is_data(block)))
            memset(bytes, 0, sizeof(bytes));
        else
            site_fill_block(member, block, bytes);
        memcpy(to, bytes + within, take);
        to += take;
        offset += take;
        n -= take;
    }
}

// --- making it -----------------------------------------------------------------------------------------------------

static inline void site_write_object(const struct test_site *s, const struct sha256 *name, const void *bytes, size_t n)
{
    char hex[SHA256_HEX_SIZE], path[256];
    sha256_to_hex(name, hex);
    snprintf(path, sizeof(path), "%s/objects/%.2s", s->folder, hex);
    assert_int_equal(io_make_folders(AT_FDCWD, path, 0755), 0);
    snprintf(path, sizeof(path), "%s/objects/%.2s/%s", s->folder, hex, hex);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, bytes, n, 0), 0);
    close(fd);
}

static inline void site_close_pack(struct test_site *s)
{
    struct test_pack *p = &s->packs[s->pack_count - 1];
    if (s->pack_count == 0 || p->closed)
        return;
    assert_int_equal(pack_table_finish(&p->table, (uint32_t)p->bytes.size, &p->table_name), 0);
    assert_int_equal(buf_append(&p->bytes, p->table.bytes.data, p->table.bytes.size), 0);
    p->name = sha256_of(p->bytes.data, p->bytes.size);
    p->closed = true;
    site_write_object(s, &p->name, p->bytes.data, p->bytes.size);
    for (unsigned i = 0; i < s->chunk_count; i++)
        if (s->chunks[i].pack == s->pack_count - 1)
            s->chunks[i].ref.pack =
                (struct pack_reference){.name = p->name, .size = (uint32_t)p->bytes.size, .table = p->table_name};
}

// A chunk by its stored bytes, right or not, and what its pack's table says of its blocks. Returns the chunk's number.
static inline unsigned site_add_stored(struct test_site *s, const unsigned char *stored, size_t length,
                                       const struct sha256 *hashes)
{
    if (s->pack_count == 0 || s->packs[s->pack_count - 1].closed) {
        assert_true(s->pack_count < SITE_PACKS_MAXIMUM);
        struct test_pack *p = &s->packs[s->pack_count++];
        *p = (struct test_pack){.bytes = BUF_WITH_MAXIMUM(PACK_SIZE_MAXIMUM),
                                .table = {.bytes = BUF_WITH_MAXIMUM(PACK_SIZE_MAXIMUM)}};
        assert_int_equal(buf_append(&p->bytes, PACK_MAGIC, PACK_MAGIC_SIZE), 0);
    }
    struct test_pack *p = &s->packs[s->pack_count - 1];
    assert_true(s->chunk_count < ARRAY_SIZE(s->chunks));
    struct test_chunk *c = &s->chunks[s->chunk_count];
    *c = (struct test_chunk){
        .pack = s->pack_count - 1,
        .ref = {.name = sha256_of(stored, length), .offset = (uint32_t)p->bytes.size, .length = (uint32_t)length}};
    assert_int_equal(pack_table_add(&p->table, &c->ref.name, c->ref.offset, stored, length, hashes), 0);
    assert_int_equal(buf_append(&p->bytes, stored, length), 0);
    unsigned number = s->chunk_count++;
    if (p->bytes.size >= SITE_PACK_TARGET)
        site_close_pack(s);
    return number;
}

// One codec after the other, so that every test reads both.
static inline unsigned site_add_chunk(struct test_site *s, enum chunk_kind kind, const unsigned char *blocks,
                                      unsigned nblocks)
{
    static unsigned char stored[PAGE_STORED_MAXIMUM];
    struct sha256 hashes[PAGE_BLOCKS_MAXIMUM];
    struct chunk_encoder *e;
    assert_int_equal(chunk_encoder_new(s->chunk_count % 2 ? CHUNK_LZ4 : CHUNK_ZSTD, 1, &e), 0);
    int length = chunk_encode(e, kind, blocks, nblocks, stored);
    chunk_encoder_free(e);
    assert_true(length > 0);
    for (unsigned i = 0; i < nblocks; i++)
        hashes[i] = sha256_of(blocks + (size_t)i * BLOCK_SIZE, BLOCK_SIZE);
    return site_add_stored(s, stored, (size_t)length, hashes);
}

static inline int site_find_chunk(void *context, uint64_t chunk, struct chunk_reference *ret)
{
    const struct test_site *s = context;
    *ret = s->chunks[chunk].ref;
    return 0;
}

// Stores `blocks` blocks of a member from `first` on, and appends their extents, relative to `segment`.
static inline unsigned site_add_blocks(struct test_site *s, unsigned member, uint64_t first, unsigned blocks,
                                       uint64_t segment, struct map_extent *extents, unsigned n)
{
    static unsigned char raw[CHUNK_BYTES_MAXIMUM];
    for (unsigned at = 0; at < blocks;) {
        unsigned take = blocks - at < CHUNK_BLOCKS_MAXIMUM ? blocks - at : CHUNK_BLOCKS_MAXIMUM;
        for (unsigned i = 0; i < take; i++)
            site_fill_block(member, first + at + i, raw + (size_t)i * BLOCK_SIZE);
        if (member == KERNEL) // what lies behind its end
            memset(raw + KERNEL_SIZE, 0, sizeof(raw) - KERNEL_SIZE);
        unsigned chunk = site_add_chunk(s, CHUNK_DATA, raw, take);
        extents[n++] = (struct map_extent){
            .first = (uint32_t)(first + at - segment * MAP_LEAF_BLOCKS), .blocks = (uint16_t)take, .chunk = chunk};
        at += take;
    }
    return n;
}

static inline unsigned site_add_leaf(struct test_site *s, const struct map_extent *extents, unsigned n)
{
    static unsigned char page[PAGE_BYTES_MAXIMUM];
    size_t size;
    assert_int_equal(map_leaf_build(extents, n, site_find_chunk, s, page, &size), 0);
    return site_add_chunk(s, CHUNK_PAGE, page, (unsigned)(size / BLOCK_SIZE));
}

// Builds the index pages above two leaves; returns the top page's chunk.
static inline unsigned site_add_index(struct test_site *s, unsigned leaf0, unsigned leaf1)
{
    static unsigned char page[PAGE_BYTES_MAXIMUM];
    static struct chunk_reference children[MAP_FANOUT];
    size_t size;
    unsigned top = 0;
    uint64_t leaves = (s->disk_size + (uint64_t)MAP_LEAF_BLOCKS * BLOCK_SIZE - 1) / BLOCK_SIZE / MAP_LEAF_BLOCKS;
    memset(children, 0, sizeof(children));
    children[0] = s->chunks[leaf0].ref;
    children[1] = s->chunks[leaf1].ref;
    for (unsigned level = 1; level < map_levels(s->disk_size); level++) {
        unsigned n = (unsigned)(leaves < MAP_FANOUT ? leaves : MAP_FANOUT);
        assert_int_equal(map_index_build(level, children, n, page, &size), 0);
        top = site_add_chunk(s, CHUNK_PAGE, page, (unsigned)(size / BLOCK_SIZE));
        site_close_pack(s); // a page names packs by their hashes
        leaves = (leaves + MAP_FANOUT - 1) / MAP_FANOUT;
        memset(children, 0, sizeof(children));
        children[0] = s->chunks[top].ref;
    }
    return top;
}

static inline void site_write_manifest(struct test_site *s)
{
    struct manifest *m CLEANUP_FREE = calloc(1, sizeof(*m));
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    struct error error = {0};
    *m = (struct manifest){.name = "test",
                           .version = "1",
                           .serial = 1,
                           .created = 1000000000,
                           .arch = "x86_64",
                           .member_count = 3,
                           .members = {{.name = "disk", .size = s->disk_size, .top = s->chunks[s->top].ref},
                                       {.name = "kernel", .size = KERNEL_SIZE, .top = s->chunks[s->kernel].ref},
                                       {.name = "initrd", .size = INITRD_SIZE, .zero = true}}};
    m->boot_count = s->boot_count;
    memcpy(m->boot, s->boot, sizeof(m->boot));
    if (manifest_format(m, &text, &error) != 0)
        fail_msg("%s", error.text);
    // The store does not check signatures: whoever opens a version by its name trusts that already.
    assert_int_equal(buf_append_format(&text, "---\nuntrusted comment: none\nnone\n"), 0);
    s->manifest = sha256_of(text.data, text.size);
    site_write_object(s, &s->manifest, text.data, text.size);
}

// The packs, in this order, are the version's boot packs from now on.
static inline void site_list_boot(struct test_site *s, const unsigned *packs, unsigned count)
{
    assert_true(count <= MANIFEST_BOOT_MAXIMUM);
    for (unsigned i = 0; i < count; i++)
        s->boot[i] =
            (struct manifest_boot){.pack = s->packs[packs[i]].name, .size = (uint32_t)s->packs[packs[i]].bytes.size};
    s->boot_count = count;
    site_write_manifest(s);
}

static inline void site_make_folders(struct test_site *s)
{
    snprintf(s->folder, sizeof(s->folder), TEMPORARY_FOLDER);
    snprintf(s->cache, sizeof(s->cache), TEMPORARY_FOLDER);
    assert_non_null(mkdtemp(s->folder));
    assert_non_null(mkdtemp(s->cache));
}

static inline struct test_site *site_make(uint64_t disk_size)
{
    static struct map_extent extents[256];
    struct test_site *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    site_make_folders(s);
    s->disk_size = disk_size;

    unsigned n = site_add_blocks(s, DISK, 0, FIRST_BLOCKS, 0, extents, 0);
    extents[n++] = (struct map_extent){.first = REPEAT_FIRST, .blocks = 32, .chunk = extents[0].chunk};
    n = site_add_blocks(s, DISK, BORDER_FIRST, MAP_LEAF_BLOCKS - BORDER_FIRST, 0, extents, n);
    site_close_pack(s);
    unsigned leaf0 = site_add_leaf(s, extents, n);
    n = site_add_blocks(s, DISK, MAP_LEAF_BLOCKS, BORDER_FIRST + BORDER_BLOCKS - MAP_LEAF_BLOCKS, 1, extents, 0);
    site_close_pack(s);
    unsigned leaf1 = site_add_leaf(s, extents, n);
    n = site_add_blocks(s, KERNEL, 0, (KERNEL_SIZE + BLOCK_SIZE - 1) / BLOCK_SIZE, 0, extents, 0);
    site_close_pack(s);
    s->kernel = site_add_leaf(s, extents, n);
    site_close_pack(s);
    s->top = site_add_index(s, leaf0, leaf1);
    site_write_manifest(s);
    return s;
}

static inline struct test_site *site_make_usual(void)
{
    return site_make((2ull * MAP_LEAF_BLOCKS + 1000) * BLOCK_SIZE - 100);
}

// The cache as new.
static inline void site_empty_cache(const struct test_site *s)
{
    remove_tree(s->cache);
    assert_int_equal(mkdir(s->cache, 0700), 0);
}

static inline void site_free(struct test_site *s)
{
    for (unsigned i = 0; i < s->pack_count; i++) {
        buf_free(&s->packs[i].bytes);
        buf_free(&s->packs[i].table.bytes);
    }
    remove_tree(s->folder);
    remove_tree(s->cache);
    free(s);
}

// --- reading it ----------------------------------------------------------------------------------------------------

static inline struct store *site_open_store(const struct test_site *s, bool cache, size_t chunk_memory)
{
    struct store_options options = {
        .cache_folder = cache ? s->cache : NULL, .wait_seconds = 2, .chunk_memory = chunk_memory};
    struct store *store = NULL;
    struct error error = {0};
    if (store_new(&options, &store, &error) != 0)
        fail_msg("%s", error.text);
    return store;
}

static inline struct version *site_open_version(const struct test_site *s, struct store *store, const char *address)
{
    struct version *v = NULL;
    struct error error = {0};
    if (version_open(store, &s->manifest, &address, address ? 1 : 0, &v, &error) != 0)
        fail_msg("%s", error.text);
    return v;
}

// Reads and compares: 0, the read's failure, or 1 if a byte is wrong.
static inline int site_check(const struct test_site *s, struct version *v, unsigned member, uint64_t offset, size_t n,
                             struct error *error)
{
    unsigned char *got CLEANUP_FREE = malloc(n + 1), *expected CLEANUP_FREE = malloc(n + 1);
    assert_true(got && expected);
    memset(got, 0xa5, n);
    int r = version_read(v, member, offset, got, n, error);
    if (r < 0)
        return r;
    site_fill(s, member, offset, expected, n);
    return memcmp(got, expected, n) != 0;
}

static inline void site_must_read(const struct test_site *s, struct version *v, unsigned member, uint64_t offset,
                                  size_t n)
{
    struct error error = {0};
    int r = site_check(s, v, member, offset, n, &error);
    if (r != 0)
        fail_msg("member %u, %zu bytes at %llu: %d %s", member, n, (unsigned long long)offset, r, error.text);
}

// All data of the disk, and the other members.
static inline void site_must_read_all(const struct test_site *s, struct version *v)
{
    for (uint64_t block = 0; block < FIRST_BLOCKS; block += 64)
        site_must_read(s, v, DISK, block * BLOCK_SIZE, 64 * BLOCK_SIZE);
    for (uint64_t block = BORDER_FIRST - 8; block < BORDER_FIRST + BORDER_BLOCKS; block += 50)
        site_must_read(s, v, DISK, block * BLOCK_SIZE + 7, 50 * BLOCK_SIZE);
    site_must_read(s, v, DISK, REPEAT_FIRST * (uint64_t)BLOCK_SIZE - 5000, 40 * BLOCK_SIZE);
    site_must_read(s, v, KERNEL, 0, KERNEL_SIZE);
    site_must_read(s, v, INITRD, 0, INITRD_SIZE);
}
