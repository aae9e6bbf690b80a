// Looking a site over, as rondo fsck does: first every object by itself, by all processors; then, version by version,
// whether everything that is referred to is there.
//
//   objects     hash to their names; packs: the trailer, the table, and every chunk that the table names
//   versions    every page of the map; every reference is to a chunk that the pack's table has at that place, and the
//               pack has the size, and the table the hash, that the reference says; boot packs; the logo
//
// Memory: 80 bytes an object, 16 bytes a chunk up to SITE_CHECK_CHUNKS; chunks beyond these are read where a reference
// leads to them, which is slower.
#pragma once

#include "blockstore/manifest.h"
#include "blockstore/site.h"

#define SITE_CHECK_CHUNKS (8u << 20)

struct site_check_options {
    // One at a time. `object`: the one that is wrong or missing; NULL: something else is.
    void (*problem)(void *context, const struct sha256 *object, const char *what);
    int (*progress)(void *context, uint64_t done, uint64_t all); // bytes; a return other than 0 cancels
    void *context;
};

struct site_check;
// Looks at all objects. The site stays the caller's, and locked.
int site_check_new(struct site *s, const struct site_check_options *options, struct site_check **ret,
                   struct error *error);
void site_check_free(struct site_check *k); // NULL is fine

// An object that something names, with its size (0: unknown): false, after `problem` if it is missing, unless it is
// there and right.
bool site_check_object(struct site_check *k, const struct sha256 *name, uint32_t size, const char *what);
// The map and the packs of a version, whose manifest was read already. What other versions share is looked at once.
int site_check_version(struct site_check *k, const char *label, const struct manifest *m, struct error *error);

// Afterwards: calls `each` for every object that is wrong or missing: the size that it should have (0: unknown), and
// whether anything needs it. What could not be read may be right, and is passed over unless it is needed.
void site_check_walk_wrong(const struct site_check *k,
                           void (*each)(void *context, const struct sha256 *name, uint32_t size, bool needed),
                           void *context);

// The picture that a version in the site, or elsewhere (site.h), names: 0 if there is none. -ENOENT, -EBADMSG (it is
// not what the manifest says), in a sentence that begins with "its logo".
int site_check_logo(struct site *s, const struct manifest_logo *logo, struct error *error);

struct site_check_counts {
    uint64_t objects, bytes, problems, needed;
};
void site_check_count(const struct site_check *k, struct site_check_counts *ret);
