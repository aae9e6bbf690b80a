// The mount as the kernel sees it (see mount.h).
#include "fuse-cloop/mount.h"
#include "base/cleanup.h"
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/banned.h"

extern char **environ;

// Mountinfo writes space, tab, newline and backslash as \ooo (proc(5)). Decodes in place.
static void decode_octal(char *text)
{
    char *to = text;
    for (const char *from = text; *from;) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
            from[3] <= '7') {
            *to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

// One line: ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD…] - TYPE SOURCE OPTIONS
static bool parse_line(char *line, const char *path, struct mount_found *ret)
{
    unsigned major_number, minor_number;
    char *rest = NULL, *field = strtok_r(line, " \n", &rest);
    char *fields[5] = {NULL};
    for (unsigned i = 0; field && i < 5; i++, field = strtok_r(NULL, " \n", &rest))
        fields[i] = field;
    if (!fields[4] || sscanf(fields[2], "%u:%u", &major_number, &minor_number) != 2)
        return false;
    decode_octal(fields[4]);
    if (strcmp(fields[4], path) != 0)
        return false;
    while (field && strcmp(field, "-") != 0)
        field = strtok_r(NULL, " \n", &rest);
    const char *type = field ? strtok_r(NULL, " \n", &rest) : NULL;
    char *source = type ? strtok_r(NULL, " \n", &rest) : NULL;
    if (source)
        decode_octal(source);
    snprintf(ret->source, sizeof(ret->source), "%s", source ? source : "");
    ret->device = makedev(major_number, minor_number);
    return true;
}

int mount_find(const char *path, struct mount_found *ret, struct error *error)
{
    FILE *list CLEANUP_FCLOSE = fopen("/proc/self/mountinfo", "re");
    char *line CLEANUP_FREE = NULL;
    size_t capacity = 0;
    int found = 0;
    if (!list)
        return error_set(error, errno, "cannot read /proc/self/mountinfo: %m");
    while (getline(&line, &capacity, list) >= 0) // a later line is a mount on top of an earlier one
        if (parse_line(line, path, ret))
            found = 1;
    return ferror(list) ? error_set(error, EIO, "cannot read /proc/self/mountinfo") : found;
}

// --- mounting and unmounting ---------------------------------------------------------------------------------------

int mount_check_host(struct error *error)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return error_set(error, EACCES,
                         "/dev/fuse cannot be opened: %m; join the group that owns it, or let the container "
                         "have the device (--device /dev/fuse)");
    if (fd < 0)
        return error_set(error, EOPNOTSUPP,
                         "there is no FUSE here: /dev/fuse: %m; modprobe fuse, or give the container the "
                         "device (--device /dev/fuse)");
    close(fd);
    if (geteuid() != 0 && access("/usr/bin/fusermount3", X_OK) < 0 && access("/bin/fusermount3", X_OK) < 0)
        return error_set(error, EOPNOTSUPP, "fusermount3 is not installed (apt-get install fuse3)");
    return 0;
}

// Only fusermount3 may unmount for a user who is not root.
static int run_fusermount(const char *path, bool detach, struct error *error)
{
    static char name[] = "fusermount3", end[] = "-u", lazy[] = "-z", quiet[] = "-q", rest[] = "--";
    char *arguments[7] = {name, end, quiet};
    unsigned n = 3;
    if (detach)
        arguments[n++] = lazy;
    arguments[n++] = rest;
    arguments[n++] = (char *)path; // not written to
    posix_spawnattr_t attributes;
    sigset_t none;
    pid_t pid;
    int status = 0;
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int r = posix_spawnp(&pid, name, NULL, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    if (r != 0)
        return error_set(error, r, "cannot start fusermount3: %s", strerror(r));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return error_set(error, errno, "fusermount3 got lost: %m");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return error_set(error, EBUSY, "fusermount3 could not take the mount at %s away", path);
}

int mount_remove(const char *path, bool detach, struct error *error)
{
    if (umount2(path, UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0)) == 0)
        return 0;
    if (errno == EPERM)
        return run_fusermount(path, detach, error);
    return error_set(error, errno, "cannot unmount %s: %m", path);
}
