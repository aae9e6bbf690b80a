// vmm/sandbox.h: forbidden calls die (TRUST T26), and what is allowed is what tests/unit/vmm_sandbox.allowed lists: a
// change of the filters is a change of that file too, for a person to look at.
#include "vmm/sandbox.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"

#include "base/banned.h"

#define GOLDEN "tests/unit/vmm_sandbox.allowed"

static void allowed_calls_are_those_of_the_list(void **state)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64 << 10);
    void *golden CLEANUP_FREE = NULL;
    size_t size;
    (void)state;
    assert_int_equal(io_read_file(AT_FDCWD, GOLDEN, 64 << 10, &golden, &size), 0);
    assert_int_equal(sandbox_describe(&text), 0);
    assert_string_equal(buf_text(&text), golden);
}

static void forbidden_calls_die(void **state)
{
    struct buf report CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64 << 10);
    struct error error = {""};
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); // the sanitizer itself makes calls of its own
#endif
    pid_t child = fork(); // the file system is taken away for good
    if (child == 0)
        _exit(sandbox_selftest(&report, &error) == 0 && !strstr(buf_text(&report), "not ok") ? 0 : 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

// Landlock, or where the kernel has none the filter alone (which the self-test shows).
static void files_cannot_be_opened_once_the_sandbox_is_made(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct sandbox *s;
        int code = 1;
        if (sandbox_new(&s, NULL) == 0)
            code = open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 ? 0 : 2;
        _exit(code);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status == 2 << 8)
        skip(); // this kernel has no Landlock
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed_calls_are_those_of_the_list),
        cmocka_unit_test(forbidden_calls_die),
        cmocka_unit_test(files_cannot_be_opened_once_the_sandbox_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
