// Shared by the files instance*.c only.
#pragma once

#include "client/instance.h"

#define INSTANCE_NEW ".new-"   // folders in instances/ that are being made,
#define INSTANCE_GONE ".gone-" // and that are being removed; swept once their lock is free

// Folder names and name of *i; -EINVAL if it cannot be an instance's name.
int instance_find_folders(const char *name, struct instance *i, struct error *error);

// <home>/instances, opened; made if need be.
int instance_open_parent(struct error *error);

// Takes the lock in an open folder: the descriptor that holds it, -EBUSY, -ENOENT if the folder was removed meanwhile,
// or another failure.
int instance_take_lock(int folder);

// Removes a folder and the files in it, without looking at its lock.
int instance_remove_folder(int parent, const char *name);

// The file "settings". instance_read_settings: -EBADMSG if it is damaged or missing.
int instance_write_settings(int folder, const struct instance_settings *s);
int instance_read_settings(struct instance *i, struct error *error);
