// The cache: the numbered rules of cache.h, under damage, a full disk, and other processes.

#include "blockstore/cache.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/folder_fixture.h"

#include "base/banned.h"

#define PACK_SIZE (1u << 20)
#define CHUNK_SIZE 65536u

// A pack whose bytes follow from its number; no byte is zero, as no chunk begins with zero.
struct pack {
    unsigned char bytes[PACK_SIZE];
    struct sha256 name;
};

static const struct pack *pack_of(unsigned number)
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

static struct cache *open_cache(uint64_t limit)
{
    struct cache *c;
    struct error error = {0};
    if (cache_open(folder, limit, &c, &error) != 0)
        fail_msg("%s", error.text);
    return c;
}

// What a person asks for.
static uint64_t evict(struct cache *c, uint64_t limit)
{
    struct cache_collected sum;
    assert_int_equal(cache_collect(c, &(struct cache_collect){.limit = limit}, &sum, NULL), 0);
    return sum.freed;
}

static void file_of(const char *place, const struct sha256 *name, char *path, size_t capacity)
{
    char hex[SHA256_HEX_SIZE];
    sha256_to_hex(name, hex);
    snprintf(path, capacity, "%s/%s/%.2s/%s", folder, place, hex, hex);
}

static bool stands(const char *place, const struct sha256 *name)
{
    char path[256];
    struct stat st;
    file_of(place, name, path, sizeof(path));
    return lstat(path, &st) == 0;
}

static void write_chunk(struct cache *c, const struct pack *p, unsigned i)
{
    cache_write(c, &p->name, PACK_SIZE, (uint64_t)i * CHUNK_SIZE, p->bytes + (size_t)i * CHUNK_SIZE, CHUNK_SIZE);
}

static int read_chunk(struct cache *c, const struct pack *p, unsigned i)
{
    static unsigned char to[CHUNK_SIZE];
    int r = cache_read(c, &p->name, (uint64_t)i * CHUNK_SIZE, to, CHUNK_SIZE);
    if (r == 0 && memcmp(to, p->bytes + (size_t)i * CHUNK_SIZE, CHUNK_SIZE) != 0)
        return 1; // for the hash to find
    return r;
}

static void write_pack(struct cache *c, unsigned number)
{
    for (unsigned i = 0; i < PACK_SIZE / CHUNK_SIZE; i++)
        write_chunk(c, pack_of(number), i);
}

static void stream_pack(struct cache *c, unsigned number, int expected)
{
    const struct pack *p = pack_of(number);
    struct cache_stream *s;
    assert_int_equal(cache_stream_new(c, &p->name, PACK_SIZE, &s), 0);
    for (size_t at = 0; at < PACK_SIZE; at += 10000)
        assert_int_equal(cache_stream_add(s, p->bytes + at, PACK_SIZE - at < 10000 ? PACK_SIZE - at : 10000), 0);
    assert_int_equal(cache_stream_finish(s), expected);
    cache_stream_free(s);
}

static void set_used(const char *place, unsigned number, time_t when)
{
    char path[256];
    struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    file_of(place, &pack_of(number)->name, path, sizeof(path));
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static unsigned count_temporaries(void)
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

// --- partial and whole ---------------------------------------------------------------------------------------------

static void written_chunks_are_read_back_and_holes_are_not_there(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    const struct pack *p = pack_of(1);
    assert_int_equal(read_chunk(c, p, 3), -ENOENT);
    write_chunk(c, p, 3);
    assert_int_equal(read_chunk(c, p, 3), 0);
    assert_int_equal(read_chunk(c, p, 2), -ENOENT); // a hole
    assert_int_equal(read_chunk(c, p, 4), -ENOENT); // behind the end
    assert_true(stands("partial", &p->name));
    assert_false(cache_has_object(c, &p->name));
    cache_close(c);
    c = open_cache(0); // another process, later
    assert_int_equal(read_chunk(c, p, 3), 0);
    cache_close(c);
}

static void writes_outside_the_pack_are_refused(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    const struct pack *p = pack_of(1);
    cache_write(c, &p->name, PACK_SIZE, PACK_SIZE - 10, p->bytes, 11);
    cache_write(c, &p->name, PACK_SIZE, UINT64_MAX, p->bytes, 1);
    assert_false(stands("partial", &p->name));
    cache_close(c);
}

static void a_pack_is_complete_only_with_all_of_its_bytes(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    write_pack(c, 1);
    const struct pack *p = pack_of(1);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE + 1), 0);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 1);
    assert_true(stands("objects", &p->name));
    assert_false(stands("partial", &p->name));
    assert_int_equal(read_chunk(c, p, 5), 0);
    p = pack_of(2);
    for (unsigned i = 0; i < PACK_SIZE / CHUNK_SIZE; i++)
        if (i != 7)
            write_chunk(c, p, i);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 0);
    unsigned char wrong = p->bytes[7 * CHUNK_SIZE] ^ 0x10;
    write_chunk(c, p, 7);
    cache_write(c, &p->name, PACK_SIZE, 7 * CHUNK_SIZE, &wrong, 1);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 0);
    assert_false(cache_has_object(c, &p->name));
    p = pack_of(3);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 0); // it was never heard of
    cache_close(c);
}

static void a_stream_becomes_an_object_only_if_it_is_right(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    write_chunk(c, pack_of(1), 2);
    stream_pack(c, 1, 0);
    assert_true(cache_has_object(c, &pack_of(1)->name));
    assert_false(stands("partial", &pack_of(1)->name));
    assert_int_equal(read_chunk(c, pack_of(1), 15), 0);

    const struct pack *p = pack_of(2);
    struct cache_stream *s;
    assert_int_equal(cache_stream_new(c, &p->name, PACK_SIZE, &s), 0);
    assert_int_equal(cache_stream_add(s, p->bytes, 1000), 0);
    assert_int_equal(cache_stream_finish(s), -EBADMSG); // too short
    assert_int_equal(cache_stream_restart(s), 0);
    assert_int_equal(cache_stream_add(s, p->bytes + 1, PACK_SIZE - 1), 0);
    assert_int_equal(cache_stream_add(s, p->bytes, 2), -EBADMSG); // too long
    assert_int_equal(cache_stream_add(s, p->bytes, 1), 0);
    assert_int_equal(cache_stream_finish(s), -EBADMSG); // of the right size, but wrong
    assert_int_equal(count_temporaries(), 1);
    assert_int_equal(cache_stream_restart(s), 0);
    assert_int_equal(cache_stream_add(s, p->bytes, 5), 0);
    assert_int_equal(cache_stream_restart(s), 0);
    assert_int_equal(cache_stream_add(s, p->bytes, PACK_SIZE), 0);
    assert_int_equal(cache_stream_finish(s), 0);
    cache_stream_free(s);
    assert_true(cache_has_object(c, &p->name));
    assert_int_equal(count_temporaries(), 0);
    cache_close(c);
}

static void small_objects_are_checked_when_they_are_got(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    struct sha256 name = sha256_of("manifest", 8);
    void *bytes;
    size_t n;
    char path[256];
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), -ENOENT);
    cache_put_object(c, &name, "manifest", 8);
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), 0);
    assert_int_equal(n, 8);
    assert_memory_equal(bytes, "manifest", 8);
    free(bytes);
    assert_int_equal(cache_get_object(c, &name, 7, &bytes, &n), -ENOENT); // larger than it may be
    file_of("objects", &name, path, sizeof(path));
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 3), 1);
    close(fd);
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), -ENOENT);
    cache_put_object(c, &name, "manifest", 8);
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), 0);
    free(bytes);
    cache_put_object(c, &name, "lies", 4); // whoever lies to us about a name stores nothing
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), 0);
    free(bytes);
    cache_close(c);
}

// --- damage (TRUST T15, T17) ---------------------------------------------------------------------------------------

static void distrust_leads_out_of_objects_and_a_write_heals(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    char path[256];
    stream_pack(c, 1, 0);
    const struct pack *p = pack_of(1);
    assert_int_equal(read_chunk(c, p, 4), 0);
    file_of("objects", &p->name, path, sizeof(path));
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "?", 1, 4 * CHUNK_SIZE + 100), 1);
    close(fd);
    assert_int_equal(read_chunk(c, p, 4), 1);
    write_chunk(c, p, 4); // while it counts as whole, nothing is missing in it
    assert_int_equal(read_chunk(c, p, 4), 1);
    cache_distrust(c, &p->name);
    assert_false(cache_has_object(c, &p->name));
    write_chunk(c, p, 4);
    assert_int_equal(read_chunk(c, p, 4), 0);
    assert_int_equal(read_chunk(c, p, 5), 0);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 1);
    cache_close(c);
}

// A map may say of a pack what is not so: that must not cost those who keep it.
static void a_right_object_stays_whatever_is_said_of_it(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    stream_pack(c, 1, 0);
    cache_distrust(c, &pack_of(1)->name);
    assert_true(cache_has_object(c, &pack_of(1)->name));
    assert_int_equal(read_chunk(c, pack_of(1), 4), 0);
    write_chunk(c, pack_of(1), 4);
    assert_true(stands("objects", &pack_of(1)->name));
    assert_false(stands("partial", &pack_of(1)->name));
    cache_close(c);
}

static void a_pack_that_cannot_be_opened_now_is_not_there_and_not_wrong(void **state)
{
    (void)state;
    static unsigned char to[CHUNK_SIZE];
    struct cache *c = open_cache(0);
    stream_pack(c, 1, 0);
    cache_close(c);
    c = open_cache(0);
    io_fault_start(1, EMFILE, true);
    int r = cache_read(c, &pack_of(1)->name, 0, to, sizeof(to));
    io_fault_stop();
    assert_int_equal(r, -ENOENT); // -EIO would have the pack distrusted
    assert_int_equal(read_chunk(c, pack_of(1), 0), 0);
    cache_close(c);
}

static void an_object_torn_by_power_loss_is_no_object(void **state)
{
    (void)state;
    char path[256];
    for (int zeros = 0; zeros < 2; zeros++) {
        struct cache *c = open_cache(0);
        stream_pack(c, 1, 0);
        const struct pack *p = pack_of(1);
        file_of("objects", &p->name, path, sizeof(path));
        assert_int_equal(truncate(path, 0), 0);
        if (zeros)
            assert_int_equal(truncate(path, PACK_SIZE), 0);
        assert_int_equal(read_chunk(c, p, 4), -ENOENT);
        assert_false(cache_has_object(c, &p->name));
        write_chunk(c, p, 4);
        assert_int_equal(read_chunk(c, p, 4), 0);
        cache_close(c);
    }
}

static void what_is_not_ours_is_ignored_and_replaced(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    const struct pack *p = pack_of(1);
    char path[256], elsewhere[256];
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", folder);
    write_chunk(c, p, 0);
    cache_close(c);
    file_of("partial", &p->name, path, sizeof(path));

    for (int kind = 0; kind < 3; kind++) {
        c = open_cache(0);
        int fd = open(elsewhere, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(pwrite(fd, p->bytes, CHUNK_SIZE, 0), CHUNK_SIZE);
        close(fd);
        unlink(path);
        if (kind == 0) {
            assert_int_equal(symlink(elsewhere, path), 0);
        } else if (kind == 1) {
            assert_int_equal(mkfifo(path, 0600), 0);
        } else {
            if (geteuid() != 0)
                break; // only root can give files away
            assert_int_equal(rename(elsewhere, path), 0);
            assert_int_equal(chown(path, 12345, 12345), 0);
        }
        assert_true(read_chunk(c, p, 0) < 0);
        write_chunk(c, p, 1);
        assert_int_equal(read_chunk(c, p, 1), 0);
        if (kind == 0) {
            struct stat st;
            assert_int_equal(stat(elsewhere, &st), 0);
            assert_int_equal(st.st_size, CHUNK_SIZE); // nothing was written through the link
        }
        cache_close(c);
    }
    unlink(elsewhere);
}

static void folders_that_are_links_or_anothers_are_refused(void **state)
{
    (void)state;
    char path[256], target[256];
    struct cache *c;
    struct error error;
    snprintf(path, sizeof(path), "%s/objects", folder);
    snprintf(target, sizeof(target), "%s/target", folder);
    assert_int_equal(mkdir(target, 0700), 0);
    assert_int_equal(symlink(target, path), 0);
    assert_true(cache_open(folder, 0, &c, &error) < 0);
    assert_non_null(strstr(error.text, "objects"));
    unlink(path);

    // A link in the place of a folder of two digits holds nothing, and nothing is written through it.
    c = open_cache(0);
    const struct pack *p = pack_of(1);
    char hex[SHA256_HEX_SIZE];
    snprintf(path, sizeof(path), "%s/partial/%.2s", folder, sha256_to_hex(&p->name, hex));
    assert_int_equal(symlink(target, path), 0);
    write_chunk(c, p, 0);
    assert_true(read_chunk(c, p, 0) < 0);
    assert_int_equal(rmdir(target), 0); // it is empty
    cache_close(c);

    if (geteuid() == 0) {
        assert_int_equal(chown(folder, 12345, 12345), 0);
        assert_int_equal(cache_open(folder, 0, &c, &error), -EPERM);
        assert_non_null(strstr(error.text, "RONDO_CACHE"));
        assert_int_equal(chown(folder, 0, 0), 0);
    }
}

static void only_left_over_temporaries_are_swept(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    char path[256];
    const char *names[] = {".new-old", ".new-young", ".new-busy"};
    int fds[3];
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/partial/%s", folder, names[i]);
        fds[i] = open(path, O_RDWR | O_CREAT, 0600);
        if (i != 1)
            assert_int_equal(futimens(fds[i], old), 0);
    }
    assert_int_equal(flock(fds[2], LOCK_EX), 0);
    cache_close(c);
    c = open_cache(0);
    assert_int_equal(count_temporaries(), 2);
    snprintf(path, sizeof(path), "%s/partial/.new-old", folder);
    assert_int_equal(access(path, F_OK), -1);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    cache_close(c);
}

// --- eviction and pins ---------------------------------------------------------------------------------------------

static void the_least_recently_used_goes_first_and_pinned_ones_never(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    struct sha256 manifest = sha256_of("m", 1), pinned = pack_of(1)->name;
    struct cache_usage usage;
    for (unsigned i = 1; i <= 5; i++) {
        stream_pack(c, i, 0);
        set_used("objects", i, 1000 + (i == 3 ? 100 : (int)i)); // 1 2 4 5 3
    }
    assert_int_equal(cache_pin(c, &manifest, CACHE_OWNER_PULL, &pinned, 1, NULL), 0);
    assert_true(cache_is_pinned(c, &manifest, NULL));
    assert_int_equal(cache_measure(c, &usage), 0);
    assert_true(usage.bytes >= 5 * PACK_SIZE && usage.bytes < 6 * PACK_SIZE);
    assert_true(usage.pinned_bytes >= PACK_SIZE && usage.pinned_bytes < 2 * PACK_SIZE);
    assert_int_equal(usage.files, 5);

    assert_true(evict(c, 3 * PACK_SIZE + PACK_SIZE / 2) >= 2 * PACK_SIZE);
    for (unsigned i = 1; i <= 5; i++)
        assert_int_equal(cache_has_object(c, &pack_of(i)->name), i != 2 && i != 4);
    evict(c, 0);
    for (unsigned i = 1; i <= 5; i++)
        assert_int_equal(cache_has_object(c, &pack_of(i)->name), i == 1);

    assert_int_equal(cache_unpin(c, &manifest, CACHE_OWNER_PULL, NULL), 0);
    assert_int_equal(cache_unpin(c, &manifest, CACHE_OWNER_PULL, NULL), -ENOENT);
    assert_false(cache_is_pinned(c, &manifest, NULL));
    evict(c, 0);
    assert_false(cache_has_object(c, &pinned));
    cache_close(c);
}

static void a_pin_is_replaced_and_pins_its_manifest(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    struct sha256 manifest = sha256_of("m", 1), one = pack_of(1)->name, two = pack_of(2)->name;
    void *bytes;
    size_t n;
    cache_put_object(c, &manifest, "m", 1);
    stream_pack(c, 1, 0);
    stream_pack(c, 2, 0);
    assert_int_equal(cache_pin(c, &manifest, CACHE_OWNER_PULL, &one, 1, NULL), 0);
    assert_int_equal(cache_pin(c, &manifest, CACHE_OWNER_PULL, &two, 1, NULL), 0);
    evict(c, 0);
    assert_false(cache_has_object(c, &one));
    assert_true(cache_has_object(c, &two));
    assert_int_equal(cache_get_object(c, &manifest, 10, &bytes, &n), 0);
    free(bytes);
    cache_close(c);
}

static void using_a_pack_keeps_it(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    for (unsigned i = 1; i <= 2; i++) {
        stream_pack(c, i, 0);
        set_used("objects", i, 1000 + (int)i);
    }
    assert_int_equal(read_chunk(c, pack_of(1), 0), 0);
    evict(c, PACK_SIZE + PACK_SIZE / 2);
    assert_true(cache_has_object(c, &pack_of(1)->name));
    assert_false(cache_has_object(c, &pack_of(2)->name));
    cache_close(c);
}

static void the_limit_holds_while_writing(void **state)
{
    (void)state;
    const uint64_t limit = 8 * PACK_SIZE;
    struct cache *c = open_cache(limit);
    struct cache_usage usage;
    for (unsigned i = 1; i <= 40; i++) {
        if (i % 2)
            write_pack(c, i);
        else
            stream_pack(c, i, 0);
        assert_int_equal(cache_measure(c, &usage), 0);
        assert_true(usage.bytes <= limit + PACK_SIZE);
    }
    assert_int_equal(cache_write_failure(c), 0);
    assert_int_equal(read_chunk(c, pack_of(40), 3), 0);
    assert_true(read_chunk(c, pack_of(1), 3) < 0);
    cache_close(c);
}

static void eviction_beneath_an_open_file_loses_only_that_file(void **state)
{
    (void)state;
    struct cache *ours = open_cache(0), *theirs = open_cache(0);
    write_chunk(ours, pack_of(1), 1);
    evict(theirs, 0);
    write_chunk(ours, pack_of(1), 2); // goes to the unlinked file, and is noticed
    write_chunk(ours, pack_of(1), 3);
    assert_int_equal(read_chunk(ours, pack_of(1), 3), 0);
    assert_int_equal(read_chunk(theirs, pack_of(1), 3), 0);
    // What another process completed and replaced is found.
    stream_pack(theirs, 1, 0);
    assert_int_equal(read_chunk(ours, pack_of(1), 9), 0);
    cache_close(ours);
    cache_close(theirs);
}

static void more_packs_than_descriptors(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    for (unsigned i = 0; i < 100; i++)
        write_chunk(c, pack_of(i), 0);
    unsigned open_files = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        open_files++;
    closedir(d);
    assert_true(open_files < 64 + 20);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(read_chunk(c, pack_of(i), 0), 0);
    cache_close(c);
}

// --- a disk that is full, or cannot be written (TRUST T19) ---------------------------------------------------------

static struct io_table limited;
static atomic_llong room;      // bytes that pwrite still accepts
static atomic_uint full_times; // that it refused

static ssize_t limited_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    if (atomic_fetch_sub(&room, (long long)n) < (long long)n) {
        atomic_fetch_add(&room, (long long)n);
        atomic_fetch_add(&full_times, 1);
        errno = ENOSPC;
        return -1;
    }
    return io_table_system.pwrite(fd, from, n, offset);
}

static int limited_unlinkat(int dir, const char *path, int flags)
{
    struct stat st;
    if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        atomic_fetch_add(&room, (long long)st.st_size);
    return io_table_system.unlinkat(dir, path, flags);
}

static void limit_disk(long long bytes)
{
    limited = io_table_system;
    limited.pwrite = limited_pwrite;
    limited.unlinkat = limited_unlinkat;
    atomic_store(&room, bytes);
    atomic_store(&full_times, 0);
    io = &limited;
}

static void a_full_disk_evicts_and_goes_on(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    limit_disk(4 * PACK_SIZE);
    for (unsigned i = 1; i <= 12; i++) {
        stream_pack(c, i, 0);
        assert_int_equal(read_chunk(c, pack_of(i), 7), 0);
    }
    assert_true(atomic_load(&full_times) > 0);
    assert_int_equal(cache_write_failure(c), 0);
    io = &io_table_system;
    cache_close(c);
}

static void a_disk_that_stays_full_drops_writes_and_never_fails(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    write_chunk(c, pack_of(1), 0);
    struct sha256 manifest = sha256_of("m", 1);
    assert_int_equal(cache_pin(c, &manifest, CACHE_OWNER_PULL, &pack_of(1)->name, 1, NULL), 0);
    limit_disk(0);
    for (unsigned i = 1; i < 10; i++)
        write_chunk(c, pack_of(1), i);
    unsigned refused = atomic_load(&full_times);
    assert_true(refused > 0 && refused < 5); // it does not ask again for a while
    stream_pack(c, 2, 1);
    assert_int_equal(cache_write_failure(c), -ENOSPC);
    assert_int_equal(read_chunk(c, pack_of(1), 0), 0);
    assert_int_equal(read_chunk(c, pack_of(1), 1), -ENOENT);
    io = &io_table_system;
    cache_close(c);
}

static void a_failure_of_any_call_gives_no_wrong_bytes(void **state)
{
    (void)state;
    static const int codes[] = {EIO, ENOSPC, EMFILE, EACCES};
    for (unsigned k = 0; k < ARRAY_SIZE(codes); k++) {
        unsigned long calls = 0;
        for (unsigned long at = 0; at <= calls; at++) { // the first only counts
            struct cache *c;
            io_fault_start(at, codes[k], false);
            if (cache_open(folder, 0, &c, NULL) == 0) {
                write_chunk(c, pack_of(1), 0);
                int r = read_chunk(c, pack_of(1), 0);
                assert_true(r == 0 || r == -ENOENT || r == -EIO);
                cache_put_object(c, &pack_of(1)->name, pack_of(1)->bytes, PACK_SIZE);
                cache_distrust(c, &pack_of(1)->name);
                cache_complete(c, &pack_of(1)->name, PACK_SIZE);
                r = read_chunk(c, pack_of(1), 0);
                assert_true(r == 0 || r == -ENOENT || r == -EIO);
                cache_close(c);
            }
            unsigned long n = io_fault_stop();
            calls = at == 0 ? n : calls;
            assert_int_equal(folder_tear_down(NULL), 0);
            assert_int_equal(mkdir(folder, 0700), 0);
        }
        assert_true(calls > 30);
    }
}

static int read_only_openat(int dir, const char *path, int flags, mode_t mode)
{
    if (flags & (O_CREAT | O_RDWR)) {
        errno = EROFS;
        return -1;
    }
    return io_table_system.openat(dir, path, flags, mode);
}

static int read_only_mkdirat(int dir, const char *path, mode_t mode)
{
    (void)dir;
    (void)path;
    (void)mode;
    errno = EROFS;
    return -1;
}

static int guarded_openat(int dir, const char *path, int flags, mode_t mode)
{
    struct stat st;
    // As for a user who is not root.
    if ((flags & O_ACCMODE) == O_RDWR && fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && !(st.st_mode & 0200)) {
        errno = EACCES;
        return -1;
    }
    return io_table_system.openat(dir, path, flags, mode);
}

static void a_file_that_can_only_be_read_is_replaced_by_who_writes(void **state)
{
    (void)state;
    char path[256];
    struct cache *c = open_cache(0);
    write_chunk(c, pack_of(1), 0);
    cache_close(c);
    file_of("partial", &pack_of(1)->name, path, sizeof(path));
    assert_int_equal(chmod(path, 0400), 0);
    limited = io_table_system;
    limited.openat = guarded_openat;
    io = &limited;
    c = open_cache(0);
    assert_int_equal(read_chunk(c, pack_of(1), 0), 0);
    write_chunk(c, pack_of(1), 1);
    assert_int_equal(cache_write_failure(c), 0);
    assert_int_equal(read_chunk(c, pack_of(1), 1), 0);
    io = &io_table_system;
    cache_close(c);
}

// Rule 4 cannot be kept where pins cannot be read: nobody is to find that out from a full disk.
static void a_cache_that_cannot_be_counted_says_so(void **state)
{
    (void)state;
    char path[256], said[4096] = "";
    int text = memfd_create("stderr", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
    assert_true(text >= 0 && saved >= 0);
    struct cache *c = open_cache(2 * PACK_SIZE);
    file_of("pins", &pack_of(1)->name, path, sizeof(path));
    char *slash = strrchr(path, '/');
    memmove(slash - 2, slash + 1, strlen(slash)); // pins lie in one folder
    assert_int_equal(mkdir(path, 0700), 0);
    setenv("RONDO_LOG", "warning", 1);
    log_start("test_cache");
    assert_true(dup2(text, STDERR_FILENO) >= 0);
    for (unsigned i = 1; i < 6; i++)
        write_pack(c, i);
    dup2(saved, STDERR_FILENO);
    close(saved);
    setenv("RONDO_LOG", "error", 1);
    log_start("test_cache");
    assert_true(pread(text, said, sizeof(said) - 1, 0) > 0);
    close(text);
    assert_non_null(strstr(said, "cannot be kept within its limit"));
    assert_null(strstr(strstr(said, "limit") + 1, "cannot be kept")); // once
    cache_close(c);
}

static void a_cache_that_cannot_be_written_is_read(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    write_chunk(c, pack_of(1), 0);
    stream_pack(c, 2, 0);
    cache_close(c);
    limited = io_table_system;
    limited.openat = read_only_openat;
    limited.mkdirat = read_only_mkdirat;
    io = &limited;
    c = open_cache(0);
    assert_int_equal(read_chunk(c, pack_of(1), 0), 0);
    assert_int_equal(read_chunk(c, pack_of(2), 9), 0);
    write_chunk(c, pack_of(3), 0);
    assert_int_equal(cache_write_failure(c), -EROFS);
    stream_pack(c, 4, 1);
    io = &io_table_system;
    cache_close(c);
}

// --- several processes and threads (TRUST T40) ---------------------------------------------------------------------

static void use_cache(unsigned seed, unsigned rounds)
{
    static unsigned char to[CHUNK_SIZE];
    struct cache *c = open_cache(6 * PACK_SIZE);
    unsigned state = seed;
    for (unsigned i = 0; i < rounds; i++) {
        state = state * 1103515245 + 12345;
        unsigned number = (state >> 16) % 8, what = (state >> 24) % 8;
        const struct pack *p = pack_of(number);
        if (what < 4) {
            write_chunk(c, p, what);
            write_chunk(c, p, what + 8);
        } else if (what == 4) {
            struct cache_stream *s;
            if (cache_stream_new(c, &p->name, PACK_SIZE, &s) == 0) {
                assert_int_equal(cache_stream_add(s, p->bytes, PACK_SIZE), 0);
                assert_true(cache_stream_finish(s) >= 0);
                cache_stream_free(s);
            }
        } else if (what == 5) {
            cache_distrust(c, &p->name);
        } else if (what == 6) {
            struct cache_collected sum;
            cache_collect(c, &(struct cache_collect){.limit = 3 * PACK_SIZE}, &sum, NULL);
        } else {
            cache_complete(c, &p->name, PACK_SIZE);
        }
        for (unsigned k = 0; k < 4; k++) {
            // What another process is just writing may be seen in part, but then as zeros only.
            int r = cache_read(c, &p->name, (uint64_t)k * CHUNK_SIZE, to, CHUNK_SIZE);
            assert_true(r == 0 || r == -ENOENT);
            for (size_t at = 0; r == 0 && at < CHUNK_SIZE; at++)
                assert_true(to[at] == 0 || to[at] == p->bytes[(size_t)k * CHUNK_SIZE + at]);
        }
    }
    cache_close(c);
}

static void processes_share_a_cache(void **state)
{
    (void)state;
    pid_t children[4];
    for (unsigned i = 0; i < 4; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            use_cache(i + 1, 300);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    struct cache *c = open_cache(0);
    for (unsigned i = 0; i < 8; i++) {
        const struct pack *p = pack_of(i);
        char path[256];
        if (!cache_has_object(c, &p->name))
            continue;
        struct sha256 actual;
        file_of("objects", &p->name, path, sizeof(path));
        int fd = open(path, O_RDONLY);
        assert_int_equal(sha256_of_file(fd, &actual, NULL), 0);
        close(fd);
        assert_true(sha256_equal(&actual, &p->name)); // whole, always
    }
    assert_int_equal(count_temporaries(), 0);
    cache_close(c);
}

struct reader {
    struct cache *c;
    const struct pack *p;
    unsigned found;
    bool wrong;
};

static void *read_many(void *context)
{
    struct reader *r = context;
    unsigned char *to = malloc(CHUNK_SIZE);
    for (unsigned i = 0; to && i < 400; i++) {
        unsigned chunk = i % 16;
        if (i % 5 == 0)
            cache_write(r->c, &r->p->name, PACK_SIZE, (uint64_t)chunk * CHUNK_SIZE,
                        r->p->bytes + (size_t)chunk * CHUNK_SIZE, CHUNK_SIZE);
        if (cache_read(r->c, &r->p->name, (uint64_t)chunk * CHUNK_SIZE, to, CHUNK_SIZE) == 0) {
            r->found++;
            // A write that is under way may be seen in part, but then as zeros only.
            for (size_t k = 0; k < CHUNK_SIZE; k++)
                r->wrong |= to[k] != 0 && to[k] != r->p->bytes[(size_t)chunk * CHUNK_SIZE + k];
        }
    }
    free(to);
    return NULL;
}

static void threads_share_a_cache_under_eviction(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    pthread_t threads[4];
    struct reader readers[4];
    const struct pack *p = pack_of(1);
    for (unsigned i = 0; i < 4; i++) {
        readers[i] = (struct reader){.c = c, .p = p};
        assert_int_equal(pthread_create(&threads[i], NULL, read_many, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 50; i++) {
        evict(c, 0);
        if (i % 10 == 0)
            cache_distrust(c, &p->name);
        usleep(500);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_false(readers[i].wrong);
        assert_true(readers[i].found > 0);
    }
    cache_close(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_cache");
    const struct CMUnitTest tests[] = {
        TEST(written_chunks_are_read_back_and_holes_are_not_there),
        TEST(writes_outside_the_pack_are_refused),
        TEST(a_pack_is_complete_only_with_all_of_its_bytes),
        TEST(a_stream_becomes_an_object_only_if_it_is_right),
        TEST(small_objects_are_checked_when_they_are_got),
        TEST(distrust_leads_out_of_objects_and_a_write_heals),
        TEST(a_right_object_stays_whatever_is_said_of_it),
        TEST(a_pack_that_cannot_be_opened_now_is_not_there_and_not_wrong),
        TEST(an_object_torn_by_power_loss_is_no_object),
        TEST(what_is_not_ours_is_ignored_and_replaced),
        TEST(folders_that_are_links_or_anothers_are_refused),
        TEST(only_left_over_temporaries_are_swept),
        TEST(the_least_recently_used_goes_first_and_pinned_ones_never),
        TEST(a_pin_is_replaced_and_pins_its_manifest),
        TEST(using_a_pack_keeps_it),
        TEST(the_limit_holds_while_writing),
        TEST(eviction_beneath_an_open_file_loses_only_that_file),
        TEST(more_packs_than_descriptors),
        TEST(a_full_disk_evicts_and_goes_on),
        TEST(a_disk_that_stays_full_drops_writes_and_never_fails),
        TEST(a_failure_of_any_call_gives_no_wrong_bytes),
        TEST(a_file_that_can_only_be_read_is_replaced_by_who_writes),
        TEST(a_cache_that_cannot_be_counted_says_so),
        TEST(a_cache_that_cannot_be_written_is_read),
        TEST(processes_share_a_cache),
        TEST(threads_share_a_cache_under_eviction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
