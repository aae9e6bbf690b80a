// The writer: turns members (raw files) into packs in a site's directory, and keeps the site whole at every instant.
//
//   read (SEEK_DATA) → hash 4 KiB blocks → drop zeros and known blocks → gather 32 into a chunk → compress (all
//   cores) → append to the open pack, in order → close: table, trailer, fsync, rename to objects/ab/<sha256>
//
// With a boot profile its blocks come first, in its order, into packs of their own, and so do the pages that lead to
// them (writer_boot.c).
//
// Blocks are known from this publication, from packs given to writer_know_pack (the parent's, by their tables alone),
// and from packs that an interrupted publication of the same image left (listed in <site>/.unfinished/<image>).
//
// Rules
//   1. The same input gives the same packs, whatever the number of cores.
//   2. An object appears under its name only when all of its bytes are on stable storage (written to a temporary
//      name, fsync, rename, fsync of the folder). Order: packs, then manifest, then catalog.
//   3. A pack is listed as unfinished before it is renamed, until writer_end, so that an interrupted command leaves a
//      valid site and, run again, compresses nothing twice.
//   4. A page names packs by their hash, so it is stored in a later pack than the chunks that it refers to.
//   5. Memory does not grow with the image: the block index and the chunk list lie in unlinked temporary files.
//   6. One writer a site: flock on <site>/.lock; a second one gets -EBUSY.
#pragma once

#include "blockstore/manifest.h"
#include "blockstore/profile.h"

struct site;
struct writer;
struct writer_options {
    const char *site;       // directory; made if it is missing
    const char *image;      // name, for the list of unfinished packs
    enum chunk_codec codec; // 0: CHUNK_CODEC_DEFAULT
    int level;              // of the codec, 1 to chunk_level_maximum; 0: CHUNK_LEVEL_DEFAULT
    unsigned threads;       // that compress; 0: one for each processor
    // Called about ten times a second by the thread that publishes: bytes of the member read so far, and in all (data
    // only, holes left out); before the first member, of the packs of "parent" and of "unfinished packs", and of the
    // "boot" set. Its non-zero return cancels. May be NULL.
    int (*progress)(void *context, const char *what, uint64_t done, uint64_t all);
    void *context;
};
struct writer_counts {
    uint64_t data_bytes;   // read from members
    uint64_t zero_blocks;  // dropped because zero (those inside data extents)
    uint64_t known_blocks; // dropped because already stored
    uint64_t new_blocks;
    uint64_t changed_blocks; // of members that were added as changes: what was read or is zero now
    uint64_t written_bytes;  // of packs
    uint64_t packs, chunks;  // written; map pages are chunks too
    uint64_t boot_blocks;    // of the profile that are not zero
    bool boot_cut;           // the boot set has more packs than a manifest can list; the rest of it is not listed
};

int writer_open(const struct writer_options *options, struct writer **ret, struct error *error);

// Makes the blocks of an existing pack known. `table` is the pack's table (whose hash is ref->table, checked here).
// What it says of the pack's chunks is believed: whoever signs for chunks that another publisher stored hashes them
// first.
int writer_know_pack(struct writer *w, const struct pack_reference *ref, const void *trailer, const void *table,
                     size_t table_size, struct error *error);

uint64_t writer_known_chunks(const struct writer *w); // of all packs that are known

// Before the first member: the blocks that the profile names are stored in its order, in boot packs, as far as they are
// in none that is known already; the members are then mapped to these. fds[i] is the file of the profile's i-th member,
// whose size must be the one that the profile says (-EINVAL). `p` is not needed any more after the call.
int writer_add_boot(struct writer *w, const struct profile *p, const int *fds, struct error *error);

// The same where members will be added as changes. `sources` are of the profile's members. `hashes`, of each block in
// the profile's order, are those of the older version (whose boot packs are known): of such a member only blocks that
// changed are read. They are changed to those of the blocks as they are now.
struct writer_changes;
struct writer_boot_source {
    const struct writer_changes *changes; // or NULL: `fd` is the member's file
    int fd;
};
int writer_add_older_boot(struct writer *w, const struct profile *p, const struct writer_boot_source *sources,
                          struct sha256 *hashes, struct error *error);

// Adds a member: reads the regular file or block device `fd` and fills *ret_member (name, size, top).
int writer_add_member(struct writer *w, const char *name, int fd, struct manifest_member *ret_member,
                      struct error *error);

// A member as what it was in an older version, and what changed since: a machine's disk. Only what changed is read:
// pages of the older map below which nothing changed are taken as they are, so the work follows the changes and not the
// size. Every pack that these pages name must be in the site.
struct writer_changes {
    const struct manifest_member *base; // what lies behind its end is zeros
    uint64_t size;                      // of the new member; at least the base's
    // Somebody else signed the base: all of its pages are read, and what they refer to must be in the packs that the
    // writer knows.
    bool foreign;
    // Reads and verifies a page of the base's map into `bytes` (PAGE_BYTES_MAXIMUM).
    int (*read_page)(void *context, const struct chunk_reference *ref, unsigned level, void *bytes,
                     struct map_page *ret, struct error *error);
    // The first blocks at or behind `block` that may have changed: 1 and a run of them, 0 if there are none, or -errno.
    int (*find_change)(void *context, uint64_t block, uint64_t *ret_first, uint64_t *ret_count, bool *ret_zero);
    // Reads n bytes of the member as it is now, whatever changed: 0 or -errno.
    int (*read)(void *context, uint64_t offset, void *to, size_t n);
    void *context;
};
int writer_add_changed_member(struct writer *w, const char *name, const struct writer_changes *changes,
                              struct manifest_member *ret_member, struct error *error);

// After the last member: closes the last pack. (A member's top page may lie in it, so members are complete only now:
// ret_members of writer_add_member are filled by this call.)
int writer_finish(struct writer *w, struct writer_counts *ret, struct error *error);

// After writer_finish: lists the boot packs, in the order in which a boot needs them: pages from the top down, then
// data. With them alone every block of the profile can be read. None without a profile.
void writer_fill_boot(const struct writer *w, struct manifest *m);

// Stores the signed manifest as an object. *ret_name is its name.
int writer_put_manifest(struct writer *w, const void *bytes, size_t n, struct sha256 *ret_name, struct error *error);

// After the catalog names the manifest: nothing is unfinished any more.
int writer_end(struct writer *w, struct error *error);

// The site that it writes to, for the catalog and its shards (site.h); valid until writer_close.
struct site *writer_site(struct writer *w);

void writer_close(struct writer *w); // at any point; what is not finished can be continued later
