// Data ranges of sparse files (see file_extents.h).
#include "blockstore/file_extents.h"
#include "blockstore/chunk.h"
#include <errno.h>
#include <unistd.h>

#include "base/banned.h"

int file_extents_find_data(int fd, uint64_t at, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end)
{
    if (at >= limit)
        return 0;
    off_t start = lseek(fd, (off_t)at, SEEK_DATA);
    if (start < 0 && errno == ENXIO)
        return 0;
    off_t end = start < 0 ? -1 : lseek(fd, start, SEEK_HOLE);
    if (start < 0 || end < 0) {
        if (errno != EINVAL && errno != EOPNOTSUPP)
            return -errno;
        start = (off_t)at;
        end = (off_t)limit;
    }
    if ((uint64_t)start >= limit)
        return 0;
    uint64_t rounded = ((uint64_t)end + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
    *ret_start = (uint64_t)start / BLOCK_SIZE * BLOCK_SIZE;
    *ret_end = rounded < limit ? rounded : limit;
    return 1;
}
