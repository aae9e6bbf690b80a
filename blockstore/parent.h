// Makes the blocks of a published version known to a writer, so that a new version stores only what is new.
//
// Only what lies in the writer's own site counts: a version must be whole on its site, so packs of another site cannot
// be referred to. Of those packs the tables are read (about 2 % of the bytes), and of the version its map pages.
#pragma once

#include "blockstore/site.h"
#include "blockstore/writer.h"

struct parent_counts {
    unsigned known;       // packs
    unsigned missing;     // packs that are not in the site, and pages in such packs: their blocks are not known
    uint64_t boot_chunks; // chunks that the writer knows once the boot packs are known
};

// `m` is a version of this site. Its boot packs become known first, in the order in which it lists them; so, if the
// writer knew nothing before, the number of a chunk of theirs is its place in the boot's order.
//
// `foreign` says that somebody else signed it: what its packs' tables claim is then not believed, but every chunk is
// read, and its blocks hashed, before they can become part of what we sign (FORMATS, "Pack").
int parent_know(struct writer *w, struct site *s, const struct manifest *m, bool foreign, struct parent_counts *ret,
                struct error *error);

// The same for a work that is to cost no more than what it changes: after about `budget` bytes of tables and pages the
// rest stays unknown, but for the boot packs.
int parent_know_some(struct writer *w, struct site *s, const struct manifest *m, uint64_t budget,
                     struct parent_counts *ret, struct error *error);

// Reads and hashes all that a version of this site refers to, as parent_know does of a foreign one: for whoever is to
// sign for it as it is. Versions that we signed are believed later on. -EBADMSG if anything is missing or a lie.
int parent_check(struct site *s, const struct manifest *m, struct error *error);

// Calls `each` for every page of a member's map, top first, with the number of the first block that the page covers.
// What `each` returns ends the walk if it is not 0. Pages whose packs are not in the site are passed over and counted.
typedef int (*parent_each_page)(void *context, const struct map_page *page, uint64_t first, struct error *error);
int parent_walk_map(struct site *s, const struct manifest_member *member, parent_each_page each, void *context,
                    unsigned *ret_missing, struct error *error);
// The same, but only of pages that lie in boot packs of the version `m`: they lead to all that its boot reads.
int parent_walk_boot_map(struct site *s, const struct manifest *m, unsigned member, parent_each_page each,
                         void *context, struct error *error);

// Reads and verifies one page of a map into `bytes` (room for PAGE_BYTES_MAXIMUM). -ENOENT, without a sentence, if its
// pack is not in the site.
int parent_read_page(struct site *s, const struct chunk_reference *ref, unsigned level, void *bytes,
                     struct map_page *ret, struct error *error);
