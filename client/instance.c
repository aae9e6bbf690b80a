// Instances on disk (see instance.h): opening, locking, making, removing.
//
//   making     .new-<random> made and locked ─▶ filled and synced ─▶ renamed to <name>: there it is, locked
//   removing   <name>, locked ─▶ renamed to .gone-<random>: it is no more ─▶ emptied ─▶ removed
//
// So a name is a whole instance or none, at every moment. What an interrupted command leaves has one of the other
// names, and the next listing sweeps it away, if its lock is free; the folder instances/ itself is locked (flock) for
// the two steps in which such a folder exists without its lock, its making and its sweeping. Nothing else here waits:
// an instance's lock is taken or refused.
//
// The lock is one of an open file description (fcntl(2), F_OFD_SETLK): whoever inherited the descriptor holds it too,
// and whether it is held can be asked without taking it, so that a look never stands in the way of a start.
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "blockstore/overlay.h"
#include "client/instance_private.h"
#include "client/seed.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/banned.h"

int instance_find_folders(const char *name, struct instance *i, struct error *error)
{
    char home[PATH_TEXT_SIZE], runtime[PATH_TEXT_SIZE];
    if (!text_is_image_name(slice_of(name)))
        return error_set(error, EINVAL, "\"%s\" cannot be a machine's name: " TEXT_IMAGE_NAME_RULE, name);
    int r = path_find(PATH_HOME, home, error);
    if (r == 0)
        r = path_find(PATH_RUNTIME, runtime, error);
    if (r < 0)
        return r;
    snprintf(i->name, sizeof(i->name), "%s", name);
    r = path_format(i->folder, sizeof(i->folder), "%s/instances/%s", home, name);
    if (r == 0)
        r = path_format(i->runtime, sizeof(i->runtime), "%s/instances/%s", runtime, name);
    return r < 0 ? error_set(error, -r, "the path of machine %s is too long", name) : 0;
}

int instance_open_parent(struct error *error)
{
    char home[PATH_TEXT_SIZE];
    int r = path_make(PATH_HOME, home, error);
    if (r < 0)
        return r;
    CLEANUP_CLOSE int home_fd = io_open(AT_FDCWD, home, O_RDONLY | O_DIRECTORY, 0);
    r = home_fd < 0 ? home_fd : io_make_folders(home_fd, "instances", 0700);
    if (r == 0)
        r = io_open(home_fd, "instances", O_RDONLY | O_DIRECTORY, 0);
    return r < 0 ? error_set(error, -r, "cannot use %s/instances: %s", home, strerror(-r)) : r;
}

int instance_open(const char *name, struct instance *ret, struct error *error)
{
    struct instance i = INSTANCE_NONE;
    int r = instance_find_folders(name, &i, error);
    if (r < 0)
        return r;
    i.folder_fd = io_open(AT_FDCWD, i.folder, O_RDONLY | O_DIRECTORY, 0);
    if (i.folder_fd == -ENOENT)
        return error_set(error, ENOENT, "there is no machine %s; rondo ps lists them", name);
    if (i.folder_fd < 0)
        return error_set(error, -i.folder_fd, "cannot open %s: %s", i.folder, strerror(-i.folder_fd));
    r = instance_read_settings(&i, error);
    if (r == 0 || r == -EBADMSG)
        *ret = i; // also when damaged, so that it can be listed and removed
    else
        instance_close(&i);
    return r;
}

// --- locks ---------------------------------------------------------------------------------------------------------

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

int instance_take_lock(int folder)
{
    CLEANUP_CLOSE int fd = io_open(folder, "lock", O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
        return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
    // Whoever removed it meanwhile held the lock on a file that is gone now.
    struct stat ours, named;
    if (fstat(fd, &ours) < 0 || fstatat(folder, "lock", &named, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return same_file(&ours, &named) ? TAKE_FD(fd) : -ENOENT;
}

int instance_lock(struct instance *i, struct error *error)
{
    CLEANUP_CLOSE int fd = instance_take_lock(i->folder_fd);
    struct stat ours, named;
    if (fd == -EBUSY)
        return error_set(error, EBUSY, "machine %s is running; attach with rondo console %s, or choose another --name",
                         i->name, i->name);
    if (fd < 0 && fd != -ENOENT)
        return error_set(error, -fd, "cannot lock %s/lock: %s", i->folder, strerror(-fd));
    if (fd < 0 || fstat(i->folder_fd, &ours) < 0 || fstatat(AT_FDCWD, i->folder, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
        !same_file(&ours, &named))
        return error_set(error, ENOENT, "machine %s has just been removed", i->name);
    i->lock_fd = TAKE_FD(fd);
    return 0;
}

int instance_lock_stopped(struct instance *i, struct error *error)
{
    int r = instance_lock(i, error);
    if (r == -EBUSY)
        error_set(error, EBUSY, "machine %s is running (rondo stop %s ends it), or another command is changing it",
                  i->name, i->name);
    return r;
}

bool instance_is_running(const struct instance *i)
{
    CLEANUP_CLOSE int fd = io_open(i->folder_fd, "lock", O_RDONLY, 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

// --- making --------------------------------------------------------------------------------------------------------

static int make_temporary_name(const char *prefix, char ret_name[static INSTANCE_TEMPORARY_SIZE])
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    snprintf(ret_name, INSTANCE_TEMPORARY_SIZE, "%s%016llx", prefix, (unsigned long long)random);
    return 0;
}

int instance_make_folder(int parent, char ret_name[static INSTANCE_TEMPORARY_SIZE], struct instance *i)
{
    char name[INSTANCE_TEMPORARY_SIZE];
    int r = make_temporary_name(INSTANCE_NEW, name);
    if (r < 0)
        return r;
    while (flock(parent, LOCK_EX) < 0)
        if (errno != EINTR)
            return -errno;
    r = io->mkdirat(parent, name, 0700) < 0 ? -errno : 0;
    if (r == 0) {
        i->folder_fd = io_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
        i->lock_fd = i->folder_fd < 0 ? i->folder_fd : instance_take_lock(i->folder_fd);
        if (i->lock_fd < 0) {
            r = i->lock_fd;
            instance_close(i);
            instance_remove_folder(parent, name);
        }
    }
    flock(parent, LOCK_UN);
    if (r == 0)
        memcpy(ret_name, name, sizeof(name));
    return r;
}

static int fill_folder(int parent, const char *temporary, const struct instance *i, const struct buf *seed,
                       struct error *error)
{
    const struct instance_settings *s = &i->settings;
    int r = overlay_create(i->folder_fd, s->disk_size, &s->manifest, error);
    if (r < 0)
        return r;
    if (seed && seed->size) {
        r = io_replace_file(i->folder_fd, SEED_NAME, seed->data, seed->size, 0400);
        if (r < 0)
            return error_set(error, -r, "cannot write the first-boot settings of machine %s: %s", i->name,
                             strerror(-r));
    }
    r = instance_write_settings(i->folder_fd, s);
    if (r < 0)
        return error_set(error, -r, "cannot write the settings of machine %s: %s", i->name, strerror(-r));
    if (renameat2(parent, temporary, parent, i->name, RENAME_NOREPLACE) == 0)
        return 0;
    return errno == EEXIST ? error_set(error, EEXIST, "there is a machine %s already", i->name)
                           : error_set(error, errno, "cannot name machine %s: %s", i->name, strerror(errno));
}

int instance_create(const char *name, const struct instance_settings *settings, const struct buf *seed,
                    struct instance *ret, struct error *error)
{
    struct instance i = INSTANCE_NONE;
    char temporary[INSTANCE_TEMPORARY_SIZE];
    int r = instance_find_folders(name, &i, error);
    if (r < 0)
        return r;
    CLEANUP_CLOSE int parent = instance_open_parent(error);
    if (parent < 0)
        return parent;
    r = instance_make_folder(parent, temporary, &i);
    if (r < 0)
        return error_set(error, -r, "cannot make a folder for machine %s: %s", name, strerror(-r));
    i.settings = *settings;
    r = fill_folder(parent, temporary, &i, seed, error);
    if (r < 0) {
        instance_remove_folder(parent, temporary);
        instance_close(&i);
        return r;
    }
    r = io_sync_folder_of(parent, name);
    if (r < 0) {
        error_set(error, -r, "cannot sync the folder of machine %s: %s", name, strerror(-r));
        if (instance_remove(&i, NULL) < 0)
            log_warning("machine %s could not be taken back", name);
        instance_close(&i);
        return r;
    }
    *ret = i;
    return 0;
}

// --- removing ------------------------------------------------------------------------------------------------------

static int refuse_folder(void *context, int folder, const char *name)
{
    (void)context;
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    return S_ISDIR(st.st_mode) ? -ENOTEMPTY : 0;
}

static int unlink_unless_lock(void *context, int folder, const char *name)
{
    (void)context;
    if (strcmp(name, "lock") == 0) // the last one, since it keeps others away
        return 0;
    return io->unlinkat(folder, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int instance_remove_folder(int parent, const char *name)
{
    CLEANUP_CLOSE int folder = io_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
    if (folder < 0)
        return folder == -ENOENT ? 0 : folder;
    int r = folder_walk(folder, ".", unlink_unless_lock, NULL);
    if (r < 0)
        return r;
    if (io->unlinkat(folder, "lock", 0) < 0 && errno != ENOENT)
        return -errno;
    return io->unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int instance_refuse_folders(const struct instance *i, struct error *error)
{
    int r = folder_walk(i->folder_fd, ".", refuse_folder, NULL);
    if (r == -ENOTEMPTY)
        return error_set(error, ENOTEMPTY, "%s holds a folder that is not Rondo's; move it away first", i->folder);
    return r < 0 ? error_set(error, -r, "cannot list %s: %s", i->folder, strerror(-r)) : 0;
}

int instance_remove(struct instance *i, struct error *error)
{
    char gone[INSTANCE_TEMPORARY_SIZE];
    int r = instance_refuse_folders(i, error);
    if (r < 0)
        return r;
    CLEANUP_CLOSE int parent = instance_open_parent(error);
    if (parent < 0)
        return parent;
    instance_clear_runtime(i);
    r = make_temporary_name(INSTANCE_GONE, gone);
    if (r == 0 && io->renameat(parent, i->name, parent, gone) < 0)
        r = -errno;
    if (r < 0)
        return error_set(error, -r, "cannot remove %s: %s", i->folder, strerror(-r));
    r = io_sync_folder_of(parent, gone);
    if (r < 0)
        return error_set(error, -r, "cannot sync the folder of %s: %s", i->folder, strerror(-r));
    // It is gone; what cannot be taken away now, the next listing tries again.
    r = instance_remove_folder(parent, gone);
    if (r < 0)
        log_warning("%s is removed, but not yet all that it held: %s", i->folder, strerror(-r));
    return 0;
}

void instance_close(struct instance *i)
{
    if (i->folder_fd >= 0)
        close(i->folder_fd);
    if (i->lock_fd >= 0)
        close(i->lock_fd);
    i->folder_fd = i->lock_fd = -1;
}
