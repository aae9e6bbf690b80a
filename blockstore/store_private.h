// What the store's own files share.
//
//   store.c         stores and versions: opening and closing
//   store_read.c    version_read, version_borrow: from a range of bytes to chunks, and back
//   store_map.c     the map: finding a leaf, walking all pages
//   store_chunks.c  how a thread gets its chunks: memory, disk, or whoever fetches them (the loop)
//   store_chunks_take.c  what the loop takes to the network together
//   store_table.c   the table of chunks: what is in memory or on its way, and what is evicted; chunks from stored bytes
//   store_memory.c  how much memory decoded chunks may take
//   store_ahead.c   what to read ahead
//   store_helpers.c the threads that read ahead, and give memory back
//   store_fetch.c   requests to the network: several chunks of one pack each
//   store_stream.c      the stream of boot packs: their order (see store_stream.h)
//   store_stream_pack.c     one pack of it
//   store_failures.c    chunks that failed a moment ago
//   store_pull.c    version_pull: windows, rounds, and the threads that work on packs
//   store_pull_pack.c   the work on one pack
//   store_list.c    what a version consists of: its packs, and the chunks wanted of each; version_measure
//
// One mutex, store.mutex, guards the table, the states of its chunks and the lists of requests in flight. It is held
// for lookups and state changes only. Whatever a chunk holds while it is LOADING or FETCHING belongs to the thread
// that set that state; what a READY chunk holds never changes, and stays as long as it has users.
#pragma once

#include "blockstore/store.h"
#include "blockstore/store_ahead.h"
#include "blockstore/store_memory.h"
#include <pthread.h>
#include <stdatomic.h>

// Chunks that one thread asks for together: bounds the memory in flight, and suffices for whatever is lent at once.
#define STORE_BATCH_MAXIMUM VERSION_PIECES_MAXIMUM
#define STORE_JOBS_MAXIMUM 8u // requests in flight for one version; more misses gather and are coalesced
#define STORE_BUCKETS 4096u

// The states of store.h's picture, with the two steps of "absent" told apart:
//
//   UNCHECKED ─▶ LOADING ─(not on disk)─▶ WANTED ─▶ FETCHING ─▶ READY
//       ▲           └──────(on disk)────────┼───────────┼────────▲
//       └───(whole pack arrived meanwhile)──┘           └─▶ FAILED (no longer in the table)
enum chunk_state { CHUNK_UNCHECKED, CHUNK_LOADING, CHUNK_WANTED, CHUNK_FETCHING, CHUNK_READY, CHUNK_FAILED };

struct store_chunk {
    struct chunk_reference ref; // of whoever is to fetch it; its name is the key, with the kind
    enum chunk_kind kind;
    unsigned level; // of a page
    enum chunk_state state;
    unsigned users;        // threads that hold it; READY without users: in the pool's list, may be evicted
    struct version *owner; // whose sources it is fetched from; only compared, after FETCHING
    bool forgotten;        // READY, but no longer in the table: freed when released
    bool ahead;            // nobody but those who read ahead has asked for it
    const void *mark;      // the request that is just sorting it
    unsigned char *blocks; // READY: decoded
    unsigned nblocks;
    struct map_page page;                         // READY, of kind page
    uint64_t tried_until_ns;                      // FETCHING, FAILED: the deadline of that fetch
    int result;                                   // FAILED
    struct error *error;                          // FAILED; NULL if there was no memory for it
    struct store_chunk *next;                     // in the bucket
    struct store_chunk *list_before, *list_after; // in the pool's list (READY) or the wanted list (WANTED)
};

struct chunk_list {
    struct store_chunk *first, *last;
};

struct chunk_pool {         // one for data, one for pages
    struct chunk_list idle; // READY without users, least recently used first
    size_t bytes, limit;    // of all READY ones
};

#define STORE_FAILURES_MAXIMUM 256u // as many reads as the kernel has in flight (fuse-cloop/session.h)

struct store_failures {
    struct store_failure {
        const struct version *version; // only compared
        enum chunk_kind kind;
        struct sha256 name;
        uint64_t at_ns;
    } list[STORE_FAILURES_MAXIMUM];
    unsigned count, next; // in use; the place of the next one
};

#define STORE_HELPERS_MAXIMUM 4u
#define STORE_AHEAD_JOBS 32u

struct store_helper {
    struct store *store;
    pthread_t thread;
    struct version *busy; // reads ahead in it; or NULL
};

// One range to be read ahead.
struct ahead_job {
    struct version *version;
    unsigned member;
    uint64_t offset, length;
};

struct store_helpers {
    struct store_helper list[STORE_HELPERS_MAXIMUM];
    unsigned count, waiting, maximum; // threads; of them without work; 0: the store is not adaptive
    bool ending;
    pthread_cond_t wanted; // there is work for them (monotonic clock)
    struct ahead_job jobs[STORE_AHEAD_JOBS];
    unsigned first, queued;
};

struct store {
    struct cache *cache; // or NULL
    struct transport *transport;
    unsigned wait_seconds;
    pthread_mutex_t mutex;
    pthread_cond_t changed; // a chunk changed its state, or a request ended (monotonic clock)
    struct store_chunk *buckets[STORE_BUCKETS];
    struct chunk_pool pools[2]; // by store_pool()
    struct memory_limit memory; // of decoded chunks: what pools[0].limit follows
    size_t ahead_bytes;         // of READY chunks that are marked `ahead`
    uint64_t read_ns;           // when a reader last asked for anything
    struct store_helpers helpers;
    struct chunk_list wanted;
    struct store_failures *failures; // NULL: none are remembered
    atomic_uint_fast64_t in_memory, in_cache, fetched, wrong, ahead, ahead_wasted;
    uint64_t missed_ns;            // when a reader's miss last went to the network
    unsigned arrivals;             // packs that came to stand whole in the cache
    struct stream_pack *arriving;  // of all versions' streams, asked for
    uint64_t arriving_bytes;       // their sizes
    pthread_cond_t stream_changed; // for the streams' threads (monotonic clock)
    atomic_uint_fast64_t in_stream, overtaken, stream_bytes, stream_wasted;
};

struct fetch;
struct version {
    struct store *store;
    struct sha256 name;
    void *bytes; // of the manifest file
    size_t size;
    struct manifest *manifest;
    struct mirrors *mirrors; // NULL: offline
    atomic_bool cancelled;
    bool at_leisure;       // version_fill's
    uint64_t fill_rate;    // its bytes a second; 0: no limit
    int lease;             // version_pull's; negative: none
    struct stream *stream; // NULL: there is none
    struct fetch *fetches; // in flight (store.mutex)
    unsigned fetch_count;
    struct ahead_streams streams; // of its readers (store.mutex)
    uint64_t ahead_pause_ns;      // until when nothing is read ahead, because that failed (store.mutex)
    uint64_t missed_ns;           // when a reader had to wait for the network last; 0: never (store.mutex)
};

uint64_t store_deadline(const struct store *s); // from now
void store_object_path(const struct sha256 *name, char text[static 80]);

// --- store_table.c: with the mutex held, but for the last three -----------------------------------------------

struct store_chunk *store_find_chunk(struct store *s, enum chunk_kind kind, const struct sha256 *name);
// Adds an UNCHECKED chunk with one user; NULL if memory is short.
struct store_chunk *store_add_chunk(struct store *s, struct version *v, enum chunk_kind kind, unsigned level,
                                    const struct chunk_reference *ref);
void store_hold_chunk(struct store *s, struct store_chunk *c);
void store_want_chunk(struct store *s, struct store_chunk *c); // a reader asks for it: it is not only read ahead
void store_release_chunk(struct store *s, struct store_chunk *c);
// Takes a READY chunk out of memory, so that the next request goes to the disk; holders keep it.
void store_forget_chunk(struct store *s, enum chunk_kind kind, const struct sha256 *name);
void store_set_state(struct store *s, struct store_chunk *c, enum chunk_state state); // not READY, not FAILED
// Nobody has read for a while: the limit of memory is the lowest again. Evicts some of what is beyond it; true if that
// is not all.
bool store_relax_memory(struct store *s);
// A pack came to stand whole in the cache, or will not come: what is WANTED of it is looked for anew.
void store_retry_wanted(struct store *s, const struct sha256 *pack);
void store_fail_chunk(struct store *s, struct store_chunk *c, int result, const struct error *error);

// What decoding gave, until it is handed to a chunk.
struct decoded {
    unsigned char *blocks;
    unsigned nblocks;
    struct map_page page;
};
void store_publish_chunk(struct store *s, struct store_chunk *c, struct decoded *d); // takes d->blocks

// Hash, decode and, for a page, check. -EBADMSG: not the chunk's bytes. -EPROTO: the chunk's bytes, but malformed: no
// other source can have better ones. -ENOMEM.
int store_decode(enum chunk_kind kind, unsigned level, const struct chunk_reference *ref, const void *stored,
                 struct decoded *ret, struct error *error);
// -EBADMSG unless the reference lies inside its pack and has a length that its kind can have.
int store_check_reference(enum chunk_kind kind, const struct chunk_reference *ref, struct error *error);
// From the cache on the disk, without the mutex: -ENOENT if it is not there or damaged there (which is noted, so that
// it is healed by what is fetched). Otherwise as store_decode.
int store_load_chunk(struct store *s, const struct store_chunk *c, struct decoded *ret, struct error *error);
void store_free_table(struct store *s);

// --- store_stream.c and store_stream_pack.c; with the mutex held, but for the first and the last -----------------

void store_stream_end(struct version *v);              // no more reads; its sources are cancelled
void store_stream_wake(struct version *v);             // a request of a reader succeeded
bool store_stream_is_running(const struct version *v); // it has packs to come, and they are coming
bool store_stream_lists(const struct version *v, const struct sha256 *pack); // it is coming, or will be asked for
// How a chunk that nobody is fetching is come by, for a read that began at `begun_ns` (or for one that is in no hurry,
// and overtakes nothing that goes on). SOON lowers *look_again_ns to when that should be asked again.
enum stream_way { STREAM_NEVER, STREAM_HERE, STREAM_SOON };
enum stream_way store_stream_find(const struct version *v, const struct chunk_reference *ref, bool hurry,
                                  uint64_t begun_ns, uint64_t *look_again_ns);
// As store_load_chunk, from a pack that is arriving.
int store_stream_load(struct store *s, const struct store_chunk *c, struct decoded *ret, struct error *error);

// --- store_chunks.c ---------------------------------------------------------------------------------------------

// Gets `count` ≤ STORE_BATCH_MAXIMUM chunks, each READY and held for the caller; on failure none is.
int store_get_chunks(struct version *v, enum chunk_kind kind, unsigned level, const struct chunk_reference *refs,
                     unsigned count, uint64_t deadline_ns, struct store_chunk **ret, struct error *error);
// The same for those who read ahead: they leave the first place at the network to readers, and their failures are not
// remembered.
int store_get_chunks_ahead(struct version *v, enum chunk_kind kind, unsigned level, const struct chunk_reference *refs,
                           unsigned count, struct store_chunk **ret);
void store_put_chunks(struct store *s, struct store_chunk **chunks, unsigned count);

// --- store_read.c -----------------------------------------------------------------------------------------------

#define STORE_WINDOW_RUNS 512u
#define STORE_RUN_ZERO UINT8_MAX

// Blocks that lie one behind the other in one chunk, or are all zero.
struct store_run {
    uint64_t block, blocks; // of the member
    uint8_t chunk;          // number in the window, or STORE_RUN_ZERO
    uint8_t block_in_chunk;
};

struct store_window {
    struct store_run runs[STORE_WINDOW_RUNS]; // without gaps between them
    struct chunk_reference refs[STORE_BATCH_MAXIMUM];
    unsigned run_count, ref_count;
};

// Looks up blocks from *block on, and advances it: to `end_block`, or until the window is full.
int store_gather_window(struct version *v, unsigned member, uint64_t *block, uint64_t end_block, bool ahead,
                        struct store_window *ret, struct error *error);

// --- store_helpers.c --------------------------------------------------------------------------------------------

void store_prepare_helpers(struct store *s, bool adaptive); // threads start when they are needed
void store_note_read(struct version *v, unsigned member, uint64_t offset, uint64_t n); // a reader's; may read ahead
void store_want_helpers(struct store *s);                                              // with the mutex
void store_end_ahead(struct version *v); // no helper works on it any more; its readers are gone
void store_end_helpers(struct store *s);

// --- store_failures.c: with the mutex held ----------------------------------------------------------------------

// The version's sources did not give these chunks in time, but for those that are READY, and their reader is told so
// now.
void store_note_failures(struct version *v, struct store_chunk *const *chunks, unsigned count);
// One of the chunks, neither READY nor being looked for on the disk, to which that happened in the second before
// `begun_ns`, when the request for them began; or NULL.
const struct store_chunk *store_find_failed(const struct version *v, struct store_chunk *const *chunks, unsigned count,
                                            uint64_t begun_ns);
void store_forget_failures(const struct version *v); // before the version is freed

// --- store_fetch.c ----------------------------------------------------------------------------------------------

// One request: chunks of one pack, in the order of their offsets.
struct fetch_piece {
    struct store_chunk *chunk; // until it is done
    struct chunk_reference ref;
    unsigned char *stored;
    uint32_t filled;
    bool done; // published or failed
};

struct fetch {
    struct version *version;
    struct pack_reference pack;
    uint64_t start, end; // the range asked for
    enum source_priority priority;
    bool whole; // the pack is asked for or being sent as a whole (store.mutex)
    bool kept;  // … and stands in the cache now
    bool begun; // this attempt has delivered bytes
    struct cache_stream *stream;
    struct fetch_piece *pieces;
    unsigned count, passed; // pieces; those that lie before what was delivered
    unsigned left;          // pieces that are not done
    char path[80];
    struct fetch *next; // in version.fetches
};

struct fetch *store_new_fetch(struct version *v, struct store_chunk *const *chunks, unsigned count, bool whole,
                              uint64_t deadline_ns);
// Runs several side by side, without the mutex; afterwards each of their chunks is READY or FAILED, and they are freed.
void store_run_fetches(struct version *v, struct fetch **fetches, unsigned count, uint64_t deadline_ns);

// --- store_map.c ------------------------------------------------------------------------------------------------

// The leaf that covers segment `segment` of a member, held, or NULL if all of it is zero. `ahead`: nobody waits for it.
int store_get_leaf(struct version *v, unsigned member, uint64_t segment, bool ahead, struct store_chunk **ret,
                   struct error *error);

// Walks all pages of a member, several at a time: `visit` sees each page after it was got, with its reference.
struct map_visit {
    int (*visit)(void *context, const struct chunk_reference *ref, const struct map_page *page, uint64_t first_block,
                 struct error *error);
    void *context;
};
int store_walk_map(struct version *v, unsigned member, const struct map_visit *visit, struct error *error);

// --- store_list.c -----------------------------------------------------------------------------------------------

// One chunk of the version, and the packs that hold them. Packs are listed in the order in which the map names them.
struct list_chunk {
    struct sha256 name;
    uint32_t pack, offset, length; // pack: number in version_list.packs
    uint8_t kind, level;
};

struct list_pack {
    struct sha256 name;
    uint32_t size;
    uint64_t references; // to it, repetitions in other leaves that differ included
    uint64_t bytes;      // of the chunks wanted of it; until its window was listed: repetitions included
};

struct version_list {
    struct list_pack *packs;
    uint32_t *slots; // hash table: number of a pack + 1
    size_t pack_count, pack_capacity, slot_count;
    struct sha256_keys keys; // for the hash table
    uint64_t work_maximum;   // of a walk over one version's maps, as VERSION_WORK_… counts it; 0: any
};

// All packs of the version; memory in proportion to their number alone. `work_maximum` becomes the list's; -E2BIG.
int store_list_packs(struct version *v, uint64_t work_maximum, struct version_list *ret, struct error *error);
void store_free_list(struct version_list *list);
// Adds those of another version to the list; the windows then belong to both.
int store_add_packs(struct version *v, struct version_list *list, struct error *error);
// The pack's number, after it was added if it is new; or -ENOMEM or -E2BIG, which store_explain_list puts into words.
int64_t store_number_pack(struct version_list *list, const struct pack_reference *pack);
int store_explain_list(int r, struct error *error);
bool store_lists_pack(const struct version_list *list, const struct sha256 *name);

// A window: packs from `first` on, as many as have LIST_WINDOW references in all (at least one), and their distinct
// chunks sorted by pack and offset.
struct list_window {
    size_t first, count; // packs
    struct list_chunk *chunks;
    size_t chunk_count, chunk_capacity;
};
int store_list_window(struct version *v, struct version_list *list, size_t first, struct list_window *ret,
                      struct error *error);
void store_free_window(struct list_window *w);
int store_compare_chunks(const void *a, const void *b); // the order of struct list_chunk in a window
