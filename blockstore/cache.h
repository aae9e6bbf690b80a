// The cache: a partial mirror of what was fetched, shared by any number of processes (ARCHITECTURE, decision 2).
//
//   <dir>/partial/ab/abcdef…   packs of which chunks are missing: sparse files where each fetched chunk sits at its
//                              own offset, exactly as the server stores it
//   <dir>/objects/ab/abcdef…   whole objects whose SHA-256 was checked when they were renamed to here; only these may
//                              be served, exported or copied
//   <dir>/pins/<manifest>      text: the owners of a pin, and each object that the pinned version needs; never evicted
//   <dir>/leases/<manifest>    empty; locked (flock, shared) by whoever has that version open
//   <dir>/lock                 flock: held while evicting and while pinning
//
// Rules
//   1. No index, no journal, no fsync: bytes are present if they hash to the name that the reader expects. Callers
//      hash whatever cache_read returns before they use it.
//   2. Reads are pread into the caller's buffer, never mmap.
//   3. Eviction unlinks whole files, least recent mtime first (set by us on use, at most once a minute), under the
//      lock. A writer rechecks st_nlink after writing: what went to an unlinked file is simply lost.
//   4. The size is the sum of st_blocks; it exceeds the limit by at most one pack for each process.
//   5. A full disk, or a cache that cannot be written, never fails a read of the product: writes are dropped, with
//      one warning.
//   6. No symbolic link below <dir> is ever followed. Files that are not ours (owner, type) are ignored.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_LIMIT_DEFAULT (10ull << 30)

struct cache;

// `dir` is made if it is missing. `limit` 0: CACHE_LIMIT_DEFAULT. Old temporary files are swept.
int cache_open(const char *dir, uint64_t limit, struct cache **ret, struct error *error);
void cache_close(struct cache *c);
const char *cache_folder(const struct cache *c);
uint64_t cache_limit(const struct cache *c);
int cache_write_failure(const struct cache *c); // why a write was last dropped: a negative errno, or 0

// Any thread. Reads n bytes, that should begin a chunk, of a pack at `offset`: 0 (the caller's hash decides what they
// are worth), or -ENOENT if the pack cannot be opened or those bytes are not there (a hole begins with zero, a chunk
// never), or -EIO if the pack is open and they cannot be read.
int cache_read(struct cache *c, const struct sha256 *pack, uint64_t offset, void *to, size_t n);

// Stores n bytes of a pack of `pack_size` bytes. Best effort: no failure is reported (rule 5).
void cache_write(struct cache *c, const struct sha256 *pack, uint32_t pack_size, uint64_t offset, const void *bytes,
                 size_t n);

// If every byte of the pack is there and the whole hashes to its name, moves it to objects/ and returns 1; returns 0
// otherwise. Reads the file only if it has the right length and no hole: for when bytes were just written.
int cache_complete(struct cache *c, const struct sha256 *pack, uint32_t pack_size);

// True if the pack stands whole in objects/ (by name; its chunks are still hashed on every read).
bool cache_has_object(struct cache *c, const struct sha256 *name);

// Bytes that turned out wrong: if the whole pack does not hash to its name any more, it is moved out of objects/ (to
// partial/), so that the next write can heal it. A pack that is right stays: then it was the reference that was wrong.
void cache_distrust(struct cache *c, const struct sha256 *pack);

// A whole pack that arrives in order: it is written to a temporary file and hashed on the way, and becomes an object
// only if its hash is its name, so unverified bytes never stand where somebody could read them. One thread at a time.
struct cache_stream;
int cache_stream_new(struct cache *c, const struct sha256 *pack, uint32_t pack_size, struct cache_stream **ret);
int cache_stream_restart(struct cache_stream *s);                          // forgets what was added
int cache_stream_add(struct cache_stream *s, const void *bytes, size_t n); // -EBADMSG beyond pack_size
bool cache_stream_keeps(const struct cache_stream *s);                     // false: what is added can only be hashed
// 0: right, and in objects/; 1: right, but it could not be kept (rule 5); -EBADMSG: these are not the pack's bytes.
int cache_stream_finish(struct cache_stream *s);
void cache_stream_free(struct cache_stream *s); // NULL is fine

// Small whole objects (manifests, catalog shards). Getting one checks its hash: -ENOENT if it is absent or wrong.
int cache_get_object(struct cache *c, const struct sha256 *name, size_t maximum, void **ret_bytes, size_t *ret_size);
void cache_put_object(struct cache *c, const struct sha256 *name, const void *bytes, size_t n);
// Takes back objects that somebody has put there, but what is pinned or leased; best effort: what stays is evicted.
void cache_remove_objects(struct cache *c, const struct sha256 *names, size_t count);

// Pins. One says that all of a version was there when it was made, and that nothing of it is evicted as long as one of
// its owners is left: the user, who pulled it, or machines made from it, each named by its folder (an absolute path,
// without a newline). A folder that is gone owns nothing: so removing a machine needs no word to the cache, and the
// next eviction takes away a pin that nobody owns any more.
#define CACHE_OWNER_PULL "pull"
// Makes a pin, or replaces the list of one and adds the owner. -EINVAL if that cannot be an owner.
int cache_pin(struct cache *c, const struct sha256 *manifest, const char *owner, const struct sha256 *objects,
              size_t count, struct error *error);
// Adds an owner to a pin that is there: -ENOENT if there is none.
int cache_join_pin(struct cache *c, const struct sha256 *manifest, const char *owner, struct error *error);
// Takes an owner away, the pin with its last one. NULL: the pin, whoever owns it. -ENOENT if it is not pinned for him.
int cache_unpin(struct cache *c, const struct sha256 *manifest, const char *owner, struct error *error);
// Takes the owner away from all pins but that version's: a machine that was given another version may not have said so.
void cache_unpin_others(struct cache *c, const struct sha256 *manifest, const char *owner);
// True if it is pinned for that owner; NULL: for anybody, which means that all of it is there.
bool cache_is_pinned(struct cache *c, const struct sha256 *manifest, const char *owner);
// Calls `each` for every version that is pinned for that owner (NULL: for anybody), in no order; its non-zero return
// ends the walk and is returned.
int cache_walk_pins(struct cache *c, const char *owner, int (*each)(void *context, const struct sha256 *manifest),
                    void *context);

struct cache_usage {
    uint64_t bytes, pinned_bytes; // by st_blocks
    uint64_t files;
};
int cache_measure(struct cache *c, struct cache_usage *ret);

// Leases: as long as one is held, the cache keeps what that version needs: cache_collect never takes it, the automatic
// eviction only after everything that is neither leased nor pinned. Any number of holders. Returns a descriptor for
// cache_end_lease, or -errno: then the version has to do without.
int cache_lease(struct cache *c, const struct sha256 *manifest);
void cache_end_lease(struct cache *c, const struct sha256 *manifest, int lease); // a negative one is fine

// Evicts until the cache is at most `limit` bytes, and incomplete packs that nobody used for a day in any case; never
// what a pinned or leased version needs, whatever that means for the limit.
struct cache_collect {
    uint64_t limit;
    bool dry_run;                   // counts and names only
    const struct sha256 *manifests; // of more versions to be kept, as far as they are there
    size_t manifest_count;
    void (*each)(void *context, const struct sha256 *name, uint64_t bytes); // what goes; or NULL
    void *context;
};
struct cache_collected {
    uint64_t freed, files; // by st_blocks
    uint64_t left, kept;   // bytes; the second: of what must not be evicted
};
int cache_collect(struct cache *c, const struct cache_collect *options, struct cache_collected *ret,
                  struct error *error);
