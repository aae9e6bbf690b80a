// Pins: <dir>/pins/<manifest> is the pin of a version. The manifest itself is pinned by the file's name.
//
//   owner pull                          lines, one for each owner; a file without any is the pull's
//   owner /home/me/…/instances/debian
//   3fdb…                               the name of each object that the version needs, one a line
//
//   1. Pins change and are read for eviction under the lock, so an eviction sees all of a pin or nothing.
//   2. A pin file that cannot be read stops eviction: a pinned object is never taken by mistake. A line that is not a
//      name is skipped, since it cannot name an object.
//   3. An owner that is a folder is gone when that is not there and the folder above it is: a home that is not mounted
//      at present has lost no machine. Whoever writes a pin anew leaves owners out that are gone.
//   4. The file is there as long as it has an owner; so that all of a version is in the cache is seen by one stat.
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/text.h"
#include "blockstore/cache_private.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "base/banned.h"

#define OWNER_PREFIX "owner "
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

// --- one pin -------------------------------------------------------------------------------------------------------

static bool next_line(struct slice *rest, struct slice *ret_line)
{
    const char *end = rest->length ? memchr(rest->at, '\n', rest->length) : NULL;
    if (!end)
        return false;
    *ret_line = (struct slice){.at = rest->at, .length = (size_t)(end - rest->at)};
    rest->length -= ret_line->length + 1;
    rest->at = end + 1;
    return true;
}

// The owner that a line names.
static bool parse_owner(struct slice line, struct slice *ret_owner)
{
    if (!slice_starts(line, OWNER_PREFIX))
        return false;
    *ret_owner = (struct slice){.at = line.at + strlen(OWNER_PREFIX), .length = line.length - strlen(OWNER_PREFIX)};
    return true;
}

static bool is_owner(const char *owner)
{
    return strcmp(owner, CACHE_OWNER_PULL) == 0 ||
           (owner[0] == '/' && owner[1] && strlen(owner) < PATH_MAX && !strchr(owner, '\n'));
}

// Rule 3. Of anything else than a folder we do not know.
static bool is_gone(struct slice owner)
{
    char path[PATH_MAX];
    struct stat st;
    if (owner.length == 0 || owner.length >= sizeof(path) || owner.at[0] != '/')
        return false;
    memcpy(path, owner.at, owner.length);
    path[owner.length] = '\0';
    if (stat(path, &st) == 0 || errno != ENOENT)
        return false;
    *strrchr(path, '/') = '\0';
    return stat(path[0] ? path : "/", &st) == 0;
}

// A pin's file; `text` is all of it.
struct pin {
    char *bytes; // malloc'ed
    struct slice text;
    char hex[SHA256_HEX_SIZE];
};

static void pin_free(struct pin *p)
{
    free(p->bytes);
}

static int read_pin(struct cache *c, const struct sha256 *manifest, struct pin *ret)
{
    void *bytes;
    size_t n;
    sha256_to_hex(manifest, ret->hex);
    int r = c->pins < 0 ? -ENOENT : io_read_file(c->pins, ret->hex, PIN_FILE_MAXIMUM, &bytes, &n);
    if (r == 0) {
        ret->bytes = bytes;
        ret->text = (struct slice){.at = ret->bytes, .length = n};
    }
    return r;
}

static bool has_owner(const struct pin *p, const char *owner)
{
    struct slice rest = p->text, line, found;
    bool any = false;
    while (next_line(&rest, &line))
        if (parse_owner(line, &found)) {
            if (slice_equal(found, owner))
                return true;
            any = true;
        }
    return !any && strcmp(owner, CACHE_OWNER_PULL) == 0;
}

struct change {
    const char *add, *drop; // owners, or NULL
    const struct sha256 *objects;
    size_t count; // with `replace`: what takes the place of the old list
    bool replace;
};

// The owners who stay, and the new one. *ret_same: they are those of before.
static int write_owners(const struct pin *old, const struct change *change, struct buf *to, bool *ret_same)
{
    struct slice rest = old->text, line, owner;
    bool any = false;
    int r = 0;
    *ret_same = true;
    while (r == 0 && next_line(&rest, &line)) {
        if (!parse_owner(line, &owner))
            continue;
        any = true;
        if ((change->drop && slice_equal(owner, change->drop)) || is_gone(owner))
            *ret_same = false;
        else if (!change->add || !slice_equal(owner, change->add))
            r = buf_append_format(to, OWNER_PREFIX "%.*s\n", SLICE_ARGUMENTS(owner));
    }
    // A pin without owners is the pull's; an empty one is none yet.
    bool pulls = !any && old->bytes && !(change->drop && strcmp(change->drop, CACHE_OWNER_PULL) == 0);
    if (r == 0 && pulls && !(change->add && strcmp(change->add, CACHE_OWNER_PULL) == 0))
        r = buf_append_format(to, OWNER_PREFIX CACHE_OWNER_PULL "\n");
    *ret_same = *ret_same && (any || pulls);
    if (r == 0 && change->add) {
        *ret_same = *ret_same && has_owner(old, change->add);
        r = buf_append_format(to, OWNER_PREFIX "%s\n", change->add);
    }
    return r;
}

static int write_objects(const struct pin *old, const struct change *change, struct buf *to)
{
    struct slice rest = old->text, line, owner;
    char hex[SHA256_HEX_SIZE];
    int r = 0;
    for (size_t i = 0; change->replace && i < change->count && r == 0; i++) {
        sha256_to_hex(&change->objects[i], hex);
        hex[PIN_LINE_SIZE - 1] = '\n';
        r = buf_append(to, hex, PIN_LINE_SIZE);
    }
    while (!change->replace && r == 0 && next_line(&rest, &line))
        if (!parse_owner(line, &owner))
            r = buf_append(to, line.at, line.length + 1);
    return r;
}

// With the lock. What is left without an owner goes.
static int change_pin(struct cache *c, const struct pin *old, const struct change *change)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PIN_FILE_MAXIMUM);
    bool same;
    int r = write_owners(old, change, &text, &same);
    if (r < 0 || (same && !change->replace))
        return r;
    if (text.size == 0)
        return io->unlinkat(c->pins, old->hex, 0) < 0 && errno != ENOENT ? -errno : 0;
    r = write_objects(old, change, &text);
    return r < 0 ? r : io_replace_file(c->pins, old->hex, text.data, text.size, 0600);
}

static int change_owner(struct cache *c, const struct sha256 *manifest, const struct change *change,
                        struct error *error)
{
    struct pin pin CLEANUP(pin_free) = {.bytes = NULL};
    if (change->add && !is_owner(change->add))
        return error_set(error, EINVAL, "\"%s\" cannot own what is pinned", change->add);
    int lock CLEANUP_CLOSE = lock_for_pins(c, error);
    if (lock < 0)
        return lock;
    int r = read_pin(c, manifest, &pin);
    if ((r == -ENOENT && !change->replace) || (r == 0 && change->drop && !has_owner(&pin, change->drop)))
        return error_set(error, ENOENT, "version %.12s… is not pinned", pin.hex);
    if (r == 0 || r == -ENOENT)
        r = change_pin(c, &pin, change);
    return r < 0 ? error_set(error, -r, "cannot change %s/pins/%s: %s", c->folder, pin.hex, strerror(-r)) : 0;
}

int cache_pin(struct cache *c, const struct sha256 *manifest, const char *owner, const struct sha256 *objects,
              size_t count, struct error *error)
{
    return change_owner(c, manifest,
                        &(struct change){.add = owner, .objects = objects, .count = count, .replace = true}, error);
}

int cache_join_pin(struct cache *c, const struct sha256 *manifest, const char *owner, struct error *error)
{
    return change_owner(c, manifest, &(struct change){.add = owner}, error);
}

int cache_unpin(struct cache *c, const struct sha256 *manifest, const char *owner, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    if (owner)
        return change_owner(c, manifest, &(struct change){.drop = owner}, error);
    int lock CLEANUP_CLOSE = lock_for_pins(c, error);
    if (lock < 0)
        return lock;
    if (io->unlinkat(c->pins, sha256_to_hex(manifest, hex), 0) < 0)
        return error_set(error, errno, "cannot unpin %s: %s", hex, strerror(errno));
    return 0;
}

bool cache_is_pinned(struct cache *c, const struct sha256 *manifest, const char *owner)
{
    struct pin pin CLEANUP(pin_free) = {.bytes = NULL};
    char hex[SHA256_HEX_SIZE];
    struct stat st;
    if (owner)
        return read_pin(c, manifest, &pin) == 0 && has_owner(&pin, owner);
    return c->pins >= 0 && fstatat(c->pins, sha256_to_hex(manifest, hex), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode);
}

struct pin_walk {
    struct cache *cache;
    const char *owner;
    int (*each)(void *context, const struct sha256 *manifest);
    void *context;
};

static int walk_pin(void *context, int folder, const char *entry)
{
    const struct pin_walk *w = context;
    struct sha256 manifest;
    (void)folder;
    if (!sha256_from_hex(entry, strlen(entry), &manifest) ||
        (w->owner && !cache_is_pinned(w->cache, &manifest, w->owner)))
        return 0;
    return w->each(w->context, &manifest);
}

int cache_walk_pins(struct cache *c, const char *owner, int (*each)(void *context, const struct sha256 *manifest),
                    void *context)
{
    struct pin_walk w = {.cache = c, .owner = owner, .each = each, .context = context};
    return c->pins < 0 ? 0 : folder_walk(c->pins, ".", walk_pin, &w);
}

struct other_pins {
    struct cache *cache;
    const struct sha256 *manifest;
    const char *owner;
};

static int unpin_other(void *context, const struct sha256 *manifest)
{
    const struct other_pins *o = context;
    if (!sha256_equal(manifest, o->manifest))
        (void)cache_unpin(o->cache, manifest, o->owner, NULL); // where that fails, the next call does it
    return 0;
}

void cache_unpin_others(struct cache *c, const struct sha256 *manifest, const char *owner)
{
    struct other_pins o = {.cache = c, .manifest = manifest, .owner = owner};
    (void)cache_walk_pins(c, owner, unpin_other, &o);
}

// --- for eviction --------------------------------------------------------------------------------------------------

static int sweep_pin(void *context, const struct sha256 *manifest)
{
    struct cache *c = context;
    struct pin pin CLEANUP(pin_free) = {.bytes = NULL};
    if (read_pin(c, manifest, &pin) == 0)
        change_pin(c, &pin, &(struct change){.add = NULL}); // if that fails it is tried again with the next eviction
    return 0;
}

void cache_sweep_pins(struct cache *c)
{
    cache_walk_pins(c, NULL, sweep_pin, c);
}

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
    struct slice rest = {.at = bytes, .length = n}, line;
    while (next_line(&rest, &line))
        if (sha256_from_hex(line.at, line.length, &name) && (r = add_name(names, &name)) < 0)
            return r;
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
