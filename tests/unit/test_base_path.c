// base/path.h: which variable decides, which folders are refused, and how sibling programs are found.
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "skip.h"

#include "base/cleanup.h"

#include "base/banned.h"

static char folder[PATH_TEXT_SIZE]; // of this run; removed by the runner

static void clear_environment(void)
{
    static const char *const names[] = {"RONDO_HOME",     "RONDO_CACHE",     "RONDO_RUNTIME",  "XDG_DATA_HOME",
                                        "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        unsetenv(names[i]);
}

static int set_up(void **state)
{
    (void)state;
    const char *parent = getenv("TMPDIR");
    clear_environment();
    if (path_format(folder, sizeof folder, "%s/rondo-path.XXXXXX", parent ? parent : "/tmp") < 0)
        return -1;
    return mkdtemp(folder) ? 0 : -1;
}

static const struct {
    enum path_kind kind;
    const char *own;
    const char *xdg;
    const char *for_root;
    const char *below_home;
} kinds[] = {
    {PATH_HOME, "RONDO_HOME", "XDG_DATA_HOME", "/var/lib/rondo", "/home/somebody/.local/share/rondo"},
    {PATH_CACHE, "RONDO_CACHE", "XDG_CACHE_HOME", "/var/cache/rondo", "/home/somebody/.cache/rondo"},
    {PATH_RUNTIME, "RONDO_RUNTIME", "XDG_RUNTIME_DIR", "/run/rondo", NULL},
    {PATH_CONFIG, NULL, "XDG_CONFIG_HOME", "/etc/rondo", "/home/somebody/.config/rondo"},
};

static void own_variable_then_xdg(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char path[PATH_TEXT_SIZE];
        clear_environment();
        setenv(kinds[i].xdg, "/x", 1);
        assert_int_equal(path_find(kinds[i].kind, path, NULL), 0);
        assert_string_equal(path, "/x/rondo");
        if (!kinds[i].own)
            continue;
        setenv(kinds[i].own, "/o", 1);
        assert_int_equal(path_find(kinds[i].kind, path, NULL), 0);
        assert_string_equal(path, "/o");
        setenv(kinds[i].own, "", 1); // empty is unset
        assert_int_equal(path_find(kinds[i].kind, path, NULL), 0);
        assert_string_equal(path, "/x/rondo");
    }
}

static void relative_paths_do_not_count(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char path[PATH_TEXT_SIZE] = "untouched";
        struct error e = {0};
        clear_environment();
        setenv(kinds[i].xdg, "relative", 1);
        assert_int_equal(path_find(kinds[i].kind, path, &e), 0);
        assert_int_equal(path[0], '/');
        assert_null(strstr(path, "relative"));
        if (!kinds[i].own)
            continue;
        snprintf(path, sizeof path, "untouched");
        setenv(kinds[i].own, "relative", 1);
        assert_int_equal(path_find(kinds[i].kind, path, &e), -EINVAL);
        assert_string_equal(path, "untouched");
        assert_non_null(strstr(e.text, kinds[i].own));
    }
}

static void the_user_decides_without_variables(void **state)
{
    (void)state;
    clear_environment();
    setenv("HOME", "/home/somebody", 1);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char path[PATH_TEXT_SIZE];
        char runtime[64];
        snprintf(runtime, sizeof runtime, "/tmp/rondo-%u", (unsigned)geteuid());
        assert_int_equal(path_find(kinds[i].kind, path, NULL), 0);
        if (geteuid() == 0)
            assert_string_equal(path, kinds[i].for_root);
        else
            assert_string_equal(path, kinds[i].below_home ? kinds[i].below_home : runtime);
    }
}

// As another user, in a child: 0 if every default is that user's.
static int check_defaults_as(uid_t user)
{
    if (seteuid(user) != 0)
        return 1;
    char path[PATH_TEXT_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char runtime[64];
        snprintf(runtime, sizeof runtime, "/tmp/rondo-%u", (unsigned)user);
        if (path_find(kinds[i].kind, path, NULL) < 0)
            return 2;
        if (strcmp(path, kinds[i].below_home ? kinds[i].below_home : runtime) != 0)
            return 3;
    }
    unsetenv("HOME"); // no entry in the user database either
    struct error e = {0};
    if (path_find(PATH_HOME, path, &e) != -ENOENT || !strstr(e.text, "RONDO_HOME"))
        return 4;
    return 0;
}

static void other_users_have_their_own_folders(void **state)
{
    (void)state;
    if (geteuid() != 0)
        SKIP("only root can become another user");
    clear_environment();
    setenv("HOME", "/home/somebody", 1);
    pid_t child = fork();
    if (child == 0)
        _exit(check_defaults_as(54321));
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void too_long_paths_fail(void **state)
{
    (void)state;
    static char longest[PATH_TEXT_SIZE + 10];
    char path[PATH_TEXT_SIZE] = "untouched";
    struct error e = {0};
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    clear_environment();
    setenv("RONDO_CACHE", longest, 1);
    assert_int_equal(path_find(PATH_CACHE, path, &e), -ENAMETOOLONG);
    assert_non_null(strstr(e.text, "RONDO_CACHE"));
    assert_string_equal(path, "untouched");
}

static void format_does_not_cut(void **state)
{
    (void)state;
    char path[8] = "kept";
    assert_int_equal(path_format(path, sizeof path, "%s", "12345678"), -ENAMETOOLONG);
    assert_string_equal(path, "kept");
    assert_int_equal(path_format(path, sizeof path, "%s", "1234567"), 0);
    assert_string_equal(path, "1234567");
    assert_int_equal(path_format(path, sizeof path, "%s", path), 0); // may be its own argument
    assert_string_equal(path, "1234567");
}

static void make_makes_private_folders(void **state)
{
    (void)state;
    char path[PATH_TEXT_SIZE];
    char wanted[PATH_TEXT_SIZE];
    struct stat st;
    clear_environment();
    assert_int_equal(path_format(wanted, sizeof wanted, "%s/a/b", folder), 0);
    setenv("RONDO_RUNTIME", wanted, 1);
    assert_int_equal(path_make(PATH_RUNTIME, path, NULL), 0);
    assert_string_equal(path, wanted);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(path_make(PATH_RUNTIME, path, NULL), 0); // again
}

static void unsafe_runtime_folders_are_refused(void **state)
{
    (void)state;
    char path[PATH_TEXT_SIZE] = "untouched";
    char own[PATH_TEXT_SIZE];
    char link[PATH_TEXT_SIZE];
    struct error e = {0};
    clear_environment();
    assert_int_equal(path_format(own, sizeof own, "%s/own", folder), 0);
    assert_int_equal(path_format(link, sizeof link, "%s/link", folder), 0);
    assert_int_equal(mkdir(own, 0700), 0);
    assert_int_equal(symlink(own, link), 0);

    setenv("RONDO_RUNTIME", link, 1);
    assert_int_equal(path_make(PATH_RUNTIME, path, &e), -EPERM);
    assert_non_null(strstr(e.text, link));
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("/nowhere/at/all", link), 0); // dangling
    assert_int_equal(path_make(PATH_RUNTIME, path, &e), -EPERM);

    setenv("RONDO_RUNTIME", own, 1);
    assert_int_equal(chmod(own, 0720), 0);
    assert_int_equal(path_make(PATH_RUNTIME, path, &e), -EPERM);
    assert_non_null(strstr(e.text, "chmod go-w"));
    assert_int_equal(chmod(own, 0702), 0);
    assert_int_equal(path_make(PATH_RUNTIME, path, &e), -EPERM);
    assert_int_equal(chmod(own, 0755), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(own, 54321, 54321), 0);
        assert_int_equal(path_make(PATH_RUNTIME, path, &e), -EPERM);
        assert_non_null(strstr(e.text, "54321"));
        assert_int_equal(chown(own, 0, 0), 0);
    }
    assert_string_equal(path, "untouched");
    assert_int_equal(path_make(PATH_RUNTIME, path, &e), 0);
}

static void a_file_in_the_way_is_named(void **state)
{
    (void)state;
    char path[PATH_TEXT_SIZE];
    char file[PATH_TEXT_SIZE];
    struct error e = {0};
    clear_environment();
    assert_int_equal(path_format(file, sizeof file, "%s/file", folder), 0);
    int fd CLEANUP_CLOSE = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    setenv("RONDO_CACHE", file, 1);
    assert_int_equal(path_make(PATH_CACHE, path, &e), -ENOTDIR);
    assert_non_null(strstr(e.text, file));
}

static void programs_are_found_beside_this_one(void **state)
{
    (void)state;
    char path[PATH_TEXT_SIZE] = "untouched";
    char self[PATH_TEXT_SIZE];
    struct error e = {0};
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    assert_int_equal(path_find_program("no-such-program", path, &e), -ENOENT);
    assert_non_null(strstr(e.text, "no-such-program"));
    assert_int_equal(path_find_program("", path, &e), -EINVAL);
    assert_int_equal(path_find_program("../x", path, &e), -EINVAL);
    assert_int_equal(path_find_program(".", path, &e), -ENOENT); // a folder is no program
    assert_string_equal(path, "untouched");
    assert_int_equal(path_find_program(strrchr(self, '/') + 1, path, &e), 0);
    assert_string_equal(path, self);
}

static void installed_programs_are_found_in_libexec(void **state)
{
    (void)state;
    char self[PATH_TEXT_SIZE] = {0};
    char libexec[PATH_TEXT_SIZE], programs[PATH_TEXT_SIZE], program[PATH_TEXT_SIZE];
    char path[PATH_TEXT_SIZE] = "untouched";
    struct error e = {0};
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    *strrchr(self, '/') = '\0';
    *strrchr(self, '/') = '\0';
    assert_int_equal(path_format(libexec, sizeof libexec, "%s/libexec", self), 0);
    assert_int_equal(path_format(programs, sizeof programs, "%s/rondo", libexec), 0);
    assert_int_equal(path_format(program, sizeof program, "%s/installed-%d", programs, (int)getpid()), 0);
    assert_int_equal(path_find_program(strrchr(program, '/') + 1, path, &e), -ENOENT);
    assert_non_null(strstr(e.text, programs)); // the user learns where it was looked for
    assert_true(mkdir(libexec, 0700) == 0 || errno == EEXIST);
    assert_true(mkdir(programs, 0700) == 0 || errno == EEXIST);
    int fd = open(program, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0700);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(path_find_program(strrchr(program, '/') + 1, path, &e), 0);
    assert_string_equal(path, program);
    assert_int_equal(unlink(program), 0);
    rmdir(programs);
    rmdir(libexec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_variable_then_xdg),
        cmocka_unit_test(relative_paths_do_not_count),
        cmocka_unit_test(the_user_decides_without_variables),
        cmocka_unit_test(other_users_have_their_own_folders),
        cmocka_unit_test(too_long_paths_fail),
        cmocka_unit_test(format_does_not_cut),
        cmocka_unit_test(make_makes_private_folders),
        cmocka_unit_test(unsafe_runtime_folders_are_refused),
        cmocka_unit_test(a_file_in_the_way_is_named),
        cmocka_unit_test(programs_are_found_beside_this_one),
        cmocka_unit_test(installed_programs_are_found_in_libexec),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
