// What the overlay's own files share; nobody else includes this.
//
//   overlay.c        reads, writes, discards: who may touch which block, and when
//   overlay_file.c   the two files: making, opening, locking, closing
//   overlay_map.c    the map's pages in memory
//   overlay_lock.c   locks on ranges of blocks
//   overlay_flush.c  flushing in rounds
//
// Order of locks: range lock, then a pinned map page (at most one by a thread), then map.lock or flusher.lock (never
// both, and never during I/O). A thread may wait for a flush round while it holds a range lock, because the flusher
// takes no range lock and needs no pinned page.
#pragma once

#include "blockstore/overlay.h"

#include <pthread.h>
#include <stdatomic.h>

#define OVERLAY_BLOCK_SIZE 4096u
#define OVERLAY_PAGE_SIZE 4096u
#define OVERLAY_PAGE_BLOCKS (OVERLAY_PAGE_SIZE * 4u)      // 2 bits a block: a page maps 64 MiB of the disk
#define OVERLAY_MAXIMUM_BLOCKS (UINT64_C(16) << 40 >> 12) // 16 TiB
#define OVERLAY_MAP_PAGES 512u                            // in memory at most (rule 7): 4 MiB, copies included
#define OVERLAY_MAP_BUCKETS 1024u

// A block's state, as the map's two bits have it; 3 is damage.
enum overlay_state { OVERLAY_BASE = 0, OVERLAY_DATA = 1, OVERLAY_ZERO = 2 };

// Blocks first..last, locked by one thread.
struct overlay_range {
    uint64_t first, last;
    struct overlay_range *before, *next; // in order of arrival
};

struct overlay_lock {
    pthread_mutex_t lock;
    pthread_cond_t released;
    struct overlay_range *oldest, *newest;
    unsigned waiting;
};

struct overlay_page {
    uint64_t number;
    struct overlay_page *next_in_bucket;
    unsigned pins;
    bool loading;   // being read from the file; nobody may look at `bits`
    bool recent;    // used since the clock's hand passed
    bool dirty;     // `bits` changed since the last round copied them
    bool in_round;  // `copy` is on its way to the file
    bool allocated; // the file has space for this page (rule 5)
    unsigned char bits[OVERLAY_PAGE_SIZE];
    unsigned char copy[OVERLAY_PAGE_SIZE];
};

struct overlay_map {
    pthread_mutex_t lock; // all fields, and all fields of the pages but `copy` while in_round
    pthread_cond_t changed;
    struct overlay_page *pages[OVERLAY_MAP_PAGES];
    unsigned count, hand;
    struct overlay_page *buckets[OVERLAY_MAP_BUCKETS];
    struct overlay_page *round[OVERLAY_MAP_PAGES]; // of the running round; the flusher's own, as is round_count
    unsigned round_count;
};

struct overlay_flusher {
    pthread_mutex_t lock;
    pthread_cond_t finished_one;
    uint64_t started, finished; // rounds
    bool running;
    atomic_bool failed;     // rule 4; set once, never cleared
    struct error failure;   // valid when `failed`
    atomic_ullong requests; // calls of overlay_flush
};

struct overlay {
    int data, map_file; // descriptors
    uint64_t blocks;
    struct overlay_base base;
    atomic_bool write_through; // rule 6
    struct overlay_lock lock;
    struct overlay_map map;
    struct overlay_flusher flusher;
};

// The header page. overlay_header_parse checks all of it: -EBADMSG with a sentence, which names no file.
struct overlay_header {
    uint64_t blocks;
    struct sha256 base_manifest;
};
void overlay_header_format(const struct overlay_header *header, unsigned char page[static OVERLAY_HEADER_SIZE]);
int overlay_header_parse(const unsigned char page[static OVERLAY_HEADER_SIZE], struct overlay_header *ret,
                         struct error *error);

static inline uint64_t overlay_map_page_count(uint64_t blocks)
{
    return (blocks + OVERLAY_PAGE_BLOCKS - 1) / OVERLAY_PAGE_BLOCKS;
}

int overlay_lock_start(struct overlay_lock *l);
void overlay_lock_stop(struct overlay_lock *l);
// Waits until no earlier range overlaps first..last. *range belongs to the caller until it is released.
void overlay_lock_take(struct overlay_lock *l, struct overlay_range *range, uint64_t first, uint64_t last);
void overlay_lock_release(struct overlay_lock *l, struct overlay_range *range);

int overlay_map_start(struct overlay_map *m);
void overlay_map_stop(struct overlay_map *m);
// The state of block `block`, and for how many blocks from it (at most `maximum`, at least 1, never beyond its map
// page) it is the same. Only a thread that holds the blocks' range lock may rely on it afterwards.
int overlay_map_find_run(struct overlay *o, uint64_t block, uint64_t maximum, enum overlay_state *ret_state,
                         uint64_t *ret_count);
// Keeps page `number` in memory until overlay_map_unpin. -EBADMSG if the file's bytes are no map page.
int overlay_map_pin(struct overlay *o, uint64_t number, struct overlay_page **ret);
void overlay_map_unpin(struct overlay *o, struct overlay_page *page);
// Rule 5: space in the file for a pinned page. -ENOSPC if there is none.
int overlay_map_allocate(struct overlay *o, struct overlay_page *page);
// Of a pinned page, under the range lock of its blocks first..first+count-1.
void overlay_map_set(struct overlay *o, struct overlay_page *page, uint64_t first, uint64_t count,
                     enum overlay_state state);
int overlay_map_count(struct overlay *o, struct overlay_counts *ret);
// The flusher's three steps around a round: copy what is dirty (returns how many pages), write the copies (0 or
// -errno), and let go of them.
unsigned overlay_map_begin_round(struct overlay *o);
int overlay_map_write_round(struct overlay *o);
void overlay_map_end_round(struct overlay *o);
void overlay_map_wake(struct overlay *o); // whoever waits for a page looks again: the flusher has failed

int overlay_flusher_start(struct overlay_flusher *f);
void overlay_flusher_stop(struct overlay_flusher *f);
// Returns when a round that began after this call has ended: 0, or -EIO by rule 4.
int overlay_flusher_round(struct overlay *o);

// overlay_file.c: fallocate for whole blocks; a file system that has no such call allocates in pwrite. -ENOSPC also for
// a quota.
int overlay_file_allocate(int fd, uint64_t offset, uint64_t n);
