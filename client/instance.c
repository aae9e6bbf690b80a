// Instances on disk (see instance.h). Nothing here waits: locks are taken or refused.
#include "client/instance.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/text.h"
#include "blockstore/overlay.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/banned.h"

#define SETTINGS_MAXIMUM (64u << 10)
#define SWEEP_AGE_SECONDS 60

static int find_folders(const char *name, struct instance *i, struct error *error)
{
    char home[PATH_TEXT_SIZE], runtime[PATH_TEXT_SIZE];
    if (!text_is_image_name(slice_of(name)))
        return error_set(error, EINVAL, "\"%s\" cannot be a machine's name: use a-z, 0-9, dot, dash, underscore", name);
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

static int write_settings(int folder, const struct instance_settings *s)
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SETTINGS_MAXIMUM);
    char hex[SHA256_HEX_SIZE];
    int r = buf_append_format(&b,
                              "rondo-instance 1\nimage %s\nversion %s\nmanifest %s\nsite %s\ndisk %llu\nmemory %llu\n"
                              "cpus %llu\nephemeral %s\n",
                              s->image, s->version, sha256_to_hex(&s->manifest, hex), s->site,
                              (unsigned long long)s->disk_size, (unsigned long long)s->memory,
                              (unsigned long long)s->cpus, s->ephemeral ? "yes" : "no");
    for (unsigned i = 0; i < s->source_count && r == 0; i++)
        r = buf_append_format(&b, "source %s\n", s->sources[i]);
    return r < 0 ? r : io_replace_file(folder, "settings", b.data, b.size, 0600);
}

static bool copy_text(char *to, size_t capacity, struct slice from)
{
    if (from.length == 0 || from.length >= capacity)
        return false;
    memcpy(to, from.at, from.length);
    to[from.length] = '\0';
    return true;
}

static bool parse_setting(struct instance_settings *s, unsigned line, struct slice key, struct slice value)
{
    switch (line) {
    case 1:
        return slice_equal(key, "rondo-instance") && slice_equal(value, "1");
    case 2:
        return slice_equal(key, "image") && text_is_image_name(value) && copy_text(s->image, sizeof(s->image), value);
    case 3:
        return slice_equal(key, "version") && text_is_version_name(value) &&
               copy_text(s->version, sizeof(s->version), value);
    case 4:
        return slice_equal(key, "manifest") && sha256_from_hex(value.at, value.length, &s->manifest);
    case 5:
        return slice_equal(key, "site") && copy_text(s->site, sizeof(s->site), value);
    case 6:
        return slice_equal(key, "disk") && text_parse_u64(value, INT64_MAX, &s->disk_size);
    case 7:
        return slice_equal(key, "memory") && text_parse_u64(value, INT64_MAX, &s->memory);
    case 8:
        return slice_equal(key, "cpus") && text_parse_u64(value, 1024, &s->cpus);
    case 9:
        s->ephemeral = slice_equal(value, "yes");
        return slice_equal(key, "ephemeral");
    default:
        return slice_equal(key, "source") && s->source_count < CATALOG_MIRRORS_MAXIMUM &&
               copy_text(s->sources[s->source_count++], CATALOG_URL_SIZE, value);
    }
}

static int read_settings(struct instance *i, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    int r = io_read_file(i->folder_fd, "settings", SETTINGS_MAXIMUM, &bytes, &size);
    if (r < 0)
        return error_set(error, -r, "cannot read %s/settings: %s", i->folder, strerror(-r));
    struct text_reader reader = text_reader_over(bytes, size, CATALOG_URL_SIZE + 64);
    struct slice line, key, value;
    memset(&i->settings, 0, sizeof(i->settings));
    while ((r = text_next_line(&reader, &line)) > 0) {
        text_split_line(line, &key, &value);
        if (!parse_setting(&i->settings, reader.line, key, value))
            r = -EBADMSG;
        if (r < 0)
            break;
    }
    if (r < 0 || reader.line < 9)
        return error_set(error, EBADMSG, "%s/settings is damaged at line %u; rondo rm %s removes the machine",
                         i->folder, reader.line, i->name);
    return 0;
}

int instance_open(const char *name, struct instance *ret, struct error *error)
{
    struct instance i = INSTANCE_NONE;
    int r = find_folders(name, &i, error);
    if (r < 0)
        return r;
    i.folder_fd = io_open(AT_FDCWD, i.folder, O_RDONLY | O_DIRECTORY, 0);
    if (i.folder_fd == -ENOENT)
        return error_set(error, ENOENT, "there is no machine %s; rondo ps lists them", name);
    if (i.folder_fd < 0)
        return error_set(error, -i.folder_fd, "cannot open %s: %s", i.folder, strerror(-i.folder_fd));
    r = read_settings(&i, error);
    *ret = i; // also when damaged, so that it can be listed and removed
    if (r < 0 && r != -EBADMSG && r != -ENOENT)
        instance_close(ret);
    return r == -ENOENT ? -EBADMSG : r;
}

int instance_lock(struct instance *i, struct error *error)
{
    CLEANUP_CLOSE int fd = io_open(i->folder_fd, "lock", O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return error_set(error, -fd, "cannot open %s/lock: %s", i->folder, strerror(-fd));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? error_set(error, EBUSY,
                               "machine %s is running; attach with rondo console %s, or choose another --name", i->name,
                               i->name)
                   : error_set(error, errno, "cannot lock %s/lock: %s", i->folder, strerror(errno));
    // Whoever removed the machine meanwhile held the lock on a file that is gone now.
    struct stat ours, named;
    if (fstat(fd, &ours) < 0 || fstatat(i->folder_fd, "lock", &named, AT_SYMLINK_NOFOLLOW) < 0 ||
        ours.st_ino != named.st_ino)
        return error_set(error, ENOENT, "machine %s has just been removed", i->name);
    i->lock_fd = TAKE_FD(fd);
    return 0;
}

bool instance_is_running(const struct instance *i)
{
    CLEANUP_CLOSE int fd = io_open(i->folder_fd, "lock", O_RDWR, 0);
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

// Empties a folder: "settings" first, since what has none is a leftover, and the lock last, since nobody else may take
// it in between. Whatever else lies there (a file that a crash left half-made) goes too.
static int remove_files(int folder)
{
    if (io->unlinkat(folder, "settings", 0) < 0 && errno != ENOENT)
        return -errno;
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_CLOSEDIR DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    if (!d) {
        int code = errno;
        if (copy >= 0)
            close(copy);
        return -code;
    }
    for (struct dirent *entry; (entry = readdir(d));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && strcmp(entry->d_name, "lock") != 0 &&
            io->unlinkat(folder, entry->d_name, 0) < 0 && errno != ENOENT)
            return -errno;
    return io->unlinkat(folder, "lock", 0) < 0 && errno != ENOENT ? -errno : 0;
}

static void remove_folder(int parent, const char *name)
{
    CLEANUP_CLOSE int fd = io_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0 && remove_files(fd) == 0)
        io->unlinkat(parent, name, AT_REMOVEDIR);
}

int instance_create(const char *name, const struct instance_settings *settings, struct instance *ret,
                    struct error *error)
{
    struct instance i = INSTANCE_NONE;
    char home[PATH_TEXT_SIZE], temporary[PATH_TEXT_SIZE];
    int r = find_folders(name, &i, error);
    if (r == 0)
        r = path_make(PATH_HOME, home, error);
    if (r < 0)
        return r;
    CLEANUP_CLOSE int parent = -1;
    CLEANUP_CLOSE int home_fd = io_open(AT_FDCWD, home, O_RDONLY | O_DIRECTORY, 0);
    if (home_fd >= 0 && (r = io_make_folders(home_fd, "instances", 0700)) == 0)
        parent = io_open(home_fd, "instances", O_RDONLY | O_DIRECTORY, 0);
    int failed = home_fd < 0 ? home_fd : r < 0 ? r : parent;
    if (failed < 0)
        return error_set(error, -failed, "cannot make %s/instances: %s", home, strerror(-failed));
    r = path_format(temporary, sizeof(temporary), ".new-%s-%d", name, (int)getpid());
    if (r < 0)
        return error_set(error, -r, "the name %s is too long", name);
    remove_folder(parent, temporary);
    if (io->mkdirat(parent, temporary, 0700) < 0)
        return error_set(error, errno, "cannot make %s/instances/%s: %s", home, temporary, strerror(errno));
    CLEANUP_CLOSE int folder = io_open(parent, temporary, O_RDONLY | O_DIRECTORY, 0);
    i.folder_fd = folder;
    r = folder < 0 ? error_set(error, -folder, "cannot open the folder of machine %s", name) : 0;
    if (r == 0)
        r = instance_lock(&i, error);
    if (r == 0)
        r = overlay_create(folder, settings->disk_size, &settings->manifest, error);
    if (r == 0 && (r = write_settings(folder, settings)) < 0)
        error_set(error, -r, "cannot write the settings of machine %s: %s", name, strerror(-r));
    const char *stands = temporary;
    if (r == 0 && renameat2(parent, temporary, parent, name, RENAME_NOREPLACE) < 0)
        r = errno == EEXIST ? error_set(error, EEXIST, "there is a machine %s already", name)
                            : error_set(error, errno, "cannot name machine %s: %s", name, strerror(errno));
    else if (r == 0)
        stands = name;
    if (r == 0 && (r = io_sync_folder_of(parent, name)) < 0)
        error_set(error, -r, "cannot make machine %s last: %s", name, strerror(-r));
    if (r < 0) {
        remove_folder(parent, stands);
        if (i.lock_fd >= 0)
            close(i.lock_fd);
        return r;
    }
    i.folder_fd = TAKE_FD(folder);
    i.settings = *settings;
    *ret = i;
    return 0;
}

// Detaches what a dead machine left mounted: unprivileged mounts go through fusermount3.
static void unmount(const char *path)
{
    if (umount2(path, MNT_DETACH) == 0 || errno == EINVAL || errno == ENOENT)
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

int instance_remove(struct instance *i, struct error *error)
{
    instance_clear_runtime(i);
    int r = remove_files(i->folder_fd);
    if (r < 0)
        return error_set(error, -r, "cannot remove what is in %s: %s", i->folder, strerror(-r));
    if (io->unlinkat(AT_FDCWD, i->folder, AT_REMOVEDIR) < 0)
        return error_set(error, errno, "cannot remove %s: %s", i->folder, strerror(errno));
    r = io_sync_folder_of(AT_FDCWD, i->folder);
    return r < 0 ? error_set(error, -r, "cannot sync the folder of %s: %s", i->folder, strerror(-r)) : 0;
}

void instance_close(struct instance *i)
{
    if (i->folder_fd >= 0)
        close(i->folder_fd);
    if (i->lock_fd >= 0)
        close(i->lock_fd);
    i->folder_fd = i->lock_fd = -1;
}

// A folder that an interrupted command left: its lock is free and it has no settings, or its name is temporary, or it
// is an ephemeral machine that ended without its supervisor.
static bool is_leftover(struct instance *i, int opened)
{
    CLEANUP_CLOSE int fd = io_open(i->folder_fd, "settings", O_RDONLY, 0);
    return fd == -ENOENT || (opened == 0 && i->settings.ephemeral);
}

static int list_one(const char *name, int (*each)(void *context, struct instance *i, const struct error *damage),
                    void *context)
{
    struct instance i = INSTANCE_NONE;
    struct error damage = {.text = ""};
    int r = instance_open(name, &i, &damage);
    if (i.folder_fd < 0)
        return 0; // gone since the folder was read, or not ours
    if (is_leftover(&i, r) && !instance_is_running(&i) && instance_lock(&i, NULL) == 0) {
        if (instance_remove(&i, &damage) < 0)
            log_warning("%s", damage.text);
        r = 0;
    } else {
        r = each(context, &i, r < 0 ? &damage : NULL);
    }
    instance_close(&i);
    return r;
}

// A half-made machine: its maker holds the lock for as long as it lives, but for a moment in the beginning.
static void sweep_temporary(const char *instances, const char *name)
{
    CLEANUP_CLOSE int parent = io_open(AT_FDCWD, instances, O_RDONLY | O_DIRECTORY, 0);
    CLEANUP_CLOSE int folder = parent < 0 ? -1 : io_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
    struct instance i = {.folder_fd = folder, .lock_fd = -1};
    struct stat s;
    if (folder < 0 || fstat(folder, &s) < 0 || s.st_mtime + SWEEP_AGE_SECONDS > io_realtime_seconds())
        return;
    if (instance_lock(&i, NULL) == 0) {
        remove_folder(parent, name);
        close(i.lock_fd);
    }
}

int instance_list(int (*each)(void *context, struct instance *i, const struct error *damage), void *context,
                  struct error *error)
{
    char home[PATH_TEXT_SIZE], path[PATH_TEXT_SIZE];
    int r = path_find(PATH_HOME, home, error);
    if (r == 0 && (r = path_format(path, sizeof(path), "%s/instances", home)) < 0)
        error_set(error, -r, "the path of the home folder is too long");
    if (r < 0)
        return r;
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        return errno == ENOENT ? 0 : error_set(error, errno, "cannot list %s: %s", path, strerror(errno));
    for (int e = 0; e < count; e++) {
        const char *name = entries[e]->d_name;
        if (r == 0 && text_is_image_name(slice_of(name)))
            r = list_one(name, each, context);
        else if (strncmp(name, ".new-", 5) == 0)
            sweep_temporary(path, name);
        free(entries[e]);
    }
    free(entries);
    return r;
}

int instance_connect(const struct instance *i, struct error *error)
{
    char path[PATH_TEXT_SIZE];
    int r = path_format(path, sizeof(path), "%s/control", i->runtime);
    if (r == 0)
        r = socket_connect(path, error);
    if (r == -ENOENT || r == -ECONNREFUSED)
        return error_set(error, ENOENT, "machine %s is not running; rondo run starts it", i->name);
    return r;
}
