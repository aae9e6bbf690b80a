// rondo-overlay's conversation with its supervisor (docs/protocol.md), in a thread of its own, which also hears
// SIGTERM. It decides when the program ends: at `quit`, at SIGTERM, and when the supervisor is gone.
#pragma once

#include "base/error.h"
#include "blockstore/overlay.h"
#include "blockstore/overlay_hold.h"
#include "fuse-cloop/overlay_fuse.h"

struct overlay_control;

struct overlay_control_settings {
    int control; // the socket; stays the caller's
    struct overlay *overlay;
    struct overlay_hold *hold;
    struct overlay_fuse *fuse;
};

// Starts the thread. SIGTERM must be blocked in every thread by then.
int overlay_control_start(const struct overlay_control_settings *settings, struct overlay_control **ret,
                          struct error *error);

// Serving is over: ends the thread. Returns whether it was the thread that wanted the end.
bool overlay_control_stop(struct overlay_control *c);
