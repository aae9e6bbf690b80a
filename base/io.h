// The I/O table: everything that stored data goes through, so that tests can make any call fail, stop short, or
// stop the world at that point. Production code never changes the table.
//
// The table's functions have the system calls' own meaning (-1 and errno). The io_… helpers below follow
// Rondo's convention (0 or -errno), retry EINTR, and never return a short count.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct io_table {
    int (*openat)(int dir, const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*pread)(int fd, void *to, size_t n, off_t offset);
    ssize_t (*pwrite)(int fd, const void *from, size_t n, off_t offset);
    ssize_t (*preadv)(int fd, const struct iovec *to, int count, off_t offset);
    ssize_t (*pwritev)(int fd, const struct iovec *from, int count, off_t offset);
    int (*fsync)(int fd);
    int (*fdatasync)(int fd);
    int (*ftruncate)(int fd, off_t length);
    int (*fallocate)(int fd, int mode, off_t offset, off_t length);
    int (*renameat)(int from_dir, const char *from, int to_dir, const char *to);
    int (*unlinkat)(int dir, const char *path, int flags);
    int (*mkdirat)(int dir, const char *path, mode_t mode);
    int (*fstat)(int fd, struct stat *ret);
    int (*clock_gettime)(clockid_t clock, struct timespec *ret);
    void *(*malloc)(size_t n); // for allocations whose size an input decides
};

extern const struct io_table io_table_system;
extern const struct io_table *io; // &io_table_system, unless a test replaced it before any thread started

// Whole reads and writes. io_read_full returns -ENODATA if the file ends before `n` bytes.
int io_read_full(int fd, void *to, size_t n, uint64_t offset);
int io_write_full(int fd, const void *from, size_t n, uint64_t offset);

// The same for `n` bytes in pieces (at most VECTOR_MAXIMUM of base/vector.h, else -EINVAL).
int io_readv_full(int fd, const struct iovec *to, unsigned count, size_t n, uint64_t offset);
int io_writev_full(int fd, const struct iovec *from, unsigned count, size_t n, uint64_t offset);

// Reads at most `n` bytes, stopping at the end of the file; returns the count.
ssize_t io_read_some(int fd, void *to, size_t n, uint64_t offset);

// Opens without following a symbolic link in the last component, close-on-exec; returns the descriptor or -errno.
int io_open(int dir, const char *path, int flags, mode_t mode);
int io_close(int fd); // for written files: the error of close() is reported

// Reads a whole regular file of at most `maximum` bytes: -EFBIG beyond it. *ret_bytes is malloc'ed and has a NUL
// byte behind its end; the caller frees it.
int io_read_file(int dir, const char *path, size_t maximum, void **ret_bytes, size_t *ret_size);

// Replaces `path` (a name below `dir`, perhaps with folders) by a file with these bytes: written aside under a
// temporary name in the same folder (the prefix and 16 random digits), synced, renamed, and the folder synced. On
// failure the old file stands and the temporary is gone; only if the last sync, the folder's, fails, the new file
// stands already (whole), but may not survive power loss. The umask applies to `mode`.
#define IO_TEMPORARY_PREFIX ".rondo-tmp-" // what a crash leaves behind begins so, and may be removed
int io_replace_file(int dir, const char *path, const void *bytes, size_t n, mode_t mode);

// fsync of the folder that holds `path`, so that a rename in it survives power loss.
int io_sync_folder_of(int dir, const char *path);

int io_make_folders(int dir, const char *path, mode_t mode); // mkdir -p; existing folders are fine

uint64_t io_monotonic_ns(void);
int64_t io_realtime_seconds(void); // since 1970 UTC

// Faults, for tests: replaces the table by one that counts the calls to functions of this table (the clock's
// apart, which cannot fail) and makes call number `at` (from 1) fail with `code`; `at` 0 only counts.
// `persistent` makes all later calls fail too. A close() that fails has closed the descriptor, as Linux does.
void io_fault_start(unsigned long at, int code, bool persistent);
unsigned long io_fault_stop(void); // restores the table; returns how many calls there were
