// What the overlay's own files share; nobody else includes this.
//
//   overlay.c           writes, discards: who may touch which block, and when
//   overlay_read.c      reads
//   overlay_changes.c   what differs from the base
//   overlay_file.c      making, opening, locking, closing
//   overlay_pair.c      the two files of one layer
//   overlay_layers.c    the list of the layers
//   overlay_lower.c     what the layers below the top one hold
//   overlay_snapshot.c  taking, rolling back and deleting snapshots: what happens in the folder
//   overlay_taking.c    taking one of an overlay that is open: what happens in the folder
//   overlay_live.c      the same: what happens in the overlay
//   overlay_merge.c     copying a layer into the one below it
//   overlay_map.c       the top layer's map: its pages in memory
//   overlay_map_round.c all of them at once: rounds, holds, another top layer
//   overlay_lock.c      locks on ranges of blocks
//   overlay_flush.c     flushing in rounds
//
// Order of locks: range lock, then a pinned map page (at most one by a thread), then map.lock or flusher.lock (never
// both, and never during I/O) or that of a slot of overlay_lower.c. A thread may wait for a flush round while it holds
// a range lock, because the flusher takes no range lock and needs no pinned page.
#pragma once

#include "base/text.h"
#include "base/vector.h"
#include "blockstore/overlay.h"
#include "blockstore/overlay_snapshot.h"

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

// Where a block's bytes are: its state in the uppermost layer that has one other than "base", and that layer's file.
struct overlay_place {
    enum overlay_state state;
    int data; // for OVERLAY_DATA
};

// A layer's name. The first layer's is 1, and its files bear no number.
#define OVERLAY_ID_SIZE 16u
struct overlay_id {
    unsigned char bytes[OVERLAY_ID_SIZE];
};

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

// Whether the disk may be changed.
enum overlay_changes {
    OVERLAY_CHANGES_MADE,
    OVERLAY_CHANGES_HELD,    // who wants to make one waits
    OVERLAY_CHANGES_REFUSED, // for good
};

struct overlay_map {
    pthread_mutex_t lock; // all fields, and all fields of the pages but `copy` while in_round
    pthread_cond_t changed;
    enum overlay_changes changes;
    unsigned changing; // threads that have a page pinned, or are about to
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

// What was looked up of the layers below, a byte a block: 0 base, OVERLAY_LOWER_ZERO, or 1 + the layer's index.
#define OVERLAY_LOWER_ZERO 255u
#define OVERLAY_LOWER_SLOTS 256u // of 16 KiB: 4 MiB at most (rule 7)
struct overlay_lower_slot {
    pthread_mutex_t lock;
    uint64_t number;      // of the map page
    unsigned char *where; // OVERLAY_PAGE_BLOCKS bytes; NULL: nothing yet
};

struct overlay_lower {
    atomic_uint count;                                           // 0: the top layer is the only one
    int data[OVERLAY_DEPTH_MAXIMUM], map[OVERLAY_DEPTH_MAXIMUM]; // lowest first
    struct overlay_lower_slot slots[OVERLAY_LOWER_SLOTS];
};

// A layer's two files, opened and checked.
struct overlay_header {
    uint64_t blocks;
    struct sha256 base_manifest;
    struct overlay_id parent; // the layer that it was made over; zeros: none
};
struct overlay_pair {
    int data, map; // -1: not open
    struct overlay_header header;
};

struct overlay {
    int data, map_file; // of the top layer; guarded by map.lock, and by a pin (overlay_map.c)
    int lock_file;
    uint64_t blocks;
    struct overlay_id top;     // the top layer's name
    struct overlay_pair next;  // overlay_live.c: the layer that is to be the top; -1: none
    struct overlay_id next_id; // its name
    struct overlay_base base;
    atomic_bool write_through; // rule 6
    struct overlay_lock lock;
    struct overlay_map map;
    struct overlay_flusher flusher;
    struct overlay_lower lower;
};

// overlay_format.c. The header page; overlay_header_parse checks all of it: -EBADMSG with a sentence, which names no
// file.
void overlay_header_format(const struct overlay_header *header, unsigned char page[static OVERLAY_HEADER_SIZE]);
int overlay_header_parse(const unsigned char page[static OVERLAY_HEADER_SIZE], struct overlay_header *ret,
                         struct error *error);
// Whether the bytes can be page `number` of the map of a disk of `blocks` blocks.
bool overlay_map_is_valid(uint64_t blocks, uint64_t number, const unsigned char bits[static OVERLAY_PAGE_SIZE]);
extern const struct overlay_id overlay_first_id;
bool overlay_id_equal(const struct overlay_id *a, const struct overlay_id *b);
const char *overlay_id_to_hex(const struct overlay_id *id, char hex[static 2 * OVERLAY_ID_SIZE + 1]);
bool overlay_id_from_hex(struct slice hex, struct overlay_id *ret); // false also for zeros

// overlay_pair.c.
#define OVERLAY_NAME_SIZE 48u
#define OVERLAY_DATA_SUFFIX "data"
#define OVERLAY_MAP_SUFFIX "map"
const char *overlay_pair_name(const struct overlay_id *id, const char *suffix, char name[static OVERLAY_NAME_SIZE]);
// Makes both files, stable when this returns, but not yet their names. On failure there are none.
int overlay_pair_make(int dir, const char *data_name, const char *map_name, const struct overlay_header *header);
// `flags` O_RDWR or O_RDONLY.
int overlay_pair_open(int dir, const struct overlay_id *id, int flags, struct overlay_pair *ret, struct error *error);
// The same of files that are open already, and stay the caller's on failure.
int overlay_pair_adopt(const struct overlay_id *id, int data, int map, struct overlay_pair *ret, struct error *error);
void overlay_pair_close(struct overlay_pair *pair); // one that was not written to

// overlay_layers.c
enum overlay_layer_kind {
    OVERLAY_LAYER_TOP,      // what is written to
    OVERLAY_LAYER_SNAPSHOT, // read-only: the disk as it was
    OVERLAY_LAYER_GONE,     // a deleted snapshot: what lies above it is being copied into it
};
struct overlay_layer {
    enum overlay_layer_kind kind;
    struct overlay_id id;
    struct overlay_snapshot snapshot; // its label and time; not of the top
};
struct overlay_layers {
    unsigned count;                                     // at least 1
    struct overlay_layer layers[OVERLAY_DEPTH_MAXIMUM]; // top first; the last one is the first layer
};
// Both check everything. overlay_layers_read makes up the list of an overlay that has none, and says in *ret_listed
// whether there is one.
int overlay_layers_parse(const void *bytes, size_t n, struct overlay_layers *ret, struct error *error);
int overlay_layers_read(int dir, struct overlay_layers *ret, bool *ret_listed, struct error *error);
int overlay_layers_replace(int dir, const struct overlay_layers *layers, struct error *error);

// overlay_merge.c. Copies layer `at - 1` of the list into layer `at`, which is gone, and flushes. Takes the lock over,
// also on failure.
int overlay_merge_down(int dir, int lock, const struct overlay_layers *layers, unsigned at,
                       void (*progress)(uint64_t bytes), struct error *error);

// overlay_lower.c
int overlay_lower_start(struct overlay_lower *l);
void overlay_lower_stop(struct overlay_lower *l); // closes the files
// For a block that is "base" in the top layer: where it is, and for how many blocks from it (at most `maximum`, at
// least 1, never beyond its map page) that holds.
int overlay_lower_find_run(struct overlay *o, uint64_t block, uint64_t maximum, struct overlay_place *ret_place,
                           uint64_t *ret_count);
// One more layer, over all of them, which nobody writes to any more. Takes the files over.
void overlay_lower_add(struct overlay_lower *l, int data, int map);

// overlay_file.c
int overlay_take_lock(int dir, struct error *error); // a descriptor, to be closed; -EBUSY
// Opens the layers from number `first` of the list on, that one for writing. Takes the lock over, also on failure.
// `base_manifest` NULL: whichever it is.
int overlay_open_layers(int dir, int lock, const struct overlay_layers *layers, unsigned first,
                        const struct sha256 *base_manifest, const struct overlay_base *base, struct overlay **ret,
                        struct error *error);

static inline uint64_t overlay_map_page_count(uint64_t blocks)
{
    return (blocks + OVERLAY_PAGE_BLOCKS - 1) / OVERLAY_PAGE_BLOCKS;
}

// Where a map page lies in its file.
static inline uint64_t overlay_map_offset(uint64_t number)
{
    return OVERLAY_HEADER_SIZE + number * OVERLAY_PAGE_SIZE;
}

static inline enum overlay_state overlay_map_state(const unsigned char *bits, uint64_t index)
{
    return (enum overlay_state)((unsigned)bits[index / 4] >> (index % 4 * 2) & 3u);
}

// overlay_snapshot.c, under the lock.
// The beginning of every change: the list, made durable as it can be seen, and nothing beside it.
int overlay_snapshot_look(int dir, struct overlay_layers *ret_layers, struct error *error);
// The list with one snapshot more, in *layers, whose new top is made; `flush` is what is left to do before.
int overlay_snapshot_add_layer(int dir, struct overlay_layers *layers, const char *label, int64_t now,
                               int (*flush)(const struct overlay_pair *pair, struct error *error), struct error *error);
// A list was replaced: the layers that only the one before it names go.
void overlay_snapshot_clean(int dir, struct overlay_layers *layers);
// A file that the list names is not there: damage, which must not be taken for a label that no snapshot has.
int overlay_snapshot_not_a_label(int r);

// overlay_read.c
// Whether the disk has that range, and may still be used. (TRUST T25: the guest's numbers may be anything.)
int overlay_check_request(const struct overlay *o, uint64_t offset, uint64_t n);
int overlay_read_place(const struct overlay *o, const struct overlay_place *place, uint64_t offset, struct vector *to,
                       size_t n);
// As overlay_map_find_run, through all layers.
int overlay_find_place(struct overlay *o, uint64_t block, uint64_t maximum, struct overlay_place *ret_place,
                       uint64_t *ret_count);

int overlay_lock_start(struct overlay_lock *l);
void overlay_lock_stop(struct overlay_lock *l);
// Waits until no earlier range overlaps first..last. *range belongs to the caller until it is released.
void overlay_lock_take(struct overlay_lock *l, struct overlay_range *range, uint64_t first, uint64_t last);
void overlay_lock_release(struct overlay_lock *l, struct overlay_range *range);

int overlay_map_start(struct overlay_map *m);
void overlay_map_stop(struct overlay_map *m);
// The state of block `block` in the top layer, with that layer's data file, and for how many blocks from it (at most
// `maximum`, at least 1, never beyond its map page) it is the same. Only a thread that holds the blocks' range lock may
// rely on the state afterwards, and only one that has a page pinned on the file's being the top's.
int overlay_map_find_run(struct overlay *o, uint64_t block, uint64_t maximum, struct overlay_place *ret_place,
                         uint64_t *ret_count);
// Keeps page `number` in memory until overlay_map_unpin, for a change. -EBADMSG if the file's bytes are no map page;
// -EIO if changes are refused. Waits while they are held.
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
// No change is made from its return on, until overlay_map_end_hold, which does nothing unless changes are held.
void overlay_map_hold_changes(struct overlay *o);
void overlay_map_end_hold(struct overlay *o, enum overlay_changes next);
// Other files, with an empty map. Changes must be held, no page dirty, and the flusher kept from its work.
void overlay_map_replace(struct overlay *o, int data, int map_file);
void overlay_map_wake(struct overlay *o); // whoever waits for a page looks again: the flusher has failed

int overlay_flusher_start(struct overlay_flusher *f);
void overlay_flusher_stop(struct overlay_flusher *f);
// Returns when a round that began after this call has ended: 0, or -EIO by rule 4.
int overlay_flusher_round(struct overlay *o);
// No round runs between the two.
void overlay_flusher_keep_out(struct overlay_flusher *f);
void overlay_flusher_let_in(struct overlay_flusher *f);

// overlay_file.c: fallocate for whole blocks; a file system that has no such call allocates in pwrite. -ENOSPC also for
// a quota.
int overlay_file_allocate(int fd, uint64_t offset, uint64_t n);
