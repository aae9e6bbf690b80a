// Removing what no listed version of a site needs.
//
// An object that is found unneeded is not removed at once: clients run versions that are no longer listed, hold
// catalogs of yesterday, and are in the middle of a download. Since when it is unneeded is noted in
// .unfinished/.unneeded (a line
// "<object> <time>" for each, docs/formats.md), and it is removed by the first collection after the grace time. Who
// needs it again in between (a publication that deduplicates against it) takes it off the list by listing a version.
//
// 1. Nothing is removed that is in the set of needed objects, or on a list of unfinished packs. The caller makes that
// set
//    of everything that the catalog lists, and calls this only if it could read and verify all of that.
// 2. The site's lock is held from before the catalog was read until the last removal (struct site), so no publication
//    goes on meanwhile.
// 3. Only files that are named as objects, where objects lie, are ever removed.
#pragma once

#include "blockstore/needs.h"
#include "blockstore/site.h"

#define SITE_GRACE_DEFAULT (7 * 86400) // seconds

struct site_collect {
    int64_t now, grace; // seconds
    bool dry_run;       // changes nothing, not even the notes
    // Each unneeded object: it is (or would be) removed, or waits until that time. NULL: nobody wants to know.
    void (*each)(void *context, const struct sha256 *name, uint64_t bytes, bool removed, int64_t until);
    void *context;
};
struct site_collected {
    uint64_t objects, bytes; // all that there was
    uint64_t removed, removed_bytes;
    uint64_t waiting, waiting_bytes;
    uint64_t foreign; // files and folders among the objects that are none
};
int site_collect(struct site *s, const struct needs *needed, const struct site_collect *options,
                 struct site_collected *ret, struct error *error);

// Begins the grace time of these objects anew: for whoever is about to list a version no longer. Some of what that
// needs may have been found unneeded before the version was listed, and was not looked at since. NULL, or where the
// notes cannot be read or written: of all objects.
int site_renew_grace(struct site *s, const struct needs *of, struct error *error);

// Calls `each` for every object of the site, in no order, and with a NULL name (and its path below the site) for what
// lies among them and is none. A return other than 0 ends the walk.
int site_walk_objects(struct site *s,
                      int (*each)(void *context, const struct sha256 *name, uint64_t bytes, const char *path),
                      void *context, struct error *error);

// Removes an object. 0 or -errno.
int site_remove_object(struct site *s, const struct sha256 *name);
