// Pins and their owners: blockstore/cache_pin.c, by its numbered rules.

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "blockstore/cache.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/folder_fixture.h"

#include "base/banned.h"

static char machine[96], other[96]; // two machines' folders
static struct cache *c;
static struct sha256 manifest, object;

static int setup(void **state)
{
    char path[128];
    folder_set_up(state);
    snprintf(path, sizeof(path), "%s/home", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(machine, sizeof(machine), "%s/home/a machine", folder);
    snprintf(other, sizeof(other), "%s/home/other", folder);
    assert_int_equal(mkdir(machine, 0700), 0);
    assert_int_equal(mkdir(other, 0700), 0);
    snprintf(path, sizeof(path), "%s/cache", folder);
    assert_int_equal(cache_open(path, 0, &c, NULL), 0);
    manifest = sha256_of("manifest", 8);
    object = sha256_of("object", 6);
    cache_put_object(c, &object, "object", 6);
    return 0;
}

static int teardown(void **state)
{
    cache_close(c);
    return folder_tear_down(state);
}

// What an eviction of all leaves of the object.
static bool survives(void)
{
    struct cache_collected sum;
    assert_int_equal(cache_collect(c, &(struct cache_collect){.limit = 0}, &sum, NULL), 0);
    return cache_has_object(c, &object);
}

static void pin(const char *owner)
{
    assert_int_equal(cache_pin(c, &manifest, owner, &object, 1, NULL), 0);
}

static char *read_file(char *to, size_t capacity)
{
    char path[192], hex[SHA256_HEX_SIZE];
    snprintf(path, sizeof(path), "%s/cache/pins/%s", folder, sha256_to_hex(&manifest, hex));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    to[fread(to, 1, capacity - 1, f)] = '\0';
    assert_int_equal(fclose(f), 0);
    return to;
}

static void write_file(const char *text)
{
    char name[160], hex[SHA256_HEX_SIZE];
    snprintf(name, sizeof(name), "%s/cache/pins/%s", folder, sha256_to_hex(&manifest, hex));
    assert_int_equal(io_replace_file(AT_FDCWD, name, text, strlen(text), 0600), 0);
}

static void a_pin_lasts_as_long_as_its_last_owner(void **state)
{
    (void)state;
    pin(machine);
    assert_int_equal(cache_join_pin(c, &manifest, CACHE_OWNER_PULL, NULL), 0);
    assert_int_equal(cache_join_pin(c, &manifest, CACHE_OWNER_PULL, NULL), 0); // once is enough
    assert_int_equal(cache_join_pin(c, &manifest, other, NULL), 0);
    assert_true(cache_is_pinned(c, &manifest, machine));
    assert_true(cache_is_pinned(c, &manifest, other));
    assert_true(cache_is_pinned(c, &manifest, CACHE_OWNER_PULL));
    assert_int_equal(cache_unpin(c, &manifest, CACHE_OWNER_PULL, NULL), 0);
    assert_int_equal(cache_unpin(c, &manifest, CACHE_OWNER_PULL, NULL), -ENOENT);
    assert_false(cache_is_pinned(c, &manifest, CACHE_OWNER_PULL));
    assert_int_equal(cache_unpin(c, &manifest, machine, NULL), 0);
    assert_true(cache_is_pinned(c, &manifest, NULL));
    assert_true(survives());
    assert_int_equal(cache_unpin(c, &manifest, other, NULL), 0);
    assert_false(cache_is_pinned(c, &manifest, NULL));
    assert_int_equal(cache_join_pin(c, &manifest, other, NULL), -ENOENT);
    assert_false(survives());
}

static void an_owner_whose_folder_is_gone_owns_nothing(void **state)
{
    (void)state;
    char text[1024];
    pin(machine);
    assert_int_equal(cache_join_pin(c, &manifest, other, NULL), 0);
    assert_int_equal(rmdir(machine), 0);
    assert_true(survives());
    assert_null(strstr(read_file(text, sizeof(text)), machine)); // an eviction writes it anew
    assert_int_equal(rmdir(other), 0);
    assert_true(cache_is_pinned(c, &manifest, NULL)); // until then all of it is there
    assert_false(survives());
    assert_false(cache_is_pinned(c, &manifest, NULL));
}

static void a_home_that_is_not_there_has_lost_no_machine(void **state)
{
    (void)state;
    char home[96], away[96];
    pin(machine);
    snprintf(home, sizeof(home), "%s/home", folder);
    snprintf(away, sizeof(away), "%s/away", folder);
    assert_int_equal(rename(home, away), 0);
    assert_true(survives());
    assert_int_equal(rename(away, home), 0);
    assert_true(survives());
    assert_true(cache_is_pinned(c, &manifest, machine));
}

static void the_pulls_pin_outlives_machines(void **state)
{
    (void)state;
    pin(CACHE_OWNER_PULL);
    assert_int_equal(cache_join_pin(c, &manifest, machine, NULL), 0);
    assert_int_equal(rmdir(machine), 0);
    assert_true(survives());
    assert_int_equal(cache_unpin(c, &manifest, NULL, NULL), 0);
    assert_int_equal(cache_unpin(c, &manifest, NULL, NULL), -ENOENT);
    assert_false(survives());
}

static void a_pin_without_owners_is_the_pulls(void **state)
{
    (void)state;
    char text[1024], hex[SHA256_HEX_SIZE];
    snprintf(text, sizeof(text), "%s\n", sha256_to_hex(&object, hex));
    write_file(text);
    assert_true(cache_is_pinned(c, &manifest, CACHE_OWNER_PULL));
    assert_true(survives());
    assert_int_equal(cache_join_pin(c, &manifest, machine, NULL), 0);
    assert_true(cache_is_pinned(c, &manifest, CACHE_OWNER_PULL));
    assert_int_equal(cache_unpin(c, &manifest, CACHE_OWNER_PULL, NULL), 0);
    assert_true(cache_is_pinned(c, &manifest, machine));
    assert_true(survives());
    write_file(text);
    assert_int_equal(cache_unpin(c, &manifest, CACHE_OWNER_PULL, NULL), 0);
    assert_false(cache_is_pinned(c, &manifest, NULL));
}

static void what_cannot_own_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "pul", "pull ", "/", "home/x", "/a\nowner pull"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(cache_pin(c, &manifest, bad[i], &object, 1, NULL), -EINVAL);
        assert_int_equal(cache_join_pin(c, &manifest, bad[i], NULL), -EINVAL);
    }
    assert_false(cache_is_pinned(c, &manifest, NULL));
}

static void an_owner_of_an_unknown_kind_keeps_its_pin(void **state)
{
    (void)state;
    char text[1024], hex[SHA256_HEX_SIZE];
    snprintf(text, sizeof(text), "owner lease 12\nowner %s\nno name\n%s\n", machine, sha256_to_hex(&object, hex));
    write_file(text);
    assert_int_equal(rmdir(machine), 0);
    assert_true(survives());
    assert_non_null(strstr(read_file(text, sizeof(text)), "owner lease 12\n"));
}

static int count_one(void *context, const struct sha256 *m)
{
    unsigned *count = context;
    assert_true(sha256_equal(m, &manifest));
    ++*count;
    return 0;
}

static void a_walk_sees_one_owners_pins(void **state)
{
    (void)state;
    unsigned all = 0, pulls = 0, machines = 0;
    pin(machine);
    assert_int_equal(cache_walk_pins(c, NULL, count_one, &all), 0);
    assert_int_equal(cache_walk_pins(c, CACHE_OWNER_PULL, count_one, &pulls), 0);
    assert_int_equal(cache_walk_pins(c, machine, count_one, &machines), 0);
    assert_int_equal(all, 1);
    assert_int_equal(pulls, 0);
    assert_int_equal(machines, 1);
}

static void of_an_owners_pins_one_stays(void **state)
{
    (void)state;
    struct sha256 second = sha256_of("second", 6);
    pin(machine);
    pin(other);
    assert_int_equal(cache_pin(c, &second, machine, &object, 1, NULL), 0);
    cache_unpin_others(c, &second, machine);
    assert_true(cache_is_pinned(c, &second, machine));
    assert_false(cache_is_pinned(c, &manifest, machine));
    assert_true(cache_is_pinned(c, &manifest, other));
    cache_unpin_others(c, &second, other);
    assert_false(cache_is_pinned(c, &manifest, NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_cache_pin");
    const struct CMUnitTest tests[] = {
        TEST(a_pin_lasts_as_long_as_its_last_owner),
        TEST(an_owner_whose_folder_is_gone_owns_nothing),
        TEST(a_home_that_is_not_there_has_lost_no_machine),
        TEST(the_pulls_pin_outlives_machines),
        TEST(a_pin_without_owners_is_the_pulls),
        TEST(what_cannot_own_is_refused),
        TEST(an_owner_of_an_unknown_kind_keeps_its_pin),
        TEST(a_walk_sees_one_owners_pins),
        TEST(of_an_owners_pins_one_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
