// Whole reads and writes, the replacement of a file, folders, and the clock, all by way of the I/O table.
//
// The replacement of a file, in the order that survives power loss at any point:
//
//   folder opened → temporary made (O_EXCL) → written → fsync → close → rename → fsync of the folder
//        failure up to and with the rename: temporary unlinked, the old file stands
//        failure of the last fsync: the new file stands whole; whether it survives power loss is not known
//
// 1. Nothing here holds a lock or state; the table's pointer changes only before threads start.
// 2. A descriptor is closed exactly once, whatever close() says (Linux frees it even on EINTR).
#include "base/io.h"
#include "base/vector.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

#include "base/banned.h"

#define READ_PIECE_SIZE (64 * 1024)

static int system_openat(int dir, const char *path, int flags, mode_t mode)
{
    return openat(dir, path, flags, mode);
}

static int system_clock_gettime(clockid_t clock, struct timespec *ret)
{
    return clock_gettime(clock, ret);
}

const struct io_table io_table_system = {
    .openat = system_openat,
    .close = close,
    .pread = pread,
    .pwrite = pwrite,
    .preadv = preadv,
    .pwritev = pwritev,
    .fsync = fsync,
    .fdatasync = fdatasync,
    .ftruncate = ftruncate,
    .fallocate = fallocate,
    .renameat = renameat,
    .unlinkat = unlinkat,
    .mkdirat = mkdirat,
    .fstat = fstat,
    .clock_gettime = system_clock_gettime,
    .malloc = malloc,
};

const struct io_table *io = &io_table_system;

static bool range_fits(uint64_t offset, size_t n)
{
    return offset <= INT64_MAX && n <= INT64_MAX - offset;
}

ssize_t io_read_some(int fd, void *to, size_t n, uint64_t offset)
{
    if (n > SSIZE_MAX || !range_fits(offset, n))
        return -EOVERFLOW;
    size_t done = 0;
    while (done < n) {
        ssize_t r = io->pread(fd, (char *)to + done, n - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            break;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

int io_read_full(int fd, void *to, size_t n, uint64_t offset)
{
    ssize_t r = io_read_some(fd, to, n, offset);
    if (r < 0)
        return (int)r;
    return (size_t)r == n ? 0 : -ENODATA;
}

int io_write_full(int fd, const void *from, size_t n, uint64_t offset)
{
    if (!range_fits(offset, n))
        return -EOVERFLOW;
    size_t done = 0;
    while (done < n) {
        ssize_t r = io->pwrite(fd, (const char *)from + done, n - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            return -EIO; // no progress and no reason: do not spin
        done += (size_t)r;
    }
    return 0;
}

// All of the pieces by `move` (preadv or pwritev). A short count goes on behind it.
static int move_pieces(int fd, const struct iovec *pieces, unsigned count, size_t n, uint64_t offset,
                       ssize_t (*move)(int, const struct iovec *, int, off_t), int at_end)
{
    struct iovec left[VECTOR_MAXIMUM];
    if (count > VECTOR_MAXIMUM || !range_fits(offset, n))
        return -EINVAL;
    struct vector v = vector_over(pieces);
    while (n > 0) {
        struct vector rest = v;
        ssize_t r = move(fd, left, (int)vector_take(&rest, n, left), (off_t)offset);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            return at_end;
        vector_skip(&v, (size_t)r);
        offset += (size_t)r;
        n -= (size_t)r;
    }
    return 0;
}

int io_readv_full(int fd, const struct iovec *to, unsigned count, size_t n, uint64_t offset)
{
    if (count == 1)
        return io_read_full(fd, to->iov_base, n, offset);
    return move_pieces(fd, to, count, n, offset, io->preadv, -ENODATA);
}

int io_writev_full(int fd, const struct iovec *from, unsigned count, size_t n, uint64_t offset)
{
    if (count == 1)
        return io_write_full(fd, from->iov_base, n, offset);
    return move_pieces(fd, from, count, n, offset, io->pwritev, -EIO); // no progress and no reason: do not spin
}

static int open_any(int dir, const char *path, int flags, mode_t mode)
{
    for (;;) {
        int fd = io->openat(dir, path, flags | O_CLOEXEC, mode);
        if (fd >= 0)
            return fd;
        if (errno != EINTR)
            return -errno;
    }
}

int io_open(int dir, const char *path, int flags, mode_t mode)
{
    return open_any(dir, path, flags | O_NOFOLLOW, mode);
}

int io_close(int fd)
{
    if (io->close(fd) < 0 && errno != EINTR)
        return -errno;
    return 0;
}

// For folders, and files that were only read: their close cannot lose data.
static void close_quietly(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        io->close(*fd);
        errno = saved;
    }
}

int io_read_file(int dir, const char *path, size_t maximum, void **ret_bytes, size_t *ret_size)
{
    // O_NONBLOCK: a FIFO in the place of the file must not hang us before fstat finds it out.
    int fd CLEANUP(close_quietly) = io_open(dir, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    struct stat st;
    if (io->fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if ((uint64_t)st.st_size > maximum || maximum >= SSIZE_MAX - 1)
        return -EFBIG;
    // The size is a hint: the file may grow while it is read, and /proc says 0. One byte more than is expected
    // is asked for each time, so that the end is seen.
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(maximum + 1);
    size_t piece = (size_t)st.st_size + 1;
    for (;;) {
        unsigned char *at;
        int r = buf_reserve(&b, piece, &at);
        if (r < 0)
            return r;
        ssize_t n = io_read_some(fd, at, piece, b.size);
        if (n < 0)
            return (int)n;
        b.size += (size_t)n;
        if (b.size > maximum)
            return -EFBIG;
        if ((size_t)n < piece)
            break;
        piece = maximum + 1 - b.size < READ_PIECE_SIZE ? maximum + 1 - b.size : READ_PIECE_SIZE;
    }
    *ret_size = b.size;
    *ret_bytes = TAKE_PTR(b.data);
    return 0;
}

// Opens the folder that holds `path`, and finds the last name in it.
static int open_folder_of(int dir, const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    char folder[PATH_MAX];
    int n = slash ? snprintf(folder, sizeof folder, "%.*s", (int)(slash - path) + 1, path)
                  : snprintf(folder, sizeof folder, ".");
    if (n < 0 || (size_t)n >= sizeof folder)
        return -ENAMETOOLONG;
    int fd = open_any(dir, folder, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0 && ret_name)
        *ret_name = name;
    return fd;
}

static int sync_folder(int fd)
{
    // A file system that cannot sync folders says EINVAL; there is nothing more to be had from it.
    if (io->fsync(fd) < 0 && errno != EINVAL)
        return -errno;
    return 0;
}

static int write_temporary(int folder, const char *name, const void *bytes, size_t n, mode_t mode)
{
    int fd = io_open(folder, name, O_WRONLY | O_CREAT | O_EXCL, mode);
    if (fd < 0)
        return fd;
    int r = io_write_full(fd, bytes, n, 0);
    if (r == 0 && io->fsync(fd) < 0)
        r = -errno;
    int closed = io_close(fd);
    if (r == 0)
        r = closed;
    if (r < 0)
        io->unlinkat(folder, name, 0);
    return r;
}

int io_replace_file(int dir, const char *path, const void *bytes, size_t n, mode_t mode)
{
    const char *name;
    int folder CLEANUP(close_quietly) = open_folder_of(dir, path, &name);
    if (folder < 0)
        return folder;
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return -EIO;
    char temporary[sizeof IO_TEMPORARY_PREFIX + 16];
    snprintf(temporary, sizeof temporary, IO_TEMPORARY_PREFIX "%016llx", (unsigned long long)random);
    int r = write_temporary(folder, temporary, bytes, n, mode);
    if (r < 0)
        return r;
    if (io->renameat(folder, temporary, folder, name) < 0) {
        r = -errno;
        io->unlinkat(folder, temporary, 0);
        return r;
    }
    return sync_folder(folder);
}

int io_sync_folder_of(int dir, const char *path)
{
    int folder CLEANUP(close_quietly) = open_folder_of(dir, path, NULL);
    return folder < 0 ? folder : sync_folder(folder);
}

static int check_folder(int dir, const char *path)
{
    int fd CLEANUP(close_quietly) = open_any(dir, path, O_PATH | O_DIRECTORY, 0);
    return fd < 0 ? fd : 0;
}

int io_make_folders(int dir, const char *path, mode_t mode)
{
    char prefix[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0)
        return -ENOENT;
    if (length >= sizeof prefix)
        return -ENAMETOOLONG;
    int r = check_folder(dir, path); // first: folders above may refuse mkdir() although this one exists
    if (r != -ENOENT)
        return r;
    memcpy(prefix, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (prefix[i] != '/' && prefix[i] != '\0')
            continue;
        char end = prefix[i];
        prefix[i] = '\0';
        if (io->mkdirat(dir, prefix, mode) < 0 && errno != EEXIST) {
            r = -errno;
            if (check_folder(dir, prefix) < 0)
                return r;
        }
        prefix[i] = end;
    }
    return check_folder(dir, path);
}

static struct timespec read_clock(clockid_t clock)
{
    struct timespec t = {0};
    io->clock_gettime(clock, &t); // both clocks always exist on Linux
    return t;
}

uint64_t io_monotonic_ns(void)
{
    struct timespec t = read_clock(CLOCK_MONOTONIC);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int64_t io_realtime_seconds(void)
{
    return read_clock(CLOCK_REALTIME).tv_sec;
}
