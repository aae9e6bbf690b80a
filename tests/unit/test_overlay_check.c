// overlay_check: every kind of damage that a disk's files can show by themselves is found, and a sound one is sound.

#include "blockstore/overlay_check.h"

#include "blockstore/overlay_snapshot.h"
#include "tests/unit/overlay_fixture.h"

#include "base/banned.h"

#define SIZE (UINT64_C(200) << 20) // four map pages, the last one partly used

static unsigned problems;
static bool last_whole;
static char last[1024];

static void note(void *context, bool whole, const char *text)
{
    (void)context;
    problems++;
    last_whole = whole;
    snprintf(last, sizeof last, "%s", text);
}

static unsigned check(const struct sha256 *base)
{
    problems = 0;
    last[0] = '\0';
    assert_int_equal(overlay_check(folder.fd, base, note, NULL), 0);
    return problems;
}

static struct sha256 base_name(void)
{
    return sha256_of("base", 4);
}

static int setup(void **state)
{
    char label[OVERLAY_LABEL_SIZE];
    struct sha256 base = base_name();
    struct overlay_base pattern = pattern_base(SIZE);
    struct overlay *o;
    folder_set_up(state);
    assert_int_equal(overlay_create(folder.fd, SIZE, &base, NULL), 0);
    assert_int_equal(overlay_snapshot_take(folder.fd, "one", 0, label, NULL), 0);
    assert_int_equal(overlay_open(folder.fd, &base, &pattern, &o, NULL), 0);
    assert_int_equal(overlay_write(o, 5000, "changed", 7), 0);
    assert_int_equal(overlay_write(o, SIZE - 7, "changed", 7), 0);
    assert_int_equal(overlay_discard(o, UINT64_C(100) << 20, 1 << 20), 0);
    assert_int_equal(overlay_close(o, NULL), 0);
    return 0;
}

// The file of the top layer, which is not the first one, with this suffix.
static void top_name(const char *suffix, char name[static 64])
{
    DIR *d = opendir(folder.path);
    assert_non_null(d);
    name[0] = '\0';
    for (const struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, "layer-", 6) == 0 && strstr(e->d_name, suffix))
            snprintf(name, 64, "%.63s", e->d_name);
    closedir(d);
    assert_true(name[0] != '\0');
}

static void put(const char *name, uint64_t offset, const void *bytes, size_t n)
{
    int fd = openat(folder.fd, name, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)offset), (ssize_t)n);
    close(fd);
}

static void a_sound_disk_is_sound(void **state)
{
    (void)state;
    struct sha256 base = base_name();
    if (check(&base) != 0)
        fail_msg("%s", last);
}

static void another_base_is_told(void **state)
{
    (void)state;
    struct sha256 other = sha256_of("other", 5);
    assert_int_equal(check(&other), 2); // of both layers
    assert_false(last_whole);
    assert_non_null(strstr(last, "another version"));
}

static void a_damaged_header_is_told(void **state)
{
    (void)state;
    struct sha256 base = base_name();
    put("disk.map", 30, "x", 1);
    assert_int_equal(check(&base), 1);
    assert_non_null(strstr(last, "disk.map"));
}

static void impossible_bits_are_told(void **state)
{
    (void)state;
    char name[64];
    struct sha256 base = base_name();
    top_name(".map", name);
    put(name, 4096 + 4096 + 17, "\xff", 1); // state 3
    assert_int_equal(check(&base), 1);
    assert_non_null(strstr(last, "page 1"));
    put(name, 4096 + 3 * 4096 + 4095, "\x01", 1); // beyond the disk's end
    assert_int_equal(check(&base), 2);
    assert_non_null(strstr(last, "page 3"));
}

static void a_file_that_is_cut_or_gone_is_told(void **state)
{
    (void)state;
    char name[64];
    struct sha256 base = base_name();
    top_name(".data", name);
    int fd = openat(folder.fd, name, O_WRONLY);
    assert_int_equal(ftruncate(fd, SIZE / 2), 0);
    close(fd);
    assert_int_equal(check(&base), 1);
    assert_non_null(strstr(last, name));
    assert_int_equal(unlinkat(folder.fd, "disk.data", 0), 0);
    assert_int_equal(check(&base), 2);
}

static void a_list_that_is_malformed_is_told(void **state)
{
    (void)state;
    struct sha256 base = base_name();
    put("layers", 0, "R", 1);
    assert_int_equal(check(&base), 1);
    assert_non_null(strstr(last, "layers"));
    assert_true(last_whole);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, folder_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sound_disk_is_sound),
        TEST(another_base_is_told),
        TEST(a_damaged_header_is_told),
        TEST(impossible_bits_are_told),
        TEST(a_file_that_is_cut_or_gone_is_told),
        TEST(a_list_that_is_malformed_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
