// A raw file as a disk: what is acknowledged is there, and a flush that failed once never succeeds again.
#include "base/io.h"
#include "vmm/block_backend.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
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

// --- no space ------------------------------------------------------------------------------------------------------

static atomic_bool full;

static ssize_t pwrite_unless_full(int fd, const void *from, size_t n, off_t offset)
{
    if (!full)
        return io_table_system.pwrite(fd, from, n, offset);
    errno = ENOSPC;
    return -1;
}

static int write_result;

static void *write_beside(void *context)
{
    static unsigned char bytes[512] = {0x33};
    const struct iovec piece = {bytes, sizeof bytes};
    (void)context;
    write_result = disk->write(disk, 512, &piece, sizeof bytes);
    return NULL;
}

static void hears(int fd, const char *wanted)
{
    char said[64] = "";
    assert_true(recv(fd, said, sizeof said - 1, 0) > 0);
    assert_string_equal(said, wanted);
}

// The supervisor hears of it; let_go: it is told to wait no longer.
static void hold_a_write(bool let_go)
{
    int control[2];
    pthread_t thread;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, control), 0);
    assert_int_equal(disk->close(disk, NULL), 0);
    faulty.pwrite = pwrite_unless_full;
    full = true;
    assert_int_equal(block_file_new(dup(file), "volume", false, control[0], &disk, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_beside, NULL), 0);
    hears(control[1], "no-space volume");
    if (let_go)
        disk->let_go(disk);
    else
        full = false;
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (!let_go)
        hears(control[1], "space");
    close(control[0]);
    close(control[1]);
}

static void a_write_waits_for_space(void **state)
{
    (void)state;
    hold_a_write(false);
    assert_int_equal(write_result, 0);
    assert_int_equal(byte_at(512), 0x33);
}

static void a_write_that_is_let_go_fails(void **state)
{
    (void)state;
    hold_a_write(true);
    assert_int_equal(write_result, -ENOSPC);
    assert_int_equal(byte_at(512), 0x11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_reach_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_flush_each_change_is_stable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flush_that_failed_never_succeeds_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_write_waits_for_space, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_write_that_is_let_go_fails, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
