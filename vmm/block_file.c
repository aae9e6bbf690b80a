// A raw file, or a block device, as a disk. Discards and zeroes become holes where the file system has them.
//
// A write for which there is no space is held until there is some (blockstore/overlay_hold.h).
//
// "Write-through" is fdatasync after each change: the descriptor was opened by somebody else, perhaps without O_DSYNC.
//
// The first failed flush makes all that follow fail: the kernel may have dropped what it could not write, and tells of
// it once, to whoever asks first. So flushes are made one after the other, under `flushing`, which guards `failed`.
#include "vmm/block_backend.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/vector.h"
#include "blockstore/overlay_hold.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/banned.h"

#define SECTOR 512u
#define ZEROS_SIZE (64u << 10)

struct block_file {
    struct block_backend backend;
    int fd;
    const char *name;
    struct overlay_hold *hold;
    atomic_bool write_through;
    pthread_mutex_t flushing;
    bool failed;
};

static struct block_file *of(struct block_backend *b)
{
    return (struct block_file *)b; // its first member
}

static int file_flush(struct block_backend *b)
{
    struct block_file *f = of(b);
    pthread_mutex_lock(&f->flushing);
    if (!f->failed && io->fdatasync(f->fd) < 0) {
        log_error("the disk %s could not be written, what was written last may be lost: %s", f->name, strerror(errno));
        f->failed = true;
    }
    int r = f->failed ? -EIO : 0;
    pthread_mutex_unlock(&f->flushing);
    return r;
}

static int finish_change(struct block_file *f, int r)
{
    return r < 0 || !f->write_through ? r : file_flush(&f->backend);
}

static unsigned pieces_of(const struct iovec *pieces, size_t n)
{
    unsigned count = 0;
    for (size_t done = 0; done < n; count++)
        done += pieces[count].iov_len;
    return count;
}

static int file_read(struct block_backend *b, uint64_t offset, const struct iovec *to, size_t n)
{
    return io_readv_full(of(b)->fd, to, pieces_of(to, n), n, offset);
}

static int file_write(struct block_backend *b, uint64_t offset, const struct iovec *from, size_t n)
{
    struct block_file *f = of(b);
    bool held = false;
    int r;
    do {
        r = io_writev_full(f->fd, from, pieces_of(from, n), n, offset);
    } while (r == -ENOSPC && overlay_hold_wait_for_space(f->hold, &held));
    overlay_hold_end_wait(f->hold, &held);
    return finish_change(f, r);
}

static int allocate(const struct block_file *f, int mode, uint64_t offset, uint64_t n)
{
    for (;;) {
        if (io->fallocate(f->fd, mode, (off_t)offset, (off_t)n) == 0)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

static int file_discard(struct block_backend *b, uint64_t offset, uint64_t n)
{
    int r = allocate(of(b), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, n);
    return finish_change(of(b), r == -EOPNOTSUPP ? 0 : r); // a hint that this file system cannot take
}

static int write_zero_bytes(const struct block_file *f, uint64_t offset, uint64_t n)
{
    static const unsigned char zeros[ZEROS_SIZE];
    int r = 0;
    while (r == 0 && n > 0) {
        size_t piece = n < sizeof zeros ? (size_t)n : sizeof zeros;
        r = io_write_full(f->fd, zeros, piece, offset);
        offset += piece;
        n -= piece;
    }
    return r;
}

static int file_write_zeroes(struct block_backend *b, uint64_t offset, uint64_t n)
{
    int r = allocate(of(b), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, n);
    if (r == -EOPNOTSUPP)
        r = write_zero_bytes(of(b), offset, n);
    return finish_change(of(b), r);
}

static void file_set_write_through(struct block_backend *b, bool on)
{
    of(b)->write_through = on;
}

static void file_let_go(struct block_backend *b)
{
    overlay_hold_stop(of(b)->hold);
}

static int file_close(struct block_backend *b, struct error *error)
{
    struct block_file *f = of(b);
    int r = b->read_only ? 0 : file_flush(b);
    int closed = io_close(f->fd);
    if (r == 0 && !b->read_only)
        r = closed;
    if (r < 0)
        error_set(error, -r, "the disk %s could not be written: %s", f->name, strerror(-r));
    pthread_mutex_destroy(&f->flushing);
    overlay_hold_free(f->hold);
    free(f);
    return r;
}

static int find_size(int fd, const char *name, uint64_t *ret, struct error *error)
{
    struct stat st;
    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "cannot examine the disk %s: %s", name, strerror(errno));
    uint64_t size = 0;
    if (S_ISREG(st.st_mode))
        size = (uint64_t)st.st_size;
    else if (!S_ISBLK(st.st_mode))
        return error_set(error, EINVAL, "the disk %s is neither a file nor a block device", name);
    else if (ioctl(fd, BLKGETSIZE64, &size) < 0)
        return error_set(error, errno, "cannot find out the size of the disk %s: %s", name, strerror(errno));
    if (size < SECTOR)
        return error_set(error, EINVAL, "the disk %s is empty", name);
    *ret = size - size % SECTOR;
    return 0;
}

int block_file_new(int fd, const char *name, bool read_only, int control, struct block_backend **ret,
                   struct error *error)
{
    CLEANUP_CLOSE int mine = fd;
    uint64_t size = 0;
    int r = find_size(fd, name, &size, error);
    if (r < 0)
        return r;
    CLEANUP_FREE struct block_file *f = calloc(1, sizeof *f);
    if (!f)
        return error_set(error, ENOMEM, "out of memory");
    r = overlay_hold_new(&(struct overlay_hold_settings){.control = control, .folder = name}, -1, &f->hold, error);
    if (r < 0)
        return r;
    f->backend = (struct block_backend){.read = file_read,
                                        .write = file_write,
                                        .flush = file_flush,
                                        .discard = file_discard,
                                        .write_zeroes = file_write_zeroes,
                                        .set_write_through = file_set_write_through,
                                        .let_go = file_let_go,
                                        .close = file_close,
                                        .size = size,
                                        .read_only = read_only};
    pthread_mutex_init(&f->flushing, NULL); // cannot fail with default attributes
    f->fd = TAKE_FD(mine);
    f->name = name;
    *ret = &TAKE_PTR(f)->backend;
    return 0;
}
