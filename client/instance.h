// Instances: machines that someone runs: one version, one overlay, settings. One folder each.
//
//   <home>/instances/<name>/settings     `key value` lines, durable before the instance exists
//   <home>/instances/<name>/seed.img     its first-boot settings, if there are any (client/seed.h); never changed
//   <home>/instances/<name>/disk.data    the overlay (blockstore/overlay.h)
//   <home>/instances/<name>/disk.map
//   <home>/instances/<name>/layers       its snapshots, and their files layer-… (blockstore/overlay_snapshot.h)
//   <home>/instances/<name>/kept         a newer version that its user does not want (client/newer.h)
//   <home>/instances/<name>/console.log  what the console showed first in the last run
//   <home>/instances/<name>/machine.log  what the supervisor and its programs said in the last run; machine.log.1:
//   before <home>/instances/<name>/lock         held by the supervisor and its rondo-overlay for as long as the machine
//   runs <runtime>/instances/<name>/control   the supervisor's socket      <runtime>/instances/<name>/disk/  overlay
//   mount
//
// "Running" means that the lock is held, whoever may have died how: there is no state that could be stale. An instance
// is there whole or not at all: it is made, and removed, under another name (instance.c).
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/path.h"
#include "catalog/catalog.h"
#include "client/volume.h"
#include <stdbool.h>
#include <stdint.h>

#define INSTANCE_MEMORY_MINIMUM (64ull << 20)  // that is accepted from a user or a publisher
#define INSTANCE_MEMORY_DEFAULT (512ull << 20) // of a version that does not say
#define INSTANCE_CPUS_DEFAULT 2u
#define INSTANCE_CONSOLE_LOG_MAXIMUM (16u << 20) // bytes, and a little

struct instance_settings {
    char image[CATALOG_NAME_SIZE], version[CATALOG_NAME_SIZE];
    struct sha256 manifest;
    char site[CATALOG_URL_SIZE]; // where it came from
    char sources[CATALOG_MIRRORS_MAXIMUM][CATALOG_URL_SIZE];
    unsigned source_count;
    uint64_t disk_size; // bytes, a multiple of 4096
    uint64_t memory;    // bytes
    uint64_t cpus;
    bool ephemeral;                         // removed when its machine ends
    char asked[CATALOG_NAME_SIZE];          // the tag or version that was asked for when it was made; "latest" if none
    struct volume volumes[VOLUMES_MAXIMUM]; // as they were when it last ran
    unsigned volume_count;
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

// Opens an existing one: -ENOENT if there is none of that name. A damaged one (-EBADMSG) is opened, too, without
// settings, so that it can be locked and removed.
int instance_open(const char *name, struct instance *ret, struct error *error);

// Replaces the volumes that a locked one remembers; what else is in i->settings is not written.
int instance_remember_volumes(const struct instance *i, const struct volume *volumes, unsigned count,
                              struct error *error);

// Makes one, with its overlay, and opens it, locked. -EEXIST if the name is taken. `seed`: its first-boot settings
// (client/seed.h); NULL or empty: none.
int instance_create(const char *name, const struct instance_settings *settings, const struct buf *seed,
                    struct instance *ret, struct error *error);

// Where a machine's version comes from, as resolved from an address: all settings up to the sources, and what was
// asked.
struct resolved;
void instance_set_version(struct instance_settings *s, const struct resolved *from);

// Puts a fresh overlay with these settings in the place of a locked instance's, with its snapshots; its other files
// stay. At every moment the name is the whole old instance or the whole new one, and never an overlay over another base
// (TRUST T43). *i is the new one then, locked.
int instance_replace(struct instance *i, const struct instance_settings *settings, struct error *error);

// Takes the lock: -EBUSY if its machine runs, -ENOENT if it has been removed since it was opened.
int instance_lock(struct instance *i, struct error *error);
// The same for a verb that needs the machine stopped: -EBUSY says how to stop it.
int instance_lock_stopped(struct instance *i, struct error *error);
bool instance_is_running(const struct instance *i);

// An ephemeral one whose machine ended without its supervisor is a leftover: it is removed and closed. True if it was.
bool instance_take_leftover(struct instance *i);

// Makes the runtime folder (the mount point below it too), clearing what a dead machine left there. The listening
// control socket, which makes the folder ours until it is closed; -EBUSY if a machine of that name runs from another
// home.
int instance_prepare_runtime(struct instance *i, struct error *error);

// Takes the runtime folder away, with what is mounted in it, unless a machine has it. Ours has ended, and does not
// listen any more.
void instance_clear_runtime(const struct instance *i);

// Removes a locked instance, files and runtime folder. Nothing is touched if there is a folder in it, for it is none
// of ours.
int instance_remove(struct instance *i, struct error *error);
void instance_close(struct instance *i); // gives the lock up

// Calls `each` for every instance, sorted by name; a damaged one is passed with its error in place of settings.
// What interrupted commands have left is removed on the way.
int instance_list(int (*each)(void *context, struct instance *i, const struct error *damage), void *context,
                  struct error *error);

// Takes away what machines that ended without their supervisor have left: ephemeral ones, unfinished folders, runtime
// folders with their mounts. *ret_count: how many.
int instance_sweep(unsigned *ret_count, struct error *error);

// Connects to a running machine's control socket: -ENOENT if it does not run, -EBUSY if nobody listens (not yet, or no
// more, or it is another command that holds the lock).
int instance_connect(const struct instance *i, struct error *error);
