// The overlay's contract, one behaviour a test; rule numbers are those of the format's description ("Overlay").
#include "overlay_fixture.h"

#include <sys/stat.h>

#define SIZE (UINT64_C(80) << 20) // two map pages
#define BASE_SIZE (SIZE / 2 + 1234)

static int set_up(void **state)
{
    folder_set_up(state);
    make_overlay(&folder, SIZE);
    return 0;
}

static int open_result(const struct sha256 *manifest, uint64_t base_size, struct error *error)
{
    struct overlay_base base = pattern_base(base_size);
    struct overlay *o = NULL;
    int r = overlay_open(folder.fd, manifest, &base, &o, error);
    if (r == 0)
        close_overlay(o);
    else
        assert_null(o);
    return r;
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

static void corrupt(const char *name, off_t offset, unsigned char with)
{
    int fd = openat(folder.fd, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &with, 1, offset), 1);
    close(fd);
}

static struct stat stat_of(const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(folder.fd, name, &st, 0), 0);
    return st;
}

static void a_new_overlay_reads_as_its_base_and_zeros_beyond(void **state)
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_size(o), SIZE);
    assert_fill(o, 0, 3 * BLOCK, -1);
    assert_fill(o, BASE_SIZE - 5000, 10000, -1);
    assert_fill(o, SIZE - 100, 100, 0);
    close_overlay(o);
}

static void creating_refuses_bad_sizes_and_an_existing_overlay(void **state)
{
    (void)state;
    const uint64_t bad[] = {0, 1, 4095, 4097, (UINT64_C(16) << 40) + 4096, UINT64_MAX, UINT64_MAX - 4095};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(overlay_create(folder.fd, bad[i], &some_manifest, NULL), -EINVAL);
    assert_int_equal(overlay_create(folder.fd, SIZE, &some_manifest, NULL), -EEXIST);
    assert_int_equal(open_result(&some_manifest, BASE_SIZE, NULL), 0);
}

static void an_interrupted_creation_is_done_again_but_data_is_never_removed(void **state)
{
    (void)state;
    assert_int_equal(renameat(folder.fd, "disk.map", folder.fd, "disk.map.new"), 0);
    make_overlay(&folder, SIZE);
    corrupt("disk.data", 5000, 'x');
    assert_int_equal(unlinkat(folder.fd, "disk.map", 0), 0);
    assert_int_equal(overlay_create(folder.fd, SIZE, &some_manifest, NULL), -EEXIST);
    assert_int_not_equal(stat_of("disk.data").st_blocks, 0);
}

static void a_second_opening_is_refused_as_busy(void **state) // TRUST T42
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(open_result(&some_manifest, BASE_SIZE, NULL), -EBUSY);
    close_overlay(o);
    assert_int_equal(open_result(&some_manifest, BASE_SIZE, NULL), 0);
}

static void another_manifest_is_refused_and_both_are_named(void **state) // TRUST T43
{
    (void)state;
    struct sha256 other = {.bytes = {0xab}};
    struct error error = {0};
    assert_int_equal(open_result(&other, BASE_SIZE, &error), -ESTALE);
    assert_non_null(strstr(error.text, "010203"));
    assert_non_null(strstr(error.text, "ab0000"));
}

static void every_damaged_header_byte_is_noticed(void **state)
{
    (void)state;
    for (off_t at = 0; at < OVERLAY_HEADER_SIZE; at += at < 160 ? 1 : 97) {
        unsigned char old;
        int fd = openat(folder.fd, "disk.map", O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &old, 1, at), 1);
        close(fd);
        corrupt("disk.map", at, old ^ 0x10);
        assert_int_equal(open_result(&some_manifest, BASE_SIZE, NULL), -EBADMSG);
        corrupt("disk.map", at, old);
    }
    assert_int_equal(open_result(&some_manifest, BASE_SIZE, NULL), 0);
}

static void files_of_a_wrong_length_are_refused(void **state)
{
    (void)state;
    struct stat data = stat_of("disk.data"), map = stat_of("disk.map");
    char path[128];
    const struct {
        const char *name;
        off_t wrong;
    } table[] = {{"disk.data", data.st_size - 1},
                 {"disk.data", data.st_size + 4096},
                 {"disk.map", map.st_size - 4096},
                 {"disk.map", 100},
                 {"disk.map", 0}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder.path, table[i].name);
        assert_int_equal(truncate(path, table[i].wrong), 0);
        assert_int_equal(open_result(&some_manifest, BASE_SIZE, NULL), -EBADMSG);
        folder_empty(&folder);
        make_overlay(&folder, SIZE);
    }
    assert_int_equal(unlinkat(folder.fd, "disk.data", 0), 0);
    assert_int_equal(open_result(&some_manifest, BASE_SIZE, NULL), -ENOENT);
    assert_int_equal(unlinkat(folder.fd, "disk.map", 0), 0);
    assert_int_equal(open_result(&some_manifest, BASE_SIZE, NULL), -ENOENT);
}

static void a_base_larger_than_the_disk_is_refused(void **state)
{
    (void)state;
    assert_int_equal(open_result(&some_manifest, SIZE + 1, NULL), -EINVAL);
    assert_int_equal(open_result(&some_manifest, SIZE, NULL), 0);
}

static void requests_outside_the_disk_change_nothing(void **state) // TRUST T25
{
    (void)state;
    static unsigned char bytes[2 * BLOCK];
    const struct {
        uint64_t offset, n;
    } table[] = {{SIZE, 1},
                 {SIZE - 1, 2},
                 {SIZE - 511, 512},
                 {SIZE + 4096, 4096},
                 {UINT64_MAX, 1},
                 {UINT64_MAX - 4095, 4096},
                 {UINT64_MAX - 4095, 8192},
                 {UINT64_C(1) << 63, 4096},
                 {4096, UINT64_MAX},
                 {4096, UINT64_MAX - 4095},
                 {0, SIZE + 1},
                 {SIZE - 4096, UINT64_MAX - SIZE + 4097}};
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(overlay_read(o, table[i].offset, bytes, table[i].n), -EINVAL);
        assert_int_equal(overlay_write(o, table[i].offset, bytes, table[i].n), -EINVAL);
        assert_int_equal(overlay_discard(o, table[i].offset, table[i].n), -EINVAL);
        assert_int_equal(overlay_write_zeroes(o, table[i].offset, table[i].n), -EINVAL);
    }
    const uint64_t empty[] = {0, 1, SIZE};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(overlay_read(o, empty[i], bytes, 0), 0);
        assert_int_equal(overlay_write(o, empty[i], bytes, 0), 0);
        assert_int_equal(overlay_discard(o, empty[i], 0), 0);
        assert_int_equal(overlay_write_zeroes(o, empty[i], 0), 0);
    }
    struct overlay_counts counts;
    assert_int_equal(overlay_count(o, &counts), 0);
    assert_int_equal(counts.data_blocks, 0);
    assert_int_equal(counts.zero_blocks, 0);
    close_overlay(o);
    assert_int_equal(stat_of("disk.data").st_blocks, 0);
}

static void a_partial_write_keeps_the_rest_of_its_block(void **state) // rule 1
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_write(o, 4096 + 100, "hello", 5), 0);
    assert_fill(o, 4096, 100, -1);
    assert_fill(o, 4096 + 105, 2 * BLOCK - 105, -1);
    unsigned char got[5];
    assert_int_equal(overlay_read(o, 4196, got, 5), 0);
    assert_memory_equal(got, "hello", 5);
    close_overlay(o);
}

static void a_discard_drops_whole_blocks_and_their_space_at_once(void **state) // rule 2
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    unsigned char bytes[3 * BLOCK];
    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(overlay_write(o, 0, bytes, sizeof bytes), 0);
    blkcnt_t before = stat_of("disk.data").st_blocks;
    assert_int_equal(overlay_discard(o, 1, 3 * BLOCK - 2), 0);
    assert_fill(o, 0, BLOCK, 'x');
    assert_fill(o, BLOCK, BLOCK, 0);
    assert_fill(o, 2 * BLOCK, BLOCK, 'x');
    assert_int_equal(stat_of("disk.data").st_blocks, before - 8);
    assert_int_equal(overlay_discard(o, BLOCK + 1, BLOCK), 0); // no whole block inside
    assert_fill(o, 2 * BLOCK, BLOCK, 'x');
    close_overlay(o);
}

static void zeroes_are_exact_to_the_byte(void **state)
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_write_zeroes(o, 100, 2 * BLOCK), 0);
    assert_fill(o, 0, 100, -1);
    assert_fill(o, 100, 2 * BLOCK, 0);
    assert_fill(o, 100 + 2 * BLOCK, BLOCK - 100, -1);
    struct overlay_counts counts;
    assert_int_equal(overlay_count(o, &counts), 0);
    assert_int_equal(counts.data_blocks, 2);
    assert_int_equal(counts.zero_blocks, 1);
    close_overlay(o);
}

static void a_discard_of_everything_costs_nothing_behind_the_base(void **state)
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_discard(o, 0, SIZE), 0);
    struct overlay_counts counts;
    assert_int_equal(overlay_count(o, &counts), 0);
    assert_int_equal(counts.zero_blocks, (BASE_SIZE + BLOCK - 1) / BLOCK);
    assert_fill(o, BASE_SIZE - BLOCK, 2 * BLOCK, 0);
    close_overlay(o);
}

static int failing_read(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    (void)context;
    (void)offset;
    (void)to;
    (void)count;
    (void)n;
    return -ENETUNREACH;
}

static void the_error_of_the_base_is_passed_on_and_leaves_no_trace(void **state)
{
    (void)state;
    struct overlay_base base = {.read = failing_read, .size = BASE_SIZE};
    struct overlay *o;
    unsigned char bytes[2 * BLOCK] = {0};
    assert_int_equal(overlay_open(folder.fd, &some_manifest, &base, &o, NULL), 0);
    assert_int_equal(overlay_read(o, 0, bytes, 100), -ENETUNREACH);
    assert_int_equal(overlay_write(o, 1, bytes, 100), -ENETUNREACH);
    assert_int_equal(overlay_write(o, 0, bytes, BLOCK), 0); // whole blocks need no base
    assert_int_equal(overlay_read(o, 0, bytes, BLOCK), 0);
    struct overlay_counts counts;
    assert_int_equal(overlay_count(o, &counts), 0);
    assert_int_equal(counts.data_blocks, 1);
    close_overlay(o);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_new_overlay_reads_as_its_base_and_zeros_beyond),
        TEST(creating_refuses_bad_sizes_and_an_existing_overlay),
        TEST(an_interrupted_creation_is_done_again_but_data_is_never_removed),
        TEST(a_second_opening_is_refused_as_busy),
        TEST(another_manifest_is_refused_and_both_are_named),
        TEST(every_damaged_header_byte_is_noticed),
        TEST(files_of_a_wrong_length_are_refused),
        TEST(a_base_larger_than_the_disk_is_refused),
        TEST(requests_outside_the_disk_change_nothing),
        TEST(a_partial_write_keeps_the_rest_of_its_block),
        TEST(a_discard_drops_whole_blocks_and_their_space_at_once),
        TEST(zeroes_are_exact_to_the_byte),
        TEST(a_discard_of_everything_costs_nothing_behind_the_base),
        TEST(the_error_of_the_base_is_passed_on_and_leaves_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
