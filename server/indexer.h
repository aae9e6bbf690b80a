// The indexer: the process beside the server that alone writes the index (catalog/index.h). It has no network and no
// key, and reads the site only: what it makes is for finding and showing. It looks every few seconds whether the site's
// catalog is another one, whoever changed it, and goes on where a damaged index must be made anew.
#pragma once

#include "base/beside.h"
#include "base/confine.h"
#include "server/state.h"

// While there is one thread. `state` and `site` (a folder) must live as long as the process. When this returns 0, the
// index says what the site says; a site without a catalog, or with one that is not right, is no failure, but warned of.
int indexer_start(const struct state *state, const char *site, struct beside *ret, struct error *error);

extern const struct confine_call indexer_calls[];
extern const size_t indexer_call_count;
