// The cache on a disk that is full, or that cannot be written: reading goes on.
#include "tests/unit/cache_fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_cache_full");
    const struct CMUnitTest tests[] = {
        TEST(a_full_disk_evicts_and_goes_on),
        TEST(a_disk_that_stays_full_drops_writes_and_never_fails),
        TEST(a_failure_of_any_call_gives_no_wrong_bytes),
        TEST(a_file_that_can_only_be_read_is_replaced_by_who_writes),
        TEST(a_cache_that_cannot_be_counted_says_so),
        TEST(a_cache_that_cannot_be_written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
