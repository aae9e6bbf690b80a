// base/io.h: files that are replaced whole or not at all, and folders that are made.
#include "tests/unit/io_fixture.h"

#include "base/banned.h"

static void replace_makes_and_replaces(void **state)
{
    int dir = *(int *)*state;
    struct stat st;
    assert_int_equal(io_make_folders(dir, "a/b", 0700), 0);
    assert_int_equal(io_replace_file(dir, "a/b/f", "old", 3, 0600), 0);
    assert_content(dir, "a/b/f", "old");
    assert_int_equal(fstatat(dir, "a/b/f", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(io_replace_file(dir, "a/b/f", "newer", 5, 0600), 0);
    assert_content(dir, "a/b/f", "newer");
    int b CLEANUP_CLOSE = openat(dir, "a/b", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(count_names(b), 1);
}

static void replace_replaces_a_link_and_not_its_target(void **state)
{
    int dir = *(int *)*state;
    assert_int_equal(io_replace_file(dir, "target", "safe", 4, 0600), 0);
    assert_int_equal(symlinkat("target", dir, "link"), 0);
    assert_int_equal(io_replace_file(dir, "link", "new", 3, 0600), 0);
    assert_content(dir, "target", "safe");
    assert_content(dir, "link", "new");
}

// The temporary's name is random; nothing that has it already, a planted link say, is opened or overwritten.
static int temporary_flags;

static int watching_openat(int dir, const char *path, int flags, mode_t mode)
{
    if (strncmp(path, IO_TEMPORARY_PREFIX, strlen(IO_TEMPORARY_PREFIX)) == 0)
        temporary_flags = flags;
    return openat(dir, path, flags, mode);
}

static void the_temporary_is_always_a_new_file(void **state)
{
    int dir = *(int *)*state;
    struct io_table table = io_table_system;
    table.openat = watching_openat;
    io = &table;
    int r = io_replace_file(dir, "f", "new", 3, 0600);
    io = &io_table_system;
    assert_int_equal(r, 0);
    assert_int_equal(temporary_flags & (O_EXCL | O_CREAT), O_EXCL | O_CREAT);
}

static void replace_refuses_what_names_no_file(void **state)
{
    int dir = *(int *)*state;
    char longest[5000];
    memset(longest, 'x', sizeof longest);
    longest[4990] = '/';
    longest[4999] = '\0';
    assert_int_equal(io_make_folders(dir, "folder", 0700), 0);
    assert_int_equal(io_replace_file(dir, "", "x", 1, 0600), -EINVAL);
    assert_int_equal(io_replace_file(dir, "folder/", "x", 1, 0600), -EINVAL);
    assert_int_equal(io_replace_file(dir, ".", "x", 1, 0600), -EINVAL);
    assert_int_equal(io_replace_file(dir, "folder/..", "x", 1, 0600), -EINVAL);
    assert_int_equal(io_replace_file(dir, "folder", "x", 1, 0600), -EISDIR);
    assert_int_equal(io_replace_file(dir, "absent/f", "x", 1, 0600), -ENOENT);
    assert_int_equal(io_replace_file(dir, longest, "x", 1, 0600), -ENAMETOOLONG);
    assert_int_equal(count_names(dir), 1); // no temporary stays
}

// Every single fault, at every call: the old file or (after the rename) the new one, whole, and no temporary.
static void replace_survives_every_single_fault(void **state)
{
    int dir = *(int *)*state;
    static const int codes[] = {EIO, ENOSPC, EDQUOT, EROFS};
    assert_int_equal(io_replace_file(dir, "f", "old", 3, 0600), 0);
    io_fault_start(0, 0, false);
    assert_int_equal(io_replace_file(dir, "f", "old", 3, 0600), 0);
    unsigned long calls = io_fault_stop();
    assert_true(calls >= 7); // open folder, open, write, sync, close, rename, sync folder, close folder
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        unsigned long replaced_in_spite_of = 0;
        for (unsigned long at = 1; at <= calls; at++) {
            assert_int_equal(io_replace_file(dir, "f", "old", 3, 0600), 0);
            io_fault_start(at, codes[i], false);
            int r = io_replace_file(dir, "f", "newer", 5, 0600);
            io_fault_stop();
            assert_true(r == -codes[i] || (r == 0 && at == calls)); // the last is the close of the folder
            assert_int_equal(count_names(dir), 1);
            if (at >= calls - 1) {
                assert_content(dir, "f", "newer");
                replaced_in_spite_of++;
            } else {
                assert_content(dir, "f", "old");
            }
        }
        assert_int_equal(replaced_in_spite_of, 2);
    }
}

// The device dies for good: the temporary may stay, the old file must.
static void replace_keeps_the_old_file_when_all_fails(void **state)
{
    int dir = *(int *)*state;
    assert_int_equal(io_replace_file(dir, "f", "old", 3, 0600), 0);
    for (unsigned long at = 1; at <= 6; at++) {
        io_fault_start(at, EIO, true);
        int r = io_replace_file(dir, "f", "newer", 5, 0600);
        io_fault_stop();
        assert_int_equal(r, -EIO);
        assert_content(dir, "f", "old");
    }
}

static void interrupted_replacement_goes_on(void **state)
{
    int dir = *(int *)*state;
    for (unsigned long at = 1; at <= 3; at++) { // both opens, and the write
        io_fault_start(at, EINTR, false);
        int r = io_replace_file(dir, "f", "new", 3, 0600);
        io_fault_stop();
        assert_int_equal(r, 0);
    }
    assert_content(dir, "f", "new");
    assert_int_equal(count_names(dir), 1);
}

static void sync_folder_of_reports_faults(void **state)
{
    int dir = *(int *)*state;
    assert_int_equal(io_sync_folder_of(dir, "f"), 0);
    assert_int_equal(io_sync_folder_of(dir, "absent/f"), -ENOENT);
    for (unsigned long at = 1; at <= 2; at++) {
        io_fault_start(at, EIO, false);
        int r = io_sync_folder_of(dir, "f");
        io_fault_stop();
        assert_int_equal(r, -EIO);
    }
    io_fault_start(2, EINVAL, false); // a file system that has no such sync
    int r = io_sync_folder_of(dir, "f");
    io_fault_stop();
    assert_int_equal(r, 0);
}

static void make_folders_makes_what_is_missing(void **state)
{
    int dir = *(int *)*state;
    struct stat st;
    assert_int_equal(io_make_folders(dir, "a/b//c/", 0700), 0);
    assert_int_equal(fstatat(dir, "a/b/c", &st, 0), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(io_make_folders(dir, "a/b/c", 0700), 0);
    assert_int_equal(io_make_folders(dir, ".", 0700), 0);
    assert_int_equal(io_make_folders(AT_FDCWD, "/", 0700), 0);
    assert_int_equal(io_make_folders(dir, "", 0700), -ENOENT);
    assert_int_equal(symlinkat("a/b", dir, "link"), 0);
    assert_int_equal(io_make_folders(dir, "link/d", 0700), 0);
    assert_int_equal(fstatat(dir, "a/b/d", &st, 0), 0);
}

static void make_folders_does_not_take_a_file_for_a_folder(void **state)
{
    int dir = *(int *)*state;
    assert_int_equal(io_replace_file(dir, "f", "", 0, 0600), 0);
    assert_int_equal(io_make_folders(dir, "f", 0700), -ENOTDIR);
    assert_int_equal(io_make_folders(dir, "f/g", 0700), -ENOTDIR);
    assert_int_equal(symlinkat("nowhere", dir, "dangling"), 0);
    assert_true(io_make_folders(dir, "dangling", 0700) < 0);
    io_fault_start(2, ENOSPC, false);
    int r = io_make_folders(dir, "x/y", 0700);
    io_fault_stop();
    assert_int_equal(r, -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(replace_makes_and_replaces),          IN_FOLDER(replace_replaces_a_link_and_not_its_target),
        IN_FOLDER(the_temporary_is_always_a_new_file),  IN_FOLDER(replace_refuses_what_names_no_file),
        IN_FOLDER(replace_survives_every_single_fault), IN_FOLDER(replace_keeps_the_old_file_when_all_fails),
        IN_FOLDER(interrupted_replacement_goes_on),     IN_FOLDER(sync_folder_of_reports_faults),
        IN_FOLDER(make_folders_makes_what_is_missing),  IN_FOLDER(make_folders_does_not_take_a_file_for_a_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
