// client/publisher.h: durations, a new site's name, mirrors. And the counts that supervisors add up.
#include "client/publisher.h"
#include "client/supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/banned.h"

const struct verb verbs[] = {{NULL, NULL, NULL, NULL}};

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds; // 0: refused
    } table[] = {
        {"1s", 1},
        {"90d", 90 * 86400},
        {"12h", 12 * 3600},
        {"5m", 300},
        {"2w", 14 * 86400},
        {"3650d", 315360000},
        {"3651d", 0},
        {"315360000s", 315360000},
        {"315360001s", 0},
        {"87600h", 315360000},
        {"87601h", 0},
        {"521w", 315100800},
        {"522w", 0},
        {"", 0},
        {"d", 0},
        {"90", 0},
        {"0d", 0},
        {"-1d", 0},
        {"+1d", 0},
        {" 1d", 0},
        {"1 d", 0},
        {"1d ", 0},
        {"1D", 0},
        {"1y", 0},
        {"1dd", 0},
        {"01d", 0},
        {"1.5d", 0},
        {"0x1d", 0},
        {"99999999999999999999s", 0},
        {"18446744073709551617s", 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int64_t seconds = 77;
        bool right = publisher_parse_duration(table[i].text, &seconds);
        if (right != (table[i].seconds != 0) || seconds != (right ? table[i].seconds : 77))
            fail_msg("\"%s\" gave %d, %lld", table[i].text, right, (long long)seconds);
    }
}

static struct key_public some_key(void)
{
    struct key_secret *secret;
    struct key_public key;
    assert_int_equal(key_generate(&secret, NULL), 0);
    key_public_of(secret, &key);
    key_free(&secret);
    return key;
}

static void test_site_names(void **state)
{
    (void)state;
    static const struct {
        const char *path, *name;
    } table[] = {
        {"site", "site"},
        {"/srv/images", "images"},
        {"/srv/images///", "images"},
        {"./My Site", "mysite"},
        {"/", "site"},
        {".", "site"},
        {"..", "site"},
        {"", "site"},
        {"/srv/-_.x", "x"},
        {"a-b_c.d", "a-b_c.d"},
        {"/srv/\xc3\xa4\xc3\xb6", "site"},
        {"x/UPPER", "upper"},
    };
    const struct key_public key = some_key();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct catalog c, other;
        assert_int_equal(publisher_new_catalog(table[i].path, &key, &c, NULL), 0);
        assert_string_equal(c.site, table[i].name);
        assert_true(key_equal(&c.site_key, &key));
        assert_int_equal(c.number, 0);
        assert_int_equal(publisher_new_catalog(table[i].path, &key, &other, NULL), 0);
        assert_memory_not_equal(c.id, other.id, sizeof(c.id)); // each site is another one
        catalog_free(&c);
        catalog_free(&other);
    }
    char path[300];
    struct catalog c;
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(publisher_new_catalog(path, &key, &c, NULL), 0);
    assert_int_equal(strlen(c.site), CATALOG_NAME_SIZE - 1);
    catalog_free(&c);
}

static void test_mirrors(void **state)
{
    (void)state;
    const struct key_public key = some_key();
    struct catalog c;
    struct error error;
    assert_int_equal(publisher_new_catalog("site", &key, &c, NULL), 0);
    assert_int_equal(publisher_set_mirrors(&c, &(struct option_list){.count = 0}, NULL), 0);
    assert_int_equal(c.mirror_count, 0);
    struct option_list two = {.values = {"http://A.example:80/x", "https://b.example"}, .count = 2};
    assert_int_equal(publisher_set_mirrors(&c, &two, NULL), 0);
    assert_int_equal(c.mirror_count, 2);
    assert_string_equal(c.mirrors[0], "http://a.example/x/");
    assert_string_equal(c.mirrors[1], "https://b.example/");
    assert_int_equal(publisher_set_mirrors(&c, &(struct option_list){.count = 0}, NULL), 0);
    assert_int_equal(c.mirror_count, 2); // nothing was asked for
    static const char *const wrong[] = {"",        "none ",         "/a/folder",   "ftp://a/",
                                        "http://", "http://u:p@a/", "http://a/?q", "http://a/#x"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct option_list list = {.values = {"http://c/", wrong[i]}, .count = 2};
        assert_int_equal(publisher_set_mirrors(&c, &list, &error), -EINVAL);
        assert_int_equal(c.mirror_count, 2); // as before
        assert_string_equal(c.mirrors[0], "http://a.example/x/");
    }
    struct option_list twice = {.values = {"http://c/", "HTTP://C:80"}, .count = 2};
    assert_int_equal(publisher_set_mirrors(&c, &twice, &error), -EINVAL);
    struct option_list mixed = {.values = {"none", "http://c/"}, .count = 2};
    assert_int_equal(publisher_set_mirrors(&c, &mixed, &error), -EINVAL);
    struct option_list many = {.count = CATALOG_MIRRORS_MAXIMUM + 1};
    static char urls[CATALOG_MIRRORS_MAXIMUM + 1][32];
    for (unsigned i = 0; i <= CATALOG_MIRRORS_MAXIMUM; i++) {
        snprintf(urls[i], sizeof(urls[i]), "http://m%u/", i);
        many.values[i] = urls[i];
    }
    assert_int_equal(publisher_set_mirrors(&c, &many, &error), -EINVAL);
    many.count--;
    assert_int_equal(publisher_set_mirrors(&c, &many, &error), 0);
    assert_int_equal(c.mirror_count, CATALOG_MIRRORS_MAXIMUM);
    assert_int_equal(publisher_set_mirrors(&c, &(struct option_list){.values = {"none"}, .count = 1}, NULL), 0);
    assert_int_equal(c.mirror_count, 0);
    catalog_free(&c);
}

static void test_counts(void **state)
{
    (void)state;
    static const char counts[] = "requests=12 bytes=18446744073709551615 failures=0 wrong=x requests=99 =5 last=7";
    assert_int_equal(supervisor_count_in(counts, "requests"), 12);
    assert_true(supervisor_count_in(counts, "bytes") == UINT64_MAX);
    assert_int_equal(supervisor_count_in(counts, "failures"), 0);
    assert_int_equal(supervisor_count_in(counts, "last"), 7);
    assert_int_equal(supervisor_count_in(counts, "wrong"), 0);
    assert_int_equal(supervisor_count_in(counts, "byte"), 0); // not a beginning of another name
    assert_int_equal(supervisor_count_in(counts, "ytes"), 0);
    assert_int_equal(supervisor_count_in(counts, "none"), 0);
    assert_int_equal(supervisor_count_in("", "requests"), 0);
    assert_int_equal(supervisor_count_in("requests=", "requests"), 0);
    assert_int_equal(supervisor_count_in("requests=18446744073709551616", "requests"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_durations), cmocka_unit_test(test_site_names),
                                       cmocka_unit_test(test_mirrors), cmocka_unit_test(test_counts)};
    return cmocka_run_group_tests_name("client_publisher", tests, NULL, NULL);
}
