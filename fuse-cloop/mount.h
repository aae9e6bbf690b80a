// The mount as the kernel sees it: what stands at a path, whether somebody may still answer for it, and taking it away.
//
// A rondo-cloop must never itself ask a file of its own mount for anything: if it died while it waited for an answer of
// its own, its thread could not end before somebody answers (the kernel waits out what was read), and as long as it has
// not ended it holds the lock that whoever could answer needs. What must be asked is asked by a process that holds
// nothing (mount_ask.c).
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

// The device (st_dev) of the file at `path`, wherever it is: 0, or -errno, or -ETIMEDOUT if that takes too long.
int mount_device_of(const char *path, dev_t *ret);

// -EOPNOTSUPP or -EACCES, with what to do, if this host cannot mount FUSE file systems.
int mount_check_host(struct error *error);

// Takes the topmost mount at `path` away: -EBUSY if something is in use there. `detach` takes it away from the tree of
// files at once; what is open stays open. As root with umount2, else through fusermount3.
int mount_remove(const char *path, bool detach, struct error *error);
