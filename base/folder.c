// The walk reads a descriptor of its own, so the caller's keeps its place, and two walks of one folder may overlap.
#include "base/folder.h"
#include "base/cleanup.h"
#include "base/io.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/banned.h"

int folder_walk(int dir, const char *name, int (*each)(void *context, int folder, const char *entry), void *context)
{
    int fd = io_open(dir, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    CLEANUP_CLOSEDIR DIR *d = fdopendir(fd);
    if (!d) {
        int code = errno;
        close(fd);
        return -code;
    }
    const struct dirent *entry;
    int r = 0;
    while (r == 0 && (errno = 0, entry = readdir(d)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            r = each(context, fd, entry->d_name);
    return r == 0 ? -errno : r;
}
