// A site's folder (the layout is drawn in site.h).
//
// The order that survives power loss at any instant: temporary written and synced by whoever made it → its name on the
// list, synced → renamed → its folder synced. A folder is synced into its own parent before anything is renamed to it.
//
// Invariants
//   1. Every path is opened one component at a time, each with O_NOFOLLOW, from descriptors that stay open.
//   2. `root`, `objects` and `unfinished` do not change after site_open, so two threads may use them.
#include "blockstore/site.h"
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "blockstore/site_private.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>

#include "base/banned.h"

int site_write_failed(const struct site *s, struct error *error, int r, const char *what)
{
    if (r == -ENOSPC || r == -EDQUOT)
        return error_set(error, -r, "no space is left in %s: make room and run the same command again", s->path);
    if (r == -ELOOP || r == -ENOTDIR)
        return error_set(error, -r, "%s in %s is a symbolic link or not what it should be; move it away", what,
                         s->path);
    return error_set(error, -r, "cannot write %s in %s: %s", what, s->path, strerror(-r));
}

// Opens a folder below another, made (and synced into its parent) if it is missing.
static int open_folder(int parent, const char *name)
{
    int fd = io_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd != -ENOENT)
        return fd;
    if (io->mkdirat(parent, name, 0777) < 0 && errno != EEXIST)
        return -errno;
    int r = site_sync_folder(parent);
    return r < 0 ? r : io_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
}

// Opens the site's own folder; if it is new, each folder above is synced, as any of them may be new too.
static int open_root(const char *path)
{
    char above[PATH_MAX];
    int fd = io->openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

    if (fd >= 0 || errno != ENOENT)
        return fd >= 0 ? fd : -errno;
    int r = io_make_folders(AT_FDCWD, path, 0777);
    if (r < 0)
        return r;
    snprintf(above, sizeof(above), "%s", path);
    for (size_t i = strlen(above); i > 0; i--) {
        if (above[i] != '/' && above[i] != '\0')
            continue;
        above[i] = '\0';
        r = above[i - 1] == '/' ? 0 : io_sync_folder_of(AT_FDCWD, above);
        if (r == -EACCES) // not ours to sync, so not made by us
            break;
        if (r < 0 && r != -EINVAL) // EINVAL: the path ends in . or ..
            return r;
    }
    fd = io->openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

static int sweep(void *context, int folder, const char *entry)
{
    (void)context;
    if (strncmp(entry, IO_TEMPORARY_PREFIX, strlen(IO_TEMPORARY_PREFIX)) == 0)
        io->unlinkat(folder, entry, 0); // what stays costs space only
    return 0;
}

static int take_lock(struct site *s, struct error *error)
{
    s->lock = io_open(s->root, ".lock", O_RDWR | O_CREAT, 0666);
    if (s->lock < 0)
        return site_write_failed(s, error, s->lock, "the lock");
    if (flock(s->lock, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? error_set(error, EBUSY, "somebody else is publishing to %s; try again later", s->path)
                   : site_write_failed(s, error, -errno, "the lock");
    return 0;
}

static int open_parts(struct site *s, const char *path, struct error *error)
{
    s->root = open_root(path);
    if (s->root < 0)
        return error_set(error, -s->root, "cannot open or make the site %s: %s", path, strerror(-s->root));
    int r = take_lock(s, error);
    if (r < 0)
        return r;
    s->objects = open_folder(s->root, "objects");
    if (s->objects < 0)
        return site_write_failed(s, error, s->objects, "objects");
    s->unfinished = open_folder(s->root, ".unfinished");
    if (s->unfinished < 0)
        return site_write_failed(s, error, s->unfinished, ".unfinished");
    (void)folder_walk(s->unfinished, ".", sweep, NULL);
    // A killed writer may have made a folder without coming to sync it: nobody has noticed since, as it is there.
    r = site_sync_folder(s->root);
    if (r == 0)
        r = site_sync_folder(s->objects);
    return r < 0 ? site_write_failed(s, error, r, "objects") : 0;
}

static int open_new(const char *path, int (*parts)(struct site *s, const char *path, struct error *error),
                    struct site **ret, struct error *error)
{
    if (strlen(path) >= PATH_MAX)
        return error_set(error, ENAMETOOLONG, "the site's path is too long");
    struct site *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(error, ENOMEM, "no memory for a site");
    s->root = s->objects = s->unfinished = s->lock = -1;
    snprintf(s->path, sizeof(s->path), "%s", path);
    int r = parts(s, path, error);
    if (r < 0) {
        site_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

int site_open(const char *path, struct site **ret, struct error *error)
{
    return open_new(path, open_parts, ret, error);
}

static int open_for_reading(struct site *s, const char *path, struct error *error)
{
    s->root = io->openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    s->objects = s->root < 0 ? -errno : io_open(s->root, "objects", O_RDONLY | O_DIRECTORY, 0);
    return s->objects < 0 ? error_set(error, -s->objects, "%s is no site's folder: %s", path, strerror(-s->objects))
                          : 0;
}

int site_open_reading(const char *path, struct site **ret, struct error *error)
{
    return open_new(path, open_for_reading, ret, error);
}

void site_close(struct site *s)
{
    if (!s)
        return;
    cleanup_close(&s->objects);
    cleanup_close(&s->unfinished);
    cleanup_close(&s->root);
    cleanup_close(&s->lock);
    free(s);
}

const char *site_path(const struct site *s)
{
    return s->path;
}

void site_set_elsewhere(struct site *s, const struct site_elsewhere *elsewhere)
{
    s->elsewhere = elsewhere;
}

const struct site_elsewhere *site_elsewhere(const struct site *s)
{
    return s->elsewhere;
}

// --- temporaries ---------------------------------------------------------------------------------------------------

int site_make_temporary(struct site *s, char ret_name[static SITE_TEMPORARY_SIZE], struct error *error)
{
    uint64_t random;

    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return error_set(error, EIO, "no random numbers can be had");
    snprintf(ret_name, SITE_TEMPORARY_SIZE, IO_TEMPORARY_PREFIX "%016llx", (unsigned long long)random);
    int fd = io_open(s->unfinished, ret_name, O_RDWR | O_CREAT | O_EXCL, 0666);
    return fd < 0 ? site_write_failed(s, error, fd, "a temporary file") : fd;
}

void site_drop_temporary(struct site *s, const char *name)
{
    io->unlinkat(s->unfinished, name, 0); // what stays is swept by the next writer
}

int site_open_temporary(struct site *s, const char *name)
{
    return io_open(s->unfinished, name, O_RDONLY, 0);
}

int site_make_scratch(struct site *s)
{
    char name[SITE_TEMPORARY_SIZE];
    int fd = io_open(s->unfinished, ".", O_RDWR | O_TMPFILE, 0600);

    if (fd >= 0)
        return fd;
    fd = site_make_temporary(s, name, NULL); // this file system knows no O_TMPFILE
    if (fd >= 0)
        site_drop_temporary(s, name);
    return fd;
}

// --- objects -------------------------------------------------------------------------------------------------------

static int place_object(struct site *s, const struct site_object *object)
{
    char hex[SHA256_HEX_SIZE], shard[3];

    sha256_to_hex(&object->name, hex);
    snprintf(shard, sizeof(shard), "%.2s", hex);
    int folder CLEANUP_CLOSE = open_folder(s->objects, shard);
    if (folder < 0)
        return folder;
    if (io->renameat(s->unfinished, object->temporary, folder, hex) < 0)
        return -errno;
    return site_sync_folder(folder);
}

int site_place_objects(struct site *s, const struct site_object *objects, unsigned n, struct error *error)
{
    for (unsigned i = 0; i < n; i++) {
        int r = place_object(s, &objects[i]);
        if (r < 0)
            return site_write_failed(s, error, r, "an object");
    }
    return 0;
}

// Writes bytes to a new temporary; when this returns 0, they are on stable storage.
static int write_temporary(struct site *s, const void *bytes, size_t n, char ret_name[static SITE_TEMPORARY_SIZE],
                           struct error *error)
{
    int fd = site_make_temporary(s, ret_name, error);
    if (fd < 0)
        return fd;
    int r = io_write_full(fd, bytes, n, 0);
    if (r == 0 && io->fsync(fd) < 0)
        r = -errno;
    int closed = io_close(fd);
    r = r < 0 ? r : closed;
    if (r < 0) {
        site_drop_temporary(s, ret_name);
        return site_write_failed(s, error, r, "a temporary file");
    }
    return 0;
}

int site_put_object(struct site *s, const void *bytes, size_t n, struct sha256 *ret_name, struct error *error)
{
    struct site_object object = {.name = sha256_of(bytes, n)};

    int r = write_temporary(s, bytes, n, object.temporary, error);
    if (r < 0)
        return r;
    r = site_place_objects(s, &object, 1, error);
    if (r < 0) {
        site_drop_temporary(s, object.temporary);
        return r;
    }
    *ret_name = object.name;
    return 0;
}

// Places bytes as `name` in `folder`.
static int put_file(struct site *s, int folder, const char *name, const void *bytes, size_t n, struct error *error)
{
    char temporary[SITE_TEMPORARY_SIZE];

    int r = write_temporary(s, bytes, n, temporary, error);
    if (r < 0)
        return r;
    if (io->renameat(s->unfinished, temporary, folder, name) < 0) {
        r = -errno;
        site_drop_temporary(s, temporary);
        return site_write_failed(s, error, r, name);
    }
    r = site_sync_folder(folder);
    return r < 0 ? site_write_failed(s, error, r, name) : 0;
}

int site_put_catalog(struct site *s, const void *bytes, size_t n, struct error *error)
{
    return put_file(s, s->root, "catalog.rondo", bytes, n, error);
}

int site_put_root(struct site *s, const char *name, const void *bytes, size_t n, struct error *error)
{
    int folder CLEANUP_CLOSE = open_folder(s->root, "roots");
    return folder < 0 ? site_write_failed(s, error, folder, "roots") : put_file(s, folder, name, bytes, n, error);
}

// Opens the folder of an object's two first digits.
static int open_shard(struct site *s, const struct sha256 *name, char ret_hex[static SHA256_HEX_SIZE])
{
    char shard[3];

    sha256_to_hex(name, ret_hex);
    snprintf(shard, sizeof(shard), "%.2s", ret_hex);
    return io_open(s->objects, shard, O_RDONLY | O_DIRECTORY, 0);
}

int site_open_object(struct site *s, const struct sha256 *name)
{
    char hex[SHA256_HEX_SIZE];
    int folder CLEANUP_CLOSE = open_shard(s, name, hex);
    return folder < 0 ? folder : io_open(folder, hex, O_RDONLY | O_NONBLOCK, 0);
}

int site_sync_object(struct site *s, const struct sha256 *name)
{
    char hex[SHA256_HEX_SIZE];
    int folder CLEANUP_CLOSE = open_shard(s, name, hex);
    return folder < 0 ? folder : site_sync_folder(folder);
}

int site_read_page(struct site *s, const struct chunk_reference *ref, void *to, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    int fd CLEANUP_CLOSE = site_open_object(s, &ref->pack.name);
    int r = fd < 0 ? fd : io_read_full(fd, to, ref->length, ref->offset);
    if (r < 0)
        return error_set(error, r == -ENOENT || r == -ENODATA ? EBADMSG : -r, "map page in pack %.16s…: %s",
                         sha256_to_hex(&ref->pack.name, hex),
                         r == -ENOENT    ? "there is no such pack"
                         : r == -ENODATA ? "the pack is too short"
                                         : strerror(-r));
    const struct sha256 actual = sha256_of(to, ref->length);
    return sha256_equal(&actual, &ref->name)
               ? 0
               : error_set(error, EBADMSG, "a map page in pack %.16s… is damaged", sha256_to_hex(&ref->pack.name, hex));
}
