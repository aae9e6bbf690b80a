// base/io.h: whole reads and writes, whole files, clocks, and the table that makes calls fail.
#include "tests/unit/io_fixture.h"

#include "base/banned.h"

// A table that moves at most 3 bytes a call, and is interrupted before each.
static bool interrupted;

static ssize_t meagre_pread(int fd, void *to, size_t n, off_t offset)
{
    interrupted = !interrupted;
    if (interrupted) {
        errno = EINTR;
        return -1;
    }
    return pread(fd, to, n < 3 ? n : 3, offset);
}

static ssize_t meagre_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    interrupted = !interrupted;
    if (interrupted) {
        errno = EINTR;
        return -1;
    }
    return pwrite(fd, from, n < 3 ? n : 3, offset);
}

static void short_and_interrupted_calls_are_continued(void **state)
{
    int dir = *(int *)*state;
    struct io_table table = io_table_system;
    table.pread = meagre_pread;
    table.pwrite = meagre_pwrite;
    io = &table;
    int fd CLEANUP_CLOSE = io_open(dir, "f", O_RDWR | O_CREAT, 0600);
    int written = io_write_full(fd, "0123456789", 10, 5);
    char bytes[16] = {0};
    int whole = io_read_full(fd, bytes, 10, 5);
    char rest[16] = {0};
    ssize_t some = io_read_some(fd, rest, sizeof rest, 8);
    io = &io_table_system;
    assert_int_equal(written, 0);
    assert_int_equal(whole, 0);
    assert_memory_equal(bytes, "0123456789", 10);
    assert_int_equal(some, 7);
    assert_memory_equal(rest, "3456789", 7);
}

// As meagre_pread and meagre_pwrite, for the first piece.
static ssize_t meagre_preadv(int fd, const struct iovec *to, int count, off_t offset)
{
    assert_true(count > 0 && to->iov_len > 0);
    return meagre_pread(fd, to->iov_base, to->iov_len, offset);
}

static ssize_t meagre_pwritev(int fd, const struct iovec *from, int count, off_t offset)
{
    assert_true(count > 0 && from->iov_len > 0);
    return meagre_pwrite(fd, from->iov_base, from->iov_len, offset);
}

static void pieces_are_moved_whole(void **state)
{
    int dir = *(int *)*state;
    struct io_table table = io_table_system;
    char bytes[] = "0123456789", back[11] = {0};
    const struct iovec out[] = {{bytes, 4}, {bytes + 4, 0}, {bytes + 4, 1}, {bytes + 5, 5}};
    const struct iovec in[] = {{back, 1}, {back + 1, 7}, {back + 8, 0}, {back + 8, 2}};
    int fd CLEANUP_CLOSE = io_open(dir, "f", O_RDWR | O_CREAT, 0600);
    for (int meagre = 0; meagre < 2; meagre++) {
        if (meagre) {
            table.preadv = meagre_preadv;
            table.pwritev = meagre_pwritev;
        }
        memset(back, 0, sizeof back);
        io = &table;
        int written = io_writev_full(fd, out, 4, 10, 5), read = io_readv_full(fd, in, 4, 10, 5),
            beyond = io_readv_full(fd, in, 4, 10, 6);
        io = &io_table_system;
        assert_int_equal(written, 0);
        assert_int_equal(read, 0);
        assert_int_equal(beyond, -ENODATA);
        assert_memory_equal(back, "1234567899", 10); // what came before the file's end
        assert_int_equal(io->ftruncate(fd, 0), 0);
        io_fault_start(1, ENOSPC, false);
        written = io_writev_full(fd, out, 4, 10, 5);
        io_fault_stop();
        assert_int_equal(written, -ENOSPC);
    }
    assert_int_equal(io_readv_full(fd, in, 1 << 10, 10, 0), -EINVAL);
    assert_int_equal(io_writev_full(fd, out, 4, 10, INT64_MAX - 9), -EINVAL);
}

static ssize_t stuck_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    (void)fd, (void)from, (void)n, (void)offset;
    return 0;
}

static void a_write_without_progress_fails(void **state)
{
    (void)state;
    struct io_table table = io_table_system;
    table.pwrite = stuck_pwrite;
    io = &table;
    int r = io_write_full(1, "x", 1, 0);
    io = &io_table_system;
    assert_int_equal(r, -EIO);
}

static void the_end_of_a_file_is_no_data(void **state)
{
    int dir = *(int *)*state;
    int fd CLEANUP_CLOSE = io_open(dir, "f", O_RDWR | O_CREAT, 0600);
    char bytes[8];
    assert_int_equal(io_write_full(fd, "abc", 3, 0), 0);
    assert_int_equal(io_read_full(fd, bytes, 4, 0), -ENODATA);
    assert_int_equal(io_read_full(fd, bytes, 1, 3), -ENODATA);
    assert_int_equal(io_read_full(fd, bytes, 0, 3), 0);
    assert_int_equal(io_read_some(fd, bytes, 8, 100), 0);
    assert_int_equal(io_read_full(fd, bytes, 3, 0), 0);
}

static void offsets_beyond_the_files_range_fail(void **state)
{
    int dir = *(int *)*state;
    int fd CLEANUP_CLOSE = io_open(dir, "f", O_RDWR | O_CREAT, 0600);
    char byte = 0;
    assert_int_equal(io_read_full(fd, &byte, 1, UINT64_MAX), -EOVERFLOW);
    assert_int_equal(io_read_some(fd, &byte, 1, INT64_MAX), -EOVERFLOW);
    assert_int_equal(io_write_full(fd, &byte, 1, INT64_MAX), -EOVERFLOW);
    assert_int_equal(io_read_some(fd, &byte, SIZE_MAX, 0), -EOVERFLOW);
}

static void open_follows_no_link_and_closes_on_exec(void **state)
{
    int dir = *(int *)*state;
    int fd CLEANUP_CLOSE = io_open(dir, "f", O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(symlinkat("f", dir, "link"), 0);
    assert_int_equal(io_open(dir, "link", O_RDONLY, 0), -ELOOP);
    assert_int_equal(io_open(dir, "absent", O_RDONLY, 0), -ENOENT);
    assert_int_equal(io_close(-1), -EBADF);
}

static void read_file_reads_all_up_to_the_maximum(void **state)
{
    int dir = *(int *)*state;
    void *bytes = NULL;
    size_t size = 99;
    assert_int_equal(io_replace_file(dir, "f", "12345", 5, 0600), 0);
    assert_int_equal(io_read_file(dir, "f", 4, &bytes, &size), -EFBIG);
    assert_null(bytes);
    assert_int_equal(size, 99);
    assert_int_equal(io_read_file(dir, "f", 5, &bytes, &size), 0);
    assert_int_equal(size, 5);
    assert_string_equal((char *)bytes, "12345");
    free(bytes);
    assert_int_equal(io_replace_file(dir, "f", "", 0, 0600), 0);
    assert_int_equal(io_read_file(dir, "f", 0, &bytes, &size), 0);
    assert_int_equal(size, 0);
    assert_string_equal((char *)bytes, ""); // never NULL
    free(bytes);
}

static void read_file_reads_files_that_hide_their_size(void **state)
{
    (void)state;
    void *bytes = NULL;
    size_t size = 0;
    assert_int_equal(io_read_file(AT_FDCWD, "/proc/self/status", 1 << 20, &bytes, &size), 0);
    assert_true(size > 100);
    assert_int_equal(strlen(bytes), size);
    free(bytes);
    bytes = NULL;
    assert_int_equal(io_read_file(AT_FDCWD, "/proc/self/status", 100, &bytes, &size), -EFBIG);
    assert_null(bytes);
}

static void read_file_reads_regular_files_only(void **state)
{
    int dir = *(int *)*state;
    void *bytes = NULL;
    size_t size;
    assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
    assert_int_equal(io_read_file(dir, "fifo", 10, &bytes, &size), -EINVAL); // and does not hang
    assert_int_equal(io_read_file(dir, ".", 10, &bytes, &size), -EISDIR);
    assert_int_equal(io_read_file(dir, "absent", 10, &bytes, &size), -ENOENT);
    assert_null(bytes);
}

static void read_file_reports_every_fault(void **state)
{
    int dir = *(int *)*state;
    assert_int_equal(io_replace_file(dir, "f", "12345", 5, 0600), 0);
    io_fault_start(0, 0, false);
    void *bytes = NULL;
    size_t size;
    assert_int_equal(io_read_file(dir, "f", 100, &bytes, &size), 0);
    unsigned long calls = io_fault_stop();
    free(bytes);
    bytes = NULL;
    for (unsigned long at = 1; at < calls; at++) { // the last is the close
        io_fault_start(at, EIO, false);
        int r = io_read_file(dir, "f", 100, &bytes, &size);
        io_fault_stop();
        assert_true(r == -EIO || r == -ENOMEM);
        assert_null(bytes);
    }
}

static void clocks_run(void **state)
{
    (void)state;
    uint64_t before = io_monotonic_ns();
    io_fault_start(1, EIO, true); // the clock is never made to fail, and not counted
    uint64_t after = io_monotonic_ns();
    int64_t now = io_realtime_seconds();
    assert_int_equal(io_fault_stop(), 0);
    assert_true(after >= before && before > 0);
    assert_true(now > INT64_C(1600000000));
}

static void fault_table_is_gone_after_stop(void **state)
{
    (void)state;
    io_fault_start(1, EIO, true);
    io_fault_start(2, ENOSPC, true); // starts anew
    void *first = io->malloc(1);
    void *second = io->malloc(1);
    int code = errno;
    assert_int_equal(io_fault_stop(), 2);
    assert_ptr_equal(io, &io_table_system);
    assert_non_null(first);
    assert_null(second);
    assert_int_equal(code, ENOSPC);
    free(first);
    io_fault_stop(); // harmless
    assert_ptr_equal(io, &io_table_system);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(short_and_interrupted_calls_are_continued),
        IN_FOLDER(pieces_are_moved_whole),
        cmocka_unit_test(a_write_without_progress_fails),
        IN_FOLDER(the_end_of_a_file_is_no_data),
        IN_FOLDER(offsets_beyond_the_files_range_fail),
        IN_FOLDER(open_follows_no_link_and_closes_on_exec),
        IN_FOLDER(read_file_reads_all_up_to_the_maximum),
        cmocka_unit_test(read_file_reads_files_that_hide_their_size),
        IN_FOLDER(read_file_reads_regular_files_only),
        IN_FOLDER(read_file_reports_every_fault),
        cmocka_unit_test(clocks_run),
        cmocka_unit_test(fault_table_is_gone_after_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
