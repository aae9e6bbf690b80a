// The open descriptors of packs, so that a hot read opens nothing.
//
//   1. At most handle_maximum are listed. The least recently used one without users gives way; if all have
//      users, the newcomer stays unlisted and is closed on release.
//   2. Files are opened, checked, touched and closed outside the mutex; `users` keeps a descriptor open meanwhile.
//   3. A descriptor of an unlinked file holds its space: such handles are looked for every SWEEP_SECONDS and after an
//      eviction.
//   4. A handle of partial/ is open for writing where that is possible; one of objects/ never is.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/cache_private.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define SWEEP_SECONDS 10
#define NS_PER_SECOND 1000000000ull

const char *cache_name_folder(const struct sha256 *name, char text[static 3])
{
    char hex[SHA256_HEX_SIZE];
    sha256_to_hex(name, hex);
    memcpy(text, hex, 2);
    text[2] = '\0';
    return text;
}

int cache_open_folder(struct cache *c, enum cache_place place, const struct sha256 *name, bool make)
{
    char text[3];
    if (c->places[place] < 0)
        return make ? -EROFS : -ENOENT;
    cache_name_folder(name, text);
    int fd = io_open(c->places[place], text, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -ENOENT && make) {
        if (io->mkdirat(c->places[place], text, 0700) < 0 && errno != EEXIST)
            return -errno;
        fd = io_open(c->places[place], text, O_RDONLY | O_DIRECTORY, 0);
    }
    return fd;
}

bool cache_is_ours(int fd, struct stat *ret)
{
    return io->fstat(fd, ret) == 0 && S_ISREG(ret->st_mode) && ret->st_uid == geteuid() && ret->st_nlink > 0;
}

// --- opening -------------------------------------------------------------------------------------------------------

// Opens <place>/ab/abcdef…, if it is a file of ours.
static int open_checked(int folder, const char *hex, int flags, struct stat *ret_st)
{
    int fd = io_open(folder, hex, flags | O_NONBLOCK, 0600); // O_NONBLOCK: in case that it is a FIFO
    if (fd < 0)
        return fd;
    if (!cache_is_ours(fd, ret_st)) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

static int open_pack(struct cache *c, enum cache_place place, const struct sha256 *name, bool make, struct stat *ret_st)
{
    char hex[SHA256_HEX_SIZE];
    int folder CLEANUP_CLOSE = cache_open_folder(c, place, name, make);
    if (folder < 0)
        return folder;
    sha256_to_hex(name, hex);
    if (place == CACHE_OBJECTS)
        return open_checked(folder, hex, O_RDONLY, ret_st);
    int fd = open_checked(folder, hex, O_RDWR | (make ? O_CREAT : 0), ret_st);
    if (make && (fd == -ELOOP || fd == -EPERM || fd == -EACCES || fd == -ENXIO)) {
        // Something that is not ours stands in the way.
        if (io->unlinkat(folder, hex, 0) < 0)
            return -errno;
        fd = open_checked(folder, hex, O_RDWR | O_CREAT, ret_st);
    }
    if (!make && (fd == -EACCES || fd == -EROFS))
        fd = open_checked(folder, hex, O_RDONLY, ret_st);
    return fd;
}

static int open_either(struct cache *c, const struct sha256 *name, bool write, enum cache_place *ret_place,
                       struct stat *ret_st)
{
    int fd = open_pack(c, CACHE_OBJECTS, name, false, ret_st);
    if (fd >= 0) {
        *ret_place = CACHE_OBJECTS;
        return fd;
    }
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
        return fd;
    *ret_place = CACHE_PARTIAL;
    return open_pack(c, CACHE_PARTIAL, name, write, ret_st);
}

int cache_peek(struct cache *c, const struct sha256 *pack, uint64_t offset, void *to, size_t n)
{
    struct stat st;
    enum cache_place place;
    int fd CLEANUP_CLOSE = open_either(c, pack, false, &place, &st);
    int r = fd < 0 ? fd : io_read_full(fd, to, n, offset);
    if (fd < 0 || cache_looks_absent(r, to, n))
        return -ENOENT;
    return r == 0 ? 0 : -EIO;
}

// --- the table -----------------------------------------------------------------------------------------------------

// With the mutex held.
static struct cache_handle *find_listed(struct cache *c, const struct sha256 *name)
{
    for (unsigned i = 0; i < c->handle_count; i++)
        if (sha256_equal(&c->handles[i]->name, name))
            return c->handles[i];
    return NULL;
}

static void unlist_at(struct cache *c, unsigned i)
{
    c->handles[i]->listed = false;
    c->handles[i] = c->handles[--c->handle_count];
}

// Takes the least recently used handle without users out of the table; NULL if all are in use.
static struct cache_handle *take_idle(struct cache *c)
{
    unsigned found = c->handle_count;
    for (unsigned i = 0; i < c->handle_count; i++)
        if (c->handles[i]->users == 0 && (found == c->handle_count || c->handles[i]->used < c->handles[found]->used))
            found = i;
    if (found == c->handle_count)
        return NULL;
    struct cache_handle *h = c->handles[found];
    unlist_at(c, found);
    return h;
}

static void close_handle(struct cache_handle *h)
{
    if (!h)
        return;
    io->close(h->fd); // the bytes are only worth what they hash to: no error matters
    free(h);
}

bool cache_close_idle_handle(struct cache *c)
{
    pthread_mutex_lock(&c->mutex);
    struct cache_handle *h = take_idle(c);
    pthread_mutex_unlock(&c->mutex);
    close_handle(h);
    return h != NULL;
}

// Lists a new handle, unless another thread was faster: then that one is used.
static struct cache_handle *list_handle(struct cache *c, struct cache_handle *h)
{
    struct cache_handle *unwanted = NULL;
    pthread_mutex_lock(&c->mutex);
    struct cache_handle *other = find_listed(c, &h->name);
    if (other && other->place == h->place) {
        unwanted = h;
        h = other;
    } else if (!other) {
        if (c->handle_count == c->handle_maximum)
            unwanted = take_idle(c);
        if (c->handle_count < c->handle_maximum) {
            c->handles[c->handle_count++] = h;
            h->listed = true;
        }
    }
    h->users++;
    h->used = ++c->clock;
    pthread_mutex_unlock(&c->mutex);
    close_handle(unwanted);
    return h;
}

static struct cache_handle *open_handle(struct cache *c, const struct sha256 *name, bool write, int *ret_reason)
{
    struct stat st = {0};
    enum cache_place place = CACHE_PARTIAL;
    int fd = open_either(c, name, write, &place, &st);
    while ((fd == -EMFILE || fd == -ENFILE) && cache_close_idle_handle(c))
        fd = open_either(c, name, write, &place, &st);
    if (fd < 0) {
        *ret_reason = fd;
        return NULL;
    }
    struct cache_handle *h = calloc(1, sizeof(*h));
    if (!h) {
        close(fd);
        *ret_reason = -ENOMEM;
        return NULL;
    }
    h->name = *name;
    h->fd = fd;
    h->place = place;
    h->writable = place == CACHE_PARTIAL && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
    // The file's own time says when it was last touched, by whichever process.
    if (st.st_mtime + CACHE_TOUCH_SECONDS > io_realtime_seconds())
        h->touched_ns = io_monotonic_ns();
    return list_handle(c, h);
}

// mtime says "used lately" to whoever evicts (rule 3 of cache.h).
static void touch(struct cache_handle *h)
{
    uint64_t now = io_monotonic_ns(), before = atomic_load(&h->touched_ns);
    if (before && now - before < CACHE_TOUCH_SECONDS * NS_PER_SECOND)
        return;
    if (atomic_compare_exchange_strong(&h->touched_ns, &before, now))
        futimens(h->fd, NULL); // a failure costs nothing but a better order of eviction
}

struct cache_handle *cache_acquire_handle(struct cache *c, const struct sha256 *name, bool write, int *ret_reason)
{
    cache_sweep_handles(c, false);
    pthread_mutex_lock(&c->mutex);
    struct cache_handle *h = find_listed(c, name);
    if (h) {
        h->users++;
        h->used = ++c->clock;
    }
    pthread_mutex_unlock(&c->mutex);
    if (!h)
        h = open_handle(c, name, write, ret_reason);
    if (h)
        touch(h);
    return h;
}

void cache_release_handle(struct cache *c, struct cache_handle *h)
{
    pthread_mutex_lock(&c->mutex);
    bool last = --h->users == 0 && !h->listed;
    pthread_mutex_unlock(&c->mutex);
    if (last)
        close_handle(h);
}

void cache_forget_handle(struct cache *c, const struct sha256 *name)
{
    struct cache_handle *unwanted = NULL;
    pthread_mutex_lock(&c->mutex);
    for (unsigned i = 0; i < c->handle_count; i++)
        if (sha256_equal(&c->handles[i]->name, name)) {
            if (c->handles[i]->users == 0)
                unwanted = c->handles[i];
            unlist_at(c, i);
            break;
        }
    pthread_mutex_unlock(&c->mutex);
    close_handle(unwanted);
}

void cache_sweep_handles(struct cache *c, bool now)
{
    struct cache_handle *kept[CACHE_HANDLES_MAXIMUM];
    unsigned count = 0;
    uint64_t time = io_monotonic_ns();

    pthread_mutex_lock(&c->mutex);
    if (now || time - c->swept_ns >= SWEEP_SECONDS * NS_PER_SECOND) {
        c->swept_ns = time;
        count = c->handle_count;
        for (unsigned i = 0; i < count; i++) {
            kept[i] = c->handles[i];
            kept[i]->users++;
        }
    }
    pthread_mutex_unlock(&c->mutex);
    for (unsigned i = 0; i < count; i++) {
        struct stat st;
        if (!cache_is_ours(kept[i]->fd, &st)) {
            pthread_mutex_lock(&c->mutex);
            for (unsigned k = 0; k < c->handle_count; k++)
                if (c->handles[k] == kept[i]) {
                    unlist_at(c, k);
                    break;
                }
            pthread_mutex_unlock(&c->mutex);
        }
        cache_release_handle(c, kept[i]);
    }
}
