// What publishers brought into a site, counted for their quotas (server/placed.c).
#include "server/placed.h"

#include "tests/unit/writer_fixture.h"

#include "base/banned.h"

#define SMALL PLACED_BYTES_MINIMUM
#define LARGE (UINT64_C(5) << 20)

static struct site *site;
static int folder;
static struct key_public alice, bob;

static int setup(void **state)
{
    fixture_set_up(state);
    const struct fixture *f = *state;
    memset(alice.bytes, 1, sizeof(alice.bytes));
    memset(bob.bytes, 2, sizeof(bob.bytes));
    assert_int_equal(site_open(f->site, &site, NULL), 0);
    folder = open(f->root, O_RDONLY | O_DIRECTORY);
    assert_true(folder >= 0);
    assert_int_equal(placed_make(folder, &alice, NULL, 0, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    close(folder);
    site_close(site);
    return fixture_tear_down(state);
}

static struct placed_object object(const char *text, uint64_t bytes, bool placed)
{
    struct placed_object o = {.name = sha256_of(text, strlen(text)), .bytes = bytes};
    struct sha256 name;
    if (placed)
        assert_int_equal(site_put_object(site, text, strlen(text), &name, NULL), 0);
    return o;
}

static uint64_t sum_of(const struct key_public *key)
{
    uint64_t sum = UINT64_MAX;
    assert_int_equal(placed_sum(folder, key, &sum), 0);
    return sum;
}

static int add(const struct placed_object *o, uint64_t quota)
{
    struct error error = {.text = ""};
    int r = placed_add(folder, &alice, o, 1, quota, site, &error);
    if (r == -EDQUOT)
        assert_non_null(strstr(error.text, "over your quota"));
    return r;
}

static int open_list(int flags)
{
    char name[KEY_TEXT_SIZE];
    int fd = openat(folder, key_to_text(&alice, name), flags);
    assert_true(fd >= 0);
    return fd;
}

static void each_object_counts_and_a_small_one_as_a_file(void **state)
{
    (void)state;
    const struct placed_object small = object("a", 1, true), large = object("b", LARGE, true);
    assert_int_equal(sum_of(&alice), 0);
    assert_int_equal(add(&small, 2 * LARGE), 0);
    assert_int_equal(add(&large, 2 * LARGE), 0);
    assert_int_equal(sum_of(&alice), SMALL + LARGE);
}

static void without_a_list_there_is_no_sum(void **state)
{
    (void)state;
    uint64_t sum = 7;
    assert_int_equal(placed_sum(folder, &bob, &sum), -ENOENT);
    assert_int_equal(sum, 7);
    const struct placed_object o = object("a", 1, true);
    assert_int_equal(placed_add(folder, &bob, &o, 1, LARGE, site, NULL), -ENOENT);
}

static void over_the_quota_nothing_is_added(void **state)
{
    (void)state;
    const struct placed_object first = object("a", LARGE, true), second = object("b", 1, true);
    assert_int_equal(add(&first, LARGE - 1), -EDQUOT);
    assert_int_equal(sum_of(&alice), 0);
    assert_int_equal(add(&first, LARGE), 0);
    assert_int_equal(add(&second, LARGE + SMALL - 1), -EDQUOT);
    assert_int_equal(add(&second, 1), -EDQUOT); // the quota is less than what is there
    assert_int_equal(sum_of(&alice), LARGE);
    assert_int_equal(add(&second, LARGE + SMALL), 0);
}

static void what_has_gone_from_the_site_gives_its_room_back(void **state)
{
    (void)state;
    const struct placed_object gone = object("a", LARGE, true), stays = object("b", LARGE, true),
                               next = object("c", LARGE, true);
    assert_int_equal(add(&gone, 2 * LARGE), 0);
    assert_int_equal(add(&stays, 2 * LARGE), 0);
    assert_int_equal(add(&next, 2 * LARGE), -EDQUOT);
    char path[300], hex[SHA256_HEX_SIZE];
    sha256_to_hex(&gone.name, hex);
    snprintf(path, sizeof(path), "%s/objects/%.2s/%s", site_path(site), hex, hex);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(add(&next, 2 * LARGE), 0);
    assert_int_equal(sum_of(&alice), 2 * LARGE);
}

static void a_sweep_counts_each_object_that_is_there_once(void **state)
{
    (void)state;
    const struct placed_object there = object("a", LARGE, true), never = object("b", LARGE, false);
    assert_int_equal(add(&there, 9 * LARGE), 0);
    assert_int_equal(add(&never, 9 * LARGE), 0); // the keeper was killed before it placed it
    assert_int_equal(add(&there, 9 * LARGE), 0); // and so it was handed in again
    close(openat(folder, IO_TEMPORARY_PREFIX "0", O_WRONLY | O_CREAT, 0600));
    placed_sweep(folder, site);
    assert_int_equal(sum_of(&alice), LARGE);
    assert_int_equal(faccessat(folder, IO_TEMPORARY_PREFIX "0", F_OK, 0), -1);
}

static void cut_short_at_any_byte_the_whole_lines_count(void **state)
{
    (void)state;
    const struct placed_object first = object("a", LARGE, true), second = object("b", LARGE, true),
                               third = object("c", 1, true);
    struct stat st;
    assert_int_equal(add(&first, 9 * LARGE), 0);
    int fd = open_list(O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    const off_t whole = st.st_size;
    assert_int_equal(add(&second, 9 * LARGE), 0);
    assert_int_equal(fstat(fd, &st), 0);
    const off_t both = st.st_size;
    char bytes[512];
    assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), both);
    for (off_t at = 0; at < both; at++) {
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, bytes, (size_t)at, 0), at);
        assert_int_equal(sum_of(&alice), at < whole ? 0 : LARGE);
        assert_int_equal(add(&third, 9 * LARGE), 0);
        assert_int_equal(sum_of(&alice), (at < whole ? 0 : LARGE) + SMALL);
    }
    close(fd);
}

static void a_list_that_is_none_is_no_sum_and_is_mended(void **state)
{
    (void)state;
    const struct placed_object o = object("a", LARGE, true);
    uint64_t sum;
    assert_int_equal(add(&o, 9 * LARGE), 0);
    int fd = open_list(O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "what?\n", 6), 6);
    close(fd);
    assert_int_equal(placed_sum(folder, &alice, &sum), -EBADMSG);
    const struct placed_object next = object("b", LARGE, true);
    assert_int_equal(add(&next, 9 * LARGE), 0);
    assert_int_equal(sum_of(&alice), 2 * LARGE);
}

static void a_quota_of_its_own_goes_before_everybodys(void **state)
{
    (void)state;
    uint64_t quota = 7;
    bool own = true;
    assert_int_equal(placed_find_quota(folder, &alice, &quota, &own, NULL), 0);
    assert_true(quota == 7 && !own);
    assert_int_equal(placed_set_quota(folder, &alice, 0, NULL), 0);
    assert_int_equal(placed_find_quota(folder, &alice, &quota, &own, NULL), 0);
    assert_true(quota == 0 && own);
    placed_sweep(folder, site); // it is no list
    assert_int_equal(placed_set_quota(folder, &alice, INT64_MAX, NULL), 0);
    assert_int_equal(placed_find_quota(folder, &alice, &quota, &own, NULL), 0);
    assert_true(quota == INT64_MAX && own);
    quota = 7;
    assert_int_equal(placed_find_quota(folder, &bob, &quota, &own, NULL), 0);
    assert_true(quota == 7 && !own);
    assert_int_equal(placed_remove_quota(folder, &alice, NULL), 0);
    assert_int_equal(placed_remove_quota(folder, &alice, NULL), 0);
    assert_int_equal(placed_find_quota(folder, &alice, &quota, &own, NULL), 0);
    assert_true(quota == 7 && !own);
}

static void a_damaged_quota_is_none(void **state)
{
    (void)state;
    static const char *const damaged[] = {
        "", "\n", "5", "-5\n", "5\n5\n", "9223372036854775808\n", "5 \n", "99999999999999999999999999999999\n"};
    char name[KEY_TEXT_SIZE + sizeof PLACED_QUOTA_SUFFIX], text[KEY_TEXT_SIZE];
    uint64_t quota = 7;
    bool own = false;
    snprintf(name, sizeof name, "%s" PLACED_QUOTA_SUFFIX, key_to_text(&alice, text));
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        assert_int_equal(io_replace_file(folder, name, damaged[i], strlen(damaged[i]), 0600), 0);
        assert_int_equal(placed_find_quota(folder, &alice, &quota, &own, NULL), -EBADMSG);
        assert_true(quota == 7 && !own);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_object_counts_and_a_small_one_as_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_list_there_is_no_sum, setup, teardown),
        cmocka_unit_test_setup_teardown(over_the_quota_nothing_is_added, setup, teardown),
        cmocka_unit_test_setup_teardown(what_has_gone_from_the_site_gives_its_room_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sweep_counts_each_object_that_is_there_once, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_short_at_any_byte_the_whole_lines_count, setup, teardown),
        cmocka_unit_test_setup_teardown(a_list_that_is_none_is_no_sum_and_is_mended, setup, teardown),
        cmocka_unit_test_setup_teardown(a_quota_of_its_own_goes_before_everybodys, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_quota_is_none, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
