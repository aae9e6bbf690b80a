// Snapshots of an overlay, and the layers that they are made of. All of this is for an overlay that nobody has open,
// but overlay_taking_…: that is for one that another process has, which takes part (overlay_live.h).
//
// A snapshot takes no time and no space: the top layer, which holds what was written since the snapshot before, becomes
// read-only, and an empty layer is laid over it. So history is a line:
//
//   top ─ what is written now ──▶ newest snapshot ──▶ … ──▶ oldest snapshot = first layer (disk.data) ──▶ base
//
//   <folder>/layers             the list, replaced as a whole; an overlay without it has the first layer alone
//   <folder>/layer-<id>.data    a layer that is not the first: the two files of overlay.h; its header names the layer
//   <folder>/layer-<id>.map     that it was made over, which may be gone since then
//
//   rondo-layers 1
//   top <id>                            id: 32 hexadecimal digits, random; 1 for the first layer
//   snapshot <id> <time> <label>        newest first
//   gone <id> <time> <label>            a deleted one, while what lies above it is still to be copied into it
//
// 1. A layer that a list names is whole, and its files' names are durable, before that list is (FORMATS, "Overlay").
// 2. A snapshot's layer is never written to, nor is any below it, but one marked "gone", in the list that is durable.
// 3. A file is removed only when no durable list names it.
// 4. Every step can be repeated: a command that was cut short anywhere is given again.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define OVERLAY_LAYERS_NAME "layers"
#define OVERLAY_LAYER_PREFIX "layer-" // of the files of a layer that is not the first
#define OVERLAY_DEPTH_MAXIMUM 64u     // layers, the top included
#define OVERLAY_LABEL_SIZE 65u        // a label: as a version's name (text_is_version_name)

struct overlay_snapshot {
    char label[OVERLAY_LABEL_SIZE];
    int64_t time;   // when it was taken, in seconds since 1970
    uint64_t bytes; // that its own layer occupies: what was written since the snapshot before
};

struct overlay_history {
    unsigned count;
    struct overlay_snapshot snapshots[OVERLAY_DEPTH_MAXIMUM]; // newest first
    uint64_t top_bytes;                                       // that the top layer occupies
    uint64_t bytes;                                           // all layers together
};
// Needs no lock: also of an overlay that is open.
int overlay_history_read(int dir, struct overlay_history *ret, struct error *error);

// Each of these is done, and durable, when it returns 0; when it fails it has changed nothing that can be read, or only
// its last sync has failed, and it is done as long as the power stays. -EBUSY: the overlay is open. -ENOENT: no
// snapshot has that label. -EBADMSG: the list is damaged, or a layer that it names is, or is gone.

// -EINVAL, with a sentence, if this cannot be a snapshot's label.
int overlay_snapshot_check_label(const char *label, struct error *error);

// Takes a snapshot; label NULL: a number, one more than the greatest there is. -EEXIST: the label is taken. -EMLINK:
// there are as many as there may be. -EINVAL: the label cannot be one.
int overlay_snapshot_take(int dir, const char *label, int64_t now, char ret_label[static OVERLAY_LABEL_SIZE],
                          struct error *error);

// A snapshot of an overlay that is open, in two steps, by who looks after that process (it may be ourselves):
//
//   overlay_taking_begin ─▶ overlay_live_hold, there ─▶ overlay_taking_finish ─▶ overlay_live_end, there
//
// 5. The list is replaced while no change is made and all that were are flushed. Until then, and if it fails, the
//    overlay goes on with the layer that it had, and the list that names it as the top.
// 6. While the new layer is empty, either list shows the same disk: a death in between loses nothing.
//
// Failures are those of overlay_snapshot_take, but for -EBUSY: nobody else may change the layers meanwhile, which is
// the caller's to see to. `dir` must stay open.
#define OVERLAY_ID_TEXT_SIZE 33u // a layer's id in hexadecimal digits
struct overlay_taking;
int overlay_taking_begin(int dir, const char *label, int64_t now, struct overlay_taking **ret, struct error *error);
// The new layer, for overlay_live_hold; the descriptors (data, map) stay our own.
void overlay_taking_describe(const struct overlay_taking *t, char ret_id[static OVERLAY_ID_TEXT_SIZE],
                             int ret_fds[static 2]);
int overlay_taking_finish(struct overlay_taking *t, char ret_label[static OVERLAY_LABEL_SIZE], struct error *error);
void overlay_taking_free(struct overlay_taking *t); // unfinished: nothing has happened

// Makes the disk what it was at that snapshot (label NULL: the newest), which stays. What was written since then is
// lost; so are newer snapshots, for which *drop_newer must be set (-ENOTEMPTY otherwise).
int overlay_snapshot_roll_back(int dir, const char *label, bool drop_newer, char ret_label[static OVERLAY_LABEL_SIZE],
                               struct error *error);

// Deletes a snapshot; the disk and all other snapshots stay as they are. What lies above it is copied into its layer,
// which may take a while and space; `progress` (or NULL) is told of every MiB. -ENOSPC and other failures on the way
// leave it gone already, and the rest of the work to the next deletion.
int overlay_snapshot_delete(int dir, const char *label, void (*progress)(uint64_t bytes), struct error *error);
