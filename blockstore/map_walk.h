// Walking a member's map, page by page, by one thread, with pages that the caller reads from wherever they are: a
// site's folder, the cache. Whoever may have to wait for a network walks with store_walk_map.
#pragma once

#include "blockstore/manifest.h"

struct map_walk {
    // Reads the page's stored bytes, ref->length of them. -ENOENT: it is not there; it is passed over, with all that is
    // below it, and counted.
    int (*read)(void *context, const struct chunk_reference *ref, void *to, struct error *error);
    // Sees each page, top first, after its bytes were verified; `first` is the first block that it covers. Any return
    // but 0 ends the walk.
    int (*each)(void *context, const struct map_page *page, uint64_t first, struct error *error);
    // NULL, or: true for a page that need not be read again, nor what is below it.
    bool (*skip)(void *context, const struct chunk_reference *ref);
    void *context;
    unsigned missing; // pages; 0 at first
};

// Depth first; one page a level is in memory. 0, or what a callback returned, or -EBADMSG: not the page that was
// referred to, or a malformed one.
int map_walk_member(struct map_walk *w, const struct manifest_member *member, struct error *error);

// One page, read and verified as on a walk, into `bytes` (room for PAGE_BYTES_MAXIMUM).
int map_walk_read_page(const struct map_walk *w, const struct chunk_reference *ref, unsigned level, void *bytes,
                       struct map_page *ret, struct error *error);
