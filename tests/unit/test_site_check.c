// site_check: what is damaged is named; what could only not be read is never offered for removal.

#include "blockstore/site_check.h"

#include <limits.h>

#include "tests/unit/writer_fixture.h"

#include "base/banned.h"

static struct site *site;
static char path[PATH_MAX];

static int setup(void **state)
{
    fixture_set_up(state);
    const struct fixture *f = *state;
    snprintf(path, sizeof(path), "%s/checked", f->root);
    assert_int_equal(site_open(path, &site, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    site_close(site);
    return fixture_tear_down(state);
}

static void count_problem(void *context, const struct sha256 *object, const char *what)
{
    unsigned *problems = context;
    assert_non_null(object);
    assert_non_null(what);
    ++*problems;
}

static void count_unneeded(void *context, const struct sha256 *name, uint32_t size, bool needed)
{
    unsigned *unneeded = context;
    (void)name;
    (void)size;
    assert_false(needed);
    ++*unneeded;
}

// How many problems; and how many objects are wrong, and nothing needs them.
static int check(unsigned *ret_problems, unsigned *ret_unneeded)
{
    const struct site_check_options o = {.problem = count_problem, .context = ret_problems};
    struct site_check *k;
    *ret_problems = *ret_unneeded = 0;
    int r = site_check_new(site, &o, &k, NULL);
    if (r < 0)
        return r;
    site_check_walk_wrong(k, count_unneeded, ret_unneeded);
    site_check_free(k);
    return 0;
}

static void damaged_objects_are_wrong(void **state)
{
    (void)state;
    unsigned problems, unneeded;
    struct sha256 name;
    char hex[SHA256_HEX_SIZE], file[PATH_MAX + 128];
    assert_int_equal(site_put_object(site, "object", 6, &name, NULL), 0);
    assert_int_equal(check(&problems, &unneeded), 0);
    assert_int_equal(problems + unneeded, 0);
    sha256_to_hex(&name, hex);
    snprintf(file, sizeof(file), "%s/objects/%.2s/%s", path, hex, hex);
    assert_int_equal(truncate(file, 5), 0);
    assert_int_equal(check(&problems, &unneeded), 0);
    assert_int_equal(problems, 1);
    assert_int_equal(unneeded, 1);
}

static void unreadable_objects_may_be_right(void **state)
{
    (void)state;
    unsigned problems, unneeded, unread = 0;
    struct sha256 name;
    assert_int_equal(site_put_object(site, "object", 6, &name, NULL), 0);
    for (unsigned long at = 1, calls = 1; calls >= at - 1; at++) { // the last one meets no failure
        io_fault_start(at, EIO, false);
        int r = check(&problems, &unneeded);
        calls = io_fault_stop();
        unread += r == 0 && problems > 0;
        assert_int_equal(unneeded, 0);
    }
    assert_true(unread > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(damaged_objects_are_wrong),
        TEST(unreadable_objects_may_be_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
