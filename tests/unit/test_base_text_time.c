// base/text.h, times: every day from 1970 to 9999 against the C library, leap years, and strictness.
#include "base/text.h"

#include <string.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "base/banned.h"

static void known_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } table[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:01Z", 1},
        {"1999-12-31T23:59:59Z", 946684799},
        {"2000-02-29T12:00:00Z", 951825600}, // a leap year, though divisible by 100
        {"2026-11-23T10:00:00Z", 1795428000},
        {"2038-01-19T03:14:08Z", INT64_C(2147483648)},
        {"2100-03-01T00:00:00Z", INT64_C(4107542400)}, // the day after February 28th
        {"9999-12-31T23:59:59Z", INT64_C(253402300799)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        int64_t v = -1;
        char text[32];
        assert_true(text_parse_time(slice_of(table[i].text), &v));
        assert_true(v == table[i].seconds);
        assert_string_equal(text_format_time(table[i].seconds, text), table[i].text);
    }
}

static void wrong_times_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "2026-11-23",
        "2026-11-23T10:00:00",
        "2026-11-23T10:00:00z",
        "2026-11-23t10:00:00Z",
        "2026-11-23 10:00:00Z",
        "2026-11-23T10:00:00+00:00",
        "2026-11-23T10:00:00.5Z",
        " 2026-11-23T10:00:00Z",
        "2026-11-23T10:00:00Z ",
        "2026/11/23T10:00:00Z",
        "2026-11-23T10.00.00Z",
        "2026-00-23T10:00:00Z",
        "2026-13-23T10:00:00Z",
        "2026-11-00T10:00:00Z",
        "2026-11-31T10:00:00Z",
        "2026-02-29T10:00:00Z",
        "2100-02-29T10:00:00Z",
        "2024-02-30T10:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T23:60:00Z",
        "2026-12-31T23:59:60Z", // leap seconds have no number of their own
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "-026-11-23T10:00:00Z",
        "+026-11-23T10:00:00Z",
        "2026-1 -23T10:00:00Z",
        "2026-11-23T1 :00:00Z",
        "10000-01-01T00:00:0Z",
    };
    int64_t v = -7;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_false(text_parse_time(slice_of(wrong[i]), &v));
    assert_false(text_parse_time((struct slice){0}, &v));
    assert_false(text_parse_time((struct slice){.at = "2026-11-23T10:00:\0\060Z", .length = 20}, &v));
    assert_true(v == -7);
}

static void every_day_agrees_with_the_c_library(void **state)
{
    (void)state;
    for (int64_t day = 0; day * 86400 <= INT64_C(253402300799); day++) {
        time_t t = (time_t)(day * 86400 + day % 86400);
        struct tm tm;
        char wanted[32];
        char text[32];
        int64_t back = -1;
        assert_non_null(gmtime_r(&t, &tm));
        assert_int_equal(strftime(wanted, sizeof wanted, "%Y-%m-%dT%H:%M:%SZ", &tm), 20);
        assert_string_equal(text_format_time(t, text), wanted);
        assert_true(text_parse_time(slice_of(text), &back));
        assert_true(back == t);
    }
}

static void times_out_of_range_are_not_shown_as_others(void **state)
{
    (void)state;
    static const int64_t wrong[] = {-1, INT64_MIN, INT64_C(253402300800), INT64_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char text[32];
        int64_t v;
        assert_false(text_parse_time(slice_of(text_format_time(wrong[i], text)), &v));
        assert_true(strlen(text) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_times),
        cmocka_unit_test(wrong_times_are_refused),
        cmocka_unit_test(every_day_agrees_with_the_c_library),
        cmocka_unit_test(times_out_of_range_are_not_shown_as_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
