// site_collect: what nothing needs goes after its grace time, counted from when that was first seen; notes that are
// damaged only begin that time anew; and whatever is not an object stays.

#include "blockstore/site_collect.h"

#include <limits.h>

#include "tests/unit/writer_fixture.h"

#include "base/banned.h"

#define NOW 2000000000
#define GRACE 1000

static struct site *site;
static struct needs *needs;
static char path[PATH_MAX];

static int setup(void **state)
{
    fixture_set_up(state);
    const struct fixture *f = *state;
    snprintf(path, sizeof(path), "%s/collected", f->root);
    assert_int_equal(site_open(path, &site, NULL), 0);
    assert_int_equal(needs_new(&needs, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    needs_free(needs);
    site_close(site);
    return fixture_tear_down(state);
}

static struct sha256 put(const char *text)
{
    struct sha256 name;
    assert_int_equal(site_put_object(site, text, strlen(text), &name, NULL), 0);
    return name;
}

static bool stands(const struct sha256 *name)
{
    int fd = site_open_object(site, name);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static struct site_collected collect(int64_t now, bool dry_run)
{
    struct site_collected sum;
    struct error error = {0};
    const struct site_collect o = {.now = now, .grace = GRACE, .dry_run = dry_run};
    if (site_collect(site, needs, &o, &sum, &error) != 0)
        fail_msg("%s", error.text);
    return sum;
}

static void write_notes(const char *text)
{
    char name[PATH_MAX + 32];
    snprintf(name, sizeof(name), "%s/.unfinished/.unneeded", path);
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void unneeded_objects_go_after_their_grace_time(void **state)
{
    (void)state;
    struct sha256 needed = put("needed"), unneeded = put("unneeded");
    assert_int_equal(needs_add(needs, &needed, 6, NULL), 0);
    struct site_collected sum = collect(NOW, false);
    assert_int_equal(sum.objects, 2);
    assert_int_equal(sum.waiting, 1);
    assert_int_equal(sum.waiting_bytes, 8);
    assert_int_equal(collect(NOW + GRACE - 1, false).removed, 0);
    assert_int_equal(collect(NOW + GRACE, true).removed, 1);
    assert_true(stands(&unneeded));
    sum = collect(NOW + GRACE, false);
    assert_int_equal(sum.removed, 1);
    assert_int_equal(sum.removed_bytes, 8);
    assert_true(stands(&needed) && !stands(&unneeded));
    assert_int_equal(collect(NOW + 2 * GRACE, false).removed, 0);
}

static void what_is_needed_again_begins_anew(void **state)
{
    (void)state;
    struct sha256 object = put("object");
    collect(NOW, false);
    assert_int_equal(needs_add(needs, &object, 6, NULL), 0);
    assert_int_equal(collect(NOW + 2 * GRACE, false).waiting, 0);
    needs_free(needs);
    assert_int_equal(needs_new(&needs, NULL), 0);
    assert_int_equal(collect(NOW + 3 * GRACE, false).removed, 0);
    assert_int_equal(collect(NOW + 4 * GRACE, false).removed, 1);
}

static void what_was_listed_in_between_begins_anew(void **state)
{
    (void)state;
    struct sha256 listed = put("listed"), other = put("other");
    collect(NOW, false);
    assert_int_equal(needs_add(needs, &listed, 6, NULL), 0);
    assert_int_equal(site_renew_grace(site, needs, NULL), 0); // it was listed after that, and no longer is
    needs_free(needs);
    assert_int_equal(needs_new(&needs, NULL), 0);
    assert_int_equal(collect(NOW + GRACE, false).removed, 1);
    assert_true(stands(&listed) && !stands(&other));
    assert_int_equal(site_renew_grace(site, NULL, NULL), 0);
    assert_int_equal(collect(NOW + 2 * GRACE, false).removed, 0);
    assert_int_equal(collect(NOW + 3 * GRACE, false).removed, 1);
}

static void a_dry_run_notes_nothing(void **state)
{
    (void)state;
    struct sha256 object = put("object");
    assert_int_equal(collect(NOW, true).waiting, 1);
    assert_int_equal(collect(NOW + GRACE, false).removed, 0);
    assert_true(stands(&object));
}

static void damaged_notes_say_nothing(void **state)
{
    (void)state;
    struct sha256 object = put("object");
    char hex[SHA256_HEX_SIZE], line[256];
    const char *const forms[] = {"%s 2033-05-18T03:33:21Z\n",  // a second in the future
                                 "%s 1999-13-01T00:00:00Z\n",  // no time
                                 "%s  1999-01-01T00:00:00Z\n", // two spaces
                                 "%.63s 1999-01-01T00:00:00Z\n",   "%s\n",
                                 "\xff %s 1999-01-01T00:00:00Z\n", "%s 1999-01-01T00:00:00Z"}; // cut short
    sha256_to_hex(&object, hex);
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        snprintf(line, sizeof(line), forms[i], hex); // NOLINT(clang-diagnostic-format-nonliteral)
        write_notes(line);
        assert_int_equal(collect(NOW, false).removed, 0);
        assert_true(stands(&object));
    }
    snprintf(line, sizeof(line), "%s 1999-01-01T00:00:00Z\n", hex);
    write_notes(line);
    assert_int_equal(collect(NOW, false).removed, 1);
}

static void unfinished_packs_and_foreign_files_stay(void **state)
{
    (void)state;
    struct sha256 pack = put("pack"), object = put("object");
    const struct pack_reference listed = {.name = pack, .size = 4};
    char name[PATH_MAX + 32];
    assert_int_equal(site_list_packs(site, "image", &listed, 1, NULL), 0);
    snprintf(name, sizeof(name), "%s/objects/note", path);
    close(creat(name, 0600));
    collect(NOW, false);
    struct site_collected sum = collect(NOW + GRACE, false);
    assert_int_equal(sum.removed, 1);
    assert_int_equal(sum.foreign, 1);
    assert_true(stands(&pack) && !stands(&object));
    assert_int_equal(access(name, F_OK), 0);
}

// Whatever call fails: nothing needed goes, nothing goes before its time, and the same again ends it.
static void a_failure_of_any_call_is_no_harm(void **state)
{
    (void)state;
    const struct site_collect o = {.now = NOW + GRACE, .grace = GRACE};
    struct sha256 needed = put("needed");
    struct site_collected sum;
    assert_int_equal(needs_add(needs, &needed, 6, NULL), 0);
    unsigned removed_on_a_full_disk = 0;
    for (unsigned long at = 1, calls = 1; calls >= at - 1; at++) { // the last one meets no failure
        struct sha256 due = put("due");
        collect(NOW, false);
        struct sha256 young = put("young");
        io_fault_start(at, ENOSPC, false);
        int r = site_collect(site, needs, &o, &sum, NULL);
        calls = io_fault_stop();
        removed_on_a_full_disk += r == 0 && at <= calls && !stands(&due);
        assert_true(stands(&needed) && stands(&young));
        assert_int_equal(collect(NOW + GRACE, false).waiting, 1);
        assert_true(stands(&needed) && stands(&young) && !stands(&due));
        collect(NOW + 3 * GRACE, false);
        assert_true(stands(&needed) && !stands(&young));
    }
    assert_true(removed_on_a_full_disk > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unneeded_objects_go_after_their_grace_time),
        TEST(what_is_needed_again_begins_anew),
        TEST(what_was_listed_in_between_begins_anew),
        TEST(a_dry_run_notes_nothing),
        TEST(damaged_notes_say_nothing),
        TEST(unfinished_packs_and_foreign_files_stay),
        TEST(a_failure_of_any_call_is_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
