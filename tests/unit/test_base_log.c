// base/log.h: levels, one line a message, escaping, and errno.
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/banned.h"

// Runs `body` with stderr in memory; what it wrote is in `printed`.
static char printed[8192];
static int saved_stderr;
static int captured;

static void capture_start(void)
{
    captured = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(captured >= 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(dup2(captured, STDERR_FILENO) >= 0);
}

static const char *capture_end(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t n = pread(captured, printed, sizeof printed - 1, 0);
    close(captured);
    assert_true(n >= 0);
    printed[n] = '\0';
    return printed;
}

static void log_all_levels(void)
{
    log_error("e %d", 1);
    log_warning("w");
    log_info("i");
    log_debug("d");
}

static void level_comes_from_the_environment(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"error", "p: error: e 1\n"},
        {"warning", "p: error: e 1\np: warning: w\n"},
        {"info", "p: error: e 1\np: warning: w\np: i\n"},
        {"debug", "p: error: e 1\np: warning: w\np: i\np: debug: d\n"},
        {"", "p: error: e 1\np: warning: w\np: i\n"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(setenv("RONDO_LOG", table[i][0], 1), 0);
        capture_start();
        log_start("p");
        log_all_levels();
        assert_string_equal(capture_end(), table[i][1]);
    }
    unsetenv("RONDO_LOG");
    capture_start();
    log_start("p");
    log_all_levels();
    assert_string_equal(capture_end(), table[2][1]);
}

static void unknown_level_is_named(void **state)
{
    (void)state;
    setenv("RONDO_LOG", "loud", 1);
    capture_start();
    log_start("p");
    assert_non_null(strstr(capture_end(), "RONDO_LOG=loud"));
    unsetenv("RONDO_LOG");
    log_start("p");
}

static void a_message_is_one_line_without_control_characters(void **state)
{
    (void)state;
    capture_start();
    log_info("a\nb\x1b[2J\xff%s", "ü");
    assert_string_equal(capture_end(), "p: a\\x0ab\\x1b[2J\\xffü\n");
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    static char text[5000];
    memset(text, 'x', sizeof text - 1);
    capture_start();
    log_info("%s", text);
    capture_end();
    size_t length = strlen(printed);
    assert_true(length > 1000 && length < 2200);
    assert_int_equal(printed[length - 1], '\n');
    memset(text, '\n', sizeof text - 1); // four times as long when escaped
    capture_start();
    log_info("%s", text);
    capture_end();
    assert_ptr_equal(strchr(printed, '\n'), printed + strlen(printed) - 1);
}

static void errno_survives_and_is_known(void **state)
{
    (void)state;
    capture_start();
    errno = ENOSPC;
    log_info("cannot write: %m");
    int code = errno;
    assert_string_equal(capture_end(), "p: cannot write: No space left on device\n");
    assert_int_equal(code, ENOSPC);
}

static void a_closed_stderr_is_survived(void **state)
{
    (void)state;
    capture_start();
    close(STDERR_FILENO);
    errno = EXDEV;
    log_error("nobody hears");
    int code = errno;
    assert_string_equal(capture_end(), "");
    assert_int_equal(code, EXDEV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(level_comes_from_the_environment),
        cmocka_unit_test(unknown_level_is_named),
        cmocka_unit_test(a_message_is_one_line_without_control_characters),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(errno_survives_and_is_known),
        cmocka_unit_test(a_closed_stderr_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
