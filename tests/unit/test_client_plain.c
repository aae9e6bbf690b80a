// client/plain.h: a console's bytes, made harmless for a terminal.
#include "client/plain.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/banned.h"

// What comes out if it is fed `piece` bytes at a time; the caller frees it.
static char *plain_in_pieces(const char *text, size_t n, size_t piece)
{
    char *shown = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&shown, &size);
    assert_non_null(to);
    struct plain p = PLAIN_TO(to);
    for (size_t at = 0; at < n; at += piece)
        plain_feed(&p, text + at, n - at < piece ? n - at : piece);
    plain_flush(&p);
    assert_int_equal(fclose(to), 0);
    assert_int_equal(strlen(shown), size);
    return shown;
}

static const struct {
    const char *text, *shown;
} table[] = {
    {"Debian\r\ntiny login: ", "Debian\ntiny login: "},
    {"[  \033[0;32mOK\033[0m  ] Started\tall\r\n", "[  OK  ] Started\tall\n"},
    {"10 %\r20 %\r\r\n", "10 %\n20 %\n"}, // invariant 2
    {"ask\033[6n\033[c\033]0;title\007 me", "ask me"},
    {"\033]52;c;cm0gLXJmIH4K\007paste", "paste"},
    {"\033Pstring\033\\tiny", "tiny"},
    {"\033Xstring\033\\t\033^x\033\\i\033_x\033\\ny", "tiny"},
    {"\033(Bt\033[3\0321i\033[1\030n\033 \tFy", "t1iny"}, // given up: CAN, SUB
    {"\033[3\177mt\033\177i\033(\177\001Bn\033\001xy", "tny"},
    {"a\ab\bc\177d\016e", "abcde"},
    {"\033]never ended\nseen", "\nseen"},
    {"\302\2336n", "\\xc2\\x9b6n"}, // CSI as one character
    {"\2336n", "\\x9b6n"},
    {"\342\200\256evil", "\\xe2\\x80\\xaeevil"}, // right to left
    {"\303\251t\303\251 \342\202\254", "\303\251t\303\251 \342\202\254"},
};

static void nothing_but_text_comes_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        for (size_t piece = 1; piece < 9; piece++) {
            char *shown = plain_in_pieces(table[i].text, strlen(table[i].text), piece);
            if (strcmp(shown, table[i].shown) != 0)
                fail_msg("row %zu in pieces of %zu: %s", i, piece, shown);
            free(shown);
        }
}

static void long_lines_are_not_cut_within_a_character(void **state)
{
    (void)state;
    for (size_t before = 0; before < 4; before++) {
        static const char euro[] = "\342\202\254";
        char text[8192];
        size_t n = before + (sizeof(text) - before) / 3 * 3;
        for (size_t at = 0; at < n; at++)
            text[at] = at < before ? 'a' : euro[(at - before) % 3];
        char *shown = plain_in_pieces(text, n, 1000);
        assert_int_equal(strlen(shown), n);
        assert_memory_equal(shown, text, n);
        free(shown);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_but_text_comes_out),
        cmocka_unit_test(long_lines_are_not_cut_within_a_character),
    };
    return cmocka_run_group_tests_name("client_plain", tests, NULL, NULL);
}
