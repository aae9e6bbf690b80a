// The reads of a base, noted: every first one, in order, and never in the way of the read itself.
#include "base/io.h"
#include "blockstore/overlay_record.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BASE_SIZE (UINT64_C(1) << 30)

static unsigned base_reads;

static int read_base(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    (void)context;
    assert_int_equal(count, 1);
    memset(to->iov_base, (int)(offset >> 12), n);
    base_reads++;
    return offset == 4096 * 13 ? -EIO : 0;
}

static const struct overlay_base base = {.read = read_base, .size = BASE_SIZE};

static int read_through(const struct overlay_base *through, uint64_t offset, size_t n)
{
    static unsigned char bytes[65536];
    const struct iovec piece = {bytes, n};
    return through->read(through->context, offset, &piece, 1, n);
}

static void assert_noted(int fd, unsigned number, uint64_t offset, uint64_t length)
{
    struct overlay_read got;
    assert_int_equal(io_read_full(fd, &got, sizeof got, number * sizeof got), 0);
    assert_true(got.offset == offset && got.length == length);
}

static off_t size_of(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size;
}

static void reads_are_noted_in_order_whatever_comes_of_them(void **state)
{
    (void)state;
    int fd = memfd_create("reads", MFD_CLOEXEC);
    struct overlay_record record;
    struct overlay_base through;
    assert_int_equal(overlay_record_open(&record, fd, &base, &through, NULL), 0);
    assert_true(through.size == BASE_SIZE);
    assert_int_equal(read_through(&through, 8192, 4096), 0);
    assert_int_equal(read_through(&through, 4096 * 13, 512), -EIO);
    assert_int_equal(read_through(&through, 512, 65536), 0);
    assert_noted(fd, 0, 8192, 4096);
    assert_noted(fd, 1, 4096 * 13, 512);
    assert_noted(fd, 2, 512, 65536);
    assert_int_equal(size_of(fd), 3 * sizeof(struct overlay_read));
    overlay_record_close(&record);
    close(fd);
}

static void what_was_read_before_is_not_noted_again(void **state)
{
    (void)state;
    int fd = memfd_create("reads", MFD_CLOEXEC);
    struct overlay_record record;
    struct overlay_base through;
    assert_int_equal(overlay_record_open(&record, fd, &base, &through, NULL), 0);
    base_reads = 0;
    assert_int_equal(read_through(&through, 8192, 8192), 0);
    assert_int_equal(read_through(&through, 8192, 8192), 0);
    assert_int_equal(read_through(&through, 12288, 512), 0);
    assert_int_equal(size_of(fd), sizeof(struct overlay_read));
    assert_int_equal(read_through(&through, 16383, 2), 0); // one byte of a new block
    assert_noted(fd, 1, 16383, 2);
    assert_int_equal(read_through(&through, BASE_SIZE - 4096, 4096), 0); // the last one
    assert_int_equal(read_through(&through, BASE_SIZE - 1, 1), 0);
    assert_int_equal(size_of(fd), 3 * sizeof(struct overlay_read));
    assert_int_equal(base_reads, 6);
    overlay_record_close(&record);
    close(fd);
}

static void another_engine_goes_on_where_the_first_ended(void **state)
{
    (void)state;
    int fd = memfd_create("reads", MFD_CLOEXEC);
    for (unsigned i = 0; i < 3; i++) {
        struct overlay_record record;
        struct overlay_base through;
        assert_int_equal(overlay_record_open(&record, fd, &base, &through, NULL), 0);
        assert_int_equal(read_through(&through, 4096 * i, 4096), 0);
        overlay_record_close(&record);
    }
    assert_noted(fd, 0, 0, 4096);
    assert_noted(fd, 2, 8192, 4096);
    close(fd);
}

static void a_full_record_stops_noting_and_nothing_else(void **state)
{
    (void)state;
    int fd = memfd_create("reads", MFD_CLOEXEC);
    const off_t full = OVERLAY_READS_MAXIMUM * sizeof(struct overlay_read);
    struct overlay_record record;
    struct overlay_base through;
    assert_int_equal(ftruncate(fd, full - (off_t)sizeof(struct overlay_read)), 0);
    assert_int_equal(overlay_record_open(&record, fd, &base, &through, NULL), 0);
    base_reads = 0;
    for (unsigned i = 1; i < 4; i++)
        assert_int_equal(read_through(&through, 4096 * i, 4096), 0);
    assert_int_equal(base_reads, 3);
    assert_int_equal(size_of(fd), full);
    assert_noted(fd, OVERLAY_READS_MAXIMUM - 1, 4096, 4096);
    overlay_record_close(&record);
    assert_int_equal(ftruncate(fd, 2 * full), 0); // whoever made it so long
    assert_int_equal(overlay_record_open(&record, fd, &base, &through, NULL), 0);
    assert_int_equal(read_through(&through, 4096, 4096), 0);
    assert_int_equal(size_of(fd), 2 * full);
    overlay_record_close(&record);
    close(fd);
}

static void a_record_that_cannot_be_written_fails_no_read(void **state)
{
    (void)state;
    int fd = memfd_create("reads", MFD_CLOEXEC);
    struct overlay_record record;
    struct overlay_base through;
    assert_int_equal(overlay_record_open(&record, fd, &base, &through, NULL), 0);
    io_fault_start(1, ENOSPC, true);
    assert_int_equal(read_through(&through, 0, 4096), 0);
    assert_int_equal(io_fault_stop(), 1);
    assert_int_equal(size_of(fd), 0);
    overlay_record_close(&record);
    close(fd);
}

static void without_a_file_the_base_is_used_itself(void **state)
{
    (void)state;
    struct overlay_record record;
    struct overlay_base through;
    assert_int_equal(overlay_record_open(&record, -1, &base, &through, NULL), 0);
    assert_ptr_equal(through.read, base.read);
}

static void only_a_regular_file_keeps_its_records_apart(void **state)
{
    (void)state;
    struct overlay_record record;
    struct overlay_base through;
    struct error error = {.text = ""};
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(overlay_record_open(&record, null, &base, &through, &error), -EINVAL);
    assert_non_null(strstr(error.text, "regular file"));
    close(null);
    assert_int_equal(overlay_record_open(&record, 999, &base, &through, NULL), -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_are_noted_in_order_whatever_comes_of_them),
        cmocka_unit_test(what_was_read_before_is_not_noted_again),
        cmocka_unit_test(another_engine_goes_on_where_the_first_ended),
        cmocka_unit_test(a_full_record_stops_noting_and_nothing_else),
        cmocka_unit_test(a_record_that_cannot_be_written_fails_no_read),
        cmocka_unit_test(without_a_file_the_base_is_used_itself),
        cmocka_unit_test(only_a_regular_file_keeps_its_records_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
