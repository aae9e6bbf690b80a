// A process beside ours (beside.h) that does two things: take the mount at one path away, and say on which device a
// file is. Landlock forbids its subjects to unmount anything, and without new privileges fusermount3 can do nothing for
// a user who is not root; and who asks for a device must hold nothing of ours (mount.h), so it is a process that is
// made for it. If we are killed, the mount stays, as if there were no such process.
#pragma once

#include "base/beside.h"
#include <stdbool.h>

// While there is one thread. The path, which must last, is one of the folder that is current now, if it is not
// absolute.
int unmounter_start(const char *path, struct beside *ret, struct error *error);
int unmounter_remove(struct beside *u, bool detach, struct error *error);         // as mount_remove
int unmounter_find_device(struct beside *u, const char *path, dev_t *ret_device); // as mount_device_of
