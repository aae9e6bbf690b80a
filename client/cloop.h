// The client's side of rondo-cloop (docs/protocol.md): found or started, versions opened, its session held so that a
// successor can go on with it.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include "base/path.h"
#include "blockstore/transport.h"
#include <stdint.h>

struct cloop {
    int socket;           // -1 when not connected
    int session_fd;       // the /dev/fuse descriptor, once held; -1 before
    int state_fd;         // the state memfd, likewise
    uint64_t cache_limit; // for a rondo-cloop that we start; 0: its defaults
    unsigned wait_seconds;
};
#define CLOOP_NONE                                                                                                     \
    {                                                                                                                  \
        .socket = -1, .session_fd = -1, .state_fd = -1                                                                 \
    }

// Whatever is asked over a connection closes it (socket becomes -1) when no answer comes.

// Connects; starts rondo-cloop if nobody answers (with the descriptors, if *c holds them), and offers them to one that
// somebody else has started. On success *c keeps what it held.
int cloop_connect(struct cloop *c, struct error *error);

// The folder of the version below the mount. Sources none: only from the cache. `ahead` (or NULL) is handed over, and
// is empty once the question was sent.
int cloop_open_version(struct cloop *c, const struct sha256 *manifest, char *const *sources, unsigned count,
                       struct transport_ahead *ahead, char ret_folder[static PATH_TEXT_SIZE], struct error *error);

// Has all of the version fetched in the background, at most `rate` bytes a second (0: no limit), and pinned for `owner`
// (blockstore/cache.h), for as long as this connection lasts. Sources none: pinned if all of it is in the cache.
int cloop_keep_version(struct cloop *c, const struct sha256 *manifest, const char *owner, uint64_t rate,
                       char *const *sources, unsigned count, struct error *error);

// Gets the session's two descriptors. Replaces the ones held before.
int cloop_hold(struct cloop *c, struct error *error);

// "requests=… bytes=…": as rondo-cloop says it. Waits two seconds at most. (This, too, closes the connection when the
// answer fails to come.)
int cloop_counts(struct cloop *c, char *ret_text, size_t capacity, struct error *error);

// A rondo-cloop of its own that shows one version in `folder` and ends with that mount (rondo mount). It inherits
// `ahead`.
int cloop_mount(const struct cloop *settings, const char *folder, const struct sha256 *manifest, char *const *sources,
                unsigned count, const struct transport_ahead *ahead, struct error *error);

void cloop_close(struct cloop *c);
