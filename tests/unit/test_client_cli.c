// client/cli.h: every form of every kind of option, and what is wrong about them; failures and exit codes.
#include "client/cli.h"

#include "base/cleanup.h"
#include "catalog/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/banned.h"

static int no_verb(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

const struct verb verbs[] = {{"test", no_verb, "IMAGE [--flag]", "Tests."}, {NULL, NULL, NULL, NULL}};

static struct {
    bool flag;
    const char *text;
    uint64_t size, number, limit, time;
    struct option_list list;
} got;
static const struct option options[] = {{"flag", OPTION_FLAG, &got.flag},    {"text", OPTION_TEXT, &got.text},
                                        {"size", OPTION_SIZE, &got.size},    {"number", OPTION_NUMBER, &got.number},
                                        {"limit", OPTION_LIMIT, &got.limit}, {"time", OPTION_TIME, &got.time},
                                        {"list", OPTION_LIST, &got.list},    {NULL, OPTION_FLAG, NULL}};

static char said[4096]; // on the stream that was listened to

static int listen_to(int fd)
{
    char path[] = "/dev/shm/rondo-test-cli.XXXXXX";
    int kept = dup(fd), file = mkstemp(path);
    assert_true(kept >= 0 && file >= 0);
    unlink(path);
    assert_int_equal(fflush(NULL), 0);
    assert_int_equal(dup2(file, fd), fd);
    close(file);
    return kept;
}

static void listen_no_more(int fd, int kept)
{
    assert_int_equal(fflush(NULL), 0);
    ssize_t n = pread(fd, said, sizeof(said) - 1, 0);
    assert_true(n >= 0);
    said[n] = '\0';
    assert_int_equal(dup2(kept, fd), fd);
    close(kept);
}

#define ARGUMENTS_MAXIMUM 80
static char *arguments[ARGUMENTS_MAXIMUM];
static unsigned operands;

// Parses words, NULL at the end, as the arguments of a verb with one to three operands.
static int parse(const char *first, ...)
{
    va_list rest;
    int n = 0;
    memset(&got, 0, sizeof(got));
    arguments[n++] = (char *)"test";
    va_start(rest, first);
    for (const char *word = first; word && n < ARGUMENTS_MAXIMUM - 1; word = va_arg(rest, const char *))
        arguments[n++] = (char *)word;
    va_end(rest);
    arguments[n] = NULL;
    int kept = listen_to(STDERR_FILENO);
    int r = cli_parse(n, arguments, options, 1, 3, &operands);
    listen_no_more(STDERR_FILENO, kept);
    return r;
}

static void test_forms(void **state)
{
    (void)state;
    assert_int_equal(parse("one", NULL), 0);
    assert_int_equal(operands, 1);
    assert_string_equal(arguments[1], "one");
    assert_null(arguments[2]);
    assert_false(got.flag);

    assert_int_equal(parse("--text", "a", "one", "--flag", "two", "--size=2G", "--number", "7", "three", NULL), 0);
    assert_int_equal(operands, 3);
    assert_string_equal(arguments[1], "one");
    assert_string_equal(arguments[3], "three");
    assert_null(arguments[4]);
    assert_true(got.flag);
    assert_string_equal(got.text, "a");
    assert_int_equal(got.size, 2ull << 30);
    assert_int_equal(got.number, 7);

    assert_int_equal(parse("one", "--text=", NULL), 0);
    assert_string_equal(got.text, "");
    assert_int_equal(parse("one", "--text", "--flag", NULL), 0); // a value may look like an option
    assert_string_equal(got.text, "--flag");
    assert_false(got.flag);
    assert_int_equal(parse("one", "--text=a=b", NULL), 0);
    assert_string_equal(got.text, "a=b");
    assert_int_equal(parse("one", "--text", "a", "--text", "b", NULL), 0);
    assert_string_equal(got.text, "b");

    assert_int_equal(parse("--", "--flag", NULL), 0); // behind -- all are operands
    assert_int_equal(operands, 1);
    assert_string_equal(arguments[1], "--flag");
    assert_false(got.flag);
    assert_int_equal(parse("--", "--", NULL), 0);
    assert_string_equal(arguments[1], "--");
    assert_int_equal(parse("-", NULL), 0); // a lone dash is an operand
    assert_string_equal(arguments[1], "-");
    assert_int_equal(parse("", NULL), 0);
    assert_int_equal(operands, 1);

    assert_int_equal(parse("one", "--limit", "0", "--time=0", NULL), 0); // where that has a meaning
    assert_int_equal(got.limit, 0);
    assert_int_equal(got.time, 0);
    assert_int_equal(parse("one", "--limit", "1K", "--time=7", NULL), 0);
    assert_int_equal(got.limit, 1024);
    assert_int_equal(got.time, 7);
}

// One in 64 begins with a dash.
static void test_a_key_is_an_operand(void **state)
{
    (void)state;
    char text[KEY_TEXT_SIZE] = "", cut[KEY_TEXT_SIZE];
    while (text[0] != '-') {
        struct key_secret *secret CLEANUP(key_free) = NULL;
        struct key_public key;
        assert_int_equal(key_generate(&secret, NULL), 0);
        key_public_of(secret, &key);
        key_to_text(&key, text);
    }
    assert_int_equal(parse("one", text, NULL), 0);
    assert_int_equal(operands, 2);
    assert_string_equal(arguments[2], text);
    snprintf(cut, sizeof(cut), "%.*s", (int)strlen(text) - 1, text);
    assert_int_equal(parse("one", cut, NULL), EXIT_CODE_USAGE);
}

static void test_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *words[3], *message;
    } table[] = {
        {{NULL}, "an argument is missing"},
        {{"--flag", NULL}, "an argument is missing"},
        {{"one", "--none", NULL}, "no option --none"},
        {{"one", "-f", NULL}, "no option -f"},
        {{"one", "--fla", NULL}, "no option --fla"}, // no abbreviations
        {{"one", "--flags", NULL}, "no option --flags"},
        {{"one", "--flag=yes", NULL}, "--flag takes no value"},
        {{"one", "--flag=", NULL}, "--flag takes no value"},
        {{"one", "--text", NULL}, "--text needs a value"},
        {{"one", "---flag", NULL}, "no option ---flag"},
        {{"one", "--=", NULL}, "no option --="},
        {{"one", "--size", "0"}, "--size takes a size"},
        {{"one", "--size", "-1"}, "--size takes a size"},
        {{"one", "--size", "1Q"}, "--size takes a size"},
        {{"one", "--size", ""}, "--size takes a size"},
        {{"one", "--size", "9223372036854775808"}, "--size takes a size"},
        {{"one", "--number", "0"}, "--number takes a number from 1 on"},
        {{"one", "--number", "4294967296"}, "--number takes a number from 1 on"},
        {{"one", "--number", "1x"}, "--number takes a number from 1 on"},
        {{"one", "--number", " 1"}, "--number takes a number from 1 on"},
        {{"one", "--number", "+1"}, "--number takes a number from 1 on"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(parse(table[i].words[0], table[i].words[1], table[i].words[2], NULL), EXIT_CODE_USAGE);
        if (!strstr(said, table[i].message))
            fail_msg("row %zu said: %s", i, said);
        assert_non_null(strstr(said, "usage: rondo test IMAGE [--flag]")); // the next step
    }
    assert_int_equal(parse("one", "two", "three", "four", NULL), EXIT_CODE_USAGE);
    assert_non_null(strstr(said, "unexpected argument \"four\""));
}

static void test_list(void **state)
{
    (void)state;
    assert_int_equal(parse("one", "--list", "a", "--list=b", "--list", "", NULL), 0);
    assert_int_equal(got.list.count, 3);
    assert_string_equal(got.list.values[0], "a");
    assert_string_equal(got.list.values[1], "b");
    assert_string_equal(got.list.values[2], "");
    char *many[OPTION_LIST_MAXIMUM + 4] = {(char *)"test", (char *)"one"};
    for (unsigned extra = 0; extra < 2; extra++) {
        int n = 2;
        for (unsigned i = 0; i < OPTION_LIST_MAXIMUM + extra; i++)
            many[n++] = (char *)"--list=x";
        many[n] = NULL;
        memset(&got, 0, sizeof(got));
        int kept = listen_to(STDERR_FILENO);
        int r = cli_parse(n, many, options, 1, 1, &operands);
        listen_no_more(STDERR_FILENO, kept);
        assert_int_equal(r, extra ? EXIT_CODE_USAGE : 0);
        assert_int_equal(got.list.count, OPTION_LIST_MAXIMUM);
    }
    assert_non_null(strstr(said, "at most 32 times"));
}

static void test_help(void **state)
{
    (void)state;
    static const char *const forms[] = {"--help", "-h"};
    for (size_t i = 0; i < 2; i++) {
        char *words[] = {(char *)"test", (char *)forms[i], NULL};
        int kept = listen_to(STDOUT_FILENO);
        int r = cli_parse(2, words, options, 1, 1, &operands);
        listen_no_more(STDOUT_FILENO, kept);
        assert_int_equal(r, -1); // also where operands are missing
        assert_non_null(strstr(said, "usage: rondo test IMAGE [--flag]"));
        assert_non_null(strstr(said, "Tests."));
        assert_int_equal(cli_parsed(r), EXIT_CODE_OK);
    }
    assert_int_equal(cli_parsed(EXIT_CODE_USAGE), EXIT_CODE_USAGE);
    assert_int_equal(parse("--", "--help", NULL), 0);
}

static void test_failures(void **state)
{
    (void)state;
    static const struct {
        int result, code;
    } table[] = {{-EINVAL, 2},       {-ENOENT, 3},      {-ENETUNREACH, 4}, {-ENONET, 4},     {-EBADMSG, 5},
                 {-EKEYREJECTED, 5}, {-EKEYEXPIRED, 6}, {-ESTALE, 7},      {-ENOSPC, 8},     {-EDQUOT, 8},
                 {-EACCES, 9},       {-EPERM, 9},       {-EBUSY, 10},      {-ECANCELED, 11}, {-EINTR, 11},
                 {-ETIMEDOUT, 12},   {-EIO, 1},         {-EEXIST, 1},      {-ENOMEM, 1}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct error error = {.text = "what it is about"}, empty = {.text = ""};
        int kept = listen_to(STDERR_FILENO);
        int code = cli_fail(table[i].result, &error);
        listen_no_more(STDERR_FILENO, kept);
        assert_int_equal(code, table[i].code);
        // Where the network failed, what can be done is in one place; where it was not to be used, in the text.
        const char *rest = said + strlen("rondo: what it is about\n");
        assert_int_equal(strncmp(said, "rondo: what it is about\n", (size_t)(rest - said)), 0);
        assert_int_equal(strstr(rest, "try again later") != NULL, table[i].result == -ENETUNREACH);
        assert_int_equal(*rest == '\0', table[i].result != -ENETUNREACH);
        kept = listen_to(STDERR_FILENO);
        cli_fail(table[i].result, &empty);
        listen_no_more(STDERR_FILENO, kept);
        assert_non_null(strstr(said, strerror(-table[i].result))); // never nothing
    }
}

static void test_progress_is_for_terminals(void **state)
{
    (void)state;
    int kept = listen_to(STDERR_FILENO);
    cli_progress("%u of %u", 1u, 2u);
    cli_progress_end();
    listen_no_more(STDERR_FILENO, kept);
    assert_string_equal(said, "");
}

static void test_output_that_cannot_be_written(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    for (int code = 0; code < 6; code += 5) {
        int errors = listen_to(STDERR_FILENO), output = dup(STDOUT_FILENO);
        assert_int_equal(fflush(stdout), 0);
        assert_int_equal(dup2(full, STDOUT_FILENO), STDOUT_FILENO);
        printf("something\n");
        int r = cli_finish_output(code);
        assert_int_equal(dup2(output, STDOUT_FILENO), STDOUT_FILENO);
        close(output);
        clearerr(stdout);
        listen_no_more(STDERR_FILENO, errors);
        assert_int_equal(r, code == 0 ? EXIT_CODE_OTHER : code); // the first failure is the one to tell
        assert_non_null(strstr(said, "cannot write to standard output: No space left"));
    }
    assert_int_equal(cli_finish_output(EXIT_CODE_OK), EXIT_CODE_OK);
    close(full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_a_key_is_an_operand),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_progress_is_for_terminals),
        cmocka_unit_test(test_output_that_cannot_be_written),
    };
    return cmocka_run_group_tests_name("client_cli", tests, NULL, NULL);
}
