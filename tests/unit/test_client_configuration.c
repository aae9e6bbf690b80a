// client/configuration.h: each line, and what is wrong about it, by file and line.
#include "client/configuration.h"

#include "base/io.h"
#include "blockstore/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/folder_fixture.h"

#include "base/banned.h"

static struct configuration c;
static struct error error;

static int setup(void **state)
{
    char path[128];
    folder_set_up(state);
    assert_int_equal(setenv("XDG_CONFIG_HOME", folder, 1), 0);
    snprintf(path, sizeof(path), "%s/rondo", folder);
    return mkdir(path, 0700);
}

static int read_bytes(const void *bytes, size_t n)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/rondo/config", folder);
    assert_int_equal(io_replace_file(AT_FDCWD, path, bytes, n, 0600), 0);
    memset(&c, 0x55, sizeof(c));
    error.text[0] = '\0';
    return configuration_read(&c, &error);
}

static int read_text(const char *text)
{
    return read_bytes(text, strlen(text));
}

static void assert_defaults(void)
{
    assert_string_equal(c.site, "");
    assert_int_equal(c.cache_size, 0);
    assert_int_equal(c.outage_seconds, STORE_WAIT_SECONDS);
    assert_false(c.require_pin);
    assert_true(c.keep);
    assert_int_equal(c.fill_rate, CONFIGURATION_FILL_RATE);
}

static void test_missing_is_defaults(void **state)
{
    (void)state;
    assert_int_equal(configuration_read(&c, &error), 0);
    assert_defaults();
    setenv("XDG_CONFIG_HOME", "/dev/shm/rondo-test-none", 1);
    assert_int_equal(configuration_read(&c, &error), 0);
    assert_defaults();
    setenv("XDG_CONFIG_HOME", folder, 1);
    assert_int_equal(read_text(""), 0);
    assert_defaults();
    assert_int_equal(read_text("# a comment\n\n#site http://other/\n"), 0);
    assert_defaults();
}

static void test_lines(void **state)
{
    (void)state;
    assert_int_equal(
        read_text("site http://Host:80/os\n# comment\ncache-size 10G\noutage-seconds 86400\nrequire-pin yes\n"), 0);
    assert_string_equal(c.site, "http://host/os/"); // as addresses are written
    assert_int_equal(c.cache_size, 10ull << 30);
    assert_int_equal(c.outage_seconds, 86400);
    assert_true(c.require_pin);
    assert_int_equal(read_text("site /a folder/site\nrequire-pin no\ncache-size 4096\noutage-seconds 1\n"), 0);
    assert_string_equal(c.site, "/a folder/site/");
    assert_false(c.require_pin);
    assert_int_equal(c.cache_size, 4096);
    assert_int_equal(c.outage_seconds, 1);
    assert_int_equal(read_text("keep no\nfill-rate 512K\n"), 0);
    assert_false(c.keep);
    assert_int_equal(c.fill_rate, 512 << 10);
    assert_int_equal(read_text("keep yes\nfill-rate none\n"), 0);
    assert_true(c.keep);
    assert_int_equal(c.fill_rate, 0);
    assert_int_equal(c.source_count, 0);
    assert_int_equal(read_text("source /media/my stick/\nsource http://NAS/objects\n"), 0);
    assert_int_equal(c.source_count, 2);
    assert_string_equal(c.sources[0], "/media/my stick/");
    assert_string_equal(c.sources[1], "http://nas/objects/");
    assert_int_equal(read_text("source /1\nsource /2\nsource /3\nsource /4\nsource /5\nsource /6\nsource /7\n"
                               "source /8\nsource /9\n"),
                     -EINVAL);
    assert_non_null(strstr(error.text, "line 9 (source): at most 8"));
    assert_int_equal(read_text("source ftp://x/\n"), -EINVAL);
}

static void test_wrong_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line;
    } table[] = {
        {"colour blue\n", "line 1 (colour)"},
        {"\n\nsit http://host/\n", "line 3 (sit)"},
        {"site\n", "line 1 (site)"},
        {"site ftp://host/\n", "line 1 (site)"},
        {"site http://user:word@host/\n", "line 1 (site)"},
        {"cache-size 0\n", "line 1 (cache-size)"},
        {"cache-size lots\n", "line 1 (cache-size)"},
        {"cache-size\n", "line 1 (cache-size)"},
        {"outage-seconds 0\n", "line 1 (outage-seconds)"},
        {"outage-seconds 86401\n", "line 1 (outage-seconds)"},
        {"outage-seconds 3s\n", "line 1 (outage-seconds)"},
        {"keep maybe\n", "line 1 (keep)"},
        {"fill-rate 0\n", "line 1 (fill-rate)"},
        {"fill-rate fast\n", "line 1 (fill-rate)"},
        {"require-pin\n", "line 1 (require-pin)"},
        {"require-pin true\n", "line 1 (require-pin)"},
        {"require-pin  yes\n", "line 1 (require-pin)"},
        {" site http://host/\n", "line 1"},
        {"site http://host/\nrequire-pin yes", "line 2"}, // no newline at the end
        {"site http://host/\r\n", "line 1"},
        {"site http://ho\033[31mst/\n", "line 1"},
        {"site http://h\xff/\n", "line 1"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct configuration untouched;
        memset(&untouched, 0x55, sizeof(untouched));
        assert_int_equal(read_text(table[i].text), -EINVAL);
        assert_memory_equal(&c, &untouched, sizeof(c));
        if (!strstr(error.text, "/rondo/config") || !strstr(error.text, table[i].line))
            fail_msg("row %zu said: %s", i, error.text);
    }
    assert_int_equal(read_bytes("site \0\n", 7), -EINVAL);
}

static void test_limits(void **state)
{
    (void)state;
    size_t n = 70000;
    char *long_text = malloc(n);
    assert_non_null(long_text);
    memset(long_text, '#', n);
    long_text[n - 1] = '\n';
    assert_true(read_bytes(long_text, n) < 0);               // a file without end
    assert_true(read_bytes(long_text + n - 3000, 3000) < 0); // a line without end
    assert_int_equal(read_bytes(long_text + n - 1000, 1000), 0);
    free(long_text);
}

static void test_unreadable(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof(path), "%s/rondo/config", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(configuration_read(&c, &error) < 0);
    assert_non_null(strstr(error.text, path));
    for (unsigned long at = 1;; at++) { // each call fails once
        rmdir(path);
        read_text("site http://host/\n");
        error.text[0] = '\0';
        io_fault_start(at, EIO, false);
        int r = configuration_read(&c, &error);
        if (io_fault_stop() < at)
            break;
        assert_true(r == 0 || error.text[0]);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, folder_tear_down)
    const struct CMUnitTest tests[] = {TEST(test_missing_is_defaults), TEST(test_lines), TEST(test_wrong_lines),
                                       TEST(test_limits), TEST(test_unreadable)};
    return cmocka_run_group_tests_name("client_configuration", tests, NULL, NULL);
}
