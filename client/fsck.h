// rondo fsck: what its files share.
//
//   fsck.c          the verb, and the list of what is wrong
//   fsck_cache.c    the cache, what was pulled, machines, the trust database
//   fsck_sources.c  where an object of the cache can be had again
//   fsck_site.c     a site's folder
//   fsck_roots.c    the root statements in it
#pragma once

#include "base/error.h"
#include "blockstore/site.h"
#include "blockstore/store.h"
#include "catalog/catalog.h"
#include "client/configuration.h"

struct fsck {
    bool repair, json, offline;
    bool quiet;      // nothing is told, only counted: all is looked at again
    uint64_t untold; // problems, while it was quiet
    uint64_t problems, mended;
    bool ended;          // the list, in JSON
    struct error broken; // of the list itself: out of memory
};

// One thing that is wrong: `object` is a path or a name, `next` what to do about it (NULL: nothing in particular). Any
// thread, one at a time.
void fsck_tell(struct fsck *f, const char *object, const char *what, const char *next, bool mended);
// In JSON: the list of what is wrong ends; `whole`: what was looked at follows, from whoever calls, else nothing does.
void fsck_end_list(struct fsck *f, bool whole);
// "checking 1.2 GiB of 3.4 GiB"; -ECANCELED after a signal.
int fsck_progress(const char *what, uint64_t done, uint64_t all);

// Each prints what it found, and at the end how much it looked at.
int fsck_cache(struct fsck *f, struct error *error);
int fsck_site(struct fsck *f, const char *path, struct error *error);

// The root statements of the site with this catalog: tells those that are wrong, or fetches them from the mirrors that
// the catalog names, and counts in *done.
void fsck_check_roots(struct fsck *f, const struct site *s, const struct catalog *c);
int fsck_mend_roots(struct fsck *f, struct site *s, const struct catalog *c, uint64_t *done, struct error *error);

// Where a version of the cache can be had again: the sources of a machine that was made from it, else a site that is
// known and whose last catalog lists it, with its mirrors. Nobody else is asked for it.
struct fsck_sources {
    char list[MIRRORS_MAXIMUM][CATALOG_URL_SIZE];
    const char *addresses[MIRRORS_MAXIMUM];
    unsigned count;
};
int fsck_find_sources(struct store *store, const struct sha256 *manifest, struct fsck_sources *ret,
                      struct error *error);
