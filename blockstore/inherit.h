// Inheriting a boot: from an older version's boot packs, what the boot of a new version is likely to read.
//
// A block of the new version belongs to its boot if
//   1. an older boot pack holds the same bytes, wherever they stand now; or
//   2. it is new (no known pack holds it) and stands where the older version had a block of its boot; or
//   3. it is new and lies between two blocks of the boot, in a gap of at most INHERIT_GAP_BLOCKS; or
//   4. it is of a member that the older boot read nearly whole, as it does kernel and initrd.
// The order is the older one's; what came by rule 3 stands behind the block before it.
#pragma once

#include "blockstore/site.h"
#include "blockstore/writer.h"

#define INHERIT_GAP_BLOCKS 16u // measured: docs/decisions.md

struct inherit_source {
    const struct manifest *parent;        // whose packs `writer` knows, and knew first
    uint64_t boot_chunks;                 // struct parent_counts
    const struct profile_member *members; // of the new version
    const int *fds;                       // their files
    unsigned member_count;
    // As in struct writer_options; may be NULL.
    int (*progress)(void *context, const char *what, uint64_t done, uint64_t all);
    void *context;
};

// Reads all members once. *ret is NULL if the older version has no boot packs here; else it is to be freed with
// profile_free.
int inherit_profile(struct writer *w, const struct inherit_source *source, struct profile **ret, struct error *error);

// The same for a version that is its parent but for what changed (writer_add_older_boot): its boot reads where the
// parent's did, and all of a member that is replaced, where fds has its file; the others have −1 there. Only pages in
// the parent's boot packs are read. *ret_hashes: of the profile's blocks, as the parent has them (malloc'ed).
int inherit_profile_in_place(struct writer *w, const struct inherit_source *source, struct profile **ret,
                             struct sha256 **ret_hashes, struct error *error);
