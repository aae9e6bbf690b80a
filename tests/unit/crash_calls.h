// The I/O table of a disk that loses power (crash_disk.h): each call does what it does, and notes what is not yet
// stable; the mutants' calls are left out here.
#pragma once

#include "crash_disk.h"

static inline int crash_openat(int dir, const char *path, int flags, mode_t mode)
{
    bool makes = (flags & O_CREAT) != 0;
    if (makes && crash_is_dead())
        return -1;
    int fd = io_table_system.openat(dir, path, flags, mode);
    if (fd < 0)
        return fd;
    assert_true(fd < CRASH_DESCRIPTORS);
    crash.files_by_fd[fd] = flags & O_DIRECTORY ? -2 : crash_enter(fd, path, makes);
    if (makes) {
        crash_note_name(path, "", crash.files_by_fd[fd]);
        if (crash_dies()) {
            close(fd);
            return -1;
        }
    }
    return fd;
}

static inline void crash_punch_late(void)
{
    if (crash.late_punch.n == 0)
        return;
    int file = crash.late_punch.file;
    crash_record(file, crash.late_punch.offset, (size_t)crash.late_punch.n, true);
    assert_int_equal(fallocate(crash.files[file].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               crash.late_punch.offset, crash.late_punch.n),
                     0);
    crash_record(file, crash.late_punch.offset, (size_t)crash.late_punch.n, false);
    crash.late_punch.n = 0;
}

// Lets "another thread" do something, which does not call itself again.
static inline void crash_meanwhile(int file, void (*function)(void))
{
    static bool inside;
    bool serving = crash.phase == CRASH_SERVING || crash.phase == CRASH_TAKING_LIVE;
    if (!function || inside || crash.dead || !serving || !crash_is(file, ".data"))
        return;
    inside = true;
    function();
    inside = false;
}

static inline ssize_t crash_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    int file = crash_file_of(fd);
    crash_meanwhile(file, crash.before_write);
    if (crash_is_dead())
        return -1;
    if (crash.mutant == CRASH_LOST_WRITE && crash_is(file, ".data") && ++crash.data_writes % 5 == 0)
        return (ssize_t)n;
    crash_record(file, offset, n, true);
    ssize_t r = io_table_system.pwrite(fd, from, n, offset);
    assert_int_equal(r, n);
    crash_record(file, offset, n, false);
    crash_note_size(file);
    crash_punch_late();
    return crash_dies() ? -1 : r;
}

static inline int crash_fallocate(int fd, int mode, off_t offset, off_t n)
{
    int file = crash_file_of(fd), r = 0;
    if (crash_is_dead())
        return -1;
    if (mode != 0 && crash.mutant == CRASH_LATE_PUNCH) {
        crash_punch_late();
        crash.late_punch.file = file;
        crash.late_punch.offset = offset;
        crash.late_punch.n = n;
        return 0;
    }
    if (mode != 0)
        crash_record(file, offset, (size_t)n, true);
    r = io_table_system.fallocate(fd, mode, offset, n);
    if (mode != 0)
        crash_record(file, offset, (size_t)n, false);
    return crash_dies() ? -1 : r;
}

static inline int crash_ftruncate(int fd, off_t length)
{
    if (crash_is_dead())
        return -1;
    int r = io_table_system.ftruncate(fd, length);
    crash_note_size(crash_file_of(fd));
    return crash_dies() ? -1 : r;
}

static inline int crash_fdatasync(int fd)
{
    int file = crash_file_of(fd);
    if (crash_dies())
        return -1;
    bool left_out = (crash.mutant == CRASH_NO_DATA_SYNC && crash_is(file, ".data")) ||
                    (crash.mutant == CRASH_NO_MAP_SYNC && crash_is(file, ".map")) ||
                    (crash.mutant == CRASH_NO_OPENING_SYNC && crash.phase == CRASH_OPENING) ||
                    (crash.mutant == CRASH_NO_SNAPSHOT_SYNC && crash.phase == CRASH_TAKING) ||
                    (crash.mutant == CRASH_NO_LIVE_SYNC && crash.phase == CRASH_TAKING_LIVE) ||
                    (crash.mutant == CRASH_NO_MERGE_SYNC && crash.phase == CRASH_DELETING);
    if (crash.fail_at > 0 && crash.calls >= crash.fail_at && !crash.failed) {
        for (unsigned i = 0; i < crash.slot_count; i++)
            if (crash.sectors[crash.slots[i]].file == file && crash.sectors[crash.slots[i]].count > 0)
                crash.sectors[crash.slots[i]].doomed = crash.failed = true;
        if (crash.failed) {
            errno = EIO;
            return -1;
        }
    }
    if (!left_out)
        crash_make_stable(file);
    crash_meanwhile(file, crash.behind_sync);
    return 0;
}

static inline bool crash_list_is_pending(void)
{
    for (unsigned i = 0; i < crash.pending_count; i++)
        if (strcmp(crash.pending[i].name, OVERLAY_LAYERS_NAME) == 0)
            return true;
    return false;
}

static inline int crash_fsync(int fd)
{
    int file = crash_file_of(fd);
    if (crash_dies())
        return -1;
    if (file >= 0) {
        if (crash.mutant != CRASH_NO_PAIR_SYNC || !strstr(crash.files[file].name, "layer-"))
            crash_make_stable(file);
        return 0;
    }
    bool left_out = (crash.mutant == CRASH_NO_NAME_SYNC && !crash_list_is_pending()) ||
                    (crash.mutant == CRASH_NO_LIST_SYNC && crash_list_is_pending()) ||
                    (crash.mutant == CRASH_NO_OPENING_SYNC && crash.phase == CRASH_OPENING);
    for (unsigned i = 0; i < crash.pending_count && !left_out; i++)
        crash_apply(&crash.pending[i]);
    if (!left_out)
        crash.pending_count = 0;
    return 0;
}

static inline int crash_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    if (crash_is_dead())
        return -1;
    bool is_list = strcmp(to, OVERLAY_LAYERS_NAME) == 0;
    if (is_list && crash.mutant == CRASH_NO_MARK && crash.phase == CRASH_DELETING && crash.lists++ == 0)
        return 0;
    if (faccessat(to_dir, to, F_OK, 0) == 0)
        (void)crash_find(to); // it may come back
    crash_note_name(to, from, crash_find(from));
    int r = io_table_system.renameat(from_dir, from, to_dir, to);
    return crash_dies() ? -1 : r;
}

static inline int crash_unlinkat(int dir, const char *name, int flags)
{
    if (crash_is_dead())
        return -1;
    if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        (void)crash_find(name);
        crash_note_name(name, "", -1);
    }
    int r = io_table_system.unlinkat(dir, name, flags);
    return crash_dies() ? -1 : r;
}

static inline struct io_table crash_table(void)
{
    struct io_table table = io_table_system;
    table.openat = crash_openat;
    table.pwrite = crash_pwrite;
    table.pwritev = NULL; // nothing here writes from several pieces
    table.fallocate = crash_fallocate;
    table.ftruncate = crash_ftruncate;
    table.fdatasync = crash_fdatasync;
    table.fsync = crash_fsync;
    table.renameat = crash_renameat;
    table.unlinkat = crash_unlinkat;
    return table;
}
