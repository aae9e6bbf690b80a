// The objects of a file that rondo import takes in: those of the chain one by one, by their names, then the packs, to
// the file's end. For import.c alone.
//
// 1. No more comes than the file's description says, and nothing twice.
// 2. Every object that came to stand in the cache by this file is noted, so that all of them can be taken back.
#pragma once

#include "base/buf.h"
#include "blockstore/archive_read.h"
#include "blockstore/store_packs.h"

struct import_objects {
    struct store *store;                     // whose cache they come into
    struct archive_reader *archive;          // the file
    const struct archive_description *about; // what it says of itself
    struct buf placed;                       // struct sha256: what this file brought into the cache
    struct pack_set *packs;
    uint64_t bytes, objects; // that came
};

// The next entry, which must be the object of this name, as a whole: at most `maximum` bytes. The caller frees *ret.
int import_objects_read(struct import_objects *o, const struct sha256 *name, size_t maximum, void **ret,
                        size_t *ret_size, struct error *error);

// All entries to the end, which must be packs.
int import_objects_read_packs(struct import_objects *o, struct error *error);

// -EBADMSG unless the packs that came are those of the version, no more and no fewer.
int import_objects_check_packs(struct import_objects *o, struct version *version, struct error *error);

// -ENOSPC, and why the cache does not keep what it is given.
int import_objects_not_kept(const struct import_objects *o, struct error *error);

// Removes from the cache what this file brought there.
void import_objects_take_back(const struct import_objects *o);

void import_objects_free(struct import_objects *o);
