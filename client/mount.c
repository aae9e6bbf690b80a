// rondo mount IMAGE DIR, rondo umount DIR: one version's members as read-only files. A rondo-cloop of its own serves
// each such mount, and ends with it.
#include "base/cleanup.h"
#include "base/spawn.h"
#include "client/cli.h"
#include "client/cloop.h"
#include "client/images.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/banned.h"

#define FUSE_SUPER_MAGIC 0x65735546 // statfs(2)

// False only if that is sure: the file system of a daemon that died does not even answer this.
static bool may_be_mounted(const char *path)
{
    struct statx s;
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &s) < 0)
        return errno != ENOENT;
    return !(s.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) || (s.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static int check_folder(const char *path, char ret_path[static PATH_TEXT_SIZE], struct error *error)
{
    struct statfs file_system;
    if (!realpath(path, ret_path))
        return error_set(error, errno, "cannot mount on %s: %s", path, strerror(errno));
    CLEANUP_CLOSEDIR DIR *folder = opendir(ret_path);
    if (!folder)
        return error_set(error, errno == ENOTDIR ? EINVAL : errno, "cannot mount on %s: %s", path, strerror(errno));
    // (A folder in somebody's FUSE file system, which may be all of a home, is as good as any other.)
    if (statfs(ret_path, &file_system) == 0 && file_system.f_type == FUSE_SUPER_MAGIC && may_be_mounted(ret_path))
        return error_set(error, EBUSY, "something is mounted on %s already; rondo umount %s first", path, path);
    struct dirent *entry;
    while ((entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return error_set(error, EBUSY, "%s is not empty; mount on an empty folder", path);
    return 0;
}

static int mount_image(struct images *images, const char *image, const char *folder, struct error *error)
{
    struct resolved resolved = {.source_count = 0};
    char path[PATH_TEXT_SIZE];
    int r = check_folder(folder, path, error);
    if (r == 0)
        r = images_open(images, error);
    if (r == 0)
        r = images_resolve(images, image, &resolved, error);
    images_close(images); // with its threads, before rondo-cloop is begun
    if (r < 0)
        return r;
    struct cloop settings = CLOOP_NONE;
    settings.cache_limit = images->configuration.cache_size;
    settings.wait_seconds = images->configuration.outage_seconds;
    r = cloop_mount(&settings, path, &resolved.manifest, resolved.sources, resolved.source_count, &resolved.ahead,
                    error);
    if (r == 0)
        fprintf(stderr, "rondo: %s %s is mounted on %s\n", resolved.description->name, resolved.description->version,
                path);
    resolve_free(&resolved);
    return r;
}

int verb_mount(int argc, char **argv)
{
    struct images images = {.resolve = {.connect_ahead = true}};
    const struct option options[] = {IMAGES_OPTIONS(images), {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 2, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = mount_image(&images, argv[1], argv[2], &error);
    return cli_end(r, &error);
}

// As root directly; otherwise through fusermount3, which may do it for the mount's owner.
static int unmount(const char *path, struct error *error)
{
    if (umount2(path, UMOUNT_NOFOLLOW) == 0)
        return 0;
    if (errno == EBUSY)
        return error_set(error, EBUSY, "%s is in use; close what is open there first", path);
    int code = errno;
    if (code == EINVAL || code == ENOENT || !may_be_mounted(path))
        return error_set(error, ENOENT, "nothing is mounted on %s", path);
    if (code != EPERM)
        return error_set(error, code, "cannot unmount %s: %s", path, strerror(code));
    static char name[] = "fusermount3", end[] = "-u", quiet[] = "-q", rest[] = "--";
    char *arguments[] = {name, end, quiet, rest, (char *)path, NULL};
    struct spawn s = {.path = name, .arguments = arguments, .input = -1, .output = -1, .errors = STDERR_FILENO};
    pid_t pid = spawn_program(&s, error);
    if (pid < 0)
        return pid;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : error_set(error, EBUSY, "%s is in use, or not a mount of yours", path);
}

int verb_umount(int argc, char **argv)
{
    int r = cli_parse_operand(argc, argv);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    r = unmount(argv[1], &error);
    return cli_end(r, &error);
}
