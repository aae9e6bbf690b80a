// base/error.h: the sentence, its truncation, and the exit code of every fixed errno value.
#include "base/error.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "base/banned.h"

static void set_stores_the_sentence_and_returns_the_code(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(error_set(&e, ENOENT, "no image %s in %s", "debian", "/site"), -ENOENT);
    assert_string_equal(e.text, "no image debian in /site");
    assert_int_equal(error_set(NULL, EBUSY, "nobody reads %d", 1), -EBUSY);
}

static void set_knows_errno_and_keeps_it(void **state)
{
    (void)state;
    struct error e = {0};
    errno = ENOSPC;
    assert_int_equal(error_set(&e, errno, "cannot write: %m"), -ENOSPC);
    assert_string_equal(e.text, "cannot write: No space left on device");
    assert_int_equal(errno, ENOSPC);
}

static void set_may_quote_the_old_text(void **state)
{
    (void)state;
    struct error e = {0};
    error_set(&e, EIO, "first");
    error_set(&e, EIO, "%s, and %s again", e.text, e.text);
    assert_string_equal(e.text, "first, and first again");
}

static void prefix_comes_before_the_text(void **state)
{
    (void)state;
    struct error e = {0};
    error_set(&e, EBADMSG, "hash differs");
    assert_int_equal(error_prefix(&e, -EBADMSG, "pack %d", 7), -EBADMSG);
    assert_string_equal(e.text, "pack 7: hash differs");
    assert_int_equal(error_prefix(NULL, -EIO, "x"), -EIO);
    assert_int_equal(error_prefix(&e, 5, "y"), 5);
}

// Every length around the limit, with characters of 1 to 4 bytes at the cut: never overflown, never cut in two.
static void truncation_keeps_whole_characters(void **state)
{
    (void)state;
    static const char *const characters[] = {"a", "é", "€", "😀"};
    for (size_t c = 0; c < ARRAY_SIZE(characters); c++) {
        size_t width = strlen(characters[c]);
        for (size_t padding = ERROR_TEXT_SIZE - 6; padding < ERROR_TEXT_SIZE + 2; padding++) {
            struct error e;
            memset(&e, 'x', sizeof e);
            error_set(&e, EIO, "%*s%s", (int)padding, "", characters[c]);
            size_t length = strlen(e.text);
            if (padding + width < ERROR_TEXT_SIZE)
                assert_int_equal(length, padding + width);
            else
                assert_int_equal(length, padding < ERROR_TEXT_SIZE - 1 ? padding : ERROR_TEXT_SIZE - 1);
            memset(&e, 'x', sizeof e);
            e.text[0] = '\0';
            error_prefix(&e, -EIO, "%*s%s", (int)padding, "", characters[c]);
            assert_true(strlen(e.text) < ERROR_TEXT_SIZE);
        }
    }
}

static void exit_codes_are_those_of_the_header(void **state)
{
    (void)state;
    static const struct {
        int code;
        enum exit_code exit;
    } table[] = {
        {EINVAL, 2},       {ENOENT, 3},     {ENETUNREACH, 4}, {ENONET, 4},  {EHOSTUNREACH, 4},
        {ECONNREFUSED, 4}, {ECONNRESET, 4}, {ENETDOWN, 4},    {EBADMSG, 5}, {EKEYREJECTED, 5},
        {EKEYEXPIRED, 6},  {ESTALE, 7},     {ENOSPC, 8},      {EDQUOT, 8},  {EPERM, 9},
        {EACCES, 9},       {ENODEV, 9},     {EOPNOTSUPP, 9},  {EBUSY, 10},  {ECANCELED, 11},
        {EINTR, 11},       {ETIMEDOUT, 12}, {EIO, 1},         {ENOMEM, 1},  {E2BIG, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        assert_int_equal(error_exit_code(-table[i].code), table[i].exit);
        assert_int_equal(error_is_network(-table[i].code) != 0, table[i].exit == EXIT_CODE_NETWORK);
    }
    assert_int_equal(error_exit_code(0), EXIT_CODE_OK);
    assert_int_equal(error_exit_code(17), EXIT_CODE_OK);
    assert_false(error_is_network(0));
    assert_false(error_is_network(ECONNREFUSED)); // a count
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_stores_the_sentence_and_returns_the_code),
        cmocka_unit_test(set_knows_errno_and_keeps_it),
        cmocka_unit_test(set_may_quote_the_old_text),
        cmocka_unit_test(prefix_comes_before_the_text),
        cmocka_unit_test(truncation_keeps_whole_characters),
        cmocka_unit_test(exit_codes_are_those_of_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
