// base/text.h, characters: what is well-formed UTF-8, what is invisible, and how messages escape the rest.
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "base/banned.h"

static size_t encode(uint32_t c, char out[static 4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)((0xF00U >> n & 0xFF) | c);
    return n;
}

static bool shown(uint32_t c)
{
    char bytes[4];
    size_t n = encode(c, bytes);
    return text_is_printable((struct slice){.at = bytes, .length = n});
}

static void ordinary_text_is_printable(void **state)
{
    (void)state;
    static const char *const right[] = {"", " ", "~", "Grüße", "日本語", "Ελληνικά", "עברית", "العربية", "😀", "a b"};
    for (size_t i = 0; i < ARRAY_SIZE(right); i++)
        assert_true(text_is_printable(slice_of(right[i])));
    assert_true(text_is_printable((struct slice){0}));
    assert_true(shown(0xA0));
    assert_true(shown(0xD7FF));
    assert_true(shown(0xE000));
    assert_true(shown(0x10FFFF));
}

static void control_characters_are_not(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x20; c++)
        assert_false(shown(c));
    assert_true(shown(0x20));
    assert_true(shown(0x7E));
    for (uint32_t c = 0x7F; c < 0xA0; c++)
        assert_false(shown(c));
}

static void invisible_characters_are_not(void **state)
{
    (void)state;
    static const uint32_t ranges[][2] = {
        {0xAD, 0xAD},     {0x34F, 0x34F},   {0x61C, 0x61C},   {0x180E, 0x180E}, {0x200B, 0x200F}, {0x2028, 0x202E},
        {0x2060, 0x206F}, {0x3164, 0x3164}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0000, 0xE007F},
    };
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
        for (uint32_t c = ranges[i][0]; c <= ranges[i][1]; c++)
            assert_false(shown(c));
    static const uint32_t neighbours[] = {0xAC,   0xAE,   0x34E,  0x350,  0x61B,  0x61D,  0x200A, 0x2010, 0x2027,
                                          0x202F, 0x205F, 0x2070, 0xFDFF, 0xFE10, 0xFEFE, 0xFFFC, 0xFFFD, 0xE1000};
    for (size_t i = 0; i < ARRAY_SIZE(neighbours); i++)
        assert_true(shown(neighbours[i]));
}

static void malformed_utf8_is_not(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "\x80",
        "\xBF",
        "a\x80",
        "\xC0\x80",
        "\xC1\xBF", // alone; overlong
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF", // overlong
        "\xED\xA0\x80",
        "\xED\xBF\xBF", // surrogates
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xF8\x88\x80\x80\x80",
        "\xFE",
        "\xFF", // above U+10FFFF
        "\xC3",
        "\xE2\x82",
        "\xF0\x9F\x98", // cut
        "\xC3(",
        "\xE2\x82(",
        "\xE2(\xAC",
        "\xF0\x9F\x98(", // broken
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_false(text_is_printable(slice_of(wrong[i])));
}

// A sequence that is cut by the end of the slice is bad even if the memory goes on.
static void the_slice_ends_where_it_ends(void **state)
{
    (void)state;
    assert_false(text_is_printable((struct slice){.at = "€", .length = 2}));
    char *exact CLEANUP_FREE = malloc(1);
    assert_non_null(exact);
    *exact = '\xF0';
    assert_false(text_is_printable((struct slice){.at = exact, .length = 1}));
}

static void assert_escaped(const char *from, size_t capacity, const char *wanted)
{
    char *text CLEANUP_FREE = malloc(capacity);
    assert_non_null(text);
    assert_string_equal(text_escape(slice_of(from), text, capacity), wanted);
}

static void escaping_shows_what_cannot_be_shown(void **state)
{
    (void)state;
    assert_escaped("", 1, "");
    assert_escaped("Grüße", 100, "Grüße");
    assert_escaped("a\x1b[31m\n\t", 100, "a\\x1b[31m\\x0a\\x09");
    assert_escaped("x\xFFy", 100, "x\\xffy");
    assert_escaped("a\xE2\x80\xAE"
                   "b",
                   100, "a\\xe2\\x80\\xaeb");
    assert_escaped("\xE2\x82", 100, "\\xe2\\x82");
    assert_escaped("back\\slash", 100, "back\\slash");
    char text[16];
    text_escape((struct slice){.at = "a\0b", .length = 3}, text, sizeof text);
    assert_string_equal(text, "a\\x00b");
    text_escape((struct slice){0}, text, sizeof text);
    assert_string_equal(text, "");
}

static void escaping_cuts_with_an_ellipsis(void **state)
{
    (void)state;
    assert_escaped("12345678", 9, "12345678");
    assert_escaped("123456789", 9, "12345…");
    assert_escaped("1234€678", 9, "1234…"); // the euro sign would fit, the ellipsis behind it not
    assert_escaped("1234\n678", 9, "1234…");
    assert_escaped("1234\n", 9, "1234\\x0a");
    assert_escaped("12345", 4, "…");
    assert_escaped("12345", 3, "12");
    assert_escaped("€", 3, "");
    assert_escaped("12345", 1, "");
    assert_string_equal(text_escape(slice_of("x"), NULL, 0), "");
}

// Any bytes, any capacity: the result fits, is printable, and escaping it again changes nothing.
static void escaped_text_is_always_printable(void **state)
{
    (void)state;
    uint32_t random = 12345;
    for (int round = 0; round < 20000; round++) {
        char from[24];
        char text[64];
        char again[64];
        for (size_t i = 0; i < sizeof from; i++) {
            random = random * 1664525 + 1013904223;
            from[i] = (char)(random >> 24);
        }
        size_t capacity = 1 + (size_t)(random >> 8) % (sizeof text - 1);
        text_escape((struct slice){.at = from, .length = sizeof from}, text, capacity);
        assert_true(strlen(text) < capacity);
        assert_true(text_is_printable(slice_of(text)));
        assert_string_equal(text_escape(slice_of(text), again, capacity), text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_text_is_printable),     cmocka_unit_test(control_characters_are_not),
        cmocka_unit_test(invisible_characters_are_not),   cmocka_unit_test(malformed_utf8_is_not),
        cmocka_unit_test(the_slice_ends_where_it_ends),   cmocka_unit_test(escaping_shows_what_cannot_be_shown),
        cmocka_unit_test(escaping_cuts_with_an_ellipsis), cmocka_unit_test(escaped_text_is_always_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
