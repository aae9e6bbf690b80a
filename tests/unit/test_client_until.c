// client/until.h: what a console has shown, whatever stands between the letters and however it was cut.
#include "client/until.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/banned.h"

static bool seen_in_pieces(const char *pattern, const char *text, size_t n, size_t piece)
{
    struct until u;
    char why[256];
    bool seen = false;
    assert_int_equal(until_open(&u, pattern, why, sizeof(why)), 0);
    for (size_t at = 0; at < n; at += piece)
        seen = until_feed(&u, text + at, n - at < piece ? n - at : piece);
    until_close(&u);
    return seen;
}

static const struct {
    const char *pattern, *text;
    bool seen;
} table[] = {
    {"login:", "tiny login: ", true},
    {"^tiny login:", "\r\n\rtiny login: ", true},
    {"^tiny login:", "Debian\r\ntiny login: ", true},
    {"one.*two", "one\ntwo\n", false},
    {"one.*two", "one and two", true},
    {"^$", "text\n\n", true},
    {"^b", "a\rb", true},    // a carriage return: the rest takes the line's place
    {"a.*b", "a\rb", false}, //
    {"^20 %", "10 %\r20 %", true},
    {"^10 %", "10 %\r20 %", true},
    {"^line\n?$", "line\r\r\n", true},
    {"login:", "lo\033[0;1mgin\033[m:", true}, // invariant 3
    {"^tiny login:", "\033(B\033[mtiny login:", true},
    {"^tiny", "\033]0;title\007tiny", true},
    {"^tiny", "\033]0;title\033\\tiny", true},
    {"title", "\033]0;title\007", false},
    {"^tiny", "\033Pstring\033\\tiny", true},
    {"^tiny", "\0337\033[r\033[999;999H\033[6n\0338tiny", true},
    {"^tiny", "\033[12\030tiny", true},
    {"ti\tny|tiny", "t\ti\an\177y", true},
    {"seen", "\033]never ended\nseen", true},
    {"seen", "\033[\nseen", true},
    {"\303\251t\303\251", "\303\251t\303\251", true},
};

static void lines_are_matched_as_a_terminal_shows_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        for (size_t piece = strlen(table[i].text); piece > 0; piece--)
            if (seen_in_pieces(table[i].pattern, table[i].text, strlen(table[i].text), piece) != table[i].seen)
                fail_msg("\"%s\" in row %zu, cut into pieces of %zu", table[i].pattern, i, piece);
}

static void nul_bytes_do_not_end_a_line(void **state)
{
    (void)state;
    assert_true(seen_in_pieces("ab", "a\0b", 3, 3));
}

static void a_line_is_looked_at_up_to_its_maximum(void **state)
{
    (void)state;
    static char text[2 * UNTIL_LINE_MAXIMUM];
    memset(text, 'x', sizeof(text));
    text[UNTIL_LINE_MAXIMUM - 1] = 'y';
    assert_true(seen_in_pieces("y", text, sizeof(text), 1000));
    text[UNTIL_LINE_MAXIMUM - 1] = 'x';
    text[UNTIL_LINE_MAXIMUM] = 'y';
    assert_false(seen_in_pieces("y", text, sizeof(text), 1000));
    text[sizeof(text) - 2] = '\n';
    text[sizeof(text) - 1] = 'y';
    assert_true(seen_in_pieces("^y", text, sizeof(text), 1000)); // the next line counts again
}

static void what_was_seen_stays_seen(void **state)
{
    (void)state;
    struct until u;
    char why[256];
    assert_int_equal(until_open(&u, "here", why, sizeof(why)), 0);
    assert_false(until_feed(&u, "her", 3));
    assert_true(until_feed(&u, "e", 1));
    assert_true(until_feed(&u, "\nelse\n", 6));
    until_close(&u);
}

static void a_bad_pattern_is_refused_with_a_reason(void **state)
{
    (void)state;
    struct until u;
    char why[256] = "";
    assert_int_equal(until_open(&u, "(", why, sizeof(why)), -EINVAL);
    assert_true(why[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_matched_as_a_terminal_shows_them), cmocka_unit_test(nul_bytes_do_not_end_a_line),
        cmocka_unit_test(a_line_is_looked_at_up_to_its_maximum),      cmocka_unit_test(what_was_seen_stays_seen),
        cmocka_unit_test(a_bad_pattern_is_refused_with_a_reason),
    };
    return cmocka_run_group_tests_name("client/until", tests, NULL, NULL);
}
