// The runtime folder of an instance: its control socket, and the mount of its disk.
//
// Several homes may share one runtime folder, and each may have a machine of the same name. So the folder is that of
// whoever serves the socket: nobody else takes anything away in it, and no other machine of that name starts meanwhile.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "client/instance.h"
#include <fcntl.h>
#include <string.h>
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

static int find_control(const struct instance *i, char ret_path[static PATH_TEXT_SIZE], struct error *error)
{
    int r = path_format(ret_path, PATH_TEXT_SIZE, "%s/control", i->runtime);
    return r < 0 ? error_set(error, -r, "the path of machine %s is too long", i->name) : 0;
}

int instance_prepare_runtime(struct instance *i, struct error *error)
{
    char runtime[PATH_TEXT_SIZE], disk[PATH_TEXT_SIZE], control[PATH_TEXT_SIZE];
    int r = path_make(PATH_RUNTIME, runtime, error);
    if (r == 0)
        r = find_control(i, control, error);
    if (r < 0)
        return r;
    r = path_format(disk, sizeof(disk), "%s/disk", i->runtime);
    if (r == 0)
        r = io_make_folders(AT_FDCWD, i->runtime, 0700);
    if (r < 0)
        return error_set(error, -r, "cannot make %s: %s", i->runtime, strerror(-r));
    CLEANUP_CLOSE int listener = socket_listen(control, error);
    if (listener == -EBUSY)
        return error_set(error, EBUSY,
                         "a machine %s of another home is running, and %s is its; stop that one, or set RONDO_RUNTIME "
                         "to another folder",
                         i->name, i->runtime);
    if (listener < 0)
        return listener;
    unmount(disk);
    r = io_make_folders(AT_FDCWD, disk, 0700);
    return r < 0 ? error_set(error, -r, "cannot make %s: %s", disk, strerror(-r)) : TAKE_FD(listener);
}

void instance_clear_runtime(const struct instance *i)
{
    char control[PATH_TEXT_SIZE], disk[PATH_TEXT_SIZE];
    if (find_control(i, control, NULL) < 0 || path_format(disk, sizeof(disk), "%s/disk", i->runtime) < 0)
        return;
    CLEANUP_CLOSE int served = socket_connect(control, NULL);
    if (served >= 0)
        return;
    unmount(disk);
    rmdir(disk);
    unlink(control);
    rmdir(i->runtime);
}

int instance_connect(const struct instance *i, struct error *error)
{
    char path[PATH_TEXT_SIZE];
    int r = find_control(i, path, error);
    if (r == 0 && !instance_is_running(i)) // whoever may listen there
        return error_set(error, ENOENT, "machine %s is not running; rondo start %s starts it", i->name, i->name);
    if (r == 0)
        r = socket_connect(path, error);
    if (r == -ENOENT || r == -ECONNREFUSED)
        return error_set(error, EBUSY,
                         "machine %s is starting or ending, or another command is changing it; give the command again "
                         "in a moment",
                         i->name);
    return r;
}
