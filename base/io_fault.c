// The I/O table that fails on demand. It stands before the table that it replaced, and passes on every call
// that is not to fail.
//
// 1. Calls are counted from 1 across all threads; each number is given once (an atomic counter).
// 2. `below` and the plan change only in io_fault_start and io_fault_stop, while no other thread does I/O.
#include "base/io.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/banned.h"

static const struct io_table *below;
static atomic_ulong calls;
static unsigned long fail_at;
static int fail_code;
static bool fail_persistently;

static bool fails(void)
{
    unsigned long number = atomic_fetch_add(&calls, 1) + 1;
    if (fail_at == 0 || number < fail_at || (number > fail_at && !fail_persistently))
        return false;
    errno = fail_code;
    return true;
}

static int fault_openat(int dir, const char *path, int flags, mode_t mode)
{
    return fails() ? -1 : below->openat(dir, path, flags, mode);
}

static int fault_close(int fd)
{
    if (!fails())
        return below->close(fd);
    below->close(fd);
    errno = fail_code;
    return -1;
}

static ssize_t fault_pread(int fd, void *to, size_t n, off_t offset)
{
    return fails() ? -1 : below->pread(fd, to, n, offset);
}

static ssize_t fault_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    return fails() ? -1 : below->pwrite(fd, from, n, offset);
}

static ssize_t fault_preadv(int fd, const struct iovec *to, int count, off_t offset)
{
    return fails() ? -1 : below->preadv(fd, to, count, offset);
}

static ssize_t fault_pwritev(int fd, const struct iovec *from, int count, off_t offset)
{
    return fails() ? -1 : below->pwritev(fd, from, count, offset);
}

static int fault_fsync(int fd)
{
    return fails() ? -1 : below->fsync(fd);
}

static int fault_fdatasync(int fd)
{
    return fails() ? -1 : below->fdatasync(fd);
}

static int fault_ftruncate(int fd, off_t length)
{
    return fails() ? -1 : below->ftruncate(fd, length);
}

static int fault_fallocate(int fd, int mode, off_t offset, off_t length)
{
    return fails() ? -1 : below->fallocate(fd, mode, offset, length);
}

static int fault_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return fails() ? -1 : below->renameat(from_dir, from, to_dir, to);
}

static int fault_unlinkat(int dir, const char *path, int flags)
{
    return fails() ? -1 : below->unlinkat(dir, path, flags);
}

static int fault_mkdirat(int dir, const char *path, mode_t mode)
{
    return fails() ? -1 : below->mkdirat(dir, path, mode);
}

static int fault_fstat(int fd, struct stat *ret)
{
    return fails() ? -1 : below->fstat(fd, ret);
}

static int fault_clock_gettime(clockid_t clock, struct timespec *ret)
{
    return below->clock_gettime(clock, ret);
}

static void *fault_malloc(size_t n)
{
    return fails() ? NULL : below->malloc(n);
}

static const struct io_table table = {
    .openat = fault_openat,
    .close = fault_close,
    .pread = fault_pread,
    .pwrite = fault_pwrite,
    .preadv = fault_preadv,
    .pwritev = fault_pwritev,
    .fsync = fault_fsync,
    .fdatasync = fault_fdatasync,
    .ftruncate = fault_ftruncate,
    .fallocate = fault_fallocate,
    .renameat = fault_renameat,
    .unlinkat = fault_unlinkat,
    .mkdirat = fault_mkdirat,
    .fstat = fault_fstat,
    .clock_gettime = fault_clock_gettime,
    .malloc = fault_malloc,
};

void io_fault_start(unsigned long at, int code, bool persistent)
{
    if (io != &table)
        below = io;
    atomic_store(&calls, 0);
    fail_at = at;
    fail_code = code;
    fail_persistently = persistent;
    io = &table;
}

unsigned long io_fault_stop(void)
{
    if (io == &table)
        io = below;
    return atomic_load(&calls);
}
