// The two ways in which rondo-cloop runs, from start to end.
//
//   shared   one for each runtime folder, serving all machines of the user:
//
//            lock ─▶ listen ─▶ find a session ─▶ serve ─▶ end
//                                  │ given by --session-fd, and it is what is mounted: go on with it
//                                  │ a living mount: wait HANDOVER_SECONDS for somebody who holds its session
//                                  │ otherwise: detach what is mounted, and mount anew
//
//            It ends when nobody is connected and nothing was in use for `idle_seconds` (the mount goes with it), when
//            `quit` was asked for and no version is open, or at SIGTERM or SIGINT: if nothing is in use the mount goes
//            too; else it stays, if a supervisor holds its session, for the successor that this supervisor starts
//            (reads wait meanwhile); with no such holder it is detached, because nobody could go on with it.
//
//   single   one version on a folder of its own (rondo mount): ends when it is unmounted. At SIGTERM or SIGINT it
//   detaches
//            its mount and ends once the last file in it is closed; at the second one at once.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include "blockstore/mirrors.h"

#define SERVE_IDLE_SECONDS 60u
#define SERVE_HANDOVER_SECONDS 3u

struct serve_options {
    int ready_fd;             // where to say "ok" or "error CODE SENTENCE", once; -1: nowhere
    int session_fd, state_fd; // of a predecessor; -1: none
    uint64_t cache_limit;     // 0: the default
    unsigned wait_seconds;    // 0: the default
    unsigned idle_seconds;
    const char *folder; // single: where; NULL: shared
    struct sha256 manifest;
    const char *sources[MIRRORS_MAXIMUM];
    unsigned source_count;
    struct transport_ahead connections; // single: made ahead, to one of these
};

// Returns 0 when all is done, or why it could not start. The process is to end afterwards without further ado: threads
// may still run.
int serve_shared(struct serve_options *o, struct error *error);
int serve_single(struct serve_options *o, struct error *error);
