// Replacing an instance's version and its overlay together.
//
//   .new-<random> made and locked ─▶ fresh overlay, what else the old one holds (linked), settings; synced
//   ─▶ exchanged with <name>, in one step ─▶ the folder synced ─▶ the old one, .new-<random> now, emptied and removed
//
// 1. Settings and overlay name one manifest, and are never changed but together: the exchange is the change.
// 2. Cut short before the exchange, the old instance stands; behind it, the new one. What is left has a temporary's
//    name, and the next listing sweeps it away.
// 3. Both folders' locks are held throughout, so that nobody starts either.
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/log.h"
#include "blockstore/overlay.h"
#include "blockstore/overlay_snapshot.h"
#include "client/instance_private.h"
#include "client/newer.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

// Those that belong to the version that goes, or are made anew.
static bool is_left_behind(const char *file)
{
    static const char *const names[] = {"lock",     "settings",          "disk.data",
                                        "disk.map", OVERLAY_LAYERS_NAME, NEWER_KEPT_NAME};
    static const char *const prefixes[] = {OVERLAY_LAYER_PREFIX, IO_TEMPORARY_PREFIX};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(file, names[i]) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (strncmp(file, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

// A second name for the same file: the old instance stays whole.
static int take_along(void *context, int folder, const char *file)
{
    const struct instance *to = context;
    return is_left_behind(file) || linkat(folder, file, to->folder_fd, file, 0) == 0 ? 0 : -errno;
}

static int fill(const struct instance *old, struct instance *new, const struct instance_settings *s,
                struct error *error)
{
    int r = overlay_create(new->folder_fd, s->disk_size, &s->manifest, error);
    if (r < 0)
        return r;
    r = folder_walk(old->folder_fd, ".", take_along, new);
    if (r == 0)
        r = instance_write_settings(new->folder_fd, s); // syncs the folder, so the links, too
    return r < 0 ? error_set(error, -r, "cannot make the new files of machine %s: %s", old->name, strerror(-r)) : 0;
}

static int exchange(int parent, const char *temporary, const char *name, struct error *error)
{
    if (renameat2(parent, temporary, parent, name, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS)
        return error_set(error, EOPNOTSUPP,
                         "the file system that machine %s lies in cannot exchange two folders; remove the machine "
                         "(rondo rm %s) and run the new version",
                         name, name);
    return error_set(error, errno, "cannot replace machine %s: %s", name, strerror(errno));
}

int instance_replace(struct instance *i, const struct instance_settings *settings, struct error *error)
{
    struct instance new = *i;
    char temporary[INSTANCE_TEMPORARY_SIZE];
    int r = instance_refuse_folders(i, error);
    if (r < 0)
        return r;
    CLEANUP_CLOSE int parent = instance_open_parent(error);
    if (parent < 0)
        return parent;
    r = instance_make_folder(parent, temporary, &new);
    if (r < 0)
        return error_set(error, -r, "cannot make a folder for machine %s: %s", i->name, strerror(-r));
    new.settings = *settings;
    r = fill(i, &new, settings, error);
    if (r == 0)
        r = exchange(parent, temporary, i->name, error);
    if (r < 0) {
        instance_remove_folder(parent, temporary);
        instance_close(&new);
        return r;
    }
    int synced = io_sync_folder_of(parent, i->name);
    r = synced < 0 ? 0 : instance_remove_folder(parent, temporary); // unsynced, the power may still bring it back
    if (r < 0)
        log_warning("machine %s is replaced, but not yet all of the old one removed: %s", i->name, strerror(-r));
    instance_close(i);
    *i = new;
    return synced < 0
               ? error_set(error, -synced, "cannot sync the folder of machine %s: %s", i->name, strerror(-synced))
               : 0;
}
