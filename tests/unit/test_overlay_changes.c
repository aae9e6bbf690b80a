// overlay_find_change: it names every block that some layer wrote or dropped and no other, and on a huge disk looks
// only where something was written.
#include "snapshot_fixture.h"

#define BLOCKS (3ull * PAGE_BLOCKS)
#define HUGE_BLOCKS (UINT64_C(1) << 28) // 1 TiB
#define HUGE_READS 100u

// Compares with a byte a block: 0 unchanged, 1 data, 2 zeros.
static void assert_changes(struct overlay *o, const unsigned char *model)
{
    struct overlay_change c;
    uint64_t block = 0;
    int r;
    while ((r = overlay_find_change(o, block, &c)) > 0) {
        assert_true(c.first >= block && c.count > 0 && c.first + c.count <= BLOCKS);
        for (; block < c.first; block++)
            if (model[block] != 0)
                fail_msg("the change of block %llu is not seen", (unsigned long long)block);
        for (; block < c.first + c.count; block++)
            if (model[block] != (c.zero ? 2 : 1))
                fail_msg("block %llu is not %d", (unsigned long long)block, c.zero ? 2 : 1);
    }
    assert_int_equal(r, 0);
    for (; block < BLOCKS; block++)
        assert_int_equal(model[block], 0);
}

static void every_change_of_every_layer_is_found(void **state)
{
    (void)state;
    static unsigned char model[BLOCKS], bytes[64 * BLOCK];
    struct random_numbers random = {test_seed("changes")};
    make_overlay(&folder, BLOCKS * BLOCK);
    memset(bytes, 7, sizeof bytes);
    for (unsigned layer = 0; layer < 4; layer++) {
        struct overlay *o = open_overlay(&folder, BLOCKS * BLOCK);
        for (unsigned i = 0; i < 40 * layer; i++) {
            uint64_t at = random_below(&random, BLOCKS - 64), n = 1 + random_below(&random, 64);
            bool drop = random_below(&random, 3) == 0;
            if (layer == 2 && at < PAGE_BLOCKS) // nothing in the first map page of this layer
                continue;
            assert_int_equal(drop ? overlay_discard(o, at * BLOCK, n * BLOCK)
                                  : overlay_write(o, at * BLOCK, bytes, (size_t)(n * BLOCK)),
                             0);
            memset(model + at, drop ? 2 : 1, n);
        }
        assert_int_equal(overlay_flush(o), 0);
        assert_changes(o, model);
        close_overlay(o);
        o = open_overlay(&folder, BLOCKS * BLOCK);
        assert_changes(o, model);
        close_overlay(o);
        char label[8];
        snprintf(label, sizeof label, "s%u", layer);
        assert_int_equal(take_snapshot(&folder, label, NULL), 0);
    }
}

static unsigned reads;

static ssize_t count_pread(int fd, void *to, size_t n, off_t offset)
{
    reads++;
    return io_table_system.pread(fd, to, n, offset);
}

static void a_huge_disk_costs_what_was_written(void **state)
{
    (void)state;
    const uint64_t at[] = {5, HUGE_BLOCKS / 2, HUGE_BLOCKS - 1};
    struct io_table counting = io_table_system;
    struct overlay_change c;
    make_overlay(&folder, HUGE_BLOCKS * BLOCK);
    struct overlay *o = open_overlay(&folder, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(overlay_write(o, at[i] * BLOCK, &at[i], sizeof at[i]), 0);
    close_overlay(o);
    o = open_overlay(&folder, 0);
    counting.pread = count_pread;
    io = &counting;
    reads = 0;
    uint64_t block = 0;
    for (unsigned i = 0; i < 3; i++, block = c.first + c.count) {
        assert_int_equal(overlay_find_change(o, block, &c), 1);
        assert_int_equal(c.first, at[i]);
        assert_int_equal(c.count, 1);
        assert_false(c.zero);
    }
    assert_int_equal(overlay_find_change(o, block, &c), 0);
    io = &io_table_system;
    assert_in_range(reads, 1, HUGE_READS); // of 16,384 map pages
    close_overlay(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_change_of_every_layer_is_found, folder_set_up, folder_tear_down),
        cmocka_unit_test_setup_teardown(a_huge_disk_costs_what_was_written, folder_set_up, folder_tear_down),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
