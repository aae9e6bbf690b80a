// A process beside ours that can do two things: take the mount at one path away, and say on which device a file is.
// Landlock forbids its subjects to unmount anything, and without new privileges fusermount3 can do nothing for a user
// who is not root; and who asks for a device must hold nothing of ours (mount.h), so it is a process that is made for
// it. A program that confines itself starts this one before. It holds no descriptor of ours but a socket, and ends when
// the other end is closed, which the kernel does if we are killed. The mount then stays, as if there were no such
// process. Any thread may ask; one is answered after the other.
#pragma once

#include "base/error.h"
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct unmounter {
    int fd;
    pid_t pid;
    pthread_mutex_t mutex; // a question, and its answer
};

// While there is one thread. The path, if it is not absolute, is one of the folder that is current now.
int unmounter_start(const char *path, struct unmounter *ret, struct error *error);
int unmounter_remove(struct unmounter *u, bool detach, struct error *error);         // as mount_remove
int unmounter_find_device(struct unmounter *u, const char *path, dev_t *ret_device); // as mount_device_of
void unmounter_end(struct unmounter *u);
