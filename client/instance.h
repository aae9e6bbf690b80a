// Instances: machines that someone runs: one version, one overlay, settings. One folder each.
//
//   <home>/instances/<name>/settings     `key value` lines, written once, durable before the instance exists
//   <home>/instances/<name>/disk.data    the overlay (blockstore/overlay.h)
//   <home>/instances/<name>/disk.map
//   <home>/instances/<name>/console.log  what the console showed in the last run (bounded)
//   <home>/instances/<name>/machine.log  what the supervisor and its programs said in the last run
//   <home>/instances/<name>/lock         flock: held by the supervisor for as long as the machine runs
//   <runtime>/instances/<name>/control   the supervisor's socket      <runtime>/instances/<name>/disk/  overlay mount
//
// "Running" means that the lock is held, whoever may have died how: there is no state that could be stale.
// Making one: a folder with a temporary name (.new-…), filled and synced, then renamed; so a half-made one never
// counts.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include "base/path.h"
#include "catalog/catalog.h"
#include <stdbool.h>
#include <stdint.h>

struct instance_settings {
    char image[CATALOG_NAME_SIZE], version[CATALOG_NAME_SIZE];
    struct sha256 manifest;
    char site[CATALOG_URL_SIZE]; // where it came from
    char sources[CATALOG_MIRRORS_MAXIMUM][CATALOG_URL_SIZE];
    unsigned source_count;
    uint64_t disk_size; // bytes, a multiple of 4096
    uint64_t memory;    // bytes
    uint64_t cpus;
    bool ephemeral; // removed when its machine ends
};

struct instance {
    char name[CATALOG_NAME_SIZE];
    char folder[PATH_TEXT_SIZE];  // <home>/instances/<name>
    char runtime[PATH_TEXT_SIZE]; // <runtime>/instances/<name>
    int folder_fd;
    int lock_fd; // -1: not held by us
    struct instance_settings settings;
};
#define INSTANCE_NONE                                                                                                  \
    {                                                                                                                  \
        .folder_fd = -1, .lock_fd = -1                                                                                 \
    }

// Opens an existing one: -ENOENT if there is none of that name.
int instance_open(const char *name, struct instance *ret, struct error *error);

// Makes one, with its overlay, and opens it, locked. -EEXIST if the name is taken.
int instance_create(const char *name, const struct instance_settings *settings, struct instance *ret,
                    struct error *error);

// Takes the lock: -EBUSY if its machine runs.
int instance_lock(struct instance *i, struct error *error);
bool instance_is_running(const struct instance *i);

// Makes the runtime folder (the mount point below it too), clearing what a dead machine left there.
int instance_prepare_runtime(struct instance *i, struct error *error);

// Takes the runtime folder away, with what is mounted in it. The machine has ended.
void instance_clear_runtime(const struct instance *i);

// Removes a locked instance, files and runtime folder.
int instance_remove(struct instance *i, struct error *error);
void instance_close(struct instance *i); // gives the lock up

// Calls `each` for every instance, sorted by name; a damaged one is passed with its error in place of settings.
// Leftovers of interrupted commands (.new-…, and ephemeral instances whose machine is gone) are removed on the way.
int instance_list(int (*each)(void *context, struct instance *i, const struct error *damage), void *context,
                  struct error *error);

// Connects to a running machine's control socket: -ENOENT if it does not run.
int instance_connect(const struct instance *i, struct error *error);
