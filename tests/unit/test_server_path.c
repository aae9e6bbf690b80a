// Request targets of every hostile kind against server/site_path.c. Numbers are the invariants of that file.

#include "server/site_path.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/banned.h"

#define HEX62 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd"
#define OBJECT "objects/ab/ab" HEX62

static int parse(const char *target, struct site_path *ret)
{
    return site_path_parse(target, strlen(target), ret);
}

struct refusal {
    const char *target;
    int code;
};

static void check_refusals(const struct refusal *refusals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct site_path path = {.kind = (enum site_path_kind)77, .name = "untouched"};
        int r = parse(refusals[i].target, &path);
        if (r != -refusals[i].code)
            fail_msg("%s: got %d, wanted %d", refusals[i].target, r, -refusals[i].code);
        assert_int_equal((int)path.kind, 77);
        assert_string_equal(path.name, "untouched");
    }
}

static void test_names_that_are_served(void **state)
{
    static const struct {
        const char *target, *name;
        enum site_path_kind kind;
    } served[] = {
        {"/" OBJECT, OBJECT, SITE_PATH_OBJECT},
        {"/" OBJECT "?x=/../y", OBJECT, SITE_PATH_OBJECT},
        {"/catalog.rondo", "catalog.rondo", SITE_PATH_CATALOG_FILE},
        {"/", "index.html", SITE_PATH_PAGE},
        {"/?q", "index.html", SITE_PATH_PAGE},
        {"/docs/", "docs/index.html", SITE_PATH_PAGE},
        {"/docs/a%20b.html", "docs/a b.html", SITE_PATH_PAGE},
        {"/caf%C3%a9", "caf\xc3\xa9", SITE_PATH_PAGE},
        {"/%63atalog.rondo", "catalog.rondo", SITE_PATH_CATALOG_FILE},
        {"/a..b/c.", "a..b/c.", SITE_PATH_PAGE},
        {"/what%3f", "what?", SITE_PATH_PAGE},
        {"/sub/catalog.rondo", "sub/catalog.rondo", SITE_PATH_PAGE},
        {"/sub/partial/x", "sub/partial/x", SITE_PATH_PAGE},
        {"http://example.org/catalog.rondo", "catalog.rondo", SITE_PATH_CATALOG_FILE},
        {"HTTPS://example.org:8080/", "index.html", SITE_PATH_PAGE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof served / sizeof served[0]; i++) {
        struct site_path path;
        int r = parse(served[i].target, &path);
        if (r != 0)
            fail_msg("%s: got %d", served[i].target, r);
        assert_string_equal(path.name, served[i].name);
        assert_int_equal((int)path.kind, (int)served[i].kind);
    }
}

static void test_1_no_way_up_and_no_hidden_names(void **state)
{
    static const struct refusal refusals[] = {
        {"/..", EINVAL},
        {"/../", EINVAL},
        {"/../etc/passwd", EINVAL},
        {"/objects/../../etc/passwd", EINVAL},
        {"/objects/..", EINVAL},
        {"/a/../../etc/passwd", EINVAL},
        {"/./catalog.rondo", EINVAL},
        {"/a/.", EINVAL},
        {"//etc/passwd", EINVAL},
        {"/a//b", EINVAL},
        {"//", EINVAL},
        {"/a//", EINVAL},
        {"/...", ENOENT},
        {"/.git/config", ENOENT},
        {"/a/.rondo-tmp-0123456789abcdef", ENOENT},
        {"/.git/../catalog.rondo", EINVAL}, // malformed wins over missing
        {"", EINVAL},
        {"catalog.rondo", EINVAL},
        {"*", EINVAL},
        {"?", EINVAL},
        {"http://example.org", EINVAL},
        {"http:///../x", EINVAL},
        {"ftp://example.org/catalog.rondo", EINVAL},
    };

    (void)state;
    check_refusals(refusals, sizeof refusals / sizeof refusals[0]);
}

static void test_2_encodings_hide_nothing(void **state)
{
    static const struct refusal refusals[] = {
        {"/%2e%2e/etc/passwd", EINVAL},
        {"/%2E%2E%2Fetc%2Fpasswd", EINVAL},
        {"/.%2e/etc/passwd", EINVAL},
        {"/%2e./etc/passwd", EINVAL},
        {"/..%2fetc/passwd", EINVAL},
        {"/objects%2f..%2f..%2fetc", EINVAL},
        {"/%252e%252e/etc/passwd", EINVAL},
        {"/..%5c..%5cetc", EINVAL},
        {"/..\\..\\etc", EINVAL},
        {"/a\\b", EINVAL},
        {"/catalog.rondo%00.html", EINVAL},
        {"/%00", EINVAL},
        {"/a%0ab", EINVAL},
        {"/a%0d%0aSet-Cookie:x", EINVAL},
        {"/a%7f", EINVAL},
        {"/a b", EINVAL},
        {"/a\tb", EINVAL},
        {"/a#b", EINVAL},
        {"/%", EINVAL},
        {"/%4", EINVAL},
        {"/%4?", EINVAL},
        {"/%zz", EINVAL},
        {"/%-1", EINVAL},
        {"/%u002e", EINVAL},
    };

    (void)state;
    check_refusals(refusals, sizeof refusals / sizeof refusals[0]);
}

static void test_3_names_are_printable_utf8(void **state)
{
    static const struct refusal refusals[] = {
        {"/%c0%ae%c0%ae/etc/passwd", EINVAL}, // an overlong ".."
        {"/%e0%80%ae", EINVAL},
        {"/%c0%af", EINVAL},
        {"/caf\xc3\xa9", EINVAL}, // must be encoded
        {"/%ff", EINVAL},
        {"/%c3", EINVAL},
        {"/%ed%a0%80", EINVAL},     // a surrogate
        {"/%e2%80%ae.txt", EINVAL}, // right-to-left override
        {"/%c2%85", EINVAL},        // a control character
    };

    (void)state;
    check_refusals(refusals, sizeof refusals / sizeof refusals[0]);
}

static void test_4_objects_have_one_form(void **state)
{
    static const struct refusal refusals[] = {
        {"/objects", ENOENT},
        {"/objects/", ENOENT},
        {"/objects/ab", ENOENT},
        {"/objects/ab/", ENOENT},
        {"/objects/ab/index.html", ENOENT},
        {"/objects/cd/ab" HEX62, ENOENT},
        {"/objects/AB/AB" HEX62, ENOENT},
        {"/objects/ab/ab" HEX62 "0", ENOENT},
        {"/objects/ab/ab" HEX62 ".tmp", ENOENT},
        {"/objects/ab/b" HEX62, ENOENT},
        {"/objects/ab/ag" HEX62, ENOENT},
        {"/objects/ag/ag" HEX62, ENOENT},
        {"/objects/ab" HEX62, ENOENT},
        {"/objects/x/ab/ab" HEX62, ENOENT},
        {"/" OBJECT "/", ENOENT},
        {"/" OBJECT "/x", ENOENT},
        {"/partial", ENOENT},
        {"/partial/", ENOENT},
        {"/partial/ab" HEX62, ENOENT},
        {"/p%61rtial/ab" HEX62, ENOENT},
    };

    (void)state;
    check_refusals(refusals, sizeof refusals / sizeof refusals[0]);
}

static void test_nul_bytes_do_not_end_a_target(void **state)
{
    static const char target[] = "/catalog.rondo\0.html";
    struct site_path path;

    (void)state;
    assert_int_equal(site_path_parse(target, sizeof target - 1, &path), -EINVAL);
    assert_int_equal(site_path_parse("", 0, &path), -EINVAL);
}

static void test_length_is_bounded(void **state)
{
    char target[4 * SITE_PATH_MAXIMUM];
    struct site_path path;

    (void)state;
    memset(target, 'a', sizeof target);
    target[0] = '/';
    assert_int_equal(site_path_parse(target, sizeof target, &path), -ENAMETOOLONG);
    assert_int_equal(site_path_parse(target, SITE_PATH_MAXIMUM + 1, &path), -ENAMETOOLONG);
    assert_int_equal(site_path_parse(target, SITE_PATH_MAXIMUM, &path), -ENOENT); // one part of over 255 bytes
    assert_int_equal(site_path_parse(target, 256, &path), 0);
    assert_int_equal(site_path_parse(target, 257, &path), -ENOENT);

    // The longest name there is: a full target of short parts that ends in "/".
    target[0] = '/';
    target[1] = 'a';
    for (size_t i = 2; i < SITE_PATH_MAXIMUM; i++)
        target[i] = i % 2 ? '/' : 'b';
    assert_int_equal(site_path_parse(target, SITE_PATH_MAXIMUM, &path), 0);
    assert_int_equal(strlen(path.name), SITE_PATH_MAXIMUM - 1 + strlen("index.html"));

    // A long query is not part of the name.
    memset(target, 'q', sizeof target);
    static const char start[] = "/catalog.rondo?";
    memcpy(target, start, sizeof start - 1);
    assert_int_equal(site_path_parse(target, sizeof target, &path), 0);
    assert_string_equal(path.name, "catalog.rondo");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_are_served),    cmocka_unit_test(test_1_no_way_up_and_no_hidden_names),
        cmocka_unit_test(test_2_encodings_hide_nothing), cmocka_unit_test(test_3_names_are_printable_utf8),
        cmocka_unit_test(test_4_objects_have_one_form),  cmocka_unit_test(test_nul_bytes_do_not_end_a_target),
        cmocka_unit_test(test_length_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
