// The overlay's numbered rules (FORMATS, "Overlay"), one behaviour a test.
#include "overlay_fixture.h"

#include <pthread.h>
#include <sys/stat.h>

#define SIZE (UINT64_C(80) << 20) // two map pages
#define BASE_SIZE (SIZE / 2 + 1234)

static int set_up(void **state)
{
    folder_set_up(state);
    make_overlay(&folder, SIZE);
    return 0;
}

static void assert_fill(const struct overlay *o, uint64_t offset, size_t n, int value)
{
    unsigned char bytes[3 * BLOCK];
    assert_true(n <= sizeof bytes);
    assert_int_equal(overlay_read((struct overlay *)o, offset, bytes, n), 0);
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != (value < 0 ? fresh_at(BASE_SIZE, offset + i) : value))
            fail_msg("byte %zu at offset %llu is %d", i, (unsigned long long)offset, bytes[i]);
}

static struct stat stat_of(const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(folder.fd, name, &st, 0), 0);
    return st;
}

static unsigned char map_byte(off_t at)
{
    int fd = openat(folder.fd, "disk.map", O_RDONLY | O_CLOEXEC);
    unsigned char byte;
    assert_int_equal(pread(fd, &byte, 1, OVERLAY_HEADER_SIZE + at), 1);
    close(fd);
    return byte;
}

static void the_map_reaches_its_file_at_a_flush_and_not_before(void **state) // rule 3
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_write(o, BLOCK, "x", 1), 0);
    assert_int_equal(map_byte(0), 0);
    assert_int_equal(overlay_flush(o), 0);
    assert_int_equal(map_byte(0), 1 << 2);
    close_overlay(o);
}

static void write_through_needs_no_flush(void **state) // rule 6
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    overlay_set_write_through(o, true);
    assert_int_equal(overlay_write(o, BLOCK, "x", 1), 0);
    assert_int_equal(map_byte(0), 1 << 2);
    assert_int_equal(overlay_discard(o, 2 * BLOCK, BLOCK), 0);
    assert_int_equal(map_byte(0), 1 << 2 | 2 << 4);
    close_overlay(o);
}

// A table whose fdatasync can be made to fail or to wait.
static struct io_table table;
static atomic_int sync_failures, sync_gate; // gate: 0 open, 1 closed
static atomic_int syncs_waiting;

static int gated_fdatasync(int fd)
{
    atomic_fetch_add(&syncs_waiting, 1);
    while (atomic_load(&sync_gate))
        usleep(500);
    atomic_fetch_sub(&syncs_waiting, 1);
    if (atomic_load(&sync_failures) > 0) {
        atomic_fetch_sub(&sync_failures, 1);
        errno = EIO;
        return -1;
    }
    return io_table_system.fdatasync(fd);
}

static void use_gated_table(void)
{
    table = io_table_system;
    table.fdatasync = gated_fdatasync;
    io = &table;
}

static void a_failed_flush_is_final(void **state) // rule 4
{
    (void)state;
    use_gated_table();
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    struct error error = {0};
    assert_int_equal(overlay_write(o, 0, "stable", 6), 0);
    assert_int_equal(overlay_flush(o), 0);
    assert_int_equal(overlay_write(o, BLOCK, "lost", 4), 0);
    assert_int_equal(overlay_failure(o, &error), 0);
    sync_failures = 1;
    assert_int_equal(overlay_flush(o), -EIO);
    assert_int_equal(overlay_flush(o), -EIO); // although the disk would succeed now
    unsigned char bytes[6];
    assert_int_equal(overlay_write(o, 0, "x", 1), -EIO);
    assert_int_equal(overlay_read(o, 0, bytes, 6), -EIO);
    assert_int_equal(overlay_discard(o, 0, BLOCK), -EIO);
    assert_int_equal(overlay_write_zeroes(o, 0, 1), -EIO);
    assert_int_equal(overlay_failure(o, &error), -EIO);
    assert_non_null(strstr(error.text, "disk.data"));
    assert_int_equal(overlay_close(o, &error), -EIO);
    io = &io_table_system;
    o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_read(o, 0, bytes, 6), 0);
    assert_memory_equal(bytes, "stable", 6);
    close_overlay(o);
}

static void *flush_thread(void *o)
{
    return (void *)(intptr_t)overlay_flush(o);
}

static void flushes_that_arrive_during_a_round_share_the_next(void **state) // rule 3
{
    (void)state;
    use_gated_table();
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    sync_gate = 1;
    pthread_t threads[6];
    assert_int_equal(pthread_create(&threads[0], NULL, flush_thread, o), 0);
    while (syncs_waiting == 0)
        usleep(500);
    for (int i = 1; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, flush_thread, o), 0);
    struct overlay_counts counts = {0};
    while (counts.flushes < 6) {
        usleep(500);
        assert_int_equal(overlay_count(o, &counts), 0);
    }
    usleep(20000); // they have asked; now let them come to the wait
    sync_gate = 0;
    for (int i = 0; i < 6; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
    assert_int_equal(overlay_count(o, &counts), 0);
    assert_int_equal(counts.rounds, 2);
    close_overlay(o);
    io = &io_table_system;
}

static void space_is_allocated_before_a_write_is_acknowledged(void **state) // rule 5
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    blkcnt_t map_before = stat_of("disk.map").st_blocks;
    assert_int_equal(overlay_write(o, BLOCK, "x", 1), 0);
    assert_int_equal(stat_of("disk.map").st_blocks, map_before + 8);
    assert_int_equal(stat_of("disk.data").st_blocks, 8);
    close_overlay(o);
}

static int no_space(int fd, int mode, off_t offset, off_t length)
{
    if (mode != 0)
        return io_table_system.fallocate(fd, mode, offset, length);
    errno = ENOSPC;
    return -1;
}

static void a_full_disk_refuses_the_write_and_loses_nothing(void **state) // rule 5, TRUST T20
{
    (void)state;
    table = io_table_system;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_write(o, 0, "first", 5), 0);
    table.fallocate = no_space;
    io = &table;
    assert_int_equal(overlay_write(o, 0, "again", 5), 0); // has its space
    assert_int_equal(overlay_write(o, BLOCK, "x", 1), -ENOSPC);
    assert_int_equal(overlay_write(o, UINT64_C(70) << 20, "x", 1), -ENOSPC);
    assert_int_equal(overlay_flush(o), 0);
    assert_fill(o, BLOCK, BLOCK, -1);
    assert_int_equal(overlay_discard(o, 0, BLOCK), 0); // gives space back, so it must work on a full disk
    io = &io_table_system;
    assert_int_equal(overlay_write(o, BLOCK, "x", 1), 0);
    assert_fill(o, 0, BLOCK, 0);
    close_overlay(o);
}

// A base whose block 0 answers only when the gate is opened.
static atomic_int base_gate, base_waiting;

static int gated_read(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    if (offset < BLOCK && atomic_load(&base_gate)) {
        atomic_fetch_add(&base_waiting, 1);
        while (atomic_load(&base_gate))
            usleep(500);
    }
    return pattern_read(context, offset, to, count, n);
}

static void *partial_write_thread(void *o)
{
    return (void *)(intptr_t)overlay_write(o, 10, "0123456789", 10);
}

static void a_slow_base_read_holds_up_no_other_block(void **state) // rule 1
{
    (void)state;
    struct overlay_base base = {.read = gated_read, .size = BASE_SIZE};
    struct overlay *o;
    unsigned char bytes[2 * BLOCK] = {0};
    assert_int_equal(overlay_open(folder.fd, &some_manifest, &base, &o, NULL), 0);
    base_gate = 1;
    base_waiting = 0;
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, partial_write_thread, o), 0);
    while (!base_waiting)
        usleep(500);
    assert_int_equal(overlay_write(o, BLOCK, bytes, sizeof bytes), 0);
    assert_int_equal(overlay_write(o, 5 * BLOCK + 7, bytes, 9), 0);
    assert_int_equal(overlay_discard(o, 3 * BLOCK, BLOCK), 0);
    assert_int_equal(overlay_flush(o), 0);
    assert_fill(o, BLOCK, 2 * BLOCK, 0);
    base_gate = 0;
    void *result;
    assert_int_equal(pthread_join(writer, &result), 0);
    assert_null(result);
    assert_fill(o, 0, 10, -1);
    assert_fill(o, 20, BLOCK - 20, -1);
    close_overlay(o);
}

// Two requests for one block: the second waits for the first, and both are in the block afterwards.
static void *second_write_thread(void *o)
{
    return (void *)(intptr_t)overlay_write(o, 30, "abcdefghij", 10);
}

static void two_writes_of_one_block_are_merged(void **state) // rule 1
{
    (void)state;
    struct overlay_base base = {.read = gated_read, .size = BASE_SIZE};
    struct overlay *o;
    assert_int_equal(overlay_open(folder.fd, &some_manifest, &base, &o, NULL), 0);
    base_gate = 1;
    base_waiting = 0;
    pthread_t first, second;
    assert_int_equal(pthread_create(&first, NULL, partial_write_thread, o), 0);
    while (base_waiting < 1)
        usleep(500);
    assert_int_equal(pthread_create(&second, NULL, second_write_thread, o), 0);
    usleep(50000);
    assert_int_equal(base_waiting, 1); // the second has not come as far as the base
    base_gate = 0;
    void *result[2];
    assert_int_equal(pthread_join(first, &result[0]), 0);
    assert_int_equal(pthread_join(second, &result[1]), 0);
    assert_null(result[0]);
    assert_null(result[1]);
    unsigned char bytes[50];
    assert_int_equal(overlay_read(o, 0, bytes, sizeof bytes), 0);
    assert_memory_equal(bytes + 10, "0123456789", 10);
    assert_memory_equal(bytes + 30, "abcdefghij", 10);
    assert_fill(o, 40, BLOCK - 40, -1);
    close_overlay(o);
}

static int failing_pwrites;
static atomic_int write_gate, writes_waiting;

static ssize_t gated_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    if (failing_pwrites > 0) {
        failing_pwrites--;
        io_table_system.pwrite(fd, from, n / 2, offset); // half of it arrives
        errno = EIO;
        return -1;
    }
    if (atomic_load(&write_gate)) {
        atomic_store(&writes_waiting, 1);
        while (atomic_load(&write_gate))
            usleep(500);
    }
    return io_table_system.pwrite(fd, from, n, offset);
}

static void a_write_that_fails_leaves_the_block_as_it_was(void **state) // rule 1
{
    (void)state;
    table = io_table_system;
    table.pwrite = gated_pwrite;
    io = &table;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_write_zeroes(o, BLOCK, BLOCK), 0);
    failing_pwrites = 2;
    unsigned char bytes[2 * BLOCK];
    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(overlay_write(o, 0, bytes, sizeof bytes), -EIO);
    assert_int_equal(overlay_write(o, 5, bytes, 10), -EIO);
    assert_fill(o, 0, BLOCK, -1);
    assert_fill(o, BLOCK, BLOCK, 0);
    close_overlay(o);
    o = open_overlay(&folder, BASE_SIZE);
    assert_fill(o, 0, BLOCK, -1);
    close_overlay(o);
}

static void a_flush_does_not_publish_a_write_in_progress(void **state) // rules 1 and 3
{
    (void)state;
    table = io_table_system;
    table.pwrite = gated_pwrite;
    io = &table;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_write(o, BLOCK, "x", 1), 0);
    write_gate = 1;
    writes_waiting = 0;
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, partial_write_thread, o), 0);
    while (!writes_waiting)
        usleep(500);
    pthread_t flusher;
    assert_int_equal(pthread_create(&flusher, NULL, flush_thread, o), 0);
    usleep(50000); // it comes to the writing of the map, which waits too, with the bits that it copied
    write_gate = 0;
    void *result;
    assert_int_equal(pthread_join(flusher, &result), 0);
    assert_null(result);
    assert_int_equal(pthread_join(writer, &result), 0);
    assert_null(result);
    assert_int_equal(map_byte(0), 1 << 2);
    assert_int_equal(overlay_flush(o), 0);
    assert_int_equal(map_byte(0), 1 | 1 << 2);
    close_overlay(o);
}

static _Thread_local bool reads_slowly;
static atomic_bool slow_begun, slow_over, slow_gave_up;

static ssize_t slow_pread(int fd, void *to, size_t n, off_t offset)
{
    if (reads_slowly) {
        slow_begun = true;
        for (int i = 0; i < 6000 && !slow_over; i++)
            usleep(500);
        slow_gave_up = !slow_over;
    }
    return io_table_system.pread(fd, to, n, offset);
}

static void *count_thread(void *o)
{
    struct overlay_counts counts;
    reads_slowly = true;
    return (void *)(intptr_t)overlay_count(o, &counts);
}

static void counting_holds_up_no_request(void **state)
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_write(o, BLOCK, "x", 1), 0); // the first map page is in memory, the second is not
    table = io_table_system;
    table.pread = slow_pread;
    io = &table;
    pthread_t counter;
    assert_int_equal(pthread_create(&counter, NULL, count_thread, o), 0);
    while (!slow_begun)
        usleep(500);
    assert_int_equal(overlay_write(o, 2 * BLOCK, "y", 1), 0);
    slow_over = true;
    void *result;
    assert_int_equal(pthread_join(counter, &result), 0);
    assert_null(result);
    assert_false(slow_gave_up);
    close_overlay(o);
    io = &io_table_system;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_map_reaches_its_file_at_a_flush_and_not_before),
        TEST(write_through_needs_no_flush),
        TEST(a_failed_flush_is_final),
        TEST(flushes_that_arrive_during_a_round_share_the_next),
        TEST(space_is_allocated_before_a_write_is_acknowledged),
        TEST(a_full_disk_refuses_the_write_and_loses_nothing),
        TEST(a_slow_base_read_holds_up_no_other_block),
        TEST(two_writes_of_one_block_are_merged),
        TEST(a_write_that_fails_leaves_the_block_as_it_was),
        TEST(a_flush_does_not_publish_a_write_in_progress),
        TEST(counting_holds_up_no_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
