// What the files of `rondo commit` share: commit.c (the verb and its order), commit_disk.c (the machine's disk: what it
// is now, what changed, what it was).
#pragma once

#include "blockstore/overlay.h"
#include "blockstore/parent.h"
#include "blockstore/store.h"
#include "client/images.h"
#include "client/instance.h"
#include "client/publish_private.h"

struct commit {
    struct publication p; // what publish has: options, keys, writer, catalog, manifest
    const char *machine;
    bool force; // also if nothing changed

    struct instance instance;
    struct images images;
    struct version *base;    // that the machine was made from
    struct overlay *overlay; // locked for as long as it is open
    unsigned disk;           // the base's member
    bool foreign;            // somebody else signed the base
    uint64_t changed;        // blocks
    uint64_t boot_chunks;    // of the base's boot packs (blockstore/inherit.h)
    // Members: what the writer asks of each (struct writer_changes)
    struct commit_member {
        struct commit *commit;
        unsigned number; // of the base
        struct writer_changes changes;
    } members[MANIFEST_MEMBERS_MAXIMUM];
};

// Opens the base and the disk over it. -EBUSY: the machine runs.
int commit_open_disk(struct commit *c, struct error *error);
int commit_close_disk(struct commit *c, struct error *error); // fine if it is not open

// How many blocks are not as in the base.
int commit_count_changes(struct commit *c, struct error *error);
// Whether any of these blocks of a base's member is as it was: 1 or 0, or -errno.
int commit_needs(void *commit, unsigned member, uint64_t first, uint64_t blocks);
// A member of the base, and what changed of it, for the writer. It lasts as long as *c.
const struct writer_changes *commit_changes(struct commit *c, unsigned member);
