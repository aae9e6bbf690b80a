// What site.c and site_list.c share.
#pragma once

#include "base/io.h"
#include "blockstore/site.h"
#include <errno.h>
#include <limits.h>

struct site {
    int root, objects, unfinished, lock;
    const struct site_elsewhere *elsewhere;
    char path[PATH_MAX];
};

// A file system that cannot sync folders says EINVAL; there is nothing more to be had from it.
static inline int site_sync_folder(int fd)
{
    return io->fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}
