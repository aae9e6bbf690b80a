// Where publishers' objects wait (server/staging.c): what counts against a quota, and a sweep beside uploads.
#include "server/staging.h"

#include "tests/unit/writer_fixture.h"

#include "base/banned.h"

#define SMALL PLACED_BYTES_MINIMUM
#define LARGE (UINT64_C(1) << 20)

static struct staging *staging;
static int folder;
static struct key_public key;
static char incoming[300];

static int setup(void **state)
{
    char text[KEY_TEXT_SIZE];
    fixture_set_up(state);
    const struct fixture *f = *state;
    memset(key.bytes, 1, sizeof(key.bytes));
    folder = open(f->root, O_RDONLY | O_DIRECTORY);
    assert_true(folder >= 0);
    assert_int_equal(staging_open(folder, &staging, NULL), 0);
    snprintf(incoming, sizeof(incoming), "%s/" STAGING_FOLDER "/%s", f->root, key_to_text(&key, text));
    return 0;
}

static int teardown(void **state)
{
    io = &io_table_system;
    staging_close(&staging);
    close(folder);
    return fixture_tear_down(state);
}

static struct sha256 name_of(unsigned number)
{
    return sha256_of(&number, sizeof(number));
}

static int begin(unsigned number, struct publish_part part, uint64_t quota, struct staging_upload **ret)
{
    const struct sha256 name = name_of(number);
    uint64_t offset;
    return staging_begin(staging, &key, &name, &part, quota, ret, &offset, NULL);
}

// So many bytes of an object, of which more are to come.
static int send_some(unsigned number, uint64_t first, uint64_t length, uint64_t quota)
{
    struct staging_upload *u = NULL;
    void *bytes CLEANUP_FREE = calloc(1, length);
    int r = begin(number, (struct publish_part){.first = first, .length = length, .total = 9 * LARGE}, quota, &u);
    if (r == 0)
        r = staging_add(u, bytes, length, NULL);
    if (r == 0)
        r = staging_finish(u, NULL);
    staging_end(&u);
    return r;
}

static void a_tiny_part_counts_as_a_file(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(send_some(i, 0, 1, 4 * SMALL), 0);
    assert_int_equal(staging_count_bytes(staging, &key), 4 * SMALL);
    assert_int_equal(send_some(4, 0, 1, 5 * SMALL - 1), -EDQUOT);
    assert_int_equal(send_some(0, 1, 9, 4 * SMALL), 0); // one that is there may grow in what it was counted as
    assert_int_equal(staging_count_bytes(staging, &key), 4 * SMALL);
    assert_int_equal(send_some(1, 1, SMALL, 4 * SMALL), -EDQUOT);
    assert_int_equal(send_some(1, 1, SMALL, 4 * SMALL + 1), 0);
    assert_int_equal(staging_count_bytes(staging, &key), 4 * SMALL + 1);
}

static void uploads_under_way_count_as_what_they_will_be(void **state)
{
    (void)state;
    struct staging_upload *tiny = NULL, *large = NULL;
    assert_int_equal(begin(0, (struct publish_part){.length = 1, .total = 1}, LARGE, &tiny), 0);
    assert_int_equal(staging_count_bytes(staging, &key), SMALL);
    assert_int_equal(begin(1, (struct publish_part){.length = LARGE, .total = LARGE}, LARGE, &large), -EDQUOT);
    assert_int_equal(begin(1, (struct publish_part){.length = LARGE, .total = LARGE}, LARGE + SMALL, &large), 0);
    assert_int_equal(staging_count_bytes(staging, &key), LARGE + SMALL);
    char bytes[100] = {0};
    assert_int_equal(staging_add(large, bytes, sizeof(bytes), NULL), 0);
    assert_int_equal(staging_count_bytes(staging, &key), LARGE + SMALL);
    staging_end(&tiny);
    staging_end(&large);
    assert_int_equal(staging_count_bytes(staging, &key), 2 * SMALL);
}

static void there_are_so_many_files_at_most(void **state)
{
    (void)state;
    assert_int_equal(send_some(0, 0, 1, UINT64_MAX), 0);
    int dir = open(incoming, O_RDONLY | O_DIRECTORY);
    for (unsigned i = 1; i < STAGING_FILES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%u", i);
        close(openat(dir, name, O_WRONLY | O_CREAT, 0600));
    }
    close(dir);
    assert_int_equal(send_some(1, 0, 1, UINT64_MAX), -EDQUOT);
    assert_int_equal(send_some(0, 1, 1, UINT64_MAX), 0);
}

// The keeper's sweep, at the worst moment: the folder was made, or is open, and goes.
static unsigned sweeps;

static int open_behind_a_sweep(int dir, const char *path, int flags, mode_t mode)
{
    if (sweeps > 0 && rmdir(incoming) == 0)
        sweeps--;
    return openat(dir, path, flags, mode);
}

static void a_folder_that_is_swept_is_made_again(void **state)
{
    (void)state;
    struct io_table table = io_table_system;
    table.openat = open_behind_a_sweep;
    io = &table;
    sweeps = 1;
    assert_int_equal(send_some(0, 0, 1, LARGE), 0);
    assert_int_equal(sweeps, 0);
    sweeps = 99;
    assert_int_equal(unlinkat(AT_FDCWD, incoming, AT_REMOVEDIR), -1);
    assert_int_equal(send_some(0, 1, 1, LARGE), 0); // it is not empty: it does not go
    assert_int_equal(sweeps, 99);
    remove_tree(incoming);
    assert_int_equal(send_some(0, 0, 1, LARGE), -EAGAIN);
}

static void what_is_swept_under_an_upload_is_sent_again(void **state)
{
    (void)state;
    struct staging_upload *u = NULL;
    const struct sha256 name = sha256_of("x", 1);
    const struct publish_part part = {.length = 1, .total = 1};
    uint64_t offset;
    bool whole;
    assert_int_equal(staging_begin(staging, &key, &name, &part, LARGE, &u, &offset, NULL), 0);
    assert_int_equal(staging_add(u, "x", 1, NULL), 0);
    remove_tree(incoming);
    assert_int_equal(staging_finish(u, NULL), -EAGAIN);
    staging_end(&u);
    assert_int_equal(staging_begin(staging, &key, &name, &part, LARGE, &u, &offset, NULL), 0);
    assert_int_equal(staging_add(u, "x", 1, NULL), 0);
    assert_int_equal(staging_finish(u, NULL), 1);
    staging_end(&u);
    assert_int_equal(staging_find(staging, &key, &name, &whole), 1);
    assert_true(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_tiny_part_counts_as_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(uploads_under_way_count_as_what_they_will_be, setup, teardown),
        cmocka_unit_test_setup_teardown(there_are_so_many_files_at_most, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_is_swept_is_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_swept_under_an_upload_is_sent_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
