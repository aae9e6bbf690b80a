// What the cache's own files share: its folders, its open descriptors, and the walk over its files.
//
//   cache.c          opening, reading, writing
//   cache_handle.c   the open descriptors of packs
//   cache_object.c   whole objects: streams, completion, distrust
//   cache_walk.c     the walk over the files, measuring, temporaries
//   cache_evict.c    eviction
//   cache_lease.c    leases
//   cache_pin.c      pins
#pragma once

#include "blockstore/cache.h"
#include "blockstore/needs.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define CACHE_HANDLES_MAXIMUM 64u // and a quarter of the descriptors that the process may have
#define CACHE_TOUCH_SECONDS 60
#define CACHE_NAME_SIZE 80 // of a file's name within its folder of two digits, and of that folder: with NUL

enum cache_place { CACHE_PARTIAL, CACHE_OBJECTS };

// One open pack file. A handle is shared by threads; `users` of them are between acquire and release.
struct cache_handle {
    struct sha256 name;
    int fd;
    enum cache_place place;
    bool writable; // of partial/ alone
    bool listed;   // in the cache's table; else closed when its last user releases it
    unsigned users;
    uint64_t used; // the table's clock when it was last acquired
    _Atomic uint64_t touched_ns;
};

struct cache {
    char *folder;                     // its path, for messages
    int dir, places[2], pins, leases; // descriptors of <dir> and its folders; −1: absent, and cannot be made
    uint64_t limit;

    pthread_mutex_t mutex; // the table of handles; never held during I/O
    struct cache_handle *handles[CACHE_HANDLES_MAXIMUM];
    unsigned handle_count, handle_maximum;
    uint64_t clock;
    uint64_t swept_ns; // when handles of unlinked files were last looked for

    _Atomic uint64_t written;      // since the files were last counted
    _Atomic uint64_t count_after;  // `written` at which they are counted again
    _Atomic uint64_t paused_until; // no writes before this time: the disk is full
    atomic_int failure;            // see cache_write_failure
    atomic_bool warned, warned_of_growth;
    atomic_uint temporaries; // numbers them
};

// Writes "ab" or "abcdef…".
const char *cache_name_folder(const struct sha256 *name, char text[static 3]);
// Opens <place>/ab without following links; makes it if `make`. -ENOENT.
int cache_open_folder(struct cache *c, enum cache_place place, const struct sha256 *name, bool make);
// True if the open file is a regular one of ours that is still linked.
bool cache_is_ours(int fd, struct stat *ret);

// The pack's handle, or NULL with *ret_reason. With `write`: one in partial/, made if it is missing, or the one in
// objects/ (where nothing is missing).
struct cache_handle *cache_acquire_handle(struct cache *c, const struct sha256 *name, bool write, int *ret_reason);
void cache_release_handle(struct cache *c, struct cache_handle *h);
void cache_forget_handle(struct cache *c, const struct sha256 *name); // the next acquire opens anew
void cache_sweep_handles(struct cache *c, bool now);                  // closes those of unlinked files
bool cache_close_idle_handle(struct cache *c);                        // when descriptors run out

// A write was dropped: remembers why, and warns once.
void cache_note_failure(struct cache *c, int result);
// The disk is full: evicts at least `need` bytes, sparing `except`; true if that may have helped.
bool cache_make_room(struct cache *c, uint64_t need, const struct sha256 *except);
// Bytes were written: counts them, and now and then evicts down to the limit.
void cache_account(struct cache *c, uint64_t n, const struct sha256 *except);

// The files of the cache, for whoever measures, evicts or checks.
enum cache_claim { CLAIM_NONE, CLAIM_LEASED, CLAIM_PINNED }; // in the order in which they are evicted
struct cache_file {
    struct sha256 name;
    enum cache_place place;
    enum cache_claim claim; // cache_walk_files knows of pins only
    struct timespec used;   // its mtime
    uint64_t bytes;         // that it takes on the disk
};
struct cache_walk {
    struct cache_file *files; // malloc'ed
    size_t count, capacity;
    uint64_t bytes, pinned_bytes; // temporaries included in the first
    enum cache_place place;       // that is walked
};
int cache_walk_files(struct cache *c,
                     struct cache_walk *w); // 0 or -errno; *w was zeroed, and is to be freed either way
void cache_walk_free(struct cache_walk *w);

// Leases that somebody holds: adds what their versions need, as far as the cache has the pages to tell. The same for
// one version. 0, -ENOMEM, -E2BIG.
int cache_add_leased(struct cache *c, struct needs *needs, struct error *error);
int cache_add_needs(struct cache *c, const struct sha256 *manifest, struct needs *needs, struct error *error);

// As cache_read, but nobody is told that the pack was used, and nothing is healed. -ENOENT, -EIO.
int cache_peek(struct cache *c, const struct sha256 *pack, uint64_t offset, void *to, size_t n);
// What a hole, or a file that ends too early, looks like. (A chunk never begins with a zero byte.)
bool cache_looks_absent(int result, const void *bytes, size_t n);

// The lock file, held: a descriptor to close, or −errno (-EBUSY: somebody held it for `wait_ms`).
int cache_lock(struct cache *c, unsigned wait_ms);
// Takes away the pins that nobody owns any more. With the lock file held.
void cache_sweep_pins(struct cache *c);
// Sorted names of all pinned objects (malloc'ed). Any failure to read them is a failure: nothing is evicted then.
int cache_load_pins(struct cache *c, struct sha256 **ret, size_t *ret_count);
bool cache_find_pin(const struct sha256 *pins, size_t count, const struct sha256 *name);
// Removes what crashed processes left: temporary files that nobody holds locked.
void cache_sweep_temporaries(struct cache *c);

#define CACHE_TEMPORARY_PREFIX ".new-" // in partial/; locked (flock) by its maker as long as it lives
