// rondo run, shared by run.c (options, start, end) and run_prepare.c (from the address to what is to be started).
#pragma once

#include "blockstore/transport.h"
#include "catalog/address.h"
#include "client/configuration.h"
#include "client/supervisor.h"

struct run {
    const char *address, *name, *engine_name, *network, *until, *append, *on_outage;
    uint64_t cpus, memory, disk_size, timeout;
    bool ephemeral, detach, offline, require_fresh, require_pin, keep;
    struct option_list ports;

    // Decided by run_prepare:
    struct configuration configuration;
    struct address parsed;
    char instance_name[CATALOG_NAME_SIZE];
    const struct engine *engine;
    struct instance instance;
    bool exists; // the instance did before this run
    struct instance_settings settings;
    struct manifest *description; // owned
    struct transport_ahead ahead; // to where that came from; rondo-cloop gets them with the version to open
    struct supervisor_options supervisor;
};

// Decides all that, and opens the version at rondo-cloop; an instance that exists is locked. Leaves no trace but in the
// cache and in what is trusted; no thread is left.
int run_prepare(struct run *run, struct error *error);
