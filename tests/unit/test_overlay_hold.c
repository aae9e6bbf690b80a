// Outages that are passed on to the guest: it gets its errors, and the log is not its to fill.
#include "base/log.h"
#include "blockstore/overlay_hold.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void an_outage_that_is_passed_on_is_logged_once_in_a_while(void **state)
{
    (void)state;
    char text[4096] = "", byte[512];
    const struct iovec piece = {byte, sizeof byte};
    const struct overlay_hold_settings settings = {.control = -1, .folder = "folder", .pass_outage = true};
    struct overlay_hold *hold;
    struct error error;
    unsigned lines = 0;
    int base = memfd_create("base", MFD_CLOEXEC), log = memfd_create("log", MFD_CLOEXEC), stderr_was = dup(2);
    assert_int_equal(ftruncate(base, 8192), 0);
    assert_int_equal(overlay_hold_new(&settings, dup(base), &hold, &error), 0);
    assert_int_equal(overlay_hold_read_base(hold, 0, &piece, 1, sizeof byte), 0);
    assert_int_equal(ftruncate(base, 0), 0); // no byte of it can be read any more
    dup2(log, 2);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(overlay_hold_read_base(hold, 512 * (i % 8), &piece, 1, sizeof byte), -EIO);
    dup2(stderr_was, 2);
    assert_true(pread(log, text, sizeof text - 1, 0) > 0);
    for (const char *at = text; (at = strstr(at, "could not be read")); at++)
        lines++;
    assert_int_equal(lines, 1);
    overlay_hold_free(hold);
    close(base);
    close(log);
    close(stderr_was);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_outage_that_is_passed_on_is_logged_once_in_a_while)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
