// Shared by the files instance*.c only.
#pragma once

#include "client/instance.h"

#define INSTANCE_NEW ".new-"   // folders in instances/ that are being made,
#define INSTANCE_GONE ".gone-" // and that are being removed; swept once their lock is free

#define INSTANCE_TEMPORARY_SIZE 32u // of such a name: the prefix and 16 digits

// Folder names and name of *i; -EINVAL if it cannot be an instance's name.
int instance_find_folders(const char *name, struct instance *i, struct error *error);

// <home>/instances, opened; made if need be.
int instance_open_parent(struct error *error);

// Makes a folder with a name of INSTANCE_NEW below `parent`, opened and locked in *i, while nobody sweeps.
int instance_make_folder(int parent, char ret_name[static INSTANCE_TEMPORARY_SIZE], struct instance *i);

// -ENOTEMPTY if there is a folder among an instance's files.
int instance_refuse_folders(const struct instance *i, struct error *error);

// Takes the lock in an open folder: the descriptor that holds it, -EBUSY, -ENOENT if the folder was removed meanwhile,
// or another failure.
int instance_take_lock(int folder);

// Removes a folder and the files in it, without looking at its lock.
int instance_remove_folder(int parent, const char *name);

// The file "settings". instance_read_settings: -EBADMSG if it is damaged or missing.
int instance_write_settings(int folder, const struct instance_settings *s);
int instance_read_settings(struct instance *i, struct error *error);
