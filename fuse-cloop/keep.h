// Keeping a version: the rest of it is fetched behind the readers' backs, and then pinned, as `rondo pull` would do.
//
//   waiting ──(no other is at work in this process)──▶ filling ──▶ kept: all is there, and pinned
//                                                        │ ▲
//                                                        ▼ │ after RETRY_SECONDS
//                                                       outage          full disk, wrong data ──▶ given up, with a word
//
// It has a version of its own (blockstore/store.h, version_fill), so that its end is nobody's; it runs on a thread of
// its own, and lasts until keep_stop.
#pragma once

#include "blockstore/store.h"

struct keep;
// NULL if there is no memory or no thread for it.
struct keep *keep_start(struct store *store, const struct sha256 *manifest, const char *const *addresses,
                        unsigned count);
void keep_stop(struct keep *k); // NULL is fine

struct keep_progress {
    uint64_t have, all; // stored bytes; 0 until that is known
    bool kept;
};
void keep_look(struct keep *k, struct keep_progress *ret);
