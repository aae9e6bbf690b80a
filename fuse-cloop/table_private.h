// What the table's files share: table.c has uses and look-ups, table_open.c the opening, table_lease.c the leases.
#pragma once

#include "fuse-cloop/table.h"
#include <pthread.h>

struct opened {
    struct version *version;
    unsigned users; // the entry counts as one, as long as it refers to this
};

struct entry {
    struct opened *current; // NULL: not opened by this process yet
    unsigned connections;
    bool opening;        // by the thread that set it
    unsigned attempts;   // that have ended
    int failure;         // of the last attempt
    struct error reason; // of it
    uint64_t used_ns;
    struct table_lease {
        bool held, changing; // by the thread that set it
        struct sha256 manifest;
        int fd; // of cache_lease, if held; negative where none can be had
    } lease;
};

struct table {
    struct store *store;
    struct state *state;
    pthread_mutex_t mutex;
    pthread_cond_t changed; // an attempt has ended
    struct entry entries[STATE_VERSIONS];
    uint64_t file_closed_ns;
};

// With the mutex held.
int table_find_entry(const struct table *t, const struct sha256 *manifest, struct table_key *ret); // -ENOENT
// Drops one user (of NULL: nothing), lets the mutex go, and then closes the version if that was the last.
void table_put_and_unlock(struct table *t, struct opened *o);
// Opens what a predecessor had open. Called with the mutex, by a caller that has made itself a connection of the entry;
// returns without it.
int table_reopen(struct table *t, struct table_key key, struct error *error);
// Takes or ends the cache's lease for what the entry's version has become. Without the mutex.
void table_update_lease(struct table *t, unsigned entry);
