// Keeping a version: the rest of it is fetched behind the readers' backs, and then pinned for whoever wants it kept: a
// machine, or the user, as `rondo pull` would do. Where it is pinned already, another owner is all that is needed.
//
//   waiting ──(no other is at work in this process)──▶ filling ──▶ kept: all is there, and pinned
//                                                        │ ▲
//                                                        ▼ │ after RETRY_SECONDS
//                                                       outage          full disk, wrong data ──▶ given up, with a word
// A machine's keep gives up, too, where little is left free on the cache's disk.
//
// It has a version of its own (blockstore/store.h, version_fill), so that its end is nobody's; it runs on a thread of
// its own, and lasts until keep_stop.
#pragma once

#include "blockstore/store.h"

struct keep;
struct keep_wish {
    struct sha256 manifest;
    const char *owner; // of the pin (cache.h)
    uint64_t rate;     // bytes a second; 0: no limit
    const char *const *addresses;
    unsigned count; // of them; 0: nothing is fetched, but what is there already is pinned
};
// NULL if there is no memory or no thread for it. All of the wish is copied.
struct keep *keep_start(struct store *store, const struct keep_wish *wish);
void keep_stop(struct keep *k); // NULL is fine

struct keep_progress {
    uint64_t have, all; // stored bytes; 0 until that is known
    bool kept;
};
void keep_look(struct keep *k, struct keep_progress *ret);
