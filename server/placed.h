// What each publisher brought into the site, object by object: what its quota counts beside what is staged, whether a
// version lists it, waits for the site's key, or was refused in the end.
//
//   placed/<publisher key>         in the state folder: a line "<object's sha256> <bytes counted> <sum so far>" each
//   placed/<publisher key>.quota   bytes that this one may have, where that is not what the server gives everybody
//
// 1. A line is there, durable, before its object is in the site: killed in between, too much is counted until the next
//    look, and never too little.
// 2. Of a file that a crash cut short the last whole line counts; what is appended takes the place of the rest.
// 3. Only the keeper writes lists, one thread at a time; the web process reads. Quotas are replaced as a whole, by
// whoever
//    the folder belongs to (rondo-server quota), while both read them.
#pragma once

#include "base/error.h"
#include "blockstore/site.h"
#include "catalog/key.h"
#include <stdbool.h>

#define PLACED_FOLDER "placed"
#define PLACED_QUOTA_SUFFIX ".quota"

// What a file counts at least, here and in the staging area: an inode, a name in a folder and a block or two of the
// disk are no more with 64 KiB in them than with one byte, and a walk over a folder takes as long. Without it the
// number of files that a quota allows would have no bound. Ours hold megabytes, but for the last pack and the manifest
// of a version.
#define PLACED_BYTES_MINIMUM (UINT64_C(64) << 10)
static inline uint64_t placed_count(uint64_t bytes)
{
    return bytes < PLACED_BYTES_MINIMUM ? PLACED_BYTES_MINIMUM : bytes;
}

struct placed_object {
    struct sha256 name;
    uint64_t bytes;
};

// `folder` is that of all publishers, kept open by the caller, here and below. -ENOENT: there is no list yet.
int placed_sum(int folder, const struct key_public *key, uint64_t *ret);

// Adds them, durable. -EDQUOT, and nothing is added, if the sum were more than `quota`, even without what is no longer
// in the site. -ENOENT: there is no list yet.
int placed_add(int folder, const struct key_public *key, const struct placed_object *objects, size_t n, uint64_t quota,
               struct site *site, struct error *error);

// Makes the list anew, of these objects, each counted once.
int placed_make(int folder, const struct key_public *key, const struct placed_object *objects, size_t n,
                struct error *error);

// Of all lists, takes out what is no longer in the site, and what stands there twice.
void placed_sweep(int folder, struct site *site);

// What a publisher may have: replaces *quota if it has one of its own, and says so. -EBADMSG: its file says none.
int placed_find_quota(int folder, const struct key_public *key, uint64_t *quota, bool *ret_own, struct error *error);
int placed_set_quota(int folder, const struct key_public *key, uint64_t quota, struct error *error);
int placed_remove_quota(int folder, const struct key_public *key, struct error *error); // fine if there is none
