// Pins: <dir>/pins/<manifest> lists the objects of a pinned version, one name a line. The manifest itself is pinned by
// the file's name.
//
//   1. Pins change and are read for eviction under the lock, so an eviction sees all of a pin or nothing.
//   2. A pin file that cannot be read stops eviction: a pinned object is never taken by mistake. A line that is not a
//      name is skipped, since it cannot name an object.
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "blockstore/cache_private.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "base/banned.h"

#define PIN_LINE_SIZE (SHA256_HEX_SIZE) // 64 digits and a newline
#define PIN_FILE_MAXIMUM (256u << 20)   // 4 million objects: more than 16 TiB in packs of the target size
#define LOCK_WAIT_MS 10000u
#define LOCK_STEP_MS 20u

int cache_lock(struct cache *c, unsigned wait_ms)
{
    int fd = io_open(c->dir, "lock", O_RDWR | O_CREAT, 0600);
    while ((fd == -EMFILE || fd == -ENFILE) && cache_close_idle_handle(c))
        fd = io_open(c->dir, "lock", O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    for (unsigned waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_STEP_MS) {
        int r = -errno;
        if ((r != -EWOULDBLOCK && r != -EINTR) || waited >= wait_ms) {
            close(fd);
            return r == -EWOULDBLOCK ? -EBUSY : r;
        }
        struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000l};
        nanosleep(&step, NULL);
    }
    return fd;
}

static int lock_for_pins(struct cache *c, struct error *error)
{
    if (c->pins < 0)
        return error_set(error, EROFS, "the cache %s cannot be written, so nothing can be pinned in it", c->folder);
    int lock = cache_lock(c, LOCK_WAIT_MS);
    if (lock < 0)
        return error_set(error, -lock, "cannot lock the cache %s: %s", c->folder,
                         lock == -EBUSY ? "another process is cleaning it" : strerror(-lock));
    return lock;
}

int cache_pin(struct cache *c, const struct sha256 *manifest, const struct sha256 *objects, size_t count,
              struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PIN_FILE_MAXIMUM);
    char hex[SHA256_HEX_SIZE];

    for (size_t i = 0; i < count; i++) {
        sha256_to_hex(&objects[i], hex);
        hex[PIN_LINE_SIZE - 1] = '\n';
        int r = buf_append(&text, hex, PIN_LINE_SIZE);
        if (r < 0)
            return error_set(error, -r, "cannot pin %zu objects: %s", count, strerror(-r));
    }
    int lock CLEANUP_CLOSE = lock_for_pins(c, error);
    if (lock < 0)
        return lock;
    int r = io_replace_file(c->pins, sha256_to_hex(manifest, hex), text.data ? (const void *)text.data : "", text.size,
                            0600);
    return r < 0 ? error_set(error, -r, "cannot write %s/pins/%s: %s", c->folder, hex, strerror(-r)) : 0;
}

int cache_unpin(struct cache *c, const struct sha256 *manifest, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    int lock CLEANUP_CLOSE = lock_for_pins(c, error);
    if (lock < 0)
        return lock;
    if (io->unlinkat(c->pins, sha256_to_hex(manifest, hex), 0) < 0)
        return error_set(error, errno, "cannot unpin %s: %s", hex, strerror(errno));
    return 0;
}

bool cache_is_pinned(struct cache *c, const struct sha256 *manifest)
{
    char hex[SHA256_HEX_SIZE];
    struct stat st;
    return c->pins >= 0 && fstatat(c->pins, sha256_to_hex(manifest, hex), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode);
}

struct pin_walk {
    int (*each)(void *context, const struct sha256 *manifest);
    void *context;
};

static int walk_pin(void *context, int folder, const char *entry)
{
    const struct pin_walk *w = context;
    struct sha256 manifest;
    (void)folder;
    return sha256_from_hex(entry, strlen(entry), &manifest) ? w->each(w->context, &manifest) : 0;
}

int cache_walk_pins(struct cache *c, int (*each)(void *context, const struct sha256 *manifest), void *context)
{
    struct pin_walk w = {.each = each, .context = context};
    return c->pins < 0 ? 0 : folder_walk(c->pins, ".", walk_pin, &w);
}

// --- for eviction --------------------------------------------------------------------------------------------------

static int add_name(struct buf *names, const struct sha256 *name)
{
    return buf_append(names, name->bytes, SHA256_SIZE);
}

static int load_pin(void *context, int folder, const char *file)
{
    struct buf *names = context;
    struct sha256 name;
    void *bytes CLEANUP_FREE = NULL;
    size_t n = 0;

    if (!sha256_from_hex(file, strlen(file), &name))
        return 0; // a temporary name
    int r = add_name(names, &name);
    if (r == 0)
        r = io_read_file(folder, file, PIN_FILE_MAXIMUM, &bytes, &n);
    if (r < 0)
        return r == -ENOENT ? 0 : r; // gone meanwhile: only when somebody works around the lock
    const char *at = bytes;
    for (const char *end; n > 0; n -= (size_t)(end + 1 - at), at = end + 1) {
        end = memchr(at, '\n', n);
        if (!end)
            break;
        if (sha256_from_hex(at, (size_t)(end - at), &name) && (r = add_name(names, &name)) < 0)
            return r;
    }
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return memcmp(a, b, SHA256_SIZE);
}

int cache_load_pins(struct cache *c, struct sha256 **ret, size_t *ret_count)
{
    struct buf names CLEANUP(buf_free) = BUF_WITH_MAXIMUM((size_t)1 << 31);
    int r = c->pins < 0 ? 0 : folder_walk(c->pins, ".", load_pin, &names);
    if (r < 0)
        return r;
    *ret_count = names.size / SHA256_SIZE;
    if (names.size > 0)
        qsort(names.data, *ret_count, SHA256_SIZE, compare_names);
    *ret = (struct sha256 *)TAKE_PTR(names.data); // bytes only: any alignment will do
    return 0;
}

bool cache_find_pin(const struct sha256 *pins, size_t count, const struct sha256 *name)
{
    return count > 0 && bsearch(name, pins, count, SHA256_SIZE, compare_names) != NULL;
}
