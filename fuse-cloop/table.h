// The table of versions that rondo-cloop has open: what the state memfd says (state.h), and the opened versions
// (blockstore/store.h) that belong to it.
//
//   free ──table_open──▶ open ──(no connection, no open file, no reader, and another version needs the entry)──▶ free
//
// Rules
//   1. One mutex guards the entries; it is never held while a version is opened or read.
//   2. A version is opened when it is first asked for, and after a predecessor's death when it is first used. Whoever
//      comes meanwhile waits for that one attempt, and gets its result.
//   3. Sources that are added later need a newly opened version: readers go on with the old one, and try again with the
//      new one if that fails them. The old one is closed behind its last reader. MIRRORS_MAXIMUM are kept, the newest.
//   4. An entry that nobody uses stays open: its manifest and memory are small. It is given up only for another
//      version, least recently used first. A full table (STATE_VERSIONS in use at once) is -EBUSY.
#pragma once

#include "blockstore/store.h"
#include "fuse-cloop/state.h"

struct table;
struct opened; // a version, as long as it is in use
int table_new(struct store *store, struct state *state, struct table **ret, struct error *error);
void table_free(struct table *t); // after the last use; NULL is fine

// Names one version in the table. A key stays right until the entry is given up; later it is -ESTALE.
struct table_key {
    unsigned entry;
    uint64_t generation;
};

// Opens the version, or adds the addresses to the open one; it then has one connection more. Fails as version_open.
int table_open(struct table *t, const struct sha256 *manifest, const char *const *addresses, unsigned count,
               struct table_key *ret_key, struct error *error);
void table_close(struct table *t, struct table_key key); // one connection less

// The version behind a key, in use until table_put. -ESTALE; or as version_open.
int table_use(struct table *t, struct table_key key, struct opened **ret, struct error *error);
void table_put(struct table *t, struct opened *o);
struct version *table_version(struct opened *o);

// Borrows at most n bytes of a member, fewer (or none) where it ends, with the sources that the version has at that
// moment: as version_borrow, to be given back by version_return.
int table_read(struct table *t, struct table_key key, unsigned member, uint64_t offset, size_t n,
               struct version_pieces *ret, struct error *error);

int table_find(struct table *t, const struct sha256 *manifest, struct table_key *ret); // -ENOENT
// The name of entry `entry`, if it is open: for listing.
bool table_name(struct table *t, unsigned entry, struct table_key *ret_key, struct sha256 *ret_manifest);

// Open files: counted in the state, so that a successor knows of them.
int table_file_opened(struct table *t, struct table_key key); // -ESTALE
void table_file_closed(struct table *t, struct table_key key);

unsigned table_connections(struct table *t);         // that have versions open, each as often as it does
uint64_t table_last_file_closed_ns(struct table *t); // io_monotonic_ns(); 0: never
