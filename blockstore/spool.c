// The spool (see spool.h): allocate in the file, then map.
#include "blockstore/spool.h"
#include "base/cleanup.h"
#include "base/io.h"
#include <errno.h>
#include <sys/mman.h>

#include "base/banned.h"

#define SPOOL_STEP (256ull << 10) // bytes; a multiple of every page size

// For file systems without fallocate(): writes zeros.
static int fill_with_zeros(int fd, uint64_t from, uint64_t to)
{
    static const unsigned char zeros[64 << 10];
    int r = 0;

    for (; r == 0 && from < to; from += sizeof(zeros))
        r = io_write_full(fd, zeros, sizeof(zeros), from);
    return r;
}

static int allocate(int fd, uint64_t from, uint64_t to)
{
    for (;;) {
        if (io->fallocate(fd, 0, (off_t)from, (off_t)(to - from)) == 0)
            return 0;
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            return fill_with_zeros(fd, from, to);
        if (errno != EINTR)
            return -errno;
    }
}

void spool_open(struct spool *s, int fd)
{
    *s = (struct spool){.fd = fd};
}

int spool_ensure(struct spool *s, uint64_t size)
{
    if (size <= s->size)
        return 0;
    uint64_t grown = s->size + s->size / 2;
    uint64_t target = ((size > grown ? size : grown) + SPOOL_STEP - 1) / SPOOL_STEP * SPOOL_STEP;
    if (target > SIZE_MAX / 2)
        return -ENOMEM;
    int r = allocate(s->fd, s->size, target);
    if (r < 0)
        return r;
    void *at = s->at ? mremap(s->at, (size_t)s->size, (size_t)target, MREMAP_MAYMOVE)
                     : mmap(NULL, (size_t)target, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    s->at = at;
    s->size = target;
    return 0;
}

void spool_close(struct spool *s)
{
    if (s->at)
        munmap(s->at, (size_t)s->size);
    cleanup_close(&s->fd); // nothing in it is kept, so nothing can be lost by closing it
    *s = (struct spool)SPOOL_CLOSED;
}
