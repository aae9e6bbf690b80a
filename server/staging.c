// See staging.h.
//
// What a publisher has is counted by looking: a folder has some thousand files as a rule, STAGING_FILES at most, and a
// request that counts brings megabytes as a rule.
//
// Lock: `lock` guards the list of uploads, and is held while a folder is counted and an upload entered, so that two
// uploads cannot both take the last of a quota.
#include "server/staging.h"

#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define PART_SUFFIX ".part"
#define NAME_SIZE (SHA256_HEX_SIZE + sizeof PART_SUFFIX)
#define FILE_MODE 0600
#define FOLDER_MODE 0700
#define FOLDER_TRIES 3u // the keeper's sweep, hourly, may take an empty folder away between two calls

struct staging_upload {
    struct staging_upload *next;
    struct staging *staging;
    struct key_public key;
    struct sha256 name;
    struct publish_part part;
    uint64_t added;
    int folder, fd;
};

struct staging {
    int folder; // incoming/
    pthread_mutex_t lock;
    struct staging_upload *uploads; // under way
    atomic_uint manifests;
};

static int open_incoming(int state, struct error *error)
{
    if (io->mkdirat(state, STAGING_FOLDER, FOLDER_MODE) < 0 && errno != EEXIST)
        return error_set(error, errno, "cannot make " STAGING_FOLDER " in the state folder: %m");
    int fd = io_open(state, STAGING_FOLDER, O_RDONLY | O_DIRECTORY, 0);
    return fd < 0 ? error_set(error, -fd, "cannot open " STAGING_FOLDER " in the state folder: %s", strerror(-fd)) : fd;
}

int staging_open(int state, struct staging **ret, struct error *error)
{
    int folder CLEANUP_CLOSE = open_incoming(state, error);
    struct staging *s = folder < 0 ? NULL : calloc(1, sizeof *s);

    if (!s)
        return folder < 0 ? folder : error_set(error, ENOMEM, "not enough memory to start");
    s->folder = TAKE_FD(folder);
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return 0;
}

void staging_close(struct staging **s)
{
    if (!*s)
        return;
    close((*s)->folder);
    pthread_mutex_destroy(&(*s)->lock);
    free(*s);
    *s = NULL;
}

static int open_folder(struct staging *s, const struct key_public *key, bool make)
{
    char text[KEY_TEXT_SIZE];

    key_to_text(key, text);
    if (make && io->mkdirat(s->folder, text, FOLDER_MODE) < 0 && errno != EEXIST)
        return -errno;
    return io_open(s->folder, text, O_RDONLY | O_DIRECTORY, 0);
}

static const char *part_name(const struct sha256 *name, char text[static NAME_SIZE])
{
    char hex[SHA256_HEX_SIZE];

    (void)snprintf(text, NAME_SIZE, "%s" PART_SUFFIX, sha256_to_hex(name, hex));
    return text;
}

static int64_t size_of(int folder, const char *name)
{
    struct stat st;

    return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) ? (int64_t)st.st_size : -errno;
}

static uint64_t find(int folder, const struct sha256 *name, bool *ret_whole)
{
    char text[NAME_SIZE];

    int64_t size = size_of(folder, sha256_to_hex(name, text));
    *ret_whole = size >= 0;
    if (size < 0)
        size = size_of(folder, part_name(name, text));
    return size < 0 ? 0 : (uint64_t)size;
}

uint64_t staging_find(struct staging *s, const struct key_public *key, const struct sha256 *name, bool *ret_whole)
{
    int folder CLEANUP_CLOSE = open_folder(s, key, false);

    *ret_whole = false;
    return folder < 0 ? 0 : find(folder, name, ret_whole);
}

// --- counting and sweeping -----------------------------------------------------------------------------------------

struct count {
    uint64_t bytes; // as placed_count counts them
    unsigned files;
};

static int count_file(void *context, int folder, const char *entry)
{
    struct count *count = context;
    const int64_t size = size_of(folder, entry);

    if (size >= 0) {
        count->bytes += placed_count((uint64_t)size);
        count->files++;
    }
    return 0;
}

// Under the lock. What uploads will have added counts, too.
static struct count count_all(struct staging *s, const struct key_public *key, int folder)
{
    struct count count = {.bytes = 0};

    (void)folder_walk(folder, ".", count_file, &count);
    for (const struct staging_upload *u = s->uploads; u; u = u->next)
        if (key_equal(&u->key, key))
            count.bytes += placed_count(u->part.first + u->part.length) - placed_count(u->part.first + u->added);
    return count;
}

uint64_t staging_count_bytes(struct staging *s, const struct key_public *key)
{
    int folder CLEANUP_CLOSE = open_folder(s, key, false);

    if (folder < 0)
        return 0;
    pthread_mutex_lock(&s->lock);
    const uint64_t bytes = count_all(s, key, folder).bytes;
    pthread_mutex_unlock(&s->lock);
    return bytes;
}

struct sweep {
    int64_t before; // seconds since 1970
    struct site *site;
};

static bool has_object(struct site *site, const char *entry)
{
    struct sha256 name;
    int fd CLEANUP_CLOSE = sha256_from_hex(entry, strlen(entry), &name) ? site_open_object(site, &name) : -ENOENT;

    return fd >= 0;
}

static int sweep_file(void *context, int folder, const char *entry)
{
    const struct sweep *w = context;
    struct stat st;

    if (fstatat(folder, entry, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        (st.st_mtim.tv_sec < w->before || has_object(w->site, entry)))
        io->unlinkat(folder, entry, 0); // what stays costs room, and is tried again
    return 0;
}

static int sweep_folder(void *context, int incoming, const char *entry)
{
    (void)folder_walk(incoming, entry, sweep_file, context);
    io->unlinkat(incoming, entry, AT_REMOVEDIR); // if nothing is left in it
    return 0;
}

void staging_sweep(struct staging *s, int64_t now, struct site *site)
{
    struct sweep w = {.before = now - STAGING_AGE_MAXIMUM, .site = site};

    (void)folder_walk(s->folder, ".", sweep_folder, &w);
}

// --- uploads -------------------------------------------------------------------------------------------------------

// Under the lock.
static int check_others(const struct staging_upload *u, struct error *error)
{
    unsigned count = 0;

    for (const struct staging_upload *other = u->staging->uploads; other; other = other->next) {
        if (!key_equal(&other->key, &u->key))
            continue;
        if (sha256_equal(&other->name, &u->name))
            return error_set(error, EBUSY, "this object is being sent by another request");
        if (++count >= STAGING_UPLOADS)
            return error_set(error, EBUSY, "%u objects are being sent already", count);
    }
    return 0;
}

// Under the lock. -ENOENT, without a sentence, if the folder was swept while it was empty.
static int enter(struct staging_upload *u, uint64_t quota, uint64_t *ret_offset, struct error *error)
{
    struct staging *s = u->staging;
    char text[NAME_SIZE];
    bool whole;

    int r = check_others(u, error);
    if (r < 0)
        return r;
    const uint64_t there = find(u->folder, &u->name, &whole);
    // Whoever sends all of it means to begin anew: what is there may be of a file that is no more.
    const bool anew = u->part.first == 0 && u->part.length == u->part.total && !whole;
    if (!anew && u->part.first != there) {
        *ret_offset = there;
        return error_set(error, ERANGE, "%llu bytes of this object are there", (unsigned long long)there);
    }
    const struct count count = count_all(s, &u->key, u->folder);
    const bool is_new = !whole && size_of(u->folder, part_name(&u->name, text)) < 0;
    if (is_new && count.files >= STAGING_FILES)
        return error_set(error, EDQUOT, "%u objects wait here already; hand in the manifests that they are for",
                         count.files);
    const uint64_t others = count.bytes - (is_new ? 0 : placed_count(there));
    const uint64_t wanted = placed_count(u->part.first + u->part.length);
    if (others > quota || wanted > quota - others)
        return error_set(error, EDQUOT, "this is over your quota: %llu bytes are left of it beside %llu that wait here",
                         (unsigned long long)(quota > others ? quota - others : 0), (unsigned long long)others);
    u->fd = io_open(u->folder, part_name(&u->name, text), O_RDWR | O_CREAT, FILE_MODE);
    if (u->fd == -ENOENT)
        return -ENOENT; // the folder has gone
    if (u->fd < 0)
        return error_set(error, -u->fd, "an upload cannot be stored: %s", strerror(-u->fd));
    if (anew && there > 0 && io->ftruncate(u->fd, 0) < 0)
        return error_set(error, errno, "an upload cannot be stored: %m");
    u->next = s->uploads;
    s->uploads = u;
    return 0;
}

static int open_and_enter(struct staging_upload *u, uint64_t quota, uint64_t *ret_offset, struct error *error)
{
    cleanup_close(&u->folder);
    u->folder = open_folder(u->staging, &u->key, true);
    if (u->folder < 0)
        return u->folder == -ENOENT
                   ? -ENOENT
                   : error_set(error, -u->folder, "an upload cannot be stored: %s", strerror(-u->folder));
    pthread_mutex_lock(&u->staging->lock);
    int r = enter(u, quota, ret_offset, error);
    pthread_mutex_unlock(&u->staging->lock);
    return r;
}

int staging_begin(struct staging *s, const struct key_public *key, const struct sha256 *name,
                  const struct publish_part *part, uint64_t quota, struct staging_upload **ret, uint64_t *ret_offset,
                  struct error *error)
{
    struct staging_upload *u = calloc(1, sizeof *u);

    if (!u)
        return error_set(error, ENOMEM, "not enough memory");
    *u = (struct staging_upload){.staging = s, .key = *key, .name = *name, .part = *part, .folder = -1, .fd = -1};
    int r = -ENOENT;
    for (unsigned i = 0; i < FOLDER_TRIES && r == -ENOENT; i++)
        r = open_and_enter(u, quota, ret_offset, error);
    if (r == -ENOENT)
        r = error_set(error, EAGAIN, "an upload cannot be stored just now");
    if (r < 0) {
        cleanup_close(&u->fd);
        cleanup_close(&u->folder);
        free(u);
        return r;
    }
    *ret = u;
    return 0;
}

int staging_add(struct staging_upload *u, const void *bytes, size_t n, struct error *error)
{
    if (n > u->part.length - u->added)
        return error_set(error, EFBIG, "more bytes come than were announced");
    int r = io_write_full(u->fd, bytes, n, u->part.first + u->added);
    if (r < 0)
        return error_set(error, -r, "an upload cannot be stored: %s", strerror(-r));
    pthread_mutex_lock(&u->staging->lock);
    u->added += n;
    pthread_mutex_unlock(&u->staging->lock);
    return 0;
}

int staging_finish(struct staging_upload *u, struct error *error)
{
    char part[NAME_SIZE], hex[SHA256_HEX_SIZE];
    struct sha256 actual;
    unsigned long long size = 0;

    if (u->added < u->part.length)
        return error_set(error, ENODATA, "fewer bytes came than were announced");
    if (u->part.first + u->part.length < u->part.total)
        return 0;
    part_name(&u->name, part);
    int r = sha256_of_file(u->fd, &actual, &size);
    if (r < 0)
        return error_set(error, -r, "an upload cannot be read: %s", strerror(-r));
    if (size != u->part.total || !sha256_equal(&actual, &u->name)) {
        io->unlinkat(u->folder, part, 0);
        return error_set(error, EBADMSG, "these are not the bytes of object %.16s…", sha256_to_hex(&u->name, hex));
    }
    if (io->renameat(u->folder, part, u->folder, sha256_to_hex(&u->name, hex)) < 0)
        return errno == ENOENT ? error_set(error, EAGAIN, "this lay here for too long, and was swept; send all of it")
                               : error_set(error, errno, "an upload cannot be stored: %m");
    return 1;
}

void staging_end(struct staging_upload **upload)
{
    struct staging_upload *u = *upload;

    if (!u)
        return;
    pthread_mutex_lock(&u->staging->lock);
    struct staging_upload **at = &u->staging->uploads;
    while (*at != u)
        at = &(*at)->next;
    *at = u->next;
    pthread_mutex_unlock(&u->staging->lock);
    close(u->fd);
    close(u->folder);
    free(u);
    *upload = NULL;
}

int staging_put_manifest(struct staging *s, const void *bytes, size_t n, struct error *error)
{
    char name[64];

    (void)snprintf(name, sizeof name, "manifest-%u", atomic_fetch_add(&s->manifests, 1));
    int fd CLEANUP_CLOSE = io_open(s->folder, name, O_RDWR | O_CREAT | O_TRUNC, FILE_MODE);
    int r = fd < 0 ? fd : io_write_full(fd, bytes, n, 0);
    io->unlinkat(s->folder, name, 0); // what a crash leaves is written over
    return r < 0 ? error_set(error, -r, "the manifest cannot be stored: %s", strerror(-r)) : TAKE_FD(fd);
}
