// What the writer's files share: writer.c (life), writer_know.c (what is stored already), writer_member.c (reading),
// writer_changes.c (what changed since an older version),
// writer_gather.c (new chunks), writer_pack.c (the open pack), writer_pages.c (the map), and of the boot set:
// writer_boot.c (its blocks), writer_boot_pages.c (its pages), writer_boot_choice.c (which older packs serve it). All
// of it belongs to the one thread that calls writer.h; the compressor and the sealer have threads of their own behind
// their headers.
//
// Why the packs do not depend on timing (rule 1): the reader makes one stream of new chunks and ended segments, and
// everything behind it (where a chunk goes, when a pack closes, when a leaf is stored) is decided as that stream is
// drained, in its order. The reader runs ahead of the drain by at most the compressor's ring, and asks the drain
// for nothing, but where it first lets the ring run empty.
#pragma once

#include "blockstore/pack.h"
#include "blockstore/spool.h"
#include "blockstore/writer.h"
#include "blockstore/writer_compress.h"
#include "blockstore/writer_index.h"
#include "blockstore/writer_seal.h"

#define WRITER_PIECE_SIZE (512u << 10) // bytes read at once
#define WRITER_CUT_EXTENTS (1u << 20)  // 16 MiB of memory

struct writer_leaf; // a segment that ended, whose leaf waits for packs to close

// Lines of a manifest's that are kept for packs of pages; a Debian image needs two.
#define WRITER_BOOT_PAGE_PACKS 8u
#define WRITER_BOOT_DATA_PACKS (MANIFEST_BOOT_MAXIMUM - WRITER_BOOT_PAGE_PACKS)

// A page that was stored: the `position`-th of its level in its member.
struct writer_page {
    unsigned member;
    uint32_t position;
    uint64_t chunk;
    bool boot; // a boot needs it
};

struct writer_page_list {
    struct writer_page *pages;
    size_t count, capacity;
};

// What a boot fetches whole (writer_boot.c).
struct writer_boot {
    bool wanted;                // there is a boot set
    bool packing;               // what is appended now belongs to it
    uint64_t unfinished_chunks; // chunks from this number on an interrupted publication left
    uint64_t own_chunks;        // chunks from this number on are this publication's
    uint64_t blocks;            // in the boot set, that are not zero
    bool cut;                   // more packs than a manifest can list
    uint32_t data_packs[WRITER_BOOT_DATA_PACKS], page_packs[WRITER_BOOT_PAGE_PACKS];
    unsigned data_pack_count, page_pack_count;
    struct profile_member members[MANIFEST_MEMBERS_MAXIMUM]; // that the profile speaks of
    unsigned member_count;
    uint64_t *segments; // that the profile touches: number of the member above × 2^32 + segment; sorted
    size_t segment_count;
    // Pages that wait for the end of their level, encoded
    struct spool page_bytes;
    uint64_t page_bytes_used;
    struct writer_boot_page *pages;
    size_t page_count, page_capacity;
};

struct writer {
    struct site *site;
    struct writer_index *index;
    struct chunk_encoder *encoder; // of map pages
    struct compressor *compressor; // these two from the first member on
    struct sealer *sealer;
    struct writer_options options;
    char image[MANIFEST_NAME_SIZE];
    struct writer_counts counts;
    enum { WRITER_KNOWING, WRITER_ADDING, WRITER_FINISHED } state;
    int failure; // what the first failed call returned: all later ones fail too

    struct {
        char name[sizeof(((struct manifest_member *)0)->name)];
        uint64_t size;
        uint64_t top; // chunk; valid with has_top
        bool has_top;
        struct manifest_member *ret;
    } members[MANIFEST_MEMBERS_MAXIMUM];
    unsigned member_count;

    struct writer_boot boot;

    // The reader (writer_member.c, writer_boot.c)
    const char *reading; // what is read now, for people
    int fd;
    const struct writer_changes *changes; // or NULL: then fd is read
    uint64_t size;                        // of the member, in bytes
    uint64_t done, all;                   // bytes of data, for progress
    uint64_t progress_due;                // io_monotonic_ns
    uint32_t segment;                     // that is being read
    uint64_t minimum;                     // only blocks in chunks from this number on count as known
    bool again;                           // the segment is being read a second time, to be stored afresh …
    bool without_boot;                    // … all of it, the blocks of the boot set as well
    struct map_extent *extents;           // MAP_LEAF_BLOCKS of them, the segment's so far in extent_count
    unsigned extent_count;
    struct compress_job *gathering; // the chunk that is being filled, or NULL
    uint64_t next_chunk;            // if nothing is being gathered: the least number that the next chunk can have
    uint64_t submitted;             // chunks
    uint64_t extents_since_cut;
    uint64_t extents_until_cut; // how many leaves' extents may wait in memory; tests make it small
    unsigned char *piece;

    // The drain (writer_pack.c, writer_pages.c)
    uint64_t appended;       // chunks that were drained
    uint64_t appended_below; // every chunk of data with a number below this was drained …
    uint64_t closed_below;   // … and is in a closed pack
    struct {
        int fd; // -1: none is open
        char temporary[SITE_TEMPORARY_SIZE];
        uint32_t number, size;
        struct hash_stream *hash;
        struct pack_table table;
    } pack;
    struct writer_leaf *first_leaf, **last_leaf;
    struct writer_page_list pages[MAP_LEVELS_MAXIMUM + 1]; // of each level
    unsigned char *page, *page_stored;
};

// --- writer_member.c
int writer_read_member(struct writer *w, unsigned member, struct error *error);
int writer_report_progress(struct writer *w, bool now, struct error *error);
void writer_add_extent(struct writer *w, uint32_t block, unsigned blocks, uint64_t chunk, unsigned position);
// Reads [from, to) of the member, which lies in one segment and begins on a block; only the member's end need not end
// on one, and is padded with zeros.
int writer_read_range(struct writer *w, uint64_t from, uint64_t to, struct error *error);
// A segment: begun, filled in the order of its blocks, ended. Chunks from *ret_own on are what it brings.
void writer_begin_segment(struct writer *w, uint32_t segment, uint64_t *ret_own);
int writer_end_segment(struct writer *w, uint64_t own_chunks, struct error *error);

// --- writer_changes.c
int writer_merge_member(struct writer *w, unsigned member, const struct writer_changes *changes, struct error *error);

// --- writer_know.c
int writer_know_table(struct writer *w, const struct pack_reference *ref, const void *trailer, const void *table,
                      size_t table_size, struct error *error);
int writer_know_unfinished(struct writer *w, struct error *error); // packs of an interrupted publication of the image

// --- writer_gather.c
// Puts a new block into the chunk that is being gathered, and that, when it is full, to the compressor.
int writer_gather_block(struct writer *w, const unsigned char *bytes, const struct sha256 *hash, uint64_t *ret_chunk,
                        unsigned *ret_position, struct error *error);
int writer_flush_chunk(struct writer *w, struct error *error); // one that is not full; fine if there is none

// --- writer_pack.c
// Appends a chunk to the open pack (opening one), and closes the pack if it is full. `block_hashes` is NULL for a page.
int writer_append_chunk(struct writer *w, uint64_t chunk, const struct sha256 *name, const void *stored, size_t length,
                        const struct sha256 *block_hashes, struct error *error);
int writer_close_pack(struct writer *w, struct error *error); // fine if none is open
void writer_drop_pack(struct writer *w);
// Appends what the compressor has done; with `wait`, waits for at least one, if there is one.
int writer_drain(struct writer *w, bool wait, struct error *error);
int writer_drain_all(struct writer *w, struct error *error);

// --- writer_pages.c
// True if the leaf for the segment's extents would surely fit into a page. Call it when the drain is empty.
int writer_leaf_fits(struct writer *w, bool *ret_fits);
int writer_queue_leaf(struct writer *w, unsigned member, struct error *error); // takes the segment's extents
int writer_store_leaves(struct writer *w, struct error *error);                // those whose time has come
int writer_store_indexes(struct writer *w, struct error *error);               // and finds each member's top
void writer_drop_leaves(struct writer *w);
int writer_add_page(struct writer_page_list *list, const struct writer_page *page, struct error *error);

// --- writer_boot.c
int writer_pack_boot(struct writer *w, const struct profile *p, const struct writer_boot_source *sources,
                     struct sha256 *hashes, struct error *error);
// The copy of a block, or chunk, that lies in a boot pack.
bool writer_find_boot(const struct writer *w, enum writer_index_kind kind, const struct sha256 *hash,
                      uint64_t *ret_chunk, unsigned *ret_position);
// Whether a boot reads anything in segments [first, end) of the member.
bool writer_is_boot_range(const struct writer *w, unsigned member, uint64_t first, uint64_t end);
// Adds the pack that holds a chunk to a list, unless it is in it; false if the list is full.
bool writer_list_pack(const struct writer *w, uint64_t chunk, uint32_t *packs, unsigned *count, unsigned maximum);
void writer_drop_boot(struct writer *w);

// --- writer_boot_pages.c
// Encodes the page of `size` bytes in w->page and keeps it until its level ends.
int writer_keep_page(struct writer *w, size_t size, unsigned member, uint32_t position, struct error *error);
// Ends a level: stores the pages that were kept in packs of their own, and adds them to the list.
int writer_store_kept_pages(struct writer *w, struct writer_page_list *list, struct error *error);

// --- writer_boot_choice.c
// Marks those known packs as boot packs of which a boot uses enough. `hashes` are those of all blocks, or of all stored
// pages, that it needs (zeros: none, passed over). 0 or -ENOMEM.
int writer_choose_boot_packs(struct writer *w, enum writer_index_kind kind, const struct sha256 *hashes, size_t n);
