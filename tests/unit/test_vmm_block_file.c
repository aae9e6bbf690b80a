// A raw file as a disk: what is acknowledged is there, and a flush that failed once never succeeds again.
#include "base/io.h"
#include "vmm/block_backend.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE 8192u

static struct io_table faulty;
static struct block_backend *disk;
static int file, syncs;
static bool broken;

static int counted_fdatasync(int fd)
{
    (void)fd;
    syncs++;
    if (!broken)
        return 0;
    broken = false; // as the kernel does: it tells once
    errno = EIO;
    return -1;
}

static int set_up(void **state)
{
    (void)state;
    unsigned char bytes[SIZE + 100];
    struct error error;
    memset(bytes, 0x11, sizeof bytes);
    faulty = io_table_system;
    faulty.fdatasync = counted_fdatasync;
    io = &faulty;
    syncs = 0;
    broken = false;
    file = memfd_create("disk", MFD_CLOEXEC);
    assert_int_equal(write(file, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(block_file_new(dup(file), "disk", false, -1, &disk, &error), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (disk)
        assert_int_equal(disk->close(disk, NULL), 0);
    close(file);
    io = &io_table_system;
    return 0;
}

static unsigned byte_at(off_t offset)
{
    unsigned char byte = 0;
    assert_int_equal(pread(file, &byte, 1, offset), 1);
    return byte;
}

static void write_sector(uint64_t offset)
{
    unsigned char bytes[512];
    const struct iovec pieces[2] = {{bytes, 100}, {bytes + 100, 412}};
    memset(bytes, 0x22, sizeof bytes);
    assert_int_equal(disk->write(disk, offset, pieces, sizeof bytes), 0);
}

static void changes_reach_the_file(void **state)
{
    (void)state;
    unsigned char bytes[512];
    const struct iovec pieces[2] = {{bytes, 500}, {bytes + 500, 12}};
    assert_int_equal(disk->size, SIZE); // whole sectors
    write_sector(512);
    assert_int_equal(byte_at(511), 0x11);
    assert_int_equal(byte_at(512), 0x22);
    assert_int_equal(byte_at(1023), 0x22);
    assert_int_equal(byte_at(1024), 0x11);
    assert_int_equal(disk->read(disk, 1024 - 512, pieces, 512), 0);
    assert_int_equal(bytes[511], 0x22);
    assert_int_equal(disk->write_zeroes(disk, 4096, 512), 0);
    assert_int_equal(byte_at(4095), 0x11);
    assert_int_equal(byte_at(4096), 0);
    assert_int_equal(byte_at(4608), 0x11);
    assert_int_equal(disk->discard(disk, 512, 512), 0);
    assert_int_equal(byte_at(1024), 0x11);
    assert_int_equal(lseek(file, 0, SEEK_END), SIZE + 100);
}

static void without_a_flush_each_change_is_stable(void **state)
{
    (void)state;
    write_sector(0);
    assert_int_equal(syncs, 0);
    disk->set_write_through(disk, true);
    write_sector(0);
    assert_int_equal(syncs, 1);
    assert_int_equal(disk->write_zeroes(disk, 0, 512), 0);
    assert_int_equal(syncs, 2);
}

static void a_flush_that_failed_never_succeeds_again(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    write_sector(0);
    broken = true;
    assert_int_equal(disk->flush(disk), -EIO);
    assert_int_equal(disk->flush(disk), -EIO);
    disk->set_write_through(disk, true);
    const struct iovec piece = {(unsigned char[512]){0}, 512};
    assert_int_equal(disk->write(disk, 0, &piece, 512), -EIO);
    assert_int_equal(disk->close(disk, &error), -EIO);
    assert_non_null(strstr(error.text, "could not be written"));
    disk = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_reach_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_flush_each_change_is_stable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flush_that_failed_never_succeeds_again, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
