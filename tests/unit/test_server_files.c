// Opening files of a site (server/site_files.c): links, other kinds of files, modes; once with the kernel keeping
// the open below the folder, once part by part. The names are given as a request parser that fails would give them.

#include "server/site_files.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/banned.h"

#define HASH "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"

static char folder[64];
static struct site_files site;

static void write_file(const char *name, const char *text, mode_t mode)
{
    assert_int_equal(io_replace_file(site.folder, name, text, strlen(text), mode), 0);
    assert_int_equal(fchmodat(site.folder, name, mode, 0), 0);
}

static int open_name(enum site_path_kind kind, const char *name, struct site_file *ret)
{
    struct site_path path = {.kind = kind};

    assert_true(snprintf(path.name, sizeof path.name, "%s", name) < (int)sizeof path.name);
    return site_files_open_file(&site, &path, ret);
}

static int page_code(const char *name)
{
    struct site_file file;
    int r = open_name(SITE_PATH_PAGE, name, &file);

    if (r == 0)
        close(file.fd);
    return r;
}

static int set_up(void **state)
{
    (void)state;
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.40s/site.XXXXXX", temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(site_files_open(folder, &site, NULL), 0);
    assert_int_equal(io_make_folders(site.folder, "objects/ab", 0755), 0);
    assert_int_equal(io_make_folders(site.folder, "docs", 0755), 0);
    write_file("objects/ab/" HASH, "object", 0600);
    write_file("index.html", "page", 0644);
    write_file("docs/index.html", "page", 0644);
    write_file("secret.key", "secret", 0600);
    assert_int_equal(mkfifoat(site.folder, "fifo", 0644), 0);
    assert_int_equal(symlinkat("index.html", site.folder, "link"), 0);
    assert_int_equal(symlinkat("/etc/passwd", site.folder, "passwd"), 0);
    assert_int_equal(symlinkat("docs", site.folder, "linked"), 0);
    assert_int_equal(symlinkat("..", site.folder, "up"), 0);
    assert_int_equal(symlinkat("loop", site.folder, "loop"), 0);
    return 0;
}

static int tear_down(void **state)
{
    static const char object[] = "objects/ab/" HASH;
    static const char *const names[] = {object, "index.html", "docs/index.html", "secret.key",
                                        "fifo", "link",       "passwd",          "linked",
                                        "up",   "loop",       "catalog.rondo"};
    static const char *const folders[] = {"objects/ab", "objects", "docs"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlinkat(site.folder, names[i], 0);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        unlinkat(site.folder, folders[i], AT_REMOVEDIR);
    site_files_close(&site);
    assert_int_equal(site.folder, -1);
    return rmdir(folder);
}

static void check_opens(void)
{
    struct site_file file;
    char text[8] = {0};

    assert_int_equal(open_name(SITE_PATH_OBJECT, "objects/ab/" HASH, &file), 0);
    assert_int_equal(file.size, 6);
    assert_string_equal(file.tag, "\"" HASH "\"");
    assert_int_equal(read(file.fd, text, sizeof text - 1), 6);
    assert_string_equal(text, "object");
    assert_int_equal(fcntl(file.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(fcntl(file.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(file.fd);

    assert_int_equal(page_code("index.html"), 0);
    assert_int_equal(page_code("docs/index.html"), 0);

    assert_int_equal(page_code("absent"), -ENOENT);
    assert_int_equal(page_code("absent/index.html"), -ENOENT);
    assert_int_equal(page_code("docs"), -ENOENT);
    assert_int_equal(page_code("docs/"), -ENOENT);
    assert_int_equal(page_code("index.html/index.html"), -ENOENT);
    assert_int_equal(page_code("fifo"), -ENOENT); // and the open does not wait for a writer
    assert_int_equal(page_code("link"), -ENOENT);
    assert_int_equal(page_code("passwd"), -ENOENT);
    assert_int_equal(page_code("linked/index.html"), -ENOENT);
    assert_int_equal(page_code("loop"), -ENOENT);
    assert_int_equal(page_code("secret.key"), -EACCES);

    assert_int_equal(page_code(".."), -ENOENT);
    assert_int_equal(page_code("../index.html"), -ENOENT);
    assert_int_equal(page_code("docs/../../../../../../../etc/passwd"), -ENOENT);
    assert_int_equal(page_code("up/up/up/up/etc/passwd"), -ENOENT);
    assert_int_equal(page_code("/etc/passwd"), -ENOENT);
}

static void test_opens_by_kernel(void **state)
{
    (void)state;
    assert_true(site.has_openat2);
    check_opens();
}

static void test_opens_by_parts(void **state)
{
    (void)state;
    site.has_openat2 = false;
    check_opens();
    site.has_openat2 = true;
}

static void test_tags_change_with_the_content(void **state)
{
    struct site_file one, two;
    const struct timespec old[2] = {{.tv_sec = 784111777}, {.tv_sec = 784111777}};

    (void)state;
    assert_false(site_files_has_catalog(&site));
    write_file("catalog.rondo", "one", 0600);
    assert_true(site_files_has_catalog(&site));
    assert_int_equal(open_name(SITE_PATH_CATALOG_FILE, "catalog.rondo", &one), 0);
    assert_string_equal(one.last_modified, ""); // too young for a date in whole seconds
    assert_string_equal(one.cache_control, "public, max-age=60, must-revalidate");
    assert_int_equal(open_name(SITE_PATH_CATALOG_FILE, "catalog.rondo", &two), 0);
    assert_string_equal(one.tag, two.tag);
    close(two.fd);

    // The same size and the same date in seconds; another file.
    write_file("catalog.rondo", "two", 0600);
    assert_int_equal(futimens(one.fd, old), 0);
    assert_int_equal(utimensat(site.folder, "catalog.rondo", old, 0), 0);
    assert_int_equal(open_name(SITE_PATH_CATALOG_FILE, "catalog.rondo", &two), 0);
    assert_string_not_equal(one.tag, two.tag);
    assert_string_equal(two.last_modified, "Sun, 06 Nov 1994 08:49:37 GMT");
    close(one.fd);
    close(two.fd);
}

static void test_content_types(void **state)
{
    struct site_file file;

    (void)state;
    assert_int_equal(open_name(SITE_PATH_PAGE, "index.html", &file), 0);
    assert_string_equal(file.content_type, "text/html; charset=utf-8");
    assert_string_equal(file.cache_control, "public, no-cache");
    close(file.fd);
    assert_int_equal(open_name(SITE_PATH_OBJECT, "objects/ab/" HASH, &file), 0);
    assert_string_equal(file.content_type, "application/octet-stream");
    assert_string_equal(file.cache_control, "public, max-age=31536000, immutable");
    close(file.fd);
}

static void test_folders_that_cannot_be_served(void **state)
{
    struct site_files none = {.folder = -1};
    struct error error = {0};
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/absent", folder);
    assert_int_equal(site_files_open(path, &none, &error), -ENOENT);
    assert_non_null(strstr(error.text, path));
    snprintf(path, sizeof path, "%s/index.html", folder);
    assert_int_equal(site_files_open(path, &none, &error), -EINVAL);
    assert_int_equal(none.folder, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens_by_kernel),
        cmocka_unit_test(test_opens_by_parts),
        cmocka_unit_test(test_tags_change_with_the_content),
        cmocka_unit_test(test_content_types),
        cmocka_unit_test(test_folders_that_cannot_be_served),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
