// Snapshots: what the disk and each of them hold after taking, rolling back and deleting; what is refused; and that a
// call that fails leaves nothing that giving the command again would not mend.
#include "snapshot_fixture.h"

#include <sys/stat.h>

#define SIZE (UINT64_C(80) << 20) // two map pages
#define BASE_SIZE (SIZE / 2 + 1234)
#define MAP_BORDER (UINT64_C(64) << 20)

static int set_up(void **state)
{
    folder_set_up(state);
    make_overlay(&folder, SIZE);
    return 0;
}

static void must(int r, const struct error *error)
{
    if (r != 0)
        fail_msg("%d: %s", r, error->text);
}

static void take(const char *label)
{
    struct error error = {.text = ""};
    must(take_snapshot(&folder, label, &error), &error);
}

static void back_to(const char *label, bool drop_newer)
{
    struct error error = {.text = ""};
    must(roll_back(&folder, label, drop_newer, &error), &error);
}

static void delete (const char *label)
{
    struct error error = {.text = ""};
    must(overlay_snapshot_delete(folder.fd, label, NULL, &error), &error);
}

static void fill(uint64_t offset, size_t n, int value)
{
    unsigned char bytes[4 * BLOCK];
    assert_true(n <= sizeof bytes);
    memset(bytes, value, n);
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_write(o, offset, bytes, n), 0);
    close_overlay(o);
}

static void discard(uint64_t offset, uint64_t n)
{
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_discard(o, offset, n), 0);
    close_overlay(o);
}

// `value` −1: as the base has it. `label` NULL: the disk itself.
static void assert_reads(const char *label, uint64_t offset, size_t n, int value)
{
    unsigned char bytes[4 * BLOCK];
    struct overlay *o = label ? open_snapshot(&folder, label, BASE_SIZE) : open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_read(o, offset, bytes, n), 0);
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != (value < 0 ? fresh_at(BASE_SIZE, offset + i) : value))
            fail_msg("%s: byte %zu at offset %llu is %d", label ? label : "disk", i, (unsigned long long)offset,
                     bytes[i]);
    close_overlay(o);
}

static unsigned files(void)
{
    unsigned count = 0;
    DIR *d = fdopendir(openat(folder.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(d);
    const struct dirent *entry;
    while ((entry = readdir(d)))
        count += strstr(entry->d_name, ".data") || strstr(entry->d_name, ".map");
    closedir(d);
    return count;
}

static void rolling_back_makes_the_disk_what_it_was(void **state)
{
    (void)state;
    fill(0, BLOCK, 'a');
    take("one");
    fill(0, 2 * BLOCK, 'b');
    fill(MAP_BORDER - BLOCK, 2 * BLOCK, 'b');
    assert_reads(NULL, 0, 2 * BLOCK, 'b');
    assert_reads("one", 0, BLOCK, 'a');
    assert_reads("one", BLOCK, BLOCK, -1);
    for (int again = 0; again < 2; again++) {
        back_to(again ? NULL : "one", false);
        assert_reads(NULL, 0, BLOCK, 'a');
        assert_reads(NULL, BLOCK, BLOCK, -1);
        assert_reads(NULL, MAP_BORDER - BLOCK, 2 * BLOCK, -1);
        assert_int_equal(files(), 4);
        fill(BLOCK, BLOCK, 'c'); // the disk goes on from there, and the snapshot stays
        assert_reads("one", BLOCK, BLOCK, -1);
    }
}

static void a_discard_hides_what_lies_below(void **state)
{
    (void)state;
    uint64_t behind = SIZE - 8 * BLOCK; // the end of the base
    fill(0, 2 * BLOCK, 'a');
    fill(behind, 2 * BLOCK, 'a');
    take("one");
    discard(0, BLOCK);
    discard(behind, BLOCK);
    discard(8 * BLOCK, BLOCK);
    assert_reads(NULL, 0, BLOCK, 0);
    assert_reads(NULL, behind, BLOCK, 0);
    assert_reads(NULL, behind + BLOCK, BLOCK, 'a');
    assert_reads(NULL, 8 * BLOCK, BLOCK, 0);
    take("two");
    fill(0, BLOCK, 'b');
    assert_reads("two", 0, BLOCK, 0);
    delete ("one"); // the zeros are copied down as zeros
    assert_reads("two", 0, BLOCK, 0);
    assert_reads("two", behind, BLOCK, 0);
    delete ("two");
    assert_reads(NULL, 0, BLOCK, 'b');
    assert_reads(NULL, behind, BLOCK, 0);
    assert_reads(NULL, behind + BLOCK, BLOCK, 'a');
    assert_reads(NULL, 8 * BLOCK, BLOCK, 0);
    assert_int_equal(files(), 2);
}

static void a_partial_write_keeps_the_rest_of_a_block_below(void **state) // rule 1
{
    (void)state;
    fill(0, 3 * BLOCK, 'a');
    discard(2 * BLOCK, BLOCK);
    take("one");
    fill(100, 8, 'b');
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_write_zeroes(o, BLOCK + 50, 50), 0);
    assert_int_equal(overlay_write_zeroes(o, 2 * BLOCK + 50, 50), 0);
    struct overlay_counts counts;
    assert_int_equal(overlay_count(o, &counts), 0);
    assert_int_equal(counts.data_blocks, 2); // zeros over zeros cost nothing
    close_overlay(o);
    assert_reads(NULL, 0, 100, 'a');
    assert_reads(NULL, 100, 8, 'b');
    assert_reads(NULL, 108, BLOCK - 108 + 50, 'a');
    assert_reads(NULL, BLOCK + 50, 50, 0);
    assert_reads(NULL, BLOCK + 100, BLOCK - 100, 'a');
    assert_reads(NULL, 2 * BLOCK, BLOCK, 0);
    assert_reads("one", 0, 2 * BLOCK, 'a');
}

static void as_many_layers_as_there_may_be_are_read_through(void **state)
{
    (void)state;
    char label[16];
    struct error error = {.text = ""};
    for (unsigned i = 0; i < OVERLAY_DEPTH_MAXIMUM - 1; i++) {
        fill((uint64_t)i * BLOCK, 2 * BLOCK, (int)i + 1);
        snprintf(label, sizeof label, "s%u", i);
        take(label);
    }
    assert_int_equal(take_snapshot(&folder, "more", &error), -EMLINK);
    assert_non_null(strstr(error.text, "63"));
    for (unsigned i = 0; i < OVERLAY_DEPTH_MAXIMUM - 1; i++)
        assert_reads(NULL, (uint64_t)i * BLOCK, BLOCK, (int)i + 1);
    assert_reads("s10", 11 * BLOCK, BLOCK, 11);
    assert_reads("s10", 12 * BLOCK, BLOCK, -1);
    assert_int_equal(roll_back(&folder, "s10", false, &error), -ENOTEMPTY);
    assert_non_null(strstr(error.text, "s62"));
    assert_reads(NULL, 62 * BLOCK, BLOCK, 63);
    back_to("s10", true);
    assert_reads(NULL, 11 * BLOCK, BLOCK, 11);
    assert_reads(NULL, 12 * BLOCK, BLOCK, -1);
    assert_int_equal(files(), 2 * 12);
}

static void labels_are_checked_and_numbers_given(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    char label[OVERLAY_LABEL_SIZE] = "";
    char too_long[66] = "";
    memset(too_long, 'x', 65);
    const char *const bad[] = {"", ".", "..", "-x", "a b", "a/b", "a\nb", "\x1b[2J", "ä", too_long};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(take_snapshot(&folder, bad[i], &error), -EINVAL);
    assert_int_equal(overlay_snapshot_roll_back(folder.fd, NULL, false, label, &error), -ENOENT);
    assert_int_equal(overlay_snapshot_take(folder.fd, NULL, 0, label, &error), 0);
    assert_string_equal(label, "1");
    take("7");
    take("before-upgrade");
    assert_int_equal(take_snapshot(&folder, "7", &error), -EEXIST);
    assert_int_equal(overlay_snapshot_take(folder.fd, NULL, 1795428000, label, &error), 0);
    assert_string_equal(label, "8");
    assert_int_equal(roll_back(&folder, "2", false, &error), -ENOENT);
    assert_int_equal(overlay_snapshot_delete(folder.fd, "2", NULL, &error), -ENOENT);
    struct overlay_history h;
    assert_int_equal(overlay_history_read(folder.fd, &h, &error), 0);
    assert_int_equal(h.count, 4);
    assert_string_equal(h.snapshots[0].label, "8");
    assert_int_equal(h.snapshots[0].time, 1795428000);
    assert_string_equal(h.snapshots[3].label, "1");
    assert_int_equal(h.snapshots[3].time, 0);
}

static void a_number_is_given_once_however_great(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    char label[OVERLAY_LABEL_SIZE] = "";
    take("4294967295");
    take("18446744073709551615");
    for (int i = 0; i < 3; i++)
        must(overlay_snapshot_take(folder.fd, NULL, 0, label, &error), &error);
    assert_string_equal(label, "4294967298");
    struct overlay_history h; // the list is one that can be read
    must(overlay_history_read(folder.fd, &h, &error), &error);
    assert_int_equal(h.count, 5);
}

static void space_is_counted_by_layer(void **state)
{
    (void)state;
    struct overlay_history h;
    fill(0, 4 * BLOCK, 'a');
    take(NULL);
    fill(0, BLOCK, 'b');
    assert_int_equal(overlay_history_read(folder.fd, &h, NULL), 0);
    assert_in_range(h.snapshots[0].bytes, 4 * BLOCK, 8 * BLOCK);
    assert_in_range(h.top_bytes, BLOCK, 4 * BLOCK);
    assert_int_equal(h.bytes, h.top_bytes + h.snapshots[0].bytes);
}

static void an_open_overlay_is_busy(void **state) // TRUST T42
{
    (void)state;
    struct error error = {.text = ""};
    for (int depth = 0; depth < 2; depth++) {
        struct overlay *o = open_overlay(&folder, BASE_SIZE);
        assert_int_equal(take_snapshot(&folder, "x", &error), -EBUSY);
        assert_int_equal(roll_back(&folder, "one", false, &error), -EBUSY);
        assert_int_equal(overlay_snapshot_delete(folder.fd, "one", NULL, &error), -EBUSY);
        struct overlay_base base = pattern_base(BASE_SIZE);
        struct overlay *second;
        assert_int_equal(overlay_open(folder.fd, &some_manifest, &base, &second, &error), -EBUSY);
        close_overlay(o);
        if (depth == 0)
            take("one");
    }
}

static void write_file(const char *name, const char *text)
{
    assert_int_equal(io_replace_file(folder.fd, name, text, strlen(text), 0600), 0);
}

static int open_result(struct error *error)
{
    struct overlay_base base = pattern_base(BASE_SIZE);
    struct overlay *o = NULL;
    int r = overlay_open(folder.fd, &some_manifest, &base, &o, error);
    if (r == 0)
        close_overlay(o);
    return r;
}

#define FIRST "00000000000000000000000000000001"
#define OTHER "0123456789abcdef0123456789abcdef"
#define THIRD "ffffffffffffffffffffffffffffffff"
#define TIME "2026-11-23T10:00:00Z"

static void a_damaged_list_is_refused_and_nothing_removed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\n",
        "rondo-layers 1",
        "rondo-layers 1\n",
        "rondo-layers 2\ntop " FIRST "\n",
        "rondo-layers 1\ntop " FIRST,
        "rondo-layers 1\ntop " OTHER "\n",
        "rondo-layers 1\ntop 00000000000000000000000000000000\n",
        "rondo-layers 1\ntop " FIRST " " TIME " x\n",
        "rondo-layers 1\nsnapshot " FIRST " " TIME " x\n",
        "rondo-layers 1\ntop " FIRST "\nsnapshot " OTHER " " TIME " x\n",
        "rondo-layers 1\ntop " OTHER "\nsnapshot " FIRST " yesterday x\n",
        "rondo-layers 1\ntop " OTHER "\nsnapshot " FIRST " " TIME "\n",
        "rondo-layers 1\ntop " OTHER "\nsnapshot " FIRST " " TIME " a b\n",
        "rondo-layers 1\ntop " OTHER "\nsnapshot " FIRST " " TIME " ../x\n",
        "rondo-layers 1\ntop " OTHER "\ntop " FIRST "\n",
        "rondo-layers 1\ntop " OTHER "\nlost " FIRST " " TIME " x\n",
        "rondo-layers 1\ntop " OTHER "\nsnapshot " OTHER " " TIME " x\nsnapshot " FIRST " " TIME " y\n",
        "rondo-layers 1\ntop " OTHER "\nsnapshot " THIRD " " TIME " x\nsnapshot " FIRST " " TIME " x\n",
        "rondo-layers 1\ntop 0123456789ABCDEF0123456789abcdef\nsnapshot " FIRST " " TIME " x\n",
        "rondo-layers 1\ntop ../../../../etc/passwd........\nsnapshot " FIRST " " TIME " x\n",
    };
    struct error error = {.text = ""};
    struct overlay_history h;
    take("one");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file("layers", bad[i]);
        if (open_result(&error) != -EBADMSG || overlay_history_read(folder.fd, &h, &error) != -EBADMSG)
            fail_msg("list %zu: %s", i, error.text);
        assert_int_equal(take_snapshot(&folder, "x", &error), -EBADMSG);
        assert_int_equal(roll_back(&folder, "x", false, &error), -EBADMSG);
        assert_int_equal(overlay_snapshot_delete(folder.fd, "x", NULL, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "layers"));
    }
    static char large[100000];
    int n = snprintf(large, sizeof large, "rondo-layers 1\ntop " OTHER "\n");
    for (unsigned i = 64; i > 0; i--)
        n += snprintf(large + n, sizeof large - (size_t)n, "snapshot %032x " TIME " s%u\n", i, i);
    write_file("layers", large); // one layer too many
    assert_int_equal(open_result(&error), -EBADMSG);
    memset(large, 'x', sizeof large - 1);
    write_file("layers", large);
    assert_int_equal(open_result(&error), -EBADMSG);
    assert_int_equal(unlinkat(folder.fd, "layers", 0), 0);
    assert_int_equal(mkdirat(folder.fd, "layers", 0700), 0);
    assert_int_equal(open_result(&error), -EBADMSG);
    assert_int_equal(unlinkat(folder.fd, "layers", AT_REMOVEDIR), 0);
    assert_int_equal(symlinkat("/dev/zero", folder.fd, "layers"), 0);
    assert_int_equal(open_result(&error), -EBADMSG);
    assert_int_equal(files(), 4);
}

static void layers_that_do_not_belong_together_are_refused(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    struct folder other = folder_make();
    fill(0, BLOCK, 'a');
    take("one");
    struct overlay_layers layers;
    bool listed;
    char map[OVERLAY_NAME_SIZE], data[OVERLAY_NAME_SIZE];
    assert_int_equal(overlay_layers_read(folder.fd, &layers, &listed, NULL), 0);
    overlay_pair_name(&layers.layers[0].id, "map", map);
    overlay_pair_name(&layers.layers[0].id, "data", data);
    // The top's files in the place of the first layer's, and the other way round.
    assert_int_equal(linkat(folder.fd, map, other.fd, "disk.map", 0), 0);
    assert_int_equal(linkat(folder.fd, data, other.fd, "disk.data", 0), 0);
    struct overlay_base base = pattern_base(BASE_SIZE);
    struct overlay *o;
    assert_int_equal(overlay_open(other.fd, &some_manifest, &base, &o, &error), -EBADMSG);
    folder_empty(&other);
    assert_int_equal(unlinkat(folder.fd, map, 0), 0);
    assert_int_equal(linkat(folder.fd, "disk.map", folder.fd, map, 0), 0);
    assert_int_equal(open_result(&error), -EBADMSG);
    // A disk of another size below.
    assert_int_equal(unlinkat(folder.fd, "disk.map", 0), 0);
    assert_int_equal(unlinkat(folder.fd, "disk.data", 0), 0);
    assert_int_equal(unlinkat(folder.fd, map, 0), 0);
    assert_int_equal(unlinkat(folder.fd, data, 0), 0);
    make_overlay(&folder, SIZE);
    assert_int_equal(unlinkat(folder.fd, "layers", 0), 0);
    take("one");
    assert_int_equal(unlinkat(folder.fd, "disk.map", 0), 0);
    assert_int_equal(unlinkat(folder.fd, "disk.data", 0), 0);
    make_overlay(&folder, SIZE + BLOCK);
    assert_int_equal(open_result(&error), -EBADMSG);
    // A layer is gone.
    assert_int_equal(unlinkat(folder.fd, "disk.data", 0), 0);
    assert_int_equal(open_result(&error), -ENOENT);
    assert_non_null(strstr(error.text, "disk.data"));
    folder_remove(&other);
}

static void a_layer_that_is_gone_is_damage_and_no_missing_label(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    static const char *const files_of_first[] = {"disk.data", "disk.map"};
    take("one");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(unlinkat(folder.fd, files_of_first[i], 0), 0);
        assert_int_equal(roll_back(&folder, "one", false, &error), -EBADMSG);
        assert_non_null(strstr(error.text, files_of_first[i]));
        assert_int_equal(overlay_snapshot_delete(folder.fd, "one", NULL, &error), -EBADMSG);
        assert_non_null(strstr(error.text, files_of_first[i]));
    }
}

static void a_fifo_in_the_place_of_a_layer_is_refused(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    static const char *const files_of_first[] = {"disk.data", "disk.map"};
    take("one");
    alarm(20); // who opens a FIFO to read it would wait for ever
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(renameat(folder.fd, files_of_first[i], folder.fd, "kept"), 0);
        assert_int_equal(mkfifoat(folder.fd, files_of_first[i], 0600), 0);
        assert_true(open_result(&error) < 0);
        assert_true(roll_back(&folder, "one", false, &error) < 0);
        assert_non_null(strstr(error.text, files_of_first[i]));
        assert_int_equal(renameat(folder.fd, "kept", folder.fd, files_of_first[i]), 0);
    }
    alarm(0);
    assert_int_equal(open_result(&error), 0);
}

static void a_damaged_page_below_fails_its_own_requests_only(void **state)
{
    (void)state;
    unsigned char bytes[BLOCK];
    fill(0, BLOCK, 'a');
    take("one");
    fill(BLOCK, BLOCK, 'b');
    int fd = openat(folder.fd, "disk.map", O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\xff", 1, OVERLAY_HEADER_SIZE + OVERLAY_PAGE_SIZE - 1), 1);
    close(fd);
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    assert_int_equal(overlay_read(o, 0, bytes, BLOCK), -EBADMSG);
    assert_int_equal(overlay_read(o, BLOCK, bytes, BLOCK), 0);
    assert_int_equal(overlay_read(o, MAP_BORDER, bytes, BLOCK), 0);
    assert_int_equal(overlay_write(o, 0, bytes, 100), -EBADMSG);
    assert_int_equal(overlay_write(o, 0, bytes, BLOCK), 0);
    assert_int_equal(overlay_read(o, 0, bytes, BLOCK), 0);
    close_overlay(o);
}

static void what_a_dead_command_left_is_swept(void **state)
{
    (void)state;
    take("one");
    write_file("layer-" OTHER ".data", "x");
    write_file("layer-" OTHER ".map", "x");
    write_file(".rondo-tmp-0123456789abcdef", "x");
    write_file("layers.txt", "not ours");
    take("two");
    assert_int_equal(files(), 6);
    assert_int_equal(faccessat(folder.fd, "layers.txt", F_OK, 0), 0);
    assert_int_not_equal(faccessat(folder.fd, ".rondo-tmp-0123456789abcdef", F_OK, 0), 0);
}

// --- every call fails ----------------------------------------------------------------------------------------------

static int change(unsigned which)
{
    switch (which) {
    case 0:
        return take_snapshot(&folder, "new", NULL);
    case 1:
        return roll_back(&folder, "one", true, NULL);
    case 2:
        return overlay_snapshot_delete(folder.fd, "one", NULL, NULL);
    default:
        return overlay_snapshot_delete(folder.fd, "two", NULL, NULL); // into which the top is merged
    }
}

static void every_call_fails(unsigned which, int code, bool persistent)
{
    bool failed = true;
    for (unsigned long at = 1; failed; at++) {
        folder_empty(&folder);
        make_overlay(&folder, SIZE);
        fill(0, BLOCK, 'a');
        take("one");
        fill(0, 2 * BLOCK, 'b');
        take("two");
        fill(BLOCK, 2 * BLOCK, 'c');
        io_fault_start(at, code, persistent);
        int r = change(which);
        failed = io_fault_stop() >= at;
        assert_true(failed || r == 0);
        bool rolled_back = which == 1 && snapshot_index(&folder, "two") < 0;
        if (!rolled_back) { // what can be read is what it was
            assert_reads(NULL, 0, BLOCK, 'b');
            assert_reads(NULL, BLOCK, 2 * BLOCK, 'c');
        }
        int again = change(which);
        bool done = (which == 0 && again == -EEXIST) || (which > 1 && again == -ENOENT);
        if (again != 0 && !done)
            fail_msg("change %u, call %lu: %d again after %d", which, at, again, r);
        assert_reads(NULL, 0, BLOCK, which == 1 ? 'a' : 'b');
        assert_reads(NULL, BLOCK, 2 * BLOCK, which == 1 ? -1 : 'c');
        if (which != 2)
            assert_reads("one", 0, BLOCK, 'a');
        if (which == 2 || which == 0)
            assert_reads("two", 0, 2 * BLOCK, 'b');
        take("last");
        assert_int_equal(files(), which == 0 ? 10 : 6);
        assert_true(at < 300);
    }
}

static void a_change_that_fails_at_any_call_can_be_made_again(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 4; which++) {
        every_call_fails(which, EIO, false);
        every_call_fails(which, ENOSPC, true);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(rolling_back_makes_the_disk_what_it_was),
        TEST(a_discard_hides_what_lies_below),
        TEST(a_partial_write_keeps_the_rest_of_a_block_below),
        TEST(as_many_layers_as_there_may_be_are_read_through),
        TEST(labels_are_checked_and_numbers_given),
        TEST(a_number_is_given_once_however_great),
        TEST(space_is_counted_by_layer),
        TEST(an_open_overlay_is_busy),
        TEST(a_damaged_list_is_refused_and_nothing_removed),
        TEST(layers_that_do_not_belong_together_are_refused),
        TEST(a_layer_that_is_gone_is_damage_and_no_missing_label),
        TEST(a_fifo_in_the_place_of_a_layer_is_refused),
        TEST(a_damaged_page_below_fails_its_own_requests_only),
        TEST(what_a_dead_command_left_is_swept),
        TEST(a_change_that_fails_at_any_call_can_be_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
