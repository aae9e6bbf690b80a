// client/volume.h: what can be a volume, and what cannot; it is made, grows, never shrinks, and has one user at a time.
#include "client/volume.h"

#include "base/cleanup.h"
#include "base/io.h"
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

static int setup(void **state)
{
    folder_set_up(state);
    assert_int_equal(chdir(folder), 0);
    static const char *const kinds[] = {"RONDO_HOME", "RONDO_CACHE", "RONDO_RUNTIME"};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        assert_int_equal(mkdir(folder_export(kinds[i], kinds[i]), 0700), 0);
    return 0;
}

static struct volume parsed(const char *text)
{
    struct volume v;
    struct error error;
    if (volume_parse(text, &v, &error) < 0)
        fail_msg("%s: %s", text, error.text);
    return v;
}

static void what_is_typed_becomes_a_path_and_a_size(void **state)
{
    char wanted[128];
    (void)state;
    struct volume v = parsed("data.img");
    snprintf(wanted, sizeof(wanted), "%s/data.img", folder);
    assert_string_equal(v.path, wanted);
    assert_true(v.size == 0);
    v = parsed("/dev/disk/by-id/x:2G");
    assert_string_equal(v.path, "/dev/disk/by-id/x");
    assert_true(v.size == 2ull << 30);
    v = parsed("/a,b:c:1");
    assert_string_equal(v.path, "/a,b:c");
    assert_true(v.size == 4096); // whole blocks
    v = parsed("/pci-0000:00:1f.2");
    assert_string_equal(v.path, "/pci-0000:00:1f.2");
    static const char *const bad[] = {"",        ":1G",   "/",       "folder/", "folder/:1G",
                                      "a\nb:1G", "a\x1b", "\xff:1G", "x:0",     "x:9223372036854775807"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error error = {.text = ""};
        assert_int_equal(volume_parse(bad[i], &v, &error), -EINVAL);
        assert_true(error.text[0] && !strchr(error.text, '\n'));
    }
    char longest[VOLUME_PATH_SIZE + 2] = "/";
    memset(longest + 1, 'x', VOLUME_PATH_SIZE);
    assert_int_equal(volume_parse(longest, &v, NULL), -EINVAL);
    longest[VOLUME_PATH_SIZE - 1] = '\0';
    assert_int_equal(volume_parse(longest, &v, NULL), 0);
}

static void its_serial_is_its_name(void **state)
{
    char serial[VOLUME_SERIAL_SIZE];
    (void)state;
    struct volume v = parsed("/my disks/data,1 \xc3\xa4.img");
    volume_serial(&v, serial);
    assert_string_equal(serial, "data_1___.img");
    v = parsed("/a-name-of-more-than-twenty-bytes");
    volume_serial(&v, serial);
    assert_string_equal(serial, "a-name-of-more-than-");
}

static uint64_t size_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static void it_is_made_and_grows(void **state)
{
    struct error error;
    (void)state;
    struct volume v = parsed("new");
    assert_int_equal(volume_open(&v, true, &error), -ENOENT);
    assert_non_null(strstr(error.text, "FILE:SIZE"));
    v = parsed("new:1M");
    int fd = volume_open(&v, false, &error);
    assert_int_equal(fd, -ENOENT); // a machine that remembers it does not make it
    fd = volume_open(&v, true, &error);
    assert_true(fd >= 0);
    assert_true(size_of("new") == 1u << 20);
    assert_int_equal(pwrite(fd, "kept", 4, 0), 4);
    close(fd);
    v = parsed("new:3M");
    fd = volume_open(&v, true, &error);
    assert_true(fd >= 0);
    assert_true(size_of("new") == 3u << 20);
    char bytes[4];
    assert_int_equal(pread(fd, bytes, 4, 0), 4);
    assert_memory_equal(bytes, "kept", 4);
    close(fd);
    v = parsed("new:1M");
    assert_int_equal(volume_open(&v, true, &error), -EINVAL);
    assert_non_null(strstr(error.text, "never shrinks"));
    assert_true(size_of("new") == 3u << 20);
    v = parsed("new");
    fd = volume_open(&v, true, &error);
    assert_true(fd >= 0 && v.size == 3u << 20);
    close(fd);
}

static void one_that_has_shrunk_is_noticed(void **state)
{
    struct error error;
    (void)state;
    struct volume v = parsed("shrunk:2M");
    close(volume_open(&v, true, &error));
    assert_int_equal(truncate("shrunk", 1 << 20), 0);
    struct volume remembered = v;
    assert_int_equal(volume_open(&remembered, false, &error), -ERANGE);
    assert_non_null(strstr(error.text, "2097152"));
    assert_int_equal(truncate("shrunk", 4 << 20), 0);
    remembered = v;
    int fd = volume_open(&remembered, false, &error);
    assert_true(fd >= 0 && remembered.size == 4u << 20); // more is no loss
    close(fd);
    assert_int_equal(truncate("shrunk", 1000), 0);
    v = parsed("shrunk");
    assert_int_equal(volume_open(&v, true, &error), -EINVAL);
    assert_non_null(strstr(error.text, "FILE:SIZE"));
    v = parsed("shrunk:1M");
    close(volume_open(&v, true, &error));
    assert_true(size_of("shrunk") == 1u << 20);
}

static void it_has_one_user(void **state)
{
    struct error error;
    (void)state;
    struct volume v = parsed("locked:1M");
    int fd = volume_open(&v, true, &error), inherited = dup(fd);
    assert_int_equal(symlink("locked", "other-name"), 0);
    struct volume other = parsed("other-name");
    assert_int_equal(volume_open(&other, true, &error), -EBUSY);
    assert_non_null(strstr(error.text, "rondo ps"));
    close(fd);
    assert_int_equal(volume_open(&other, true, &error), -EBUSY); // an heir has it
    close(inherited);
    fd = volume_open(&other, true, &error);
    assert_true(fd >= 0);
    close(fd);
}

static void what_is_no_file_is_refused(void **state)
{
    static const char *const bad[] = {"fifo", "directory", "/dev/null", "/dev/zero:1M"};
    struct error error;
    (void)state;
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(mkdir("directory", 0700), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct volume v = parsed(bad[i]);
        assert_int_equal(volume_open(&v, true, &error), -EINVAL);
        assert_non_null(strstr(error.text, "neither a file nor a block device"));
    }
    struct volume v = parsed("no-folder/new:1M");
    assert_int_equal(volume_open(&v, true, &error), -ENOENT);
    v = parsed("empty");
    close(open("empty", O_CREAT | O_WRONLY, 0600));
    assert_int_equal(volume_open(&v, true, &error), -EINVAL);
}

static void what_names_a_descriptor_is_refused(void **state)
{
    (void)state;
    struct error error;
    int fd = open("open", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    static const char *const forms[] = {"/dev/fd/%d", "/proc/self/fd/%d", "//dev/../dev/fd/%d"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        char text[64];
        snprintf(text, sizeof(text), forms[i], fd);
        struct volume v = parsed(text);
        assert_int_equal(volume_open(&v, true, &error), -EINVAL);
        assert_non_null(strstr(error.text, "name the file itself"));
    }
    struct volume v = parsed("/dev/stdin");
    assert_int_equal(volume_open(&v, true, &error), -EINVAL);
    close(fd);
}

static void nothing_of_rondos_own_is_one(void **state)
{
    static const char *const bad[] = {
        "RONDO_HOME/new:1M", "RONDO_CACHE/new:1M", "RONDO_RUNTIME/x/../new:1M", "RONDO_HOME/disk.data", "link",
        "folder/new:1M"};
    struct error error;
    (void)state;
    assert_int_equal(mkdir("RONDO_RUNTIME/x", 0700), 0);
    close(open("RONDO_HOME/disk.data", O_CREAT | O_WRONLY, 0600));
    assert_int_equal(symlink("RONDO_HOME/disk.data", "link"), 0);
    assert_int_equal(symlink("RONDO_CACHE", "folder"), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct volume v = parsed(bad[i]);
        assert_int_equal(volume_open(&v, true, &error), -EINVAL);
        assert_non_null(strstr(error.text, "Rondo's own"));
    }
    assert_int_equal(access("RONDO_HOME/new", F_OK), -1);
}

static void a_failure_leaves_no_half_made_volume(void **state)
{
    (void)state;
    unsigned long calls, failed = 0;
    struct volume v = parsed("made:1M");
    io_fault_start(0, 0, false);
    close(volume_open(&v, true, NULL));
    calls = io_fault_stop();
    assert_int_equal(unlink("made"), 0);
    for (unsigned long at = 1; at <= calls; at++) {
        v = parsed("made:1M");
        io_fault_start(at, ENOSPC, false);
        int fd = volume_open(&v, true, NULL);
        io_fault_stop();
        failed += fd < 0;
        if (fd >= 0)
            close(fd);
        else
            assert_int_equal(fd, -ENOSPC);
        v = parsed("made:1M"); // the same again
        fd = volume_open(&v, true, NULL);
        assert_true(fd >= 0 && size_of("made") == 1u << 20);
        close(fd);
        assert_int_equal(unlink("made"), 0);
    }
    assert_true(failed >= 3); // opening, the size, its sync
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_typed_becomes_a_path_and_a_size),
        cmocka_unit_test(its_serial_is_its_name),
        cmocka_unit_test(it_is_made_and_grows),
        cmocka_unit_test(one_that_has_shrunk_is_noticed),
        cmocka_unit_test(it_has_one_user),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(what_names_a_descriptor_is_refused),
        cmocka_unit_test(nothing_of_rondos_own_is_one),
        cmocka_unit_test(a_failure_leaves_no_half_made_volume),
    };
    return cmocka_run_group_tests_name("client/volume", tests, setup, folder_tear_down);
}
