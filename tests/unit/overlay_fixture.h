// What the overlay's tests share: a seeded generator, a folder in memory for the files, and a base whose every byte
// follows from its offset.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "blockstore/overlay.h"

#define BLOCK 4096u
#define PAGE_BLOCKS 16384u // blocks of one map page

// xorshift64*, so that a run can be repeated from its printed seed on any machine.
struct random_numbers {
    uint64_t state;
};

static inline uint64_t random_next(struct random_numbers *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(2685821657736338717);
}

static inline uint64_t random_below(struct random_numbers *r, uint64_t n)
{
    return random_next(r) % n;
}

// The seed of a test: RONDO_TEST_SEED, else a fixed one; printed as a TAP comment.
static inline uint64_t test_seed(const char *name)
{
    const char *given = getenv("RONDO_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : UINT64_C(20261123);
    fprintf(stderr, "# %s: seed %llu\n", name, (unsigned long long)seed);
    return seed | 1;
}

struct folder {
    char path[64];
    int fd;
};

static inline struct folder folder_make(void)
{
    struct folder f;
    snprintf(f.path, sizeof f.path, "/dev/shm/rondo-test-overlay.XXXXXX"); // in memory: no test waits for a disk
    if (!mkdtemp(f.path)) {
        snprintf(f.path, sizeof f.path, "/tmp/rondo-test-overlay.XXXXXX");
        assert_non_null(mkdtemp(f.path));
    }
    f.fd = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f.fd >= 0);
    return f;
}

static inline void folder_empty(const struct folder *f)
{
    int copy = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fdopendir(copy);
    assert_non_null(d);
    const struct dirent *entry;
    while ((entry = readdir(d)))
        if (entry->d_name[0] != '.' || entry->d_name[1] == 'r') // but "." and ".."
            assert_int_equal(unlinkat(f->fd, entry->d_name, 0), 0);
    closedir(d);
}

static inline void folder_remove(struct folder *f)
{
    folder_empty(f);
    close(f->fd);
    assert_int_equal(rmdir(f->path), 0);
}

// The folder of the test that runs.
static struct folder folder;

static inline int folder_set_up(void **state)
{
    (void)state;
    folder = folder_make();
    return 0;
}

static inline int folder_tear_down(void **state)
{
    (void)state;
    io = &io_table_system;
    folder_remove(&folder);
    return 0;
}

// Never 0, so that the base cannot be taken for zeros.
static inline unsigned char pattern_at(uint64_t offset)
{
    uint64_t x = (offset + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned char)((x >> 40) % 255 + 1);
}

static inline int pattern_read(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    (void)context;
    size_t done = 0;
    for (unsigned piece = 0; piece < count; piece++)
        for (size_t i = 0; i < to[piece].iov_len; i++)
            ((unsigned char *)to[piece].iov_base)[i] = pattern_at(offset + done++);
    assert_int_equal(done, n);
    return 0;
}

static inline struct overlay_base pattern_base(uint64_t size)
{
    return (struct overlay_base){.read = pattern_read, .size = size};
}

// What a fresh overlay of this base reads at `offset`.
static inline unsigned char fresh_at(uint64_t base_size, uint64_t offset)
{
    return offset < base_size ? pattern_at(offset) : 0;
}

static const struct sha256 some_manifest = {.bytes = {1, 2, 3}};

static inline void make_overlay(const struct folder *f, uint64_t size)
{
    struct error error = {0};
    if (overlay_create(f->fd, size, &some_manifest, &error) != 0)
        fail_msg("%s", error.text);
}

static inline struct overlay *open_overlay(const struct folder *f, uint64_t base_size)
{
    struct overlay_base base = pattern_base(base_size);
    struct overlay *o = NULL;
    struct error error = {0};
    if (overlay_open(f->fd, &some_manifest, &base, &o, &error) != 0)
        fail_msg("%s", error.text);
    return o;
}

static inline void close_overlay(struct overlay *o)
{
    struct error error = {0};
    if (overlay_close(o, &error) != 0)
        fail_msg("%s", error.text);
}
