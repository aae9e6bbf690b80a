// base/buf.h: growth up to the maximum, the NUL byte behind the end, and failures that change nothing.
#include "base/buf.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"

#include "base/banned.h"

static void empty_buffer_has_empty_text(void **state)
{
    (void)state;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(10);
    assert_string_equal(buf_text(&b), "");
    assert_null(b.data);
    assert_int_equal(buf_append(&b, NULL, 0), 0);
    assert_int_equal(b.size, 0);
    assert_string_equal(buf_text(&b), "");
}

static void append_stops_at_the_maximum(void **state)
{
    (void)state;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(10);
    assert_int_equal(buf_append(&b, "12345", 5), 0);
    assert_int_equal(buf_append(&b, "678901", 6), -E2BIG);
    assert_string_equal(buf_text(&b), "12345");
    assert_int_equal(b.size, 5);
    assert_int_equal(buf_append(&b, "67890", 5), 0);
    assert_string_equal(buf_text(&b), "1234567890");
    assert_int_equal(buf_append(&b, "x", 1), -E2BIG);
    assert_int_equal(buf_append(&b, "x", SIZE_MAX), -E2BIG); // no wrap-around
    assert_int_equal(buf_append(&b, "x", SIZE_MAX - 9), -E2BIG);
    assert_int_equal(buf_append(&b, NULL, 0), 0);
    assert_int_equal(b.size, 10);
    assert_true(b.capacity <= 11);
}

static void maximum_of_zero_holds_nothing(void **state)
{
    (void)state;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(0);
    assert_int_equal(buf_append(&b, "", 0), 0);
    assert_int_equal(buf_append(&b, "x", 1), -E2BIG);
    assert_int_equal(buf_append_format(&b, "%s", ""), 0);
    assert_int_equal(buf_append_format(&b, "%d", 1), -E2BIG);
    assert_string_equal(buf_text(&b), "");
}

static void many_small_pieces_arrive_in_order(void **state)
{
    (void)state;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(100000);
    for (unsigned i = 0; i < 100000; i++) {
        unsigned char c = (unsigned char)(i * 7);
        assert_int_equal(buf_append(&b, &c, 1), 0);
    }
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(b.data[i], (unsigned char)(i * 7));
    assert_int_equal(b.data[b.size], 0);
    assert_int_equal(buf_append(&b, "x", 1), -E2BIG);
}

static void format_appends_or_leaves_all_as_it_was(void **state)
{
    (void)state;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(200);
    assert_int_equal(buf_append_format(&b, "%s-%03d", "abc", 7), 0);
    assert_string_equal(buf_text(&b), "abc-007");
    assert_int_equal(buf_append_format(&b, "%194s", "x"), -E2BIG); // one byte too many
    assert_string_equal(buf_text(&b), "abc-007");
    assert_int_equal(buf_append_format(&b, "%193s", "x"), 0);
    assert_int_equal(b.size, 200);
    assert_int_equal(strlen(buf_text(&b)), 200);
}

static void reserve_gives_cleared_room(void **state)
{
    (void)state;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(100);
    unsigned char *at;
    assert_int_equal(buf_append(&b, "secret, and longer than the rest", 32), 0);
    buf_clear(&b);
    assert_string_equal(buf_text(&b), "");
    assert_int_equal(buf_reserve(&b, 50, &at), 0);
    assert_int_equal(b.size, 0);
    at[0] = 'a';
    at[1] = 'b';
    b.size += 2; // less than was reserved
    assert_string_equal(buf_text(&b), "ab");
    unsigned char *unchanged = at;
    assert_int_equal(buf_reserve(&b, 99, &at), -E2BIG);
    assert_ptr_equal(at, unchanged);
    assert_int_equal(buf_reserve(&b, 98, &at), 0);
    memset(at, 'x', 98);
    b.size += 98;
    assert_int_equal(strlen(buf_text(&b)), 100);
}

static void short_memory_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1 << 20);
    static const char big[4096];
    assert_int_equal(buf_append(&b, "kept", 4), 0);
    io_fault_start(1, ENOMEM, true);
    unsigned char *at = NULL;
    int appended = buf_append(&b, big, sizeof big);
    int formatted = buf_append_format(&b, "%4096d", 1);
    int reserved = buf_reserve(&b, sizeof big, &at);
    io_fault_stop();
    assert_int_equal(appended, -ENOMEM);
    assert_int_equal(formatted, -ENOMEM);
    assert_int_equal(reserved, -ENOMEM);
    assert_null(at);
    assert_string_equal(buf_text(&b), "kept");
    assert_int_equal(buf_append(&b, big, sizeof big), 0);
    assert_int_equal(b.size, 4100);
}

static void free_makes_it_new_and_keeps_errno(void **state)
{
    (void)state;
    struct buf b = BUF_WITH_MAXIMUM(10);
    assert_int_equal(buf_append(&b, "x", 1), 0);
    errno = EXDEV;
    buf_free(&b);
    assert_int_equal(errno, EXDEV);
    assert_null(b.data);
    assert_int_equal(b.size, 0);
    assert_int_equal(b.maximum, 10);
    buf_free(&b);
    assert_int_equal(buf_append(&b, "y", 1), 0);
    assert_string_equal(buf_text(&b), "y");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_buffer_has_empty_text),
        cmocka_unit_test(append_stops_at_the_maximum),
        cmocka_unit_test(maximum_of_zero_holds_nothing),
        cmocka_unit_test(many_small_pieces_arrive_in_order),
        cmocka_unit_test(format_appends_or_leaves_all_as_it_was),
        cmocka_unit_test(reserve_gives_cleared_room),
        cmocka_unit_test(short_memory_leaves_the_buffer_as_it_was),
        cmocka_unit_test(free_makes_it_new_and_keeps_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
