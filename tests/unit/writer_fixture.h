// What the writer's tests share: sparse images with blocks made from numbers, publishing in one call, and a reader
// that compares a published member with its source through nothing but chunk.h, map.h and the files of the site.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/remove_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/file_extents.h"
#include "blockstore/pack.h"
#include "blockstore/writer.h"
#include "blockstore/writer_private.h" // for the one number below that no caller can set

#define SEGMENT_BLOCKS ((uint64_t)MAP_LEAF_BLOCKS)

// --- a folder for each test ----------------------------------------------------------------------------------------

struct fixture {
    char root[200], site[220], other_site[220];
};

static inline int fixture_set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct statvfs v;
    const char *tmp = getenv("TMPDIR");

    if (statvfs("/dev/shm", &v) == 0 && v.f_bavail * v.f_frsize > (512ull << 20))
        tmp = "/dev/shm"; // in memory: no test waits for a disk
    snprintf(f->root, sizeof(f->root), "%s/rondo-test-writer.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(f->root))
        return -1;
    snprintf(f->site, sizeof(f->site), "%s/site", f->root);
    snprintf(f->other_site, sizeof(f->other_site), "%s/other", f->root);
    *state = f;
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    remove_tree(f->root);
    free(f);
    return 0;
}

// --- images --------------------------------------------------------------------------------------------------------

// Block contents by number: 0 is zeros; odd numbers compress well, even ones not at all.
static inline void fill_block(unsigned char *block, uint32_t number)
{
    uint64_t x = number * UINT64_C(0x9e3779b97f4a7c15) + 1;

    memset(block, 0, BLOCK_SIZE);
    if (number == 0)
        return;
    if (number % 2 == 1) {
        snprintf((char *)block, BLOCK_SIZE, "block number %u", number);
        return;
    }
    for (size_t i = 0; i < BLOCK_SIZE; i += 8) {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        uint64_t v = x * UINT64_C(2685821657736338717);
        memcpy(block + i, &v, 8);
    }
}

static inline int image_open(const struct fixture *f, const char *name, uint64_t size)
{
    char path[400];

    snprintf(path, sizeof(path), "%s/%s", f->root, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static inline void image_put(int fd, uint64_t block, uint32_t number)
{
    unsigned char bytes[BLOCK_SIZE];

    fill_block(bytes, number);
    assert_int_equal(pwrite(fd, bytes, BLOCK_SIZE, (off_t)(block * BLOCK_SIZE)), BLOCK_SIZE);
}

// Blocks first, first + 1, … get the contents number, number + step, …
static inline void image_fill(int fd, uint64_t first, unsigned count, uint32_t number, uint32_t step)
{
    for (unsigned i = 0; i < count; i++)
        image_put(fd, first + i, number + i * step);
}

// --- publishing ----------------------------------------------------------------------------------------------------

struct publication {
    const char *site;
    const int *fds; // of the members disk, kernel, initrd, ended by -1
    unsigned threads;
    const char *known_site;     // all packs of this site are known
    const struct profile *boot; // its members are the first of fds, in this order
    int (*progress)(void *context, const char *member, uint64_t done, uint64_t all);
    void *context;
    unsigned extents_until_cut; // 0: the default
    // Results
    struct manifest manifest;
    struct writer_counts counts;
    struct sha256 name;
    struct error error;
};

struct object_list {
    char (*names)[SHA256_HEX_SIZE]; // sorted
    size_t count;
};

static struct object_list *listing; // where list_one puts what it finds

static inline int list_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)at;
    if (type != FTW_F)
        return 0;
    const char *name = strrchr(path, '/') + 1;
    if (strlen(name) != SHA256_HEX_SIZE - 1)
        fail_msg("%s is no object", path);
    listing->names = realloc(listing->names, (listing->count + 1) * sizeof(*listing->names));
    assert_non_null(listing->names);
    memcpy(listing->names[listing->count++], name, SHA256_HEX_SIZE);
    return 0;
}

static inline int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline struct object_list list_objects(const char *site)
{
    struct object_list list = {NULL, 0};
    char path[400];

    listing = &list;
    snprintf(path, sizeof(path), "%s/objects", site);
    nftw(path, list_one, 16, FTW_PHYS);
    listing = NULL;
    if (list.count > 0)
        qsort(list.names, list.count, sizeof(*list.names), compare_names);
    return list;
}

static inline int open_object(const char *site, const char *hex)
{
    char path[400];

    snprintf(path, sizeof(path), "%s/objects/%.2s/%s", site, hex, hex);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail_msg("%s: %s", path, strerror(errno));
    return fd;
}

// Every object hashes to its name, and nothing else lies among them.
static inline void assert_site_is_sound(const char *site)
{
    struct object_list list = list_objects(site);

    for (size_t i = 0; i < list.count; i++) {
        char hex[SHA256_HEX_SIZE];
        struct sha256 hash;
        int fd = open_object(site, list.names[i]);
        assert_int_equal(sha256_of_file(fd, &hash, NULL), 0);
        assert_string_equal(sha256_to_hex(&hash, hex), list.names[i]);
        close(fd);
    }
    free(list.names);
}

static inline void assert_no_leftovers(const char *site)
{
    char path[400];

    snprintf(path, sizeof(path), "%s/.unfinished", site);
    if (rmdir(path) < 0) // only an empty folder goes
        fail_msg("%s: %s", path, strerror(errno));
}

static inline void assert_same_objects(const char *site, const char *other)
{
    struct object_list a = list_objects(site), b = list_objects(other);

    assert_int_equal(a.count, b.count);
    for (size_t i = 0; i < a.count; i++)
        assert_string_equal(a.names[i], b.names[i]);
    free(a.names);
    free(b.names);
}

static inline bool read_pack_table(int fd, struct pack_reference *ref, unsigned char trailer[PACK_TRAILER_SIZE],
                                   unsigned char **ret_table, struct pack_trailer *parsed)
{
    unsigned long long size;

    assert_int_equal(sha256_of_file(fd, &ref->name, &size), 0);
    ref->size = (uint32_t)size;
    if (size < PACK_TRAILER_SIZE || io_read_full(fd, trailer, PACK_TRAILER_SIZE, size - PACK_TRAILER_SIZE) < 0 ||
        pack_parse_trailer(trailer, PACK_TRAILER_SIZE, ref->size, parsed, NULL) < 0)
        return false;
    ref->table = parsed->table;
    *ret_table = malloc(parsed->table_length);
    assert_non_null(*ret_table);
    assert_int_equal(io_read_full(fd, *ret_table, parsed->table_length, parsed->table_offset), 0);
    return true;
}

static inline void know_site(struct writer *w, const char *site)
{
    struct object_list list = list_objects(site);

    for (size_t i = 0; i < list.count; i++) {
        unsigned char trailer[PACK_TRAILER_SIZE], *table = NULL;
        struct pack_trailer parsed;
        struct pack_reference ref;
        int fd = open_object(site, list.names[i]);
        if (read_pack_table(fd, &ref, trailer, &table, &parsed)) {
            assert_int_equal(writer_know_pack(w, &ref, trailer, table, parsed.table_length, NULL), 0);
            free(table);
        }
        close(fd);
    }
    free(list.names);
}

// Makes a pack known whose chunks hold one block each: blocks with the contents 1, 3, 5, …
static inline void know_scattered_blocks(struct writer *w, unsigned count)
{
    struct pack_table table = {.bytes = BUF_WITH_MAXIMUM(PACK_SIZE_MAXIMUM)};
    unsigned char block[BLOCK_SIZE];
    uint32_t offset = PACK_MAGIC_SIZE;
    struct pack_reference ref = {.name = sha256_of("made up", 7)};

    for (uint32_t i = 0; i < count; i++, offset += CHUNK_HEADER_SIZE + BLOCK_SIZE) {
        fill_block(block, 2 * i + 1);
        struct sha256 hash = sha256_of(block, BLOCK_SIZE), name = sha256_of(&i, sizeof(i));
        assert_int_equal(pack_table_add(&table, &name, offset, (unsigned char[]){CHUNK_DATA, CHUNK_RAW, 1, 0},
                                        CHUNK_HEADER_SIZE + BLOCK_SIZE, &hash),
                         0);
    }
    size_t table_size = table.bytes.size;
    assert_int_equal(pack_table_finish(&table, offset, &ref.table), 0);
    ref.size = offset + (uint32_t)table.bytes.size;
    assert_int_equal(writer_know_pack(w, &ref, table.bytes.data + table_size, table.bytes.data, table_size, NULL), 0);
    buf_free(&table.bytes);
}

static inline int publish_members(struct publication *p, struct writer *w)
{
    static const char *const names[] = {"disk", "kernel", "initrd"};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    int r = 0;

    if (p->known_site)
        know_site(w, p->known_site);
    if (p->boot)
        r = writer_add_boot(w, p->boot, p->fds, &p->error);
    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(names) && p->fds[i] >= 0; i++) {
        r = writer_add_member(w, names[i], p->fds[i], &p->manifest.members[i], &p->error);
        p->manifest.member_count = i + 1;
    }
    if (r == 0)
        r = writer_finish(w, &p->counts, &p->error);
    if (r < 0)
        return r;
    writer_fill_boot(w, &p->manifest);
    memcpy(p->manifest.name, "img", 4);
    memcpy(p->manifest.version, "1", 2);
    memcpy(p->manifest.arch, "x86_64", 7);
    p->manifest.serial = 1;
    r = manifest_format(&p->manifest, &text, &p->error);
    if (r == 0 && buf_append_format(&text, "---\n") < 0)
        r = error_set(&p->error, ENOMEM, "no memory");
    if (r < 0)
        return r;
    r = writer_put_manifest(w, text.data, text.size, &p->name, &p->error);
    if (r == 0)
        r = site_put_catalog(writer_site(w), text.data, text.size, &p->error);
    return r < 0 ? r : writer_end(w, &p->error);
}

static inline int publish(struct publication *p)
{
    struct writer_options options = {.site = p->site,
                                     .image = "img",
                                     .level = 1,
                                     .threads = p->threads,
                                     .progress = p->progress,
                                     .context = p->context};
    struct writer *w = NULL;

    memset(&p->manifest, 0, sizeof(p->manifest));
    memset(&p->counts, 0, sizeof(p->counts));
    p->error.text[0] = '\0';
    int r = writer_open(&options, &w, &p->error);
    if (r < 0)
        return r;
    if (p->extents_until_cut > 0)
        w->extents_until_cut = p->extents_until_cut;
    r = publish_members(p, w);
    writer_close(w);
    return r;
}

static inline void publish_well(struct publication *p)
{
    int r = publish(p);
    if (r < 0)
        fail_msg("publishing failed: %s", p->error.text);
}

// --- reading back --------------------------------------------------------------------------------------------------

struct comparison {
    const char *site;
    int fd;
    uint64_t size;
    struct sha256 chunk; // that `blocks` holds
    unsigned char blocks[CHUNK_BYTES_MAXIMUM];
    unsigned chunks_read;
};

static inline unsigned read_chunk(struct comparison *c, enum chunk_kind kind, const struct chunk_reference *ref,
                                  unsigned char *to)
{
    char hex[SHA256_HEX_SIZE];
    unsigned char *stored = malloc(ref->length);
    struct error error = {""};
    unsigned nblocks;
    struct stat st;

    assert_non_null(stored);
    int fd = open_object(c->site, sha256_to_hex(&ref->pack.name, hex));
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, ref->pack.size);
    assert_int_equal(io_read_full(fd, stored, ref->length, ref->offset), 0);
    if (chunk_decode(kind, &ref->name, stored, ref->length, to, &nblocks, &error) < 0)
        fail_msg("%s", error.text);
    close(fd);
    free(stored);
    c->chunks_read++;
    return nblocks;
}

// The file's bytes in these blocks, zeros behind its end.
static inline void read_source(struct comparison *c, uint64_t block, unsigned count, unsigned char *to)
{
    memset(to, 0, (size_t)count * BLOCK_SIZE);
    assert_true(io_read_some(c->fd, to, (size_t)count * BLOCK_SIZE, block * BLOCK_SIZE) >= 0);
}

static inline void assert_source_is_zero(struct comparison *c, uint64_t block, uint64_t count)
{
    uint64_t start, end = block * BLOCK_SIZE, limit = (block + count) * BLOCK_SIZE;
    unsigned char bytes[BLOCK_SIZE];

    while (file_extents_find_data(c->fd, end, limit < c->size ? limit : c->size, &start, &end) > 0)
        for (; start < end; start += BLOCK_SIZE) {
            read_source(c, start / BLOCK_SIZE, 1, bytes);
            if (bytes[0] != 0 || memcmp(bytes, bytes + 1, BLOCK_SIZE - 1) != 0)
                fail_msg("block %llu is lost", (unsigned long long)(start / BLOCK_SIZE));
        }
}

static inline void compare_run(struct comparison *c, const struct map_page *leaf, uint64_t block,
                               const struct map_run *run)
{
    unsigned char source[CHUNK_BYTES_MAXIMUM];
    struct chunk_reference ref;

    assert_true(map_page_reference(leaf, run->reference, &ref));
    if (!sha256_equal(&ref.name, &c->chunk))
        read_chunk(c, CHUNK_DATA, &ref, c->blocks);
    c->chunk = ref.name;
    read_source(c, block, run->blocks, source);
    if (memcmp(source, c->blocks + (size_t)run->block_in_chunk * BLOCK_SIZE, (size_t)run->blocks * BLOCK_SIZE) != 0)
        fail_msg("the blocks at %llu are wrong", (unsigned long long)block);
}

static inline void compare_page(struct comparison *c, const struct chunk_reference *ref, unsigned level, uint64_t first)
{
    unsigned char *bytes = malloc(PAGE_BYTES_MAXIMUM);
    struct error error = {""};
    struct chunk_reference child;
    struct map_page page;
    uint64_t at = first;

    assert_non_null(bytes);
    unsigned nblocks = read_chunk(c, CHUNK_PAGE, ref, bytes);
    if (map_page_parse(bytes, (size_t)nblocks * BLOCK_SIZE, level, &page, &error) < 0)
        fail_msg("%s", error.text);
    for (unsigned i = 0; level > 0 && i < page.references; i++, at += map_child_blocks(level)) {
        if (map_page_reference(&page, i, &child))
            compare_page(c, &child, level - 1, at);
        else
            assert_source_is_zero(c, at, map_child_blocks(level));
    }
    for (struct map_run run; level == 0 && at - first < SEGMENT_BLOCKS; at += run.blocks) {
        run = map_leaf_find(&page, (unsigned)(at - first));
        if (run.zero)
            assert_source_is_zero(c, at, run.blocks);
        else
            compare_run(c, &page, at, &run);
    }
    if (level > 0) { // exactly the children that the size asks for
        uint64_t blocks = (c->size + BLOCK_SIZE - 1) / BLOCK_SIZE, child_blocks = map_child_blocks(level);
        assert_true(at >= blocks || page.references == MAP_FANOUT);
        assert_true(at - child_blocks < blocks);
    }
    free(bytes);
}

// Returns how many chunks were read, pages included.
static inline unsigned assert_member_equals(const char *site, const struct manifest_member *member, int fd)
{
    static struct comparison c;
    struct stat st;

    c = (struct comparison){.site = site, .fd = fd, .size = member->size};
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, member->size);
    if (member->zero)
        assert_source_is_zero(&c, 0, (member->size + BLOCK_SIZE - 1) / BLOCK_SIZE);
    else
        compare_page(&c, &member->top, map_levels(member->size) - 1, 0);
    return c.chunks_read;
}

static inline void assert_published(const struct publication *p)
{
    assert_site_is_sound(p->site);
    for (unsigned i = 0; i < p->manifest.member_count; i++)
        assert_member_equals(p->site, &p->manifest.members[i], p->fds[i]);
}
