// What the files of the keeper share: keeper.c (the process), keeper_take.c (a version), keeper_objects.c (its
// objects), keeper_placed.c (its publisher's quota), keeper_pending.c (catalogs that wait for an offline key).
#pragma once

#include "blockstore/needs.h"
#include "catalog/site_catalog.h"
#include "server/keeper.h"
#include "server/placed.h"
#include "server/staging.h"

#include <sys/types.h>
#include <time.h>

struct keeper {
    struct keeper_options options;
    struct key_secret *site_key; // NULL: queue
    int state, placed;           // its folder, and that of server/placed.h in it
    struct staging *staging;
    int failure; // of the start, for whoever asks first
    struct error error;
    uint64_t swept;      // io_monotonic_ns()
    struct buf pending;  // with --queue: lines of what waits, as last read
    ino_t catalog_inode; // of the catalog that the text follows
    struct timespec catalog_time;
    bool refresh_failed; // the last time, which was told
};

#define TAKING_MISSING 64u // names of one answer

// A version on its way in.
struct taking {
    struct keeper *keeper;
    struct key_public key; // of the session
    const char *tag;       // or ""
    void *bytes;           // the manifest's file
    size_t size;
    struct sha256 name;
    struct manifest *manifest;
    struct site *site;
    struct catalog catalog; // the site's, and with --queue what waits
    struct needs *needs;
    int staged;                   // the publisher's folder in the staging area; −1: there is none
    struct site_object *objects;  // those that come from there, sorted by name, as temporaries
    struct placed_object *placed; // the same, once they are copied, with their sizes; and the manifest
    unsigned object_count;
    uint64_t object_bytes;
    struct sha256 missing[TAKING_MISSING];
    unsigned missing_count;
    uint64_t newest; // serial of its image, what waits included
    bool listed;     // the catalog lists exactly this already, or it waits
    bool pending;    // it waits for the site's key
    size_t waiting;  // bytes of the lines of its publisher that wait already (keeper_pending.c)
};

// Takes a version in. 0; or a refusal, with `missing` if that is why.
int keeper_take(struct taking *t, int manifest, struct error *error);
void keeper_take_end(struct taking *t);

// Its objects. Which are needed, and is each in the site or staged? -ENOENT, and `missing`.
int keeper_objects_find(struct taking *t, struct error *error);
// Copies the staged ones into temporaries of the site, hashed; -EBADMSG, and `missing`, if one is not what its name
// says (it is removed from the staging area). Then checks the version as a whole: -EBADMSG.
int keeper_objects_copy(struct taking *t, struct error *error);
int keeper_objects_place(struct taking *t, struct error *error);
// Before they are placed: counts them, and the manifest, for their publisher. -EDQUOT.
int keeper_placed_add(struct taking *t, struct error *error);
void keeper_objects_unstage(struct taking *t); // the site has them
void keeper_objects_drop(struct taking *t);    // temporaries that were not placed

// With --queue. Adds to the catalog just read what waits already, and is not listed meanwhile.
int keeper_pending_add(struct taking *t, struct error *error);
// Before anything lies in the site: may its publisher have one more wait? -ENOSPC.
int keeper_pending_check_room(const struct taking *t, struct error *error);
bool keeper_pending_has(const struct keeper *k, const struct sha256 *manifest); // among what was just added
// Makes the text anew if the site's catalog is another one than the last time, and ends the list of what waits when
// nothing does any more; without --queue as well.
void keeper_pending_refresh(struct keeper *k);
// Adds one more to what waits, or its tag, and writes the text of the catalog that lists all of it.
int keeper_pending_put(struct taking *t, struct error *error);
