// The size of the cache: counting its files, and unlinking the least recently used.
//
//   1. Every walk opens each folder of two digits by itself, without following links, and looks at regular files of
//      ours only.
//   2. Files are unlinked under the lock; who waits for it here waits only if a person asked (cache_evict).
//   3. Counting is not free, so it is done after so many bytes written: an eighth of the room that was left, which
//      keeps several processes within the limit, at least COUNT_STEP_MINIMUM. Evicting makes room for a sixteenth of
//      the limit, so that it is rare.
//   4. A pack that is just being written (`except`) is spared, so that a small cache does not eat its own meal.
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/log.h"
#include "blockstore/cache_private.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/banned.h"

#define COUNT_STEP_MINIMUM (1u << 20)
#define COUNT_STEP_MAXIMUM (256u << 20)
#define EVICT_WAIT_MS 10000u
#define SWEEP_AGE_SECONDS 60 // a temporary that was just made may not be locked yet

struct cache_file {
    struct sha256 name;
    enum cache_place place;
    struct timespec used; // its mtime
    uint64_t bytes;       // that it takes on the disk
    bool pinned;
};

struct cache_walk {
    struct cache_file *files; // malloc'ed
    size_t count, capacity;
    uint64_t bytes, pinned_bytes; // temporaries included in the first
    enum cache_place place;       // that is walked
};

// --- the walk ------------------------------------------------------------------------------------------------------

static int add_file(struct cache_walk *w, const struct cache_file *file)
{
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? w->capacity * 2 : 1024;
        struct cache_file *files = realloc(w->files, capacity * sizeof(*files));
        if (!files)
            return -ENOMEM;
        w->files = files;
        w->capacity = capacity;
    }
    w->files[w->count++] = *file;
    w->bytes += file->bytes;
    return 0;
}

static bool stat_own_file(int folder, const char *name, struct stat *ret)
{
    return fstatat(folder, name, ret, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret->st_mode) && ret->st_uid == geteuid();
}

static int walk_file(void *context, int folder, const char *name)
{
    struct cache_walk *w = context;
    struct cache_file file = {.place = w->place};
    struct stat st;
    if (!sha256_from_hex(name, strlen(name), &file.name) || !stat_own_file(folder, name, &st))
        return 0;
    file.used = st.st_mtim;
    file.bytes = (uint64_t)st.st_blocks * 512;
    return add_file(w, &file);
}

static bool is_folder_name(const char *name)
{
    return strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2;
}

static int walk_folder(void *context, int folder, const char *name)
{
    struct cache_walk *w = context;
    struct stat st;
    if (is_folder_name(name)) {
        int r = folder_walk(folder, name, walk_file, w);
        return r == -ENOMEM ? r : 0; // what is not a folder of ours holds nothing of ours
    }
    if (stat_own_file(folder, name, &st))
        w->bytes += (uint64_t)st.st_blocks * 512;
    return 0;
}

static int walk_place(struct cache *c, struct cache_walk *w, enum cache_place place)
{
    w->place = place;
    return c->places[place] < 0 ? 0 : folder_walk(c->places[place], ".", walk_folder, w);
}

static int walk(struct cache *c, struct cache_walk *w)
{
    struct sha256 *pins CLEANUP_FREE = NULL;
    size_t count;
    int r = cache_load_pins(c, &pins, &count);
    if (r == 0)
        r = walk_place(c, w, CACHE_PARTIAL);
    if (r == 0)
        r = walk_place(c, w, CACHE_OBJECTS);
    if (r < 0)
        return r;
    for (size_t i = 0; i < w->count; i++) {
        w->files[i].pinned = cache_find_pin(pins, count, &w->files[i].name);
        if (w->files[i].pinned)
            w->pinned_bytes += w->files[i].bytes;
    }
    return 0;
}

static void walk_free(struct cache_walk *w)
{
    free(w->files);
}

int cache_measure(struct cache *c, struct cache_usage *ret)
{
    struct cache_walk w CLEANUP(walk_free) = {0};
    int r = walk(c, &w);
    if (r < 0)
        return r;
    *ret = (struct cache_usage){.bytes = w.bytes, .pinned_bytes = w.pinned_bytes, .files = w.count};
    return 0;
}

static bool is_left_over(int folder, const char *name)
{
    struct stat st;
    if (!stat_own_file(folder, name, &st) || st.st_mtime + SWEEP_AGE_SECONDS > io_realtime_seconds())
        return false;
    int fd CLEANUP_CLOSE = io_open(folder, name, O_RDONLY | O_NONBLOCK, 0);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static int sweep_file(void *prefix, int folder, const char *name)
{
    if (strncmp(name, prefix, strlen(prefix)) == 0 && is_left_over(folder, name))
        io->unlinkat(folder, name, 0); // what stays costs space only
    return 0;
}

void cache_sweep_temporaries(struct cache *c)
{
    char pack[] = CACHE_TEMPORARY_PREFIX, other[] = IO_TEMPORARY_PREFIX;
    if (c->places[CACHE_PARTIAL] >= 0)
        (void)folder_walk(c->places[CACHE_PARTIAL], ".", sweep_file, pack);
    if (c->pins >= 0)
        (void)folder_walk(c->pins, ".", sweep_file, other);
}

// --- eviction ------------------------------------------------------------------------------------------------------

static int compare_used(const void *pa, const void *pb)
{
    const struct cache_file *a = pa, *b = pb;
    if (a->used.tv_sec != b->used.tv_sec)
        return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
    return (a->used.tv_nsec > b->used.tv_nsec) - (a->used.tv_nsec < b->used.tv_nsec);
}

static bool unlink_file(struct cache *c, const struct cache_file *file)
{
    char hex[SHA256_HEX_SIZE];
    int folder CLEANUP_CLOSE = cache_open_folder(c, file->place, &file->name, false);
    return folder >= 0 && io->unlinkat(folder, sha256_to_hex(&file->name, hex), 0) == 0;
}

// With the lock held: unlinks until at most `limit` bytes stay; *ret_left is what stays.
static int evict_locked(struct cache *c, uint64_t trigger, uint64_t limit, const struct sha256 *except,
                        uint64_t *ret_freed, uint64_t *ret_left)
{
    struct cache_walk w CLEANUP(walk_free) = {0};
    uint64_t freed = 0;

    int r = walk(c, &w);
    if (r < 0)
        return r;
    if (w.bytes > trigger && w.count > 0)
        qsort(w.files, w.count, sizeof(*w.files), compare_used);
    else
        limit = UINT64_MAX;
    for (size_t i = 0; i < w.count && w.bytes - freed > limit; i++) {
        const struct cache_file *file = &w.files[i];
        if (!file->pinned && !(except && sha256_equal(&file->name, except)) && unlink_file(c, file))
            freed += file->bytes;
    }
    *ret_freed = freed;
    *ret_left = w.bytes - freed;
    return 0;
}

int cache_evict(struct cache *c, uint64_t limit, uint64_t *ret_freed, struct error *error)
{
    uint64_t freed, left;
    int lock CLEANUP_CLOSE = cache_lock(c, EVICT_WAIT_MS);
    if (lock < 0)
        return error_set(error, -lock, "cannot lock the cache %s: %s", c->folder,
                         lock == -EBUSY ? "another process is cleaning it" : strerror(-lock));
    int r = evict_locked(c, limit, limit, NULL, &freed, &left);
    if (r < 0)
        return error_set(error, -r, "cannot clean the cache %s: %s", c->folder, strerror(-r));
    cache_sweep_handles(c, true);
    *ret_freed = freed;
    return 0;
}

bool cache_make_room(struct cache *c, uint64_t need, const struct sha256 *except)
{
    struct cache_usage usage;
    uint64_t freed, left;
    int lock CLEANUP_CLOSE = cache_lock(c, 0);
    if (lock < 0 || cache_measure(c, &usage) < 0)
        return false;
    uint64_t limit = usage.bytes > need ? usage.bytes - need : 0;
    if (evict_locked(c, limit, limit, except, &freed, &left) < 0 || freed == 0)
        return false;
    cache_sweep_handles(c, true); // an unlinked file's space is free only when nobody has it open
    log_debug("the disk of the cache %s is full: evicted %llu bytes", c->folder, (unsigned long long)freed);
    return true;
}

void cache_account(struct cache *c, uint64_t n, const struct sha256 *except)
{
    uint64_t written = atomic_fetch_add(&c->written, n) + n;
    if (written < atomic_load(&c->count_after) || !atomic_compare_exchange_strong(&c->written, &written, 0))
        return;
    uint64_t freed, left;
    int lock CLEANUP_CLOSE = cache_lock(c, 0);
    if (lock == -EBUSY)
        atomic_fetch_add(&c->written, written); // somebody else is doing this work: it is looked at with the next write
    if (lock < 0)
        return;
    int r = evict_locked(c, c->limit, c->limit - c->limit / 16, except, &freed, &left);
    if (r < 0) {
        if (!atomic_exchange(&c->warned_of_growth, true))
            log_warning("the cache %s cannot be kept within its limit: what is in it, or pinned, cannot be listed (%s)",
                        c->folder, strerror(-r));
        return;
    }
    if (freed > 0)
        cache_sweep_handles(c, true);
    uint64_t step = left < c->limit ? (c->limit - left) / 8 : 0;
    step = step < COUNT_STEP_MINIMUM ? COUNT_STEP_MINIMUM : step;
    atomic_store(&c->count_after, step > COUNT_STEP_MAXIMUM ? COUNT_STEP_MAXIMUM : step);
}
