// The runtime folder of an instance: its control socket, and the mount of its disk.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "client/instance.h"
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/banned.h"

// Detaches what a dead machine left mounted: unprivileged mounts go through fusermount3.
static void unmount(const char *path)
{
    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT)
        return;
    pid_t child = fork();
    if (child == 0) {
        execlp("fusermount3", "fusermount3", "-q", "-u", "-z", path, (char *)NULL);
        _exit(127);
    }
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
}

int instance_prepare_runtime(struct instance *i, struct error *error)
{
    char runtime[PATH_TEXT_SIZE], disk[PATH_TEXT_SIZE];
    int r = path_make(PATH_RUNTIME, runtime, error);
    if (r < 0)
        return r;
    r = path_format(disk, sizeof(disk), "%s/disk", i->runtime);
    if (r < 0)
        return error_set(error, -r, "the path of machine %s is too long", i->name);
    unmount(disk);
    r = io_make_folders(AT_FDCWD, disk, 0700);
    return r < 0 ? error_set(error, -r, "cannot make %s: %s", disk, strerror(-r)) : 0;
}

void instance_clear_runtime(const struct instance *i)
{
    char path[PATH_TEXT_SIZE];
    if (path_format(path, sizeof(path), "%s/disk", i->runtime) == 0) {
        unmount(path);
        rmdir(path);
    }
    if (path_format(path, sizeof(path), "%s/control", i->runtime) == 0)
        unlink(path);
    rmdir(i->runtime);
}

int instance_connect(const struct instance *i, struct error *error)
{
    char path[PATH_TEXT_SIZE];
    int r = path_format(path, sizeof(path), "%s/control", i->runtime);
    if (r == 0)
        r = socket_connect(path, error);
    if (r == -ENOENT || r == -ECONNREFUSED)
        return error_set(error, ENOENT, "machine %s is not running; rondo start %s starts it", i->name, i->name);
    return r;
}
