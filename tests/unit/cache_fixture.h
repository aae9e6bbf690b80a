// What the tests of the cache share: packs whose bytes follow from their numbers, and the cache's own files.
#pragma once

#include "tests/unit/folder_fixture.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "blockstore/cache.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#define PACK_SIZE (1u << 20)
#define CHUNK_SIZE 65536u

// A pack whose bytes follow from its number; no byte is zero, as no chunk begins with zero.
struct pack {
    unsigned char bytes[PACK_SIZE];
    struct sha256 name;
};

static inline const struct pack *pack_of(unsigned number)
{
    static struct pack p;
    static unsigned made = UINT32_MAX;
    uint64_t x = number + 1;
    for (size_t i = 0; made != number && i < PACK_SIZE; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        p.bytes[i] = (unsigned char)((x >> 56) | 1);
    }
    if (made != number)
        p.name = sha256_of(p.bytes, PACK_SIZE);
    made = number;
    return &p;
}

static inline struct cache *open_cache(uint64_t limit)
{
    struct cache *c;
    struct error error = {0};
    if (cache_open(folder, limit, &c, &error) != 0)
        fail_msg("%s", error.text);
    return c;
}

// What a person asks for.
static inline uint64_t evict(struct cache *c, uint64_t limit)
{
    struct cache_collected sum;
    assert_int_equal(cache_collect(c, &(struct cache_collect){.limit = limit}, &sum, NULL), 0);
    return sum.freed;
}

static inline void file_of(const char *place, const struct sha256 *name, char *path, size_t capacity)
{
    char hex[SHA256_HEX_SIZE];
    sha256_to_hex(name, hex);
    snprintf(path, capacity, "%s/%s/%.2s/%s", folder, place, hex, hex);
}

static inline bool stands(const char *place, const struct sha256 *name)
{
    char path[256];
    struct stat st;
    file_of(place, name, path, sizeof(path));
    return lstat(path, &st) == 0;
}

static inline void write_chunk(struct cache *c, const struct pack *p, unsigned i)
{
    cache_write(c, &p->name, PACK_SIZE, (uint64_t)i * CHUNK_SIZE, p->bytes + (size_t)i * CHUNK_SIZE, CHUNK_SIZE);
}

static inline int read_chunk(struct cache *c, const struct pack *p, unsigned i)
{
    static unsigned char to[CHUNK_SIZE];
    int r = cache_read(c, &p->name, (uint64_t)i * CHUNK_SIZE, to, CHUNK_SIZE);
    if (r == 0 && memcmp(to, p->bytes + (size_t)i * CHUNK_SIZE, CHUNK_SIZE) != 0)
        return 1; // for the hash to find
    return r;
}

static inline void write_pack(struct cache *c, unsigned number)
{
    for (unsigned i = 0; i < PACK_SIZE / CHUNK_SIZE; i++)
        write_chunk(c, pack_of(number), i);
}

static inline void stream_pack(struct cache *c, unsigned number, int expected)
{
    const struct pack *p = pack_of(number);
    struct cache_stream *s;
    assert_int_equal(cache_stream_new(c, &p->name, PACK_SIZE, &s), 0);
    for (size_t at = 0; at < PACK_SIZE; at += 10000)
        assert_int_equal(cache_stream_add(s, p->bytes + at, PACK_SIZE - at < 10000 ? PACK_SIZE - at : 10000), 0);
    assert_int_equal(cache_stream_finish(s), expected);
    cache_stream_free(s);
}

static inline void set_used(const char *place, unsigned number, time_t when)
{
    char path[256];
    struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    file_of(place, &pack_of(number)->name, path, sizeof(path));
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static inline unsigned count_temporaries(void)
{
    char path[256];
    unsigned n = 0;
    snprintf(path, sizeof(path), "%s/partial", folder);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strncmp(e->d_name, ".new-", 5) == 0;
    closedir(d);
    return n;
}
