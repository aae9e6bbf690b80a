// The store: versions opened for reading. What rondo-cloop serves, `rondo pull` fills and `rondo inspect` shows.
//
//   manifest → top page → leaf → chunk, each only when it is first needed, each verified before it is parsed or
//   decoded, and kept: decoded chunks and pages in memory (bounded), stored chunks in the cache on disk.
//
// The way of a chunk:
//
//        absent ──(wanted)──▶ fetching ──(hash right)──▶ verified ──(evicted)──▶ absent
//                                │
//                                └──(every source failed)──▶ failed: each waiter gets the error; absent again
//
// Rules
//   1. Equal misses are one request: whoever wants a chunk that is being fetched waits for it.
//   2. Neighbouring misses are one request: all chunks that one read needs are asked for together, and whoever starts
//      a request takes along the wanted chunks that lie beside it in the pack (gap ≤ STORE_GAP_MAXIMUM, whole
//      ≤ STORE_REQUEST_MAXIMUM).
//   3. A source that ignores ranges sends whole packs: then the pack is the unit of waiting, and all of it goes to
//      the cache.
//   4. No lock is held during I/O, hashing or decoding.
//   5. Memory: STORE_CHUNK_MEMORY of decoded chunks and STORE_PAGE_MEMORY of pages a process, whatever the images'
//      sizes, and what is in flight. An `adaptive` store lets chunks have up to STORE_CHUNK_MEMORY_MAXIMUM while that
//      keeps some from being decoded twice (store_memory.h), and gives it back STORE_IDLE_SECONDS after the last read.
//   6. With `remember_failures`, a chunk that no source gave within the waiting time is not waited for again by reads
//      that begin within a second of that: they fail at once.
//   7. What a version's boot needs comes ahead of all reads, as a stream of whole packs (version_stream): a read that
//      the stream serves soon waits for it, one that it would serve late overtakes it.
//   8. An `adaptive` store reads ahead for sequential readers (store_ahead.h), from the disk and from the network, on
//      threads of its own: after what somebody waits for, and so that no failure of it is a reader's. What was read
//      ahead and nobody has wanted yet is at most STORE_AHEAD_PERCENT of the memory for chunks.
#pragma once

#include "blockstore/cache.h"
#include "blockstore/manifest.h"
#include "blockstore/mirrors.h"
#include <sys/uio.h>

#define STORE_CHUNK_MEMORY (12u << 20)
#define STORE_CHUNK_MEMORY_MAXIMUM (80u << 20) // 64 MiB that are read again and again, and their edges
#define STORE_IDLE_SECONDS 5u
#define STORE_AHEAD_PERCENT 40u // a chunk that waits is overtaken by as many again, before it is evicted
#define STORE_PAGE_MEMORY (4u << 20)
#define STORE_GAP_MAXIMUM (32u << 10)
#define STORE_REQUEST_MAXIMUM (4u << 20)
#define STORE_WAIT_SECONDS 30 // TRUST rule 5: how long a read waits for a block that no source gives

struct store;
struct store_options {
    const char *cache_folder; // NULL: no cache on disk
    uint64_t cache_limit;     // 0: the default
    unsigned wait_seconds;    // 0: STORE_WAIT_SECONDS
    size_t chunk_memory;      // 0: the default; otherwise fixed, be the store adaptive or not
    bool adaptive;            // rules 5 and 8: for whoever serves many readers for long
    bool remember_failures;   // rule 6: for whoever serves a kernel, which asks for each page of a failed read again
};
int store_new(const struct store_options *options, struct store **ret, struct error *error);
void store_free(struct store *s);           // after its versions were closed
struct cache *store_cache(struct store *s); // NULL if there is none
struct transport *store_transport(struct store *s);
void store_set_wait(struct store *s, unsigned seconds); // as wait_seconds, from now on; not while versions are open

struct store_counts {
    struct transport_counts network;
    uint64_t chunks_memory, chunks_cache, chunks_fetched; // where wanted chunks were found
    uint64_t chunks_ahead, chunks_ahead_wasted;           // read before anybody wanted them; evicted before that
    uint64_t chunks_stream;                               // of those wanted: out of packs on their way
    uint64_t chunks_overtaken;                            // of those fetched: the stream would have brought them late
    uint64_t stream_bytes, stream_wasted;                 // that it received; of them, in attempts that failed
    uint64_t wrong;                                       // pieces that did not verify, wherever from
};
void store_count(struct store *s, struct store_counts *ret);

// Opens the version whose manifest has this name, from the cache or one of the sources (none: offline). -ENOENT if it
// is nowhere, -ENETUNREACH, -EBADMSG. The manifest's signature is the caller's matter: its hash is checked here.
struct version;
int version_open(struct store *s, const struct sha256 *manifest, const char *const *addresses, unsigned count,
                 struct version **ret, struct error *error);
void version_close(struct version *v); // after the last read has returned
// From now on the version's boot packs are fetched, whole and in order, by threads of its own, until it is closed or
// cancelled (blockstore/store_stream.h); reads take what they need out of them. Nothing happens without sources or
// without a cache, and a failure is nobody's.
void version_stream(struct version *v);
const struct manifest *version_manifest(const struct version *v);
const struct sha256 *version_name(const struct version *v);
// The manifest file's own bytes, signature included.
const void *version_manifest_bytes(const struct version *v, size_t *ret_size);

// Reads exactly n bytes of a member (-EINVAL beyond its end). Any number of threads. On failure the buffer's
// contents are undefined and nothing of it may be used: -ENETUNREACH when no source gave the bytes within the
// store's waiting time, -EBADMSG when all that gave any gave wrong ones, -ENOENT when all say they have none (or
// there are no sources, and it is not in the cache).
int version_read(struct version *v, unsigned member, uint64_t offset, void *to, size_t n, struct error *error);

// The same without a copy: *ret says where the bytes stand, in order, in the store's own memory, until version_return;
// nobody may write there. The version may be closed before that, the store not. At most VERSION_BORROW_MAXIMUM bytes
// (-EINVAL).
#define VERSION_BORROW_MAXIMUM (128u << 10)
#define VERSION_PIECES_MAXIMUM 33u // blocks of so many bytes that begin within one
struct version_pieces {
    struct iovec list[VERSION_PIECES_MAXIMUM];
    unsigned count;
    // The store's.
    struct store *store;
    struct store_chunk *chunks[VERSION_PIECES_MAXIMUM];
    unsigned chunk_count;
};
int version_borrow(struct version *v, unsigned member, uint64_t offset, size_t n, struct version_pieces *ret,
                   struct error *error);
void version_return(struct version_pieces *pieces);

// Makes reads in progress and later ones fail with -ECANCELED.
void version_cancel(struct version *v);

// Fetches everything of the version that the cache lacks, in pack order, and then verifies that all of it is there.
// `progress` (may be NULL) is called now and then with the stored bytes that are there and wanted in all (0 until that
// is known); its non-zero return cancels, as version_cancel does. *ret_objects (malloc'ed) lists every object of the
// version, for cache_pin. Until the version is closed, what was fetched is leased (cache_lease).
int version_pull(struct version *v, int (*progress)(void *context, uint64_t have, uint64_t all), void *context,
                 struct sha256 **ret_objects, size_t *ret_count, struct error *error);

// The same at leisure, one pack at a time, each only when no stream of boot packs runs in the store and no reader's
// miss went to the network in the second before, and when what was fetched last was no more than `rate` bytes a second
// (0: no limit). For a version that nobody reads from: whoever does opens another one.
int version_fill(struct version *v, uint64_t rate, int (*progress)(void *context, uint64_t have, uint64_t all),
                 void *context, struct sha256 **ret_objects, size_t *ret_count, struct error *error);

// Sums over a member's map, reading pages only.
struct version_extent {
    uint64_t stored_bytes;  // of the distinct chunks it refers to, leaf by leaf
    uint64_t mapped_blocks; // that are not zero
    uint64_t boot_blocks;   // of them, in boot packs
    uint64_t chunks, packs;
};
int version_measure(struct version *v, unsigned member, struct version_extent *ret, struct error *error);

// Stored bytes of the version, and how many of them the cache on the disk lacks, by what stands there, not by its hash.
// Reads pages only.
int version_count_missing(struct version *v, uint64_t *ret_missing, uint64_t *ret_all, struct error *error);

// Names what the blocks [first, first + blocks) of a member consist of, as far as they are within it: of each segment
// the pages on the way, top first (zeros are only what these say), then the data chunks, by block. Some are named
// again, here and in later calls. Reads pages only. A negative return of `visit` ends it and is returned.
typedef int version_visitor(void *context, enum chunk_kind kind, const struct sha256 *name, struct error *error);
int version_visit_blocks(struct version *v, unsigned member, uint64_t first, uint64_t blocks, version_visitor *visit,
                         void *context, struct error *error);

// What a client that holds all of version `a` (NULL: nothing) must fetch to hold `b`, and how they differ; reads pages
// only.
struct version_difference {
    uint64_t data_bytes, data_chunks; // of b, that are not in a: stored bytes
    uint64_t page_bytes, pages;
    uint64_t packs;      // that hold them
    uint64_t boot_bytes; // whole boot packs of b that are none of a's: fetched when b is opened
    unsigned boot_packs;
};
int version_compare(struct version *a, struct version *b, struct version_difference *ret, struct error *error);
// All of one version, as version_compare has it without `a`; but -E2BIG if its maps are more work than a person should
// wait for who has not decided yet. A reference of a leaf is one unit, a page VERSION_WORK_PAGE (it may have to be
// fetched), again each time that it is named.
#define VERSION_WORK_PAGE 1024u
int version_sum(struct version *v, uint64_t work_maximum, struct version_difference *ret, struct error *error);

// How many blocks of a member of `b` stand elsewhere than in the member of `a` with the same name: other bytes, or the
// same in another chunk. A member that `a` does not have counts as zeros.
int version_count_changed(struct version *a, struct version *b, unsigned member, uint64_t *ret, struct error *error);

// Copies packs of the version that a site lacks into it, whole, as they are, each checked against its name: from the
// cache, if it is whole there, else from the version's sources. For a new version there that refers to them.
struct version_copy {
    // Whether any of these blocks of a member is as this version has it: 1 or 0, or -errno.
    int (*needs)(void *context, unsigned member, uint64_t first, uint64_t blocks);
    int (*progress)(void *context, const char *what, uint64_t done, uint64_t all); // as in struct writer_options
    void *context;                                                                 // of both
};
struct version_copied {
    uint64_t bytes;
    unsigned packs;
};
struct site;
// The version's logo in the same way; without one, nothing is done.
int version_copy_logo(struct version *v, struct site *site, struct error *error);
int version_copy_packs(struct version *v, struct site *site, const struct version_copy *copy,
                       struct version_copied *ret, struct error *error);
