// Range headers (server/range.c) and conditional requests (server/conditions.c).

#include "server/conditions.h"
#include "server/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/banned.h"

static void check_part(const char *header, uint64_t size, uint64_t first, uint64_t length)
{
    struct byte_range range = {0};
    enum range_kind kind = range_parse(slice_of(header), size, &range);

    if (kind != RANGE_PART || range.first != first || range.length != length)
        fail_msg("%s of %llu: kind %d, %llu bytes from %llu", header, (unsigned long long)size, (int)kind,
                 (unsigned long long)range.length, (unsigned long long)range.first);
}

static void check_kind(const char *header, uint64_t size, enum range_kind wanted)
{
    struct byte_range range = {.first = 77, .length = 77};
    enum range_kind kind = range_parse(slice_of(header), size, &range);

    if (kind != wanted)
        fail_msg("'%s' of %llu: kind %d, wanted %d", header, (unsigned long long)size, (int)kind, (int)wanted);
    assert_int_equal(range.first, 77);
    assert_int_equal(range.length, 77);
}

static void test_one_range(void **state)
{
    (void)state;
    check_part("bytes=0-0", 10, 0, 1);
    check_part("bytes=0-9", 10, 0, 10);
    check_part("bytes=9-9", 10, 9, 1);
    check_part("bytes=3-5", 10, 3, 3);
    check_part("bytes=3-5 \t", 10, 3, 3);
    check_part("BYTES=3-5", 10, 3, 3);
    check_part("bytes=003-0005", 10, 3, 3);
    check_part("bytes=4-", 10, 4, 6);
    check_part("bytes=0-", 1, 0, 1);
    check_part("bytes=4-4000", 10, 4, 6);
    check_part("bytes=4-99999999999999999999999999", 10, 4, 6);
    check_part("bytes=0-18446744073709551615", UINT64_MAX, 0, UINT64_MAX);
    check_part("bytes=18446744073709551614-", UINT64_MAX, UINT64_MAX - 1, 1);
}

static void test_last_bytes(void **state)
{
    (void)state;
    check_part("bytes=-1", 10, 9, 1);
    check_part("bytes=-10", 10, 0, 10);
    check_part("bytes=-11", 10, 0, 10);
    check_part("bytes=-99999999999999999999999999", 10, 0, 10);
    check_kind("bytes=-0", 10, RANGE_UNSATISFIABLE);
    check_kind("bytes=-1", 0, RANGE_WHOLE);
}

static void test_beyond_the_end(void **state)
{
    (void)state;
    check_kind("bytes=10-", 10, RANGE_UNSATISFIABLE);
    check_kind("bytes=10-20", 10, RANGE_UNSATISFIABLE);
    check_kind("bytes=0-0", 0, RANGE_UNSATISFIABLE);
    check_kind("bytes=0-", 0, RANGE_UNSATISFIABLE);
    check_kind("bytes=99999999999999999999999999-", UINT64_MAX, RANGE_UNSATISFIABLE);
}

static void test_what_is_not_one_range_gets_everything(void **state)
{
    static const char *const headers[] = {
        "",           "bytes",        "bytes=",      "bytes=-",     "bytes=--1",
        "bytes=a-",   "bytes=1",      "bytes=1-b",   "bytes=1-2-3", "bytes=5-3",
        "bytes 0-5",  "bytes:0-5",    "bytes=0x0-5", "bytes= 0-5",  "bytes=0 -5",
        "bytes=0- 5", "bytes=+0-5",   "bytes=0-+5",  "bytes=0-5,",  "bytes=0-1,3-4",
        "bytes=,0-1", "bytes=0-1,-1", "items=0-5",   "bytes=-5,0-", "bytes=0-5;x",
        " bytes=0-5", "=0-5",         "bytes==0-5",  "bytes=1e3-",  "bytes=0-0\x80",
    };

    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        check_kind(headers[i], 10, RANGE_WHOLE);
}

static void test_tag_lists(void **state)
{
    (void)state;
    assert_true(conditions_tag_in_list(slice_of("\"x\""), "\"x\""));
    assert_true(conditions_tag_in_list(slice_of("W/\"x\""), "\"x\""));
    assert_true(conditions_tag_in_list(slice_of("*"), "\"x\""));
    assert_true(conditions_tag_in_list(slice_of("\"a\", \"x\""), "\"x\""));
    assert_true(conditions_tag_in_list(slice_of("\"a\",W/\"b\" ,, \"x\",\"c\""), "\"x\""));
    assert_true(conditions_tag_in_list(slice_of("\"a,b\", \"x\""), "\"x\""));
    assert_true(conditions_tag_in_list(slice_of("\t\"a\"\t,\t\"x\""), "\"x\""));

    assert_false(conditions_tag_in_list(slice_of(""), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("x"), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("\"x"), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("\"xx\""), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("\"\""), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("\"a\"\"x\""), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("w/\"x\""), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("* \"x\""), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("\"a\", x, \"x\""), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("\"a, \"x\""), "\"x\"")); // the quote opens at "a, "
    assert_false(conditions_tag_in_list(slice_of(",,, "), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("W/"), "\"x\""));
    assert_false(conditions_tag_in_list(slice_of("W/\""), "\"x\""));
}

static void test_if_range_is_exact(void **state)
{
    const char *date = "Mon, 23 Nov 2026 10:00:00 GMT";

    (void)state;
    assert_true(conditions_if_range(slice_of("\"x\""), "\"x\"", date));
    assert_true(conditions_if_range(slice_of(date), "\"x\"", date));
    assert_false(conditions_if_range(slice_of("W/\"x\""), "\"x\"", date));
    assert_false(conditions_if_range(slice_of("\"y\""), "\"x\"", date));
    assert_false(conditions_if_range(slice_of("Mon, 23 Nov 2026 10:00:01 GMT"), "\"x\"", date));
    assert_false(conditions_if_range(slice_of(""), "\"x\"", ""));
}

static void test_dates(void **state)
{
    char text[CONDITIONS_DATE_SIZE];

    (void)state;
    assert_string_equal(conditions_format_date(0, text), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_string_equal(conditions_format_date(784111777, text), "Sun, 06 Nov 1994 08:49:37 GMT"); // RFC 9110's
    assert_string_equal(conditions_format_date(951782400, text), "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_string_equal(conditions_format_date(253402300799, text), "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_string_equal(conditions_format_date(253402300800, text), "");
    assert_string_equal(conditions_format_date(INT64_MAX, text), "");
    assert_string_equal(conditions_format_date(-1, text), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_range),      cmocka_unit_test(test_last_bytes),
        cmocka_unit_test(test_beyond_the_end), cmocka_unit_test(test_what_is_not_one_range_gets_everything),
        cmocka_unit_test(test_tag_lists),      cmocka_unit_test(test_if_range_is_exact),
        cmocka_unit_test(test_dates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
