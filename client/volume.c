// See volume.h.
//
// 1. Nothing is opened before stat(2) has said that it is a regular file or a block device: to open another device may
//    do something by itself (a watchdog's starts it).
// 2. A block device is opened with O_EXCL, which the kernel refuses while the host has it mounted or part of something.
// 3. What is made is made whole before anybody can use it: the lock is taken before the size is given.
#include "client/volume.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/banned.h"

#define SECTOR 512u
#define BLOCK 4096u

// --- what was typed ------------------------------------------------------------------------------------------------

int volume_parse(const char *text, struct volume *ret, struct error *error)
{
    struct volume v = {.size = 0};
    char escaped[256];
    const char *colon = strrchr(text, ':');
    struct slice path = slice_of(text);
    if (colon && text_parse_size(colon + 1, &v.size)) {
        path.length = (size_t)(colon - text);
        if (v.size == 0 || v.size > INT64_MAX - BLOCK)
            return error_set(error, EINVAL, "--volume %s: a volume cannot have this size",
                             text_escape(slice_of(text), escaped, sizeof(escaped)));
        v.size = (v.size + BLOCK - 1) / BLOCK * BLOCK;
    }
    text_escape(path, escaped, sizeof(escaped));
    if (path.length == 0 || path.at[path.length - 1] == '/')
        return error_set(error, EINVAL, "--volume \"%s\" names no file", escaped);
    if (!text_is_printable(path))
        return error_set(error, EINVAL, "--volume %s: a machine cannot remember such a name; rename the file", escaped);
    CLEANUP_FREE char *folder = path.at[0] == '/' ? NULL : getcwd(NULL, 0);
    if (path.at[0] != '/' && !folder)
        return error_set(error, errno, "cannot find the working folder: %s", strerror(errno));
    int r =
        path_format(v.path, sizeof(v.path), "%s%s%.*s", folder ? folder : "", folder ? "/" : "", SLICE_ARGUMENTS(path));
    if (r < 0 || !text_is_printable(slice_of(v.path)))
        return error_set(error, EINVAL, "--volume %s: its whole path is longer than %u bytes, or unprintable", escaped,
                         VOLUME_PATH_SIZE - 1);
    *ret = v;
    return 0;
}

void volume_serial(const struct volume *v, char ret[static VOLUME_SERIAL_SIZE])
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";
    const char *name = strrchr(v->path, '/') + 1; // the path is absolute
    size_t n = 0;
    for (; name[n] && n + 1 < VOLUME_SERIAL_SIZE; n++)
        ret[n] = (char)(strchr(good, name[n]) ? name[n] : '_');
    ret[n] = '\0';
}

// --- where it lies -------------------------------------------------------------------------------------------------

static bool lies_below(const char *path, const char *folder)
{
    CLEANUP_FREE char *real = realpath(folder, NULL); // none: nothing lies in it
    size_t n = real ? strlen(real) : 0;
    return real && strncmp(path, real, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

// `real`: without symbolic links.
static int refuse_own(const char *real, const char *path, struct error *error)
{
    static const enum path_kind kinds[] = {PATH_HOME, PATH_CACHE, PATH_RUNTIME};
    char folder[PATH_TEXT_SIZE];
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        int r = path_find(kinds[k], folder, error);
        if (r < 0)
            return r;
        if (lies_below(real, folder))
            return error_set(error, EINVAL, "%s cannot be a volume: %s is Rondo's own; keep volumes elsewhere", path,
                             folder);
    }
    return 0;
}

static int check_existing(const struct volume *v, struct error *error)
{
    CLEANUP_FREE char *real = realpath(v->path, NULL);
    if (!real)
        return error_set(error, errno, "cannot use the volume %s: %s", v->path, strerror(errno));
    return refuse_own(real, v->path, error);
}

// Of one that is to be made, where it would be.
static int check_folder(const struct volume *v, struct error *error)
{
    char folder[VOLUME_PATH_SIZE];
    snprintf(folder, sizeof(folder), "%s", v->path);
    strrchr(folder, '/')[1] = '\0';
    CLEANUP_FREE char *real = realpath(folder, NULL);
    if (!real)
        return error_set(error, errno, "cannot make the volume %s: %s", v->path, strerror(errno));
    return refuse_own(real, v->path, error);
}

// --- opening -------------------------------------------------------------------------------------------------------

static int take_lock(const struct volume *v, int fd, struct error *error)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return error_set(error, EBUSY,
                         "the volume %s is in use by another machine, or another program; rondo ps shows "
                         "what runs",
                         v->path);
    return error_set(error, errno, "cannot lock the volume %s: %s", v->path, strerror(errno));
}

static int find_size(const struct volume *v, int fd, bool *ret_device, uint64_t *ret_size, struct error *error)
{
    struct stat st;
    uint64_t size = 0;
    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "cannot examine the volume %s: %s", v->path, strerror(errno));
    if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &size) < 0)
        return error_set(error, errno, "cannot find out the size of %s: %s", v->path, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set(error, EINVAL, "%s has just been replaced by something that is no file", v->path);
    *ret_device = S_ISBLK(st.st_mode);
    *ret_size = *ret_device ? size : (uint64_t)st.st_size;
    return 0;
}

static int set_size(const struct volume *v, int fd, struct error *error)
{
    if (io->ftruncate(fd, (off_t)v->size) < 0 || io->fsync(fd) < 0)
        return error_set(error, errno, "cannot give the volume %s %llu bytes: %s", v->path, (unsigned long long)v->size,
                         strerror(errno));
    return 0;
}

static int make(const struct volume *v, struct error *error)
{
    int r = check_folder(v, error);
    if (r < 0)
        return r;
    CLEANUP_CLOSE int fd = io_open(AT_FDCWD, v->path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return error_set(error, -fd, "cannot make the volume %s: %s", v->path, strerror(-fd));
    r = take_lock(v, fd, error);
    if (r < 0)
        return r; // whoever was quicker has it now
    r = set_size(v, fd, error);
    if (r < 0) {
        io->unlinkat(AT_FDCWD, v->path, 0); // empty, and still locked
        return r;
    }
    r = io_sync_folder_of(AT_FDCWD, v->path);
    return r < 0 ? error_set(error, -r, "cannot sync the folder of %s: %s", v->path, strerror(-r)) : TAKE_FD(fd);
}

// The size that it has, and the one that was asked for or is remembered.
static int compare_sizes(struct volume *v, int fd, bool named, struct error *error)
{
    bool device = false;
    uint64_t size = 0;
    int r = find_size(v, fd, &device, &size, error);
    if (r < 0)
        return r;
    const unsigned long long has = size, wanted = v->size;
    if (!named && size < v->size)
        return error_set(error, ERANGE,
                         "the volume %s had %llu bytes and has %llu now, so what lay behind is lost; rondo run with "
                         "--volume FILE uses it as it is, --volume FILE:%llu makes it as large again",
                         v->path, wanted, has, wanted);
    if (named && v->size && size > v->size)
        return error_set(error, EINVAL, "the volume %s has %llu bytes already; a volume never shrinks", v->path, has);
    if (named && size < v->size) {
        if (device)
            return error_set(error, EINVAL, "%s is a device of %llu bytes, which cannot grow", v->path, has);
        r = set_size(v, fd, error);
        if (r < 0)
            return r;
        size = v->size;
    }
    if (size == 0 || size % SECTOR != 0)
        return error_set(error, EINVAL, "the volume %s has %llu bytes, which no disk has; give it a size: FILE:SIZE",
                         v->path, has);
    v->size = size;
    return 0;
}

// /dev/fd/3, /dev/stdin and their like: what they name now is something else for the next run.
static bool names_descriptor(const struct volume *v)
{
    char folder[VOLUME_PATH_SIZE], link[8] = "";
    struct statfs s;
    snprintf(folder, sizeof(folder), "%s", v->path);
    strrchr(folder, '/')[1] = '\0';
    if (statfs(folder, &s) == 0 && s.f_type == PROC_SUPER_MAGIC)
        return true;
    return readlink(v->path, link, sizeof(link) - 1) > 0 && strncmp(link, "/proc/", 6) == 0;
}

int volume_open(struct volume *v, bool named, struct error *error)
{
    struct stat st;
    if (names_descriptor(v))
        return error_set(error, EINVAL,
                         "%s cannot be a volume: it names what is open now, which no later run could find; name the "
                         "file itself",
                         v->path);
    if (stat(v->path, &st) < 0) {
        if (errno != ENOENT)
            return error_set(error, errno, "cannot use the volume %s: %s", v->path, strerror(errno));
        if (named && v->size)
            return make(v, error);
        return error_set(error, ENOENT, "there is no volume %s; %s", v->path,
                         named ? "to make it, give its size: --volume FILE:SIZE"
                               : "rondo run with --volume names another, or with --volume none goes without");
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set(error, EINVAL, "%s cannot be a volume: it is neither a file nor a block device", v->path);
    int r = check_existing(v, error);
    if (r < 0)
        return r;
    CLEANUP_CLOSE int fd = open(v->path, O_RDWR | O_CLOEXEC | O_NONBLOCK | (S_ISBLK(st.st_mode) ? O_EXCL : 0));
    if (fd < 0 && errno == EBUSY)
        return error_set(error, EBUSY, "the device %s is in use on this host; unmount it first", v->path);
    if (fd < 0)
        return error_set(error, errno, "cannot open the volume %s: %s", v->path, strerror(errno));
    r = take_lock(v, fd, error);
    if (r == 0)
        r = compare_sizes(v, fd, named, error);
    return r < 0 ? r : TAKE_FD(fd);
}
