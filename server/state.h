// The state folder of a server: what it knows beside the site, and may lose but for the audit log and quotas.
//
//   index/index.db   the index of the site's catalog (catalog/index.h), with SQLite's files beside it
//
// It is the server's alone (0700), and never lies in the site's folder, which is served.
#pragma once

#include "base/error.h"
#include "base/path.h"

struct state {
    int folder; // −1: none
    char index_folder[PATH_TEXT_SIZE], index[PATH_TEXT_SIZE];
};

// Makes what is missing. `site` is the folder that is served. -EINVAL if the one lies in the other, -EACCES if the
// state folder is somebody else's.
int state_open(const char *path, const char *site, struct state *ret, struct error *error);
// One server at a time has it, until state_close: each would count and sweep what publishers sent as if it were alone,
// and end the other's machines. -EBUSY if another one has it.
int state_lock(const struct state *s, const char *path, struct error *error);
// The folder alone, of one that a server has made: its descriptor, or -ENOENT, -EACCES.
int state_find(const char *path, struct error *error);
void state_close(struct state *s); // for CLEANUP
