// What inherit.c and inherit_match.c share; nobody else includes this.
#pragma once

#include "blockstore/inherit.h"
#include "blockstore/writer_private.h"

#define INHERIT_PIECE_SIZE (512u << 10) // that is read at once

struct run { // of blocks of the older boot
    uint64_t first, rank;
    unsigned blocks;
};
struct runs { // of a member, sorted
    struct run *list;
    size_t count, capacity;
    uint64_t mapped, boot; // blocks
};
struct place { // of a block of the new boot
    uint64_t rank, block;
    unsigned member;
};

struct inheritance {
    struct writer *w;
    const struct inherit_source *source;
    struct runs runs[MANIFEST_MEMBERS_MAXIMUM]; // by number in the new version
    uint64_t older_blocks;                      // of the older member that is looked at
    struct place *places;
    size_t count, capacity;
    unsigned char *seen; // for each rank, in how many places
    unsigned char *piece;
    uint64_t done, all, progress_due;
    // While a member is read
    unsigned member;
    bool whole;
    struct runs *now;
    size_t at;           // in now->list: the first run that does not end before the block
    uint64_t last, rank; // block of the boot that was met last, and its rank; valid with has_last
    bool has_last;
    uint64_t gap[INHERIT_GAP_BLOCKS]; // new blocks behind it
    unsigned pending;                 // how many
};

// inherit_match.c
// How much there is to be read, for the progress; and how much of that was. -ECANCELED if that is asked for.
void inherit_measure_members(struct inheritance *h);
int inherit_report(struct inheritance *h, struct error *error);
// A block of h->member belongs to the boot; as many as a profile may hold.
int inherit_add_place(struct inheritance *h, uint64_t rank, uint64_t block, struct error *error);
// Reads all members, and adds what of them belongs to the boot.
int inherit_look_at_members(struct inheritance *h, struct error *error);
