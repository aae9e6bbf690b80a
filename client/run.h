// rondo run and rondo start, shared by run.c (start, end), start.c (start's options) and run_prepare.c (from the
// address, or the name of a machine that exists, to what is to be started).
#pragma once

#include "blockstore/transport.h"
#include "catalog/address.h"
#include "client/configuration.h"
#include "client/measure_log.h"
#include "client/resolve.h"
#include "client/seed.h"
#include "client/supervisor.h"

struct run {
    const char *verb;    // "run" or "start", for usage messages
    const char *address; // NULL: a machine that exists is started, by its name
    const char *name, *engine_name, *network, *until, *append, *on_outage, *measure;
    uint64_t cpus, memory, disk_size, timeout;
    bool ephemeral, detach, offline, require_fresh, require_pin, keep, no_keep, input;
    struct option_list ports, volumes, sources;
    struct seed_options seed;

    // Read by run.c:
    struct volume named[VOLUMES_MAXIMUM]; // of `volumes`
    unsigned named_count;
    struct buf seed_image; // for a new instance; empty: none

    // Decided by run_prepare:
    struct configuration configuration;
    struct address parsed;
    struct resolve_others others;
    char instance_name[CATALOG_NAME_SIZE];
    const struct engine *engine;
    struct instance instance;
    bool exists; // the instance did before this run
    struct instance_settings settings;
    struct manifest *description; // owned
    struct measure_log log;       // of --measure
    struct buf catalog;           // for it: what vouched for a new machine's version
    struct transport_ahead ahead; // to where that came from; rondo-cloop gets them with the version to open
    struct supervisor_options supervisor;
};

// Decides all that, and opens the version at rondo-cloop; an instance that exists is locked. Leaves no trace but in the
// cache and in what is trusted; no thread is left.
int run_prepare(struct run *run, struct error *error);

// The options of both verbs: rows of their tables.
#define RUN_OPTIONS(run)                                                                                               \
    {"cpus", OPTION_NUMBER, &(run).cpus}, {"memory", OPTION_SIZE, &(run).memory},                                      \
        {"detach", OPTION_FLAG, &(run).detach}, {"engine", OPTION_TEXT, &(run).engine_name},                           \
        {"net", OPTION_TEXT, &(run).network}, {"port", OPTION_LIST, &(run).ports},                                     \
        {"volume", OPTION_LIST, &(run).volumes}, {"until", OPTION_TEXT, &(run).until},                                 \
        {"timeout", OPTION_NUMBER, &(run).timeout}, {"append", OPTION_TEXT, &(run).append},                            \
        {"offline", OPTION_FLAG, &(run).offline}, {"keep", OPTION_FLAG, &(run).keep},                                  \
        {"no-keep", OPTION_FLAG, &(run).no_keep}, {"source", OPTION_LIST, &(run).sources},                             \
        {"on-outage", OPTION_TEXT, &(run).on_outage}, {"measure", OPTION_TEXT, &(run).measure},                        \
    {                                                                                                                  \
        "input", OPTION_FLAG, &(run).input                                                                             \
    }

// What `run` holds before the options are parsed.
#define RUN_DEFAULTS                                                                                                   \
    .engine_name = "auto", .network = "user", .on_outage = "pause", .instance = INSTANCE_NONE,                         \
    .seed_image = BUF_WITH_MAXIMUM(SEED_IMAGE_MAXIMUM), .log = MEASURE_LOG_NONE,                                       \
    .supervisor = {.cloop = CLOOP_NONE, .starter = -1, .starter_console = -1}
// Checks the options, does it all, and frees what `run` owns. The exit code.
int run_and_free(struct run *run);
