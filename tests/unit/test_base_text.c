// base/text.h: words and lines, strict numbers, sizes, names. Times and characters: test_base_text_time.c and
// test_base_text_unicode.c.
#include "base/text.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "base/banned.h"

static struct slice literal(const char *text)
{
    return slice_of(text);
}

static void assert_slice(struct slice s, const char *wanted)
{
    assert_int_equal(s.length, strlen(wanted));
    assert_true(slice_equal(s, wanted));
}

static void slices_compare_by_bytes_and_length(void **state)
{
    (void)state;
    struct slice none = {0};
    assert_true(slice_equal(none, ""));
    assert_false(slice_equal(none, "a"));
    assert_true(slice_starts(none, ""));
    assert_false(slice_starts(none, "a"));
    assert_true(slice_equal(literal("abc"), "abc"));
    assert_false(slice_equal(literal("abc"), "ab"));
    assert_false(slice_equal(literal("ab"), "abc"));
    assert_true(slice_starts(literal("abc"), "ab"));
    assert_false(slice_starts(literal("ab"), "abc"));
    assert_false(slice_equal((struct slice){.at = "a\0b", .length = 3}, "a"));
}

static void words_are_cut_at_single_spaces(void **state)
{
    (void)state;
    struct slice rest = literal("one two  four");
    assert_slice(slice_cut_word(&rest), "one");
    assert_slice(slice_cut_word(&rest), "two");
    assert_slice(slice_cut_word(&rest), "");
    assert_slice(slice_cut_word(&rest), "four");
    assert_int_equal(rest.length, 0);
    assert_slice(slice_cut_word(&rest), "");
    struct slice none = {0};
    assert_slice(slice_cut_word(&none), "");
}

static void spaces_at_the_ends_are_seen(void **state)
{
    (void)state;
    struct slice rest = literal("one ");
    assert_slice(slice_cut_word(&rest), "one");
    assert_slice(rest, " ");
    assert_slice(slice_cut_word(&rest), "");
    assert_slice(rest, "");
    rest = literal(" one");
    assert_slice(slice_cut_word(&rest), "");
    assert_slice(slice_cut_word(&rest), "one");
    rest = literal("one  ");
    assert_slice(slice_cut_word(&rest), "one");
    assert_slice(slice_cut_word(&rest), "");
    rest = literal(" ");
    assert_slice(slice_cut_word(&rest), "");
    assert_slice(rest, "");
}

static void lines_are_split_at_the_first_space(void **state)
{
    (void)state;
    struct slice key;
    struct slice value;
    text_split_line(literal("cmdline a b  c"), &key, &value);
    assert_slice(key, "cmdline");
    assert_slice(value, "a b  c");
    text_split_line(literal("alone"), &key, &value);
    assert_slice(key, "alone");
    assert_slice(value, "");
    text_split_line(literal("empty "), &key, &value);
    assert_slice(key, "empty");
    assert_slice(value, "");
    text_split_line(literal(" x"), &key, &value);
    assert_slice(key, "");
    assert_slice(value, "x");
    text_split_line((struct slice){0}, &key, &value);
    assert_slice(key, "");
    assert_slice(value, "");
}

static void lines_are_read_one_by_one(void **state)
{
    (void)state;
    struct slice line;
    struct text_reader r = text_reader_over("a 1\n\nb 2\n", 9, 10);
    assert_int_equal(text_next_line(&r, &line), 1);
    assert_slice(line, "a 1");
    assert_int_equal(r.line, 1);
    assert_int_equal(text_next_line(&r, &line), 1);
    assert_slice(line, "");
    assert_int_equal(text_next_line(&r, &line), 1);
    assert_slice(line, "b 2");
    assert_int_equal(r.line, 3);
    assert_int_equal(text_next_line(&r, &line), 0);
    assert_int_equal(text_next_line(&r, &line), 0);
    assert_slice(line, "b 2");
    r = text_reader_over(NULL, 0, 10);
    assert_int_equal(text_next_line(&r, &line), 0);
}

static void long_lines_are_refused(void **state)
{
    (void)state;
    struct slice line = {0};
    struct text_reader r = text_reader_over("12345\n", 6, 5);
    assert_int_equal(text_next_line(&r, &line), 1);
    r = text_reader_over("12345\n", 6, 4);
    assert_int_equal(text_next_line(&r, &line), -EBADMSG);
    r = text_reader_over("12345\n", 6, SIZE_MAX);
    assert_int_equal(text_next_line(&r, &line), 1);
    r = text_reader_over("\n", 1, 0);
    assert_int_equal(text_next_line(&r, &line), 1);
    r = text_reader_over("x\n", 2, 0);
    assert_int_equal(text_next_line(&r, &line), -EBADMSG);
}

static void bad_lines_are_refused_with_their_number(void **state)
{
    (void)state;
    static const char *const wrong[] = {"no newline", "a\r\n",  "a\tb\n",        "\x1b[2J\n",
                                        "\x7f\n",     "\xff\n", "\xe2\x80\xae\n"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct slice line = literal("untouched");
        char text[32] = "good\n";
        memcpy(text + 5, wrong[i], strlen(wrong[i]));
        struct text_reader r = text_reader_over(text, 5 + strlen(wrong[i]), 20);
        assert_int_equal(text_next_line(&r, &line), 1);
        assert_int_equal(text_next_line(&r, &line), -EBADMSG);
        assert_slice(line, "good");
        assert_int_equal(r.line, 2);
    }
    struct slice line;
    struct text_reader r = text_reader_over("a\0b\n", 4, 20);
    assert_int_equal(text_next_line(&r, &line), -EBADMSG);
}

static void numbers_have_one_text(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "00",
                                        "01",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "0x1",
                                        "1.0",
                                        "1e3",
                                        "a",
                                        "18446744073709551616",
                                        "99999999999999999999",
                                        "184467440737095516150"};
    uint64_t v = 7;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_false(text_parse_u64(literal(wrong[i]), UINT64_MAX, &v));
    assert_false(text_parse_u64((struct slice){0}, 1, &v));
    assert_false(text_parse_u64((struct slice){.at = "1\0002", .length = 3}, UINT64_MAX, &v));
    assert_true(v == 7);
    assert_true(text_parse_u64(literal("0"), 0, &v));
    assert_true(v == 0);
    assert_true(text_parse_u64(literal("18446744073709551615"), UINT64_MAX, &v));
    assert_true(v == UINT64_MAX);
    assert_true(text_parse_u64(literal("100"), 100, &v));
    assert_false(text_parse_u64(literal("101"), 100, &v));
    assert_true(v == 100);
    assert_true(text_parse_u64((struct slice){.at = "1234", .length = 2}, 100, &v));
    assert_true(v == 12);
}

static void sizes_are_powers_of_1024(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } right[] = {
        {"0", 0},
        {"4096", 4096},
        {"1K", 1024},
        {"512M", 512ULL << 20},
        {"2G", 2ULL << 30},
        {"1T", 1ULL << 40},
        {"8388607T", 8388607ULL << 40},
        {"9223372036854775807", INT64_MAX},
        {"0G", 0},
    };
    static const char *const wrong[] = {"",
                                        "K",
                                        "1k",
                                        "1KB",
                                        "1KiB",
                                        "1.5G",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 M",
                                        "1MM",
                                        "01",
                                        "1P",
                                        "8388608T",
                                        "9223372036854775808",
                                        "18446744073709551616",
                                        "0x10"};
    for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
        uint64_t v = 7;
        assert_true(text_parse_size(right[i].text, &v));
        assert_true(v == right[i].bytes);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        uint64_t v = 7;
        assert_false(text_parse_size(wrong[i], &v));
        assert_true(v == 7);
    }
}

static void sizes_are_shown_rounded(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } table[] = {
        {0, "0 bytes"},
        {1, "1 byte"},
        {1023, "1023 bytes"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {12897485, "12.3 MiB"},
        {1048575, "1.0 MiB"}, // not 1024.0 KiB
        {1023 * 1024 + 512, "1023.5 KiB"},
        {UINT64_C(1) << 40, "1.0 TiB"},
        {UINT64_MAX, "16.0 EiB"},
        {INT64_MAX, "8.0 EiB"},
    };
    char text[32];
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        assert_string_equal(text_format_size(table[i].bytes, text), table[i].text);
    assert_string_equal(TEXT_COUNT(0, "request"), "0 requests");
    assert_string_equal(TEXT_COUNT(1, "whole object"), "1 whole object");
    assert_string_equal(TEXT_COUNT(UINT64_MAX, "block"), "18446744073709551615 blocks");
}

static void names(void **state)
{
    (void)state;
    static const char *const image[] = {
        "a", "0", "debian", "a.b_c-d", "9front", "a123456789012345678901234567890123456789012345678901234567890123"};
    static const char *const version_only[] = {"A", "12.5+rc1", "1+2", "Trixie"};
    static const char *const neither[] = {
        "",    ".",   "..", "-a",  "_a",  "+1", "a/b",
        "a b", "a\n", "é",  "a:b", "a@b", "a%", "a1234567890123456789012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < ARRAY_SIZE(image); i++) {
        assert_true(text_is_image_name(literal(image[i])));
        assert_true(text_is_version_name(literal(image[i])));
    }
    for (size_t i = 0; i < ARRAY_SIZE(version_only); i++) {
        assert_false(text_is_image_name(literal(version_only[i])));
        assert_true(text_is_version_name(literal(version_only[i])));
    }
    for (size_t i = 0; i < ARRAY_SIZE(neither); i++) {
        assert_false(text_is_image_name(literal(neither[i])));
        assert_false(text_is_version_name(literal(neither[i])));
    }
    struct slice with_nul = {.at = "a\0b", .length = 3};
    assert_false(text_is_image_name(with_nul));
    assert_false(text_is_version_name(with_nul));
}

static void words_are_quoted_for_shells(void **state)
{
    (void)state;
    static const struct {
        const char *word, *wanted;
    } table[] = {
        {"http://h:8080/os/debian:12.5@sha256:00ff", "http://h:8080/os/debian:12.5@sha256:00ff"},
        {"http://h/a+b:1_2-3", "http://h/a+b:1_2-3"},
        {"", "''"},
        {"http://h/a#KEY", "'http://h/a#KEY'"},
        {"http://[::1]/a", "'http://[::1]/a'"},
        {"http://h/~me/a", "'http://h/~me/a'"},
        {"/a b/c", "'/a b/c'"},
        {"=a", "'=a'"},
        {"it's", "'it'\\''s'"},
        {"a$(b)`c`;&*?!", "'a$(b)`c`;&*?!'"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64);
        assert_int_equal(text_append_shell_word(&b, table[i].word), 0);
        assert_string_equal(buf_text(&b), table[i].wanted);
    }
    struct buf small CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4);
    assert_int_equal(text_append_shell_word(&small, "a b"), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare_by_bytes_and_length),
        cmocka_unit_test(words_are_cut_at_single_spaces),
        cmocka_unit_test(spaces_at_the_ends_are_seen),
        cmocka_unit_test(lines_are_split_at_the_first_space),
        cmocka_unit_test(lines_are_read_one_by_one),
        cmocka_unit_test(long_lines_are_refused),
        cmocka_unit_test(bad_lines_are_refused_with_their_number),
        cmocka_unit_test(numbers_have_one_text),
        cmocka_unit_test(sizes_are_powers_of_1024),
        cmocka_unit_test(sizes_are_shown_rounded),
        cmocka_unit_test(names),
        cmocka_unit_test(words_are_quoted_for_shells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
