// The overlay's map in memory: what is loaded, kept, and refused (rule 7).
#include "overlay_fixture.h"
#include "skip.h"

#include <pthread.h>

#define KEPT 512u  // pages that the overlay keeps
#define PAGES 700u // of this disk
#define SIZE ((uint64_t)PAGES * PAGE_BLOCKS * BLOCK)
#define BASE_SIZE ((UINT64_C(64) << 20) + 1234)

static int set_up(void **state)
{
    folder_set_up(state);
    make_overlay(&folder, SIZE);
    return 0;
}

// A block somewhere in a map page.
static uint64_t block_in(uint64_t page)
{
    return page * PAGE_BLOCKS * BLOCK + 100 * BLOCK;
}

static void corrupt(off_t offset, unsigned char with)
{
    int fd = openat(folder.fd, "disk.map", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &with, 1, OVERLAY_HEADER_SIZE + offset), 1);
    close(fd);
}

static void the_map_in_memory_stays_bounded(void **state) // rule 7
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t page = 0; page < PAGES; page++) {
            uint64_t offset = block_in(page), got;
            if (pass == 0)
                assert_int_equal(overlay_write(o, offset, &page, sizeof page), 0); // dirty; no flush is asked for
            assert_int_equal(overlay_read(o, offset, &got, sizeof got), 0);
            assert_int_equal(got, page);
        }
    }
    struct overlay_counts counts;
    assert_int_equal(overlay_count(o, &counts), 0);
    assert_int_equal(counts.data_blocks, PAGES);
    assert_int_equal(counts.flushes, 0);
    assert_in_range(counts.rounds, 1, 20);
    close_overlay(o);
}

static atomic_int sync_gate, syncs_waiting;

static int gated_fdatasync(int fd)
{
    atomic_fetch_add(&syncs_waiting, 1);
    while (atomic_load(&sync_gate))
        usleep(500);
    return io_table_system.fdatasync(fd);
}

static void *flush_thread(void *o)
{
    return (void *)(intptr_t)overlay_flush(o);
}

static void *read_last_thread(void *o)
{
    unsigned char byte;
    return (void *)(intptr_t)overlay_read(o, block_in(PAGES - 1), &byte, 1);
}

static void a_page_on_its_way_to_the_file_stays_in_memory(void **state)
{
    (void)state;
    struct io_table table = io_table_system;
    table.fdatasync = gated_fdatasync;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    for (uint64_t page = 0; page < KEPT; page++)
        assert_int_equal(overlay_write(o, block_in(page), &page, sizeof page), 0);
    sync_gate = 1;
    syncs_waiting = 0;
    io = &table;
    pthread_t flusher, reader;
    assert_int_equal(pthread_create(&flusher, NULL, flush_thread, o), 0);
    while (!syncs_waiting)
        usleep(500);
    assert_int_equal(pthread_create(&reader, NULL, read_last_thread, o), 0); // needs a page; none may go
    usleep(50000);
    for (uint64_t page = 0, got; page < KEPT; page++) {
        assert_int_equal(overlay_read(o, block_in(page), &got, sizeof got), 0);
        assert_int_equal(got, page);
    }
    sync_gate = 0;
    void *result;
    assert_int_equal(pthread_join(flusher, &result), 0);
    assert_null(result);
    assert_int_equal(pthread_join(reader, &result), 0);
    assert_null(result);
    close_overlay(o);
}

static int failing_fdatasync(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static void who_waits_for_a_page_hears_of_a_failed_round(void **state)
{
    (void)state;
    struct io_table table = io_table_system;
    table.fdatasync = failing_fdatasync;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    for (uint64_t page = 0; page < KEPT; page++)
        assert_int_equal(overlay_write(o, block_in(page), &page, sizeof page), 0);
    io = &table;
    unsigned char byte;
    assert_int_equal(overlay_read(o, block_in(PAGES - 1), &byte, 1), -EIO); // rule 4: the round that it needs fails
    assert_int_equal(overlay_read(o, block_in(PAGES - 1), &byte, 1), -EIO);
    assert_int_equal(overlay_close(o, NULL), -EIO);
}

static void opening_a_huge_disk_reads_no_map(void **state)
{
    (void)state;
    folder_empty(&folder);
    int r = overlay_create(folder.fd, UINT64_C(8) << 40, &some_manifest, NULL);
    if (r == -EFBIG)
        SKIP("this file system has no files of 8 TiB");
    assert_int_equal(r, 0);
    io_fault_start(0, 0, false);
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    unsigned char byte;
    assert_int_equal(overlay_read(o, (UINT64_C(8) << 40) - 1, &byte, 1), 0);
    assert_in_range(io_fault_stop(), 1, 10);
    close_overlay(o);
}

static void a_damaged_page_fails_its_own_requests_only(void **state)
{
    (void)state;
    corrupt(10, 0x0c); // block 41 has the bits 3
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    unsigned char bytes[BLOCK];
    assert_int_equal(overlay_read(o, 0, bytes, BLOCK), -EBADMSG);
    assert_int_equal(overlay_write(o, 0, bytes, BLOCK), -EBADMSG);
    assert_int_equal(overlay_discard(o, 0, SIZE), -EBADMSG);
    assert_int_equal(overlay_read(o, block_in(1), bytes, BLOCK), 0);
    assert_int_equal(overlay_write(o, block_in(1), bytes, BLOCK), 0);
    close_overlay(o);
}

static void states_behind_the_end_of_the_disk_are_damage(void **state)
{
    (void)state;
    folder_empty(&folder);
    make_overlay(&folder, (PAGE_BLOCKS + 10) * BLOCK);
    corrupt(4096 + 2, 0x20); // block 10 of the second page: the first that is not there
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    unsigned char bytes[BLOCK];
    assert_int_equal(overlay_read(o, PAGE_BLOCKS * BLOCK, bytes, BLOCK), -EBADMSG);
    assert_int_equal(overlay_read(o, 0, bytes, BLOCK), 0);
    close_overlay(o);
    corrupt(4096 + 2, 0x08); // block 9: the last
    o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_read(o, PAGE_BLOCKS * BLOCK, bytes, BLOCK), 0);
    struct overlay_counts counts;
    assert_int_equal(overlay_count(o, &counts), 0);
    assert_int_equal(counts.zero_blocks, 1);
    close_overlay(o);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_map_in_memory_stays_bounded),
        TEST(a_page_on_its_way_to_the_file_stays_in_memory),
        TEST(who_waits_for_a_page_hears_of_a_failed_round),
        TEST(a_damaged_page_fails_its_own_requests_only),
        TEST(states_behind_the_end_of_the_disk_are_damage),
        TEST(opening_a_huge_disk_reads_no_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
