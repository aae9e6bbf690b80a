// The mount as the kernel sees it: what stands at a path, whether somebody may still answer for it, and taking it away.
// Nothing here asks the file system itself, which might wait for a rondo-cloop that is not there (mount_answers is the
// exception, and asks from a thread of its own).
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

struct mount_found {
    char source[128]; // as /proc/self/mountinfo shows it; cut if longer
    dev_t device;     // st_dev of its files
};

// The topmost mount at `path` (absolute, without symbolic links): 1 and *ret, or 0 if nothing is mounted there.
int mount_find(const char *path, struct mount_found *ret, struct error *error);

// False if the mount at `path` is dead: nobody holds its session, every call fails. True if it lives, be it that nobody
// answers at this moment.
bool mount_lives(const char *path);

// -EOPNOTSUPP or -EACCES, with what to do, if this host cannot mount FUSE file systems.
int mount_check_host(struct error *error);

// Takes the topmost mount at `path` away: -EBUSY if something is in use there. `detach` takes it away from the tree of
// files at once; what is open stays open. As root with umount2, else through fusermount3.
int mount_remove(const char *path, bool detach, struct error *error);
