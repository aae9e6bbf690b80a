// The header fields that are parsed by hand: what is taken, and what is refused.

#include "blockstore/http_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/banned.h"

static void lines_are_split(void **state)
{
    (void)state;
    struct slice name, value;
    assert_true(http_header_split(slice_of("ETag: \t\"a b\" \r\n"), &name, &value));
    assert_true(slice_equal(name, "ETag"));
    assert_true(slice_equal(value, "\"a b\""));
    assert_true(http_header_is(name, "etag"));
    assert_false(http_header_is(name, "eta"));
    assert_true(http_header_split(slice_of("X:"), &name, &value));
    assert_int_equal(value.length, 0);
    assert_true(http_header_split((struct slice){.at = "1A\0: b", .length = 6}, &name, &value) == false);
    static const char *const bad[] = {"",       "\r\n",  ":x",     "HTTP/1.1 200 OK\r\n",
                                      "A B: c", "A : c", "folded", " A: b",
                                      "A[: b",  "A{: b", "A@: b",  "\x80: b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(http_header_split(slice_of(bad[i]), &name, &value));
}

static void content_range_is_exact(void **state)
{
    (void)state;
    struct http_content_range r;
    assert_true(http_header_parse_content_range(slice_of("bytes 0-0/1"), &r));
    assert_int_equal(r.first, 0);
    assert_int_equal(r.last, 0);
    assert_int_equal(r.total, 1);
    assert_true(http_header_parse_content_range(slice_of("Bytes 5-9/*"), &r));
    assert_int_equal(r.first, 5);
    assert_int_equal(r.last, 9);
    assert_true(r.total == UINT64_MAX);
    static const char *const bad[] = {"",
                                      "bytes",
                                      "bytes ",
                                      "bytes */5",
                                      "bytes 1-0/5",
                                      "bytes 0-5/5",
                                      "bytes 0-4",
                                      "bytes 0-4/",
                                      "bytes -4/5",
                                      "bytes 0-/5",
                                      "bytes  0-4/5",
                                      "bytes 0 -4/5",
                                      "bytes +0-4/5",
                                      "bytes 00-4/5",
                                      "bytes 0-4/5 ",
                                      "bytes 0-4/5,6-7/8",
                                      "bytes=0-4/5",
                                      "items 0-4/5",
                                      "bytes 0-9223372036854775808/*",
                                      "bytes 0-18446744073709551616/*"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        r.first = 77;
        if (http_header_parse_content_range(slice_of(bad[i]), &r))
            fail_msg("%s", bad[i]);
        assert_int_equal(r.first, 77);
    }
}

static void retry_after_has_two_forms_and_a_cap(void **state)
{
    (void)state;
    const int64_t now = 784111777; // Sun, 06 Nov 1994 08:49:37 GMT
    static const struct {
        const char *value;
        unsigned ms; // 0: refused
    } table[] = {
        {"0", 1},
        {"1", 1000},
        {"9", 9000},
        {"10", 10000},
        {"11", 10000},
        {"4294967295", 10000},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 1},
        {"Sun, 06 Nov 1994 08:49:41 GMT", 4000},
        {"Sat, 05 Nov 1994 08:49:41 GMT", 1},
        {"Sun, 06 Nov 2094 08:49:41 GMT", 10000},
        {"", 0},
        {"-1", 0},
        {"1.5", 0},
        {" 1", 0},
        {"99999999999999999999", 0},
        {"Sun, 06 Nov 1994 08:49:37", 0},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 0},
        {"Sun, 31 Feb 1994 08:49:37 GMT", 0},
        {"Sun, 06 Nox 1994 08:49:37 GMT", 0},
        {"Sun, 06 anF 1994 08:49:37 GMT", 0},
        {"Sun, 06 Nov 1994 28:49:37 GMT", 0},
        {"Sun, 06 Nov 1994 08:49:37 CET", 0},
        {"Sun, 06 Nov 1994 /8:49:37 GMT", 0},
        {"Sun, 06 Nov 1994 :8:49:37 GMT", 0},
        {"S@n, 06 Nov 1994 08:49:37 GMT", 0},
        {"S{n, 06 Nov 1994 08:49:37 GMT", 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        unsigned ms = 0;
        bool taken = http_header_parse_retry_after(slice_of(table[i].value), now, 10000, &ms);
        if (taken != (table[i].ms != 0) || ms != table[i].ms)
            fail_msg("%s: %u", table[i].value, ms);
    }
}

static void only_safe_etags_are_copied(void **state)
{
    (void)state;
    char text[16] = "before";
    static const char *const bad[] = {"",        "x",       "\"",       "\"a b\"",  "\"a\"b\"",
                                      "\"a\n\"", "w/\"a\"", "\"\x80\"", "W/",       "\"0123456789abc\"",
                                      "W/\"",    "'a'",     "\"ab",     "\"a\x7f\""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        // With 15 bytes, the longest of them has no room for its NUL byte.
        if (http_header_copy_etag(slice_of(bad[i]), text, 15))
            fail_msg("%s", bad[i]);
        assert_string_equal(text, "before");
    }
    assert_true(http_header_copy_etag(slice_of("W/\"a-1\""), text, sizeof(text)));
    assert_string_equal(text, "W/\"a-1\"");
    assert_true(http_header_copy_etag(slice_of("\"0123456789abc\""), text, 16)); // with its NUL byte it just fits
    assert_string_equal(text, "\"0123456789abc\"");
    assert_true(http_header_copy_etag(slice_of("\"\""), text, sizeof(text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_split),
        cmocka_unit_test(content_range_is_exact),
        cmocka_unit_test(retry_after_has_two_forms_and_a_cap),
        cmocka_unit_test(only_safe_etags_are_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
