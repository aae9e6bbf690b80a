// A process beside ours that can do one thing: take the mount at one path away. Landlock forbids its subjects to
// unmount anything, and without new privileges fusermount3 can do nothing for a user who is not root; so a program that
// confines itself starts this one before. It holds no descriptor of ours but a socket, and ends when the other end is
// closed, which the kernel does if we are killed. The mount then stays, as if there were no such process.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

struct unmounter {
    int fd;
    pid_t pid;
};

// While there is one thread. The path, if it is not absolute, is one of the folder that is current now.
int unmounter_start(const char *path, struct unmounter *ret, struct error *error);
int unmounter_remove(const struct unmounter *u, bool detach, struct error *error); // as mount_remove
void unmounter_end(struct unmounter *u);
