// The supervisor: one process for each running machine. It owns the instance's lock, the engine, rondo-overlay, passt
// and the console, holds rondo-cloop's session (so that the guest survives its death), and answers the control socket
// (docs/protocol.md). One poll loop, and a thread that keeps the connection to rondo-cloop.
//
//   starting ─▶ running ◀──▶ paused (by the user; by an outage below; by a full disk above)
//                  │
//                  └─▶ stopping ─▶ ended: overlay flushed, everything taken down, `exit` said to whoever is attached
#pragma once

#include "blockstore/manifest.h"
#include "blockstore/mirrors.h"
#include "client/cli.h"
#include "client/cloop.h"
#include "client/engine.h"
#include "client/instance.h"

struct measure_log;

// A boot that is being recorded (record.h): its base disk is a file of the user's own, in place of rondo-cloop's mount.
// What would pause such a machine ends it, since nobody is there to mend it.
struct supervisor_recording {
    int disk;  // open for reading
    int reads; // takes the records (blockstore/overlay_record.h)
};

struct supervisor_options {
    struct instance *instance;                    // locked; taken over
    struct cloop cloop;                           // connected, the version opened, the session held; taken over
    const struct supervisor_recording *recording; // or NULL: then `cloop` is there. The descriptors stay the caller's
    char version_folder[PATH_TEXT_SIZE];          // has kernel and initrd
    struct measure_log *measure; // its head is written; NULL: it is not measured. The descriptor is taken over
    const struct manifest *description;
    const struct engine *engine;
    const struct option_list *ports; // HOST:GUEST, for passt
    const char *keep_owner;          // for whom all of the version is fetched and pinned meanwhile; NULL: it is not
    uint64_t keep_rate;              // bytes a second; 0: no limit
    const char *append;              // more for the kernel's command line, or NULL
    struct engine_disk disks[ENGINE_DISKS_MAXIMUM]; // volumes, in the order of the instance's settings, then its
    unsigned disk_count;                            // first-boot settings; the descriptors are taken over
    bool network;
    bool offline;                   // nobody comes back: what is missing is not waited for
    char *sources[MIRRORS_MAXIMUM]; // that rondo-cloop, or a successor, may ask; the strings are the instance's or the
    unsigned source_count;          // caller's
    bool remove_on_failure;         // the instance was made for this run: a machine that does not start leaves nothing
    bool outage_error;              // --on-outage error
    uint64_t requests, bytes;       // spent on this run before; subtracted are rondo-cloop's counts when it began:
    uint64_t requests_before, bytes_before, wrong_before;
    // Connection to whoever starts it (launch.h): an owner's, which first of all gets "ok" or "error …"; and its
    // console, or -1. Taken over.
    int starter, starter_console;
};

// Runs the machine to its end; returns the exit code for the process.
int supervisor_run(struct supervisor_options *options);

// One number of "requests=12 bytes=345 …"; 0 if it is not there.
uint64_t supervisor_count_in(const char *counts, const char *name);
