// Where objects lie that publishers have sent, until a manifest names them: a folder for each publisher.
//
//   incoming/<publisher key>/<64 hex digits>.part   so much of it has come
//   incoming/<publisher key>/<64 hex digits>        all of it, and its hash is its name
//
// 1. Names are made of hashes and keys alone; nothing that a client sent is part of a path.
// 2. A file gets the name of a whole object only when its bytes were found to hash to it. What did not is gone. (Who
//    takes objects from here into a site hashes them once more: power may have been lost since.)
// 3. One upload of an object at a time, STAGING_UPLOADS of a publisher; all of an upload is counted against the
//    publisher's quota before its first byte is written, and no more than was counted is. A file counts as what it
//    costs at least (placed_count), and there are STAGING_FILES of a publisher at most.
//
// Any thread; the functions of one upload belong to the thread that has its request.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include "blockstore/site.h"
#include "catalog/key.h"
#include "server/placed.h"
#include "server/publish_text.h"

#define STAGING_FOLDER "incoming"
#define STAGING_UPLOADS 8u
#define STAGING_FILES 32768u // 256 GiB in packs of their usual size; a walk over them takes some hundredths of a second
#define STAGING_AGE_MAXIMUM (7 * 86400) // seconds since something was last added, until it is swept

struct staging;
// `state`: the state folder, kept open by the caller. Makes incoming/ where it is missing.
int staging_open(int state, struct staging **ret, struct error *error);
void staging_close(struct staging **s); // for CLEANUP too; NULL is fine

// How many bytes of an object are there, and whether that is all, and right. 0 where there is nothing.
uint64_t staging_find(struct staging *s, const struct key_public *key, const struct sha256 *name, bool *ret_whole);
// What a publisher has here, uploads under way as what they will be.
uint64_t staging_count_bytes(struct staging *s, const struct key_public *key);
// Removes what is older than STAGING_AGE_MAXIMUM at the time `now` (seconds since 1970), and whole objects that the
// site has: a keeper that was killed may have left them.
void staging_sweep(struct staging *s, int64_t now, struct site *site);

// Begins to take a part. `quota`: bytes that this publisher may have here, in all. -ERANGE: *ret_offset says from where
// on it is to be sent. -EDQUOT: over the quota, or too many files. -EBUSY: this object is on its way already, or too
// many are. -EAGAIN: again, soon.
struct staging_upload;
int staging_begin(struct staging *s, const struct key_public *key, const struct sha256 *name,
                  const struct publish_part *part, uint64_t quota, struct staging_upload **ret, uint64_t *ret_offset,
                  struct error *error);
// -EFBIG: more than the part has.
int staging_add(struct staging_upload *u, const void *bytes, size_t n, struct error *error);
// 1: the object is whole and right. 0: this part is kept. -EBADMSG: these are not its bytes, and they are gone.
// -ENODATA: the part is not all there. -EAGAIN: it was swept meanwhile; all of it is to be sent again.
int staging_finish(struct staging_upload *u, struct error *error);
void staging_end(struct staging_upload **u); // in any case; what came is kept. NULL is fine

// A manifest's bytes, in a file without a name. The descriptor, or -errno.
int staging_put_manifest(struct staging *s, const void *bytes, size_t n, struct error *error);
