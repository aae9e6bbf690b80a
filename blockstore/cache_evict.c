// The size of the cache: unlinking the least recently used files.
//
//   1. Files are unlinked under the lock; who waits for it here waits only if a person asked (cache_collect).
//   2. Counting is not free, so it is done after so many bytes written: an eighth of the room that was left, which
//      keeps several processes within the limit, at least COUNT_STEP_MINIMUM. Evicting makes room for a sixteenth of
//      the limit, so that it is rare.
//   3. A pack that is just being written (`except`) is spared, so that a small cache does not eat its own meal.
//   4. What a lease protects (cache_lease.c) is evicted last where the limit has to hold, and never where a person
//   asked.
//   5. A version that is opened while a person's eviction goes on is noticed by its new lease before the next file
//   goes:
//      the eviction then begins anew.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "blockstore/cache_private.h"
#include <string.h>

#include "base/banned.h"

#define COUNT_STEP_MINIMUM (1u << 20)
#define COUNT_STEP_MAXIMUM (256u << 20)
#define COLLECT_WAIT_MS 10000u
#define COLLECT_ATTEMPTS 16u
#define PARTIAL_AGE_SECONDS 86400 // of an incomplete pack that nobody used since

static int compare_files(const void *pa, const void *pb)
{
    const struct cache_file *a = pa, *b = pb;
    if (a->claim != b->claim)
        return a->claim < b->claim ? -1 : 1;
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

// Marks what leases, and the versions of these names, need.
static int mark_needed(struct cache *c, struct cache_walk *w, const struct sha256 *manifests, size_t count,
                       struct error *error)
{
    struct needs *needs;
    int r = needs_new(&needs, error);
    if (r < 0)
        return r;
    r = cache_add_leased(c, needs, error);
    for (size_t i = 0; i < count && r == 0; i++)
        r = cache_add_needs(c, &manifests[i], needs, error);
    for (size_t i = 0; i < w->count && r == 0; i++)
        if (w->files[i].claim == CLAIM_NONE && needs_has(needs, &w->files[i].name))
            w->files[i].claim = CLAIM_LEASED;
    needs_free(needs);
    return r;
}

// With the lock held: unlinks until at most `limit` bytes stay; *ret_left is what stays.
static int evict_locked(struct cache *c, uint64_t trigger, uint64_t limit, const struct sha256 *except,
                        uint64_t *ret_freed, uint64_t *ret_left)
{
    struct cache_walk w CLEANUP(cache_walk_free) = {0};
    uint64_t freed = 0;

    cache_sweep_pins(c);
    int r = cache_walk_files(c, &w);
    if (r < 0)
        return r;
    if (w.bytes > trigger && w.count > 0) {
        mark_needed(c, &w, NULL, 0, NULL); // only an order: where that fails, the limit holds all the same
        qsort(w.files, w.count, sizeof(*w.files), compare_files);
    } else {
        limit = UINT64_MAX;
    }
    for (size_t i = 0; i < w.count && w.bytes - freed > limit; i++) {
        const struct cache_file *file = &w.files[i];
        if (file->claim != CLAIM_PINNED && !(except && sha256_equal(&file->name, except)) && unlink_file(c, file))
            freed += file->bytes;
    }
    *ret_freed = freed;
    *ret_left = w.bytes - freed;
    return 0;
}

// What a person asked for, with the lock held. -EAGAIN: a version was opened meanwhile.
static int collect_locked(struct cache *c, const struct cache_collect *o, struct cache_collected *sum,
                          struct error *error)
{
    struct cache_walk w CLEANUP(cache_walk_free) = {0};
    int64_t old = io_realtime_seconds() - PARTIAL_AGE_SECONDS;
    struct stat before = {.st_size = 0}, now = {.st_size = 0};
    bool leases = !o->dry_run && c->leases >= 0 && io->fstat(c->leases, &before) == 0;
    int r = cache_walk_files(c, &w);
    if (r == 0)
        r = mark_needed(c, &w, o->manifests, o->manifest_count, error);
    if (r < 0)
        return r;
    if (w.count > 0)
        qsort(w.files, w.count, sizeof(*w.files), compare_files);
    sum->left = w.bytes;
    sum->kept = 0;
    for (size_t i = 0; i < w.count; i++)
        sum->kept += w.files[i].claim != CLAIM_NONE ? w.files[i].bytes : 0;
    for (size_t i = 0; i < w.count && w.files[i].claim == CLAIM_NONE; i++) {
        const struct cache_file *file = &w.files[i];
        if (sum->left <= o->limit && !(file->place == CACHE_PARTIAL && file->used.tv_sec < old))
            continue;
        if (leases && (io->fstat(c->leases, &now) < 0 || now.st_mtim.tv_sec != before.st_mtim.tv_sec ||
                       now.st_mtim.tv_nsec != before.st_mtim.tv_nsec))
            return -EAGAIN;
        if (!o->dry_run && !unlink_file(c, file))
            continue;
        sum->left -= file->bytes;
        sum->freed += file->bytes;
        sum->files++;
        if (o->each)
            o->each(o->context, &file->name, file->bytes);
    }
    return 0;
}

int cache_collect(struct cache *c, const struct cache_collect *options, struct cache_collected *ret,
                  struct error *error)
{
    struct cache_collected sum = {.freed = 0};
    struct error why = {.text = ""};
    int lock CLEANUP_CLOSE = cache_lock(c, COLLECT_WAIT_MS);
    if (lock < 0)
        return error_set(error, -lock, "cannot lock the cache %s: %s", c->folder,
                         lock == -EBUSY ? "another process is cleaning it" : strerror(-lock));
    cache_sweep_pins(c);
    int r = -EAGAIN;
    for (unsigned i = 0; i < COLLECT_ATTEMPTS && r == -EAGAIN; i++)
        r = collect_locked(c, options, &sum, &why);
    if (r == -EAGAIN)
        return error_set(error, EBUSY, "machines are being started all the time; give rondo gc again a little later");
    if (r < 0)
        return error_set(error, -r, "cannot clean the cache %s: %s", c->folder, why.text[0] ? why.text : strerror(-r));
    cache_sweep_handles(c, true);
    *ret = sum;
    return 0;
}

void cache_remove_objects(struct cache *c, const struct sha256 *names, size_t count)
{
    struct cache_walk w CLEANUP(cache_walk_free) = {0};
    struct needs *unwanted = NULL;
    int lock CLEANUP_CLOSE = count > 0 ? cache_lock(c, COLLECT_WAIT_MS) : -1;
    int r = lock < 0 ? lock : needs_new(&unwanted, NULL);
    for (size_t i = 0; i < count && r == 0; i++)
        r = needs_add(unwanted, &names[i], 0, NULL);
    if (r == 0)
        r = cache_walk_files(c, &w);
    if (r == 0)
        r = mark_needed(c, &w, NULL, 0, NULL);
    for (size_t i = 0; i < w.count && r == 0; i++)
        if (w.files[i].claim == CLAIM_NONE && needs_has(unwanted, &w.files[i].name))
            unlink_file(c, &w.files[i]);
    needs_free(unwanted);
    if (r == 0)
        cache_sweep_handles(c, true);
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
