// The index of the site that is served (catalog/index.h), in the server's state folder.
#pragma once

#include "server/index_pool.h"
#include "server/indexer.h"
#include "server/state.h"

struct site_index {
    int folder; // of the index's files; −1: none
    struct index_pool *pool;
    struct state state;
    struct beside indexer; // who writes it (server/indexer.h); it ends with us
};

// Makes the state folder where it is missing, starts the indexer, which brings the index up to date with the site in
// `site` and keeps it so, and opens the index for reading. A site without a catalog yet has an empty one. While there
// are all rights, and one thread. *ret must stay where it is.
int site_index_open(const char *state, const char *site, struct site_index *ret, struct error *error);
void site_index_close(struct site_index *i); // for CLEANUP
// After SIGCHLD: warns if it was the indexer that has ended.
void site_index_reap(const struct site_index *i);

// Makes all of it anew; whoever reads it meanwhile sees the old one until then. -ENOENT if there is no catalog.
int site_index_renew(const char *state, const char *site, struct index_counts *ret, struct error *error);
