// The cache, as its users see it: opening the folder, reading and writing pieces of packs.
//
// The numbered rules are cache.h's. Where each is kept:
//   1. here nothing is checked but lengths; the caller hashes. Unverified bytes are never written to a pack's file:
//      cache_write is for verified ones, and a whole pack arrives through a stream (cache_object.c)
//   2. cache_read
//   3. cache_evict.c; mtime in cache_handle.c; st_nlink in cache_write and cache_read
//   4. cache_account (cache_evict.c) counts the files after so many bytes written
//   5. cache_note_failure; a full disk is first answered by evicting, then by a pause of PAUSE_SECONDS
//   6. each folder below <dir> is opened by itself with O_NOFOLLOW, and each file in it likewise
//
// Locks: `mutex` guards the table of handles and is never held during I/O. The lock file guards eviction and pins
// among processes, and among threads too, since each use opens it anew.
#include "blockstore/cache.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "blockstore/cache_private.h"
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/banned.h"

#define PAUSE_SECONDS 5
#define FIRST_COUNT_AFTER (1u << 20) // bytes written before the files are first counted

static const char *const place_names[2] = {[CACHE_PARTIAL] = "partial", [CACHE_OBJECTS] = "objects"};

const char *cache_folder(const struct cache *c)
{
    return c->folder;
}

uint64_t cache_limit(const struct cache *c)
{
    return c->limit;
}

int cache_write_failure(const struct cache *c)
{
    return atomic_load(&c->failure);
}

// --- opening -------------------------------------------------------------------------------------------------------

// A folder of ours. It may be absent where it cannot be made (a read-only disk): *ret_fd is then −1.
static int open_own_folder(struct cache *c, const char *name, int *ret_fd, struct error *error)
{
    int fd = io_open(c->dir, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -ENOENT) {
        if (io->mkdirat(c->dir, name, 0700) < 0 && errno != EEXIST) {
            cache_note_failure(c, -errno);
            *ret_fd = -1;
            return 0;
        }
        fd = io_open(c->dir, name, O_RDONLY | O_DIRECTORY, 0);
    }
    if (fd < 0)
        return error_set(error, -fd, "%s/%s is not a folder that can be used (%s); remove it", c->folder, name,
                         strerror(-fd));
    struct stat st;
    if (io->fstat(fd, &st) < 0 || st.st_uid != geteuid()) {
        close(fd);
        return error_set(error, EPERM, "%s/%s belongs to another user; name another cache with RONDO_CACHE", c->folder,
                         name);
    }
    *ret_fd = fd;
    return 0;
}

static int open_folders(struct cache *c, struct error *error)
{
    int r = io_make_folders(AT_FDCWD, c->folder, 0700);
    if (r == 0) {
        c->dir = open(c->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = c->dir < 0 ? -errno : 0;
    }
    if (r < 0)
        return error_set(error, -r, "cannot use %s as the cache (%s); name another with RONDO_CACHE", c->folder,
                         strerror(-r));
    struct stat st;
    if (io->fstat(c->dir, &st) < 0 || st.st_uid != geteuid())
        return error_set(error, EPERM, "%s belongs to another user; name another cache with RONDO_CACHE", c->folder);
    for (int i = 0; i < 2; i++) {
        r = open_own_folder(c, place_names[i], &c->places[i], error);
        if (r < 0)
            return r;
    }
    r = open_own_folder(c, "pins", &c->pins, error);
    return r < 0 ? r : open_own_folder(c, "leases", &c->leases, error);
}

// How many packs may stay open.
static unsigned count_handles(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur / 4 >= CACHE_HANDLES_MAXIMUM)
        return CACHE_HANDLES_MAXIMUM;
    return limit.rlim_cur / 4 > 0 ? (unsigned)(limit.rlim_cur / 4) : 1;
}

int cache_open(const char *dir, uint64_t limit, struct cache **ret, struct error *error)
{
    struct cache *c = calloc(1, sizeof(*c));
    if (!c)
        return error_set(error, ENOMEM, "out of memory");
    pthread_mutex_init(&c->mutex, NULL);
    c->dir = c->places[0] = c->places[1] = c->pins = c->leases = -1;
    c->limit = limit ? limit : CACHE_LIMIT_DEFAULT;
    c->count_after = FIRST_COUNT_AFTER;
    c->handle_maximum = count_handles();
    c->folder = strdup(dir);
    int r = c->folder ? open_folders(c, error) : error_set(error, ENOMEM, "out of memory");
    if (r < 0) {
        cache_close(c);
        return r;
    }
    cache_sweep_temporaries(c);
    *ret = c;
    return 0;
}

void cache_close(struct cache *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < c->handle_count; i++) {
        close(c->handles[i]->fd); // its bytes are only worth what they hash to
        free(c->handles[i]);
    }
    int *fds[] = {&c->dir, &c->places[0], &c->places[1], &c->pins, &c->leases};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        cleanup_close(fds[i]);
    pthread_mutex_destroy(&c->mutex);
    free(c->folder);
    free(c);
}

// --- pieces of packs -----------------------------------------------------------------------------------------------

bool cache_looks_absent(int result, const void *bytes, size_t n)
{
    return result == -ENODATA || (result == 0 && n > 0 && *(const unsigned char *)bytes == 0);
}

// What one attempt saw in the file: bytes, nothing, nothing in a file that is no longer linked, or nothing in one that
// should be whole.
enum seen { SEEN_BYTES, SEEN_NOTHING, SEEN_STALE, SEEN_TORN };

static int read_once(struct cache *c, const struct sha256 *pack, uint64_t offset, void *to, size_t n,
                     enum seen *ret_seen)
{
    int reason; // no descriptor, no memory: that says nothing about the pack's bytes
    struct cache_handle *h = cache_acquire_handle(c, pack, false, &reason);
    if (!h)
        return -ENOENT;
    int r = io_read_full(h->fd, to, n, offset);
    struct stat st;
    if (cache_looks_absent(r, to, n))
        *ret_seen = !cache_is_ours(h->fd, &st) ? SEEN_STALE : h->place == CACHE_OBJECTS ? SEEN_TORN : SEEN_NOTHING;
    cache_release_handle(c, h);
    return r;
}

int cache_read(struct cache *c, const struct sha256 *pack, uint64_t offset, void *to, size_t n)
{
    enum seen seen = SEEN_BYTES;
    int r = read_once(c, pack, offset, to, n, &seen);
    if (seen == SEEN_STALE) {
        // The file was evicted, or replaced by another process that has the whole pack.
        cache_forget_handle(c, pack);
        seen = SEEN_BYTES;
        r = read_once(c, pack, offset, to, n, &seen);
    }
    if (seen == SEEN_TORN)
        cache_distrust(c, pack); // power was lost before its bytes were on the disk
    if (seen != SEEN_BYTES || r == -ENOENT)
        return -ENOENT;
    return r == 0 ? 0 : -EIO;
}

void cache_note_failure(struct cache *c, int result)
{
    atomic_store(&c->failure, result);
    if (result == -ENOSPC || result == -EDQUOT)
        atomic_store(&c->paused_until, io_monotonic_ns() + PAUSE_SECONDS * 1000000000ull);
    if (!atomic_exchange(&c->warned, true))
        log_warning("cannot write to the cache %s (%s); what is fetched is not kept", c->folder, strerror(-result));
}

// A reader may have listed the file without being able to open it for writing. Who writes puts another in its place.
static struct cache_handle *acquire_for_writing(struct cache *c, const struct sha256 *pack, int *ret_reason)
{
    struct cache_handle *h = cache_acquire_handle(c, pack, true, ret_reason);
    if (!h || h->place == CACHE_OBJECTS || h->writable)
        return h;
    cache_release_handle(c, h);
    cache_forget_handle(c, pack);
    h = cache_acquire_handle(c, pack, true, ret_reason);
    if (!h || h->place == CACHE_OBJECTS || h->writable)
        return h;
    cache_release_handle(c, h); // another reader was faster
    *ret_reason = -EROFS;
    return NULL;
}

void cache_write(struct cache *c, const struct sha256 *pack, uint32_t pack_size, uint64_t offset, const void *bytes,
                 size_t n)
{
    if (n == 0 || offset > pack_size || n > pack_size - offset)
        return;
    if (io_monotonic_ns() < atomic_load(&c->paused_until))
        return;
    int r;
    struct cache_handle *h = acquire_for_writing(c, pack, &r);
    if (!h && (r == -ENOSPC || r == -EDQUOT) && cache_make_room(c, pack_size, pack))
        h = acquire_for_writing(c, pack, &r);
    if (!h) {
        cache_note_failure(c, r);
        return;
    }
    r = 0;
    if (h->place == CACHE_PARTIAL) {
        r = io_write_full(h->fd, bytes, n, offset);
        if ((r == -ENOSPC || r == -EDQUOT) && cache_make_room(c, pack_size, pack))
            r = io_write_full(h->fd, bytes, n, offset);
    }
    struct stat st;
    bool lost = !cache_is_ours(h->fd, &st); // rule 3
    bool written = r == 0 && h->place == CACHE_PARTIAL;
    cache_release_handle(c, h);
    if (lost)
        cache_forget_handle(c, pack);
    if (r < 0)
        cache_note_failure(c, r);
    else if (written)
        cache_account(c, n, pack);
}
