// Taking, rolling back and deleting snapshots. What each step leaves for the next one if the machine dies behind it:
//
//   take       top flushed ─▶ new pair stable ─▶ its names stable ─▶ list replaced
//                             └──────── swept by the next change ────────┘
//   roll back                 new pair stable ─▶ its names stable ─▶ list replaced ─▶ what it names no more removed
//                                                                                      └──── or swept ────┘
//   delete     marked gone ─▶ upper layer copied down ─▶ flushed ─▶ list without the upper layer ─▶ its files removed
//              └────────── done again, from the beginning ──────────┘
//
// The numbered rules are those of overlay_snapshot.h. All of this holds the overlay's lock (overlay_file.c), or is done
// for the process that does.
#include "blockstore/overlay_private.h"

#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/banned.h"

// --- the list ------------------------------------------------------------------------------------------------------

// A snapshot's place in the list, or -1. Of the newest: label NULL.
static int find_snapshot(const struct overlay_layers *l, const char *label)
{
    for (unsigned i = 0; i < l->count; i++)
        if (l->layers[i].kind == OVERLAY_LAYER_SNAPSHOT && (!label || strcmp(l->layers[i].snapshot.label, label) == 0))
            return (int)i;
    return -1;
}

static void take_out(struct overlay_layers *l, unsigned i)
{
    memmove(&l->layers[i], &l->layers[i + 1], (l->count - i - 1) * sizeof l->layers[0]);
    l->count--;
}

static uint64_t space_of(int dir, const struct overlay_id *id)
{
    char name[OVERLAY_NAME_SIZE];
    struct stat data, map;
    if (fstatat(dir, overlay_pair_name(id, OVERLAY_DATA_SUFFIX, name), &data, AT_SYMLINK_NOFOLLOW) < 0 ||
        fstatat(dir, overlay_pair_name(id, OVERLAY_MAP_SUFFIX, name), &map, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return (uint64_t)(data.st_blocks + map.st_blocks) * 512;
}

int overlay_history_read(int dir, struct overlay_history *ret, struct error *error)
{
    struct overlay_layers layers;
    struct overlay_history h = {.count = 0};
    bool listed;
    int r = overlay_layers_read(dir, &layers, &listed, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < layers.count; i++) {
        uint64_t bytes = space_of(dir, &layers.layers[i].id);
        h.bytes += bytes;
        if (layers.layers[i].kind == OVERLAY_LAYER_TOP)
            h.top_bytes = bytes;
        if (layers.layers[i].kind != OVERLAY_LAYER_SNAPSHOT)
            continue;
        h.snapshots[h.count] = layers.layers[i].snapshot;
        h.snapshots[h.count++].bytes = bytes;
    }
    *ret = h;
    return 0;
}

// --- files ---------------------------------------------------------------------------------------------------------

static bool is_named(const struct overlay_layers *l, const char *file)
{
    for (unsigned i = 0; i < l->count; i++) {
        char data[OVERLAY_NAME_SIZE], map[OVERLAY_NAME_SIZE];
        if (strcmp(file, overlay_pair_name(&l->layers[i].id, OVERLAY_DATA_SUFFIX, data)) == 0 ||
            strcmp(file, overlay_pair_name(&l->layers[i].id, OVERLAY_MAP_SUFFIX, map)) == 0)
            return true;
    }
    return false;
}

// Removes layers' files that the list, which is durable, does not name: what a command left that was cut short
// (rule 3). A failure costs space only, until the next change.
static int sweep_one(void *context, int folder, const char *entry)
{
    const struct overlay_layers *l = context;
    bool is_layer = strncmp(entry, OVERLAY_LAYER_PREFIX, strlen(OVERLAY_LAYER_PREFIX)) == 0;
    bool is_list = strncmp(entry, IO_TEMPORARY_PREFIX, strlen(IO_TEMPORARY_PREFIX)) == 0;
    if (!is_list && (!is_layer || is_named(l, entry)))
        return 0;
    return io->unlinkat(folder, entry, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int sweep(int dir, struct overlay_layers *l)
{
    return folder_walk(dir, ".", sweep_one, l);
}

int overlay_snapshot_not_a_label(int r)
{
    return r == -ENOENT ? -EBADMSG : r;
}

int overlay_snapshot_look(int dir, struct overlay_layers *ret_layers, struct error *error)
{
    bool listed;
    int r = overlay_layers_read(dir, ret_layers, &listed, error);
    if (r < 0)
        return r;
    r = io_sync_folder_of(dir, OVERLAY_LAYERS_NAME);
    if (r < 0)
        return error_set(error, -r, "cannot sync the instance's folder: %s", strerror(-r));
    r = sweep(dir, ret_layers);
    if (r < 0)
        return error_set(error, -r, "cannot remove what an interrupted command left in the instance's folder: %s",
                         strerror(-r));
    return 0;
}

// The same under the lock, which it returns.
static int begin(int dir, struct overlay_layers *ret_layers, struct error *error)
{
    CLEANUP_CLOSE int lock = overlay_take_lock(dir, error);
    if (lock < 0)
        return overlay_snapshot_not_a_label(lock);
    int r = overlay_snapshot_look(dir, ret_layers, error);
    return r < 0 ? r : TAKE_FD(lock);
}

void overlay_snapshot_clean(int dir, struct overlay_layers *layers)
{
    int r = sweep(dir, layers);
    if (r < 0)
        log_warning("layers that are not needed any more could not be removed yet: %s", strerror(-r));
}

// An empty layer over `parent`, durable with its names (rule 1).
static int make_layer(int dir, const struct overlay_layer *parent, const struct overlay_header *parent_header,
                      struct overlay_layer *ret, struct error *error)
{
    struct overlay_header header = *parent_header;
    struct overlay_layer layer = {.kind = OVERLAY_LAYER_TOP};
    char data[OVERLAY_NAME_SIZE], map[OVERLAY_NAME_SIZE];
    if (getrandom(layer.id.bytes, sizeof layer.id.bytes, 0) != (ssize_t)sizeof layer.id.bytes)
        return error_set(error, EIO, "the system has no random numbers");
    header.parent = parent->id;
    int r = overlay_pair_make(dir, overlay_pair_name(&layer.id, OVERLAY_DATA_SUFFIX, data),
                              overlay_pair_name(&layer.id, OVERLAY_MAP_SUFFIX, map), &header);
    if (r == 0)
        r = io_sync_folder_of(dir, data);
    if (r < 0)
        return error_set(error, -r, "cannot make a new layer of the disk: %s", strerror(-r));
    *ret = layer;
    return 0;
}

// --- taking --------------------------------------------------------------------------------------------------------

// The FLUSH of an overlay that is closed: whoever wrote to it may have died before theirs. In the order of a round: the
// map file has only bits whose data was stable before.
static int flush_closed(const struct overlay_pair *pair, struct error *error)
{
    if (io->fdatasync(pair->data) < 0 || io->fdatasync(pair->map) < 0)
        return error_set(error, errno, "the disk's top layer could not be written to the disk: %m");
    return 0;
}

int overlay_snapshot_check_label(const char *label, struct error *error)
{
    if (text_is_version_name(slice_of(label)))
        return 0;
    return error_set(error, EINVAL,
                     "\"%s\" cannot be a snapshot's label: use up to 64 letters, digits, dots, dashes, underscores",
                     label);
}

static int choose_label(const struct overlay_layers *l, const char *label, char ret[static OVERLAY_LABEL_SIZE],
                        struct error *error)
{
    uint64_t greatest = 0, number;
    if (label) {
        int r = overlay_snapshot_check_label(label, error);
        if (r < 0)
            return r;
        if (find_snapshot(l, label) >= 0)
            return error_set(error, EEXIST, "there is a snapshot %s already", label);
        snprintf(ret, OVERLAY_LABEL_SIZE, "%s", label);
        return 0;
    }
    for (unsigned i = 0; i < l->count; i++)
        if (text_parse_u64(slice_of(l->layers[i].snapshot.label), UINT32_MAX, &number) && number > greatest)
            greatest = number;
    do // past the greatest that counts, a label may be a number all the same
        snprintf(ret, OVERLAY_LABEL_SIZE, "%llu", (unsigned long long)++greatest);
    while (find_snapshot(l, ret) >= 0);
    return 0;
}

int overlay_snapshot_add_layer(int dir, struct overlay_layers *layers, const char *label, int64_t now,
                               int (*flush)(const struct overlay_pair *pair, struct error *error), struct error *error)
{
    struct overlay_layer top;
    char chosen[OVERLAY_LABEL_SIZE];
    struct overlay_pair pair CLEANUP(overlay_pair_close) = {.data = -1, .map = -1};
    int r = choose_label(layers, label, chosen, error);
    if (r == 0 && layers->count == OVERLAY_DEPTH_MAXIMUM)
        r = error_set(error, EMLINK, "a disk has at most %u snapshots; delete one first", OVERLAY_DEPTH_MAXIMUM - 1);
    if (r == 0)
        r = overlay_snapshot_not_a_label(overlay_pair_open(dir, &layers->layers[0].id, O_RDWR, &pair, error));
    if (r == 0)
        r = flush(&pair, error);
    if (r == 0)
        r = make_layer(dir, &layers->layers[0], &pair.header, &top, error);
    if (r < 0)
        return r;
    memmove(&layers->layers[1], &layers->layers[0], layers->count * sizeof layers->layers[0]);
    layers->count++;
    layers->layers[0] = top;
    layers->layers[1].kind = OVERLAY_LAYER_SNAPSHOT;
    layers->layers[1].snapshot.time = now;
    memcpy(layers->layers[1].snapshot.label, chosen, sizeof chosen);
    return 0;
}

int overlay_snapshot_take(int dir, const char *label, int64_t now, char ret_label[static OVERLAY_LABEL_SIZE],
                          struct error *error)
{
    struct overlay_layers layers;
    CLEANUP_CLOSE int lock = begin(dir, &layers, error);
    if (lock < 0)
        return lock;
    int r = overlay_snapshot_add_layer(dir, &layers, label, now, flush_closed, error);
    if (r == 0)
        r = overlay_layers_replace(dir, &layers, error);
    if (r == 0)
        memcpy(ret_label, layers.layers[1].snapshot.label, OVERLAY_LABEL_SIZE);
    return r;
}

// --- rolling back --------------------------------------------------------------------------------------------------

static int refuse_missing(const char *label, struct error *error)
{
    return label ? error_set(error, ENOENT, "there is no snapshot %s", label)
                 : error_set(error, ENOENT, "there is no snapshot");
}

int overlay_snapshot_roll_back(int dir, const char *label, bool drop_newer, char ret_label[static OVERLAY_LABEL_SIZE],
                               struct error *error)
{
    struct overlay_layers layers;
    struct overlay_layer top;
    struct overlay_pair pair CLEANUP(overlay_pair_close) = {.data = -1, .map = -1};
    CLEANUP_CLOSE int lock = begin(dir, &layers, error);
    if (lock < 0)
        return lock;
    int at = find_snapshot(&layers, label), newest = find_snapshot(&layers, NULL);
    if (at < 0)
        return refuse_missing(label, error);
    if (newest < at && !drop_newer)
        return error_set(error, ENOTEMPTY, "snapshot %s is not the newest: %s and what lies between would be lost",
                         label, layers.layers[newest].snapshot.label);
    int r = overlay_snapshot_not_a_label(overlay_pair_open(dir, &layers.layers[at].id, O_RDONLY, &pair, error));
    if (r == 0)
        r = make_layer(dir, &layers.layers[at], &pair.header, &top, error);
    if (r < 0)
        return r;
    // The list has the old top at 0 at least; the new one takes the place of what lay directly above the snapshot.
    for (int i = 0; i < at - 1; i++)
        take_out(&layers, 0);
    layers.layers[0] = top;
    r = overlay_layers_replace(dir, &layers, error);
    if (r < 0)
        return r;
    memcpy(ret_label, layers.layers[1].snapshot.label, OVERLAY_LABEL_SIZE);
    overlay_snapshot_clean(dir, &layers);
    return 0;
}

// --- deleting ------------------------------------------------------------------------------------------------------

// Finishes the deletion of layer `at`.
static int merge(int dir, int lock, struct overlay_layers *layers, unsigned at, void (*progress)(uint64_t bytes),
                 struct error *error)
{
    struct overlay_id id = layers->layers[at].id;
    int copy = fcntl(lock, F_DUPFD_CLOEXEC, 0); // the same lock
    if (copy < 0)
        return error_set(error, errno, "cannot keep the disk's lock: %m");
    int r = overlay_snapshot_not_a_label(overlay_merge_down(dir, copy, layers, at, progress, error));
    if (r < 0)
        return r;
    layers->layers[at] = layers->layers[at - 1];
    layers->layers[at].id = id;
    take_out(layers, at - 1);
    r = overlay_layers_replace(dir, layers, error);
    if (r == 0)
        overlay_snapshot_clean(dir, layers);
    return r;
}

int overlay_snapshot_delete(int dir, const char *label, void (*progress)(uint64_t bytes), struct error *error)
{
    struct overlay_layers layers;
    CLEANUP_CLOSE int lock = begin(dir, &layers, error);
    if (lock < 0)
        return lock;
    int at = find_snapshot(&layers, label), r = 0;
    bool found = at >= 0;
    if (found) {
        layers.layers[at].kind = OVERLAY_LAYER_GONE;
        r = overlay_layers_replace(dir, &layers, error);
    }
    for (unsigned i = 1; i < layers.count && r == 0;) {
        if (layers.layers[i].kind != OVERLAY_LAYER_GONE) {
            i++;
            continue;
        }
        found = found || strcmp(layers.layers[i].snapshot.label, label) == 0; // this deletion was cut short before
        r = merge(dir, lock, &layers, i, progress, error);
    }
    return r < 0 || found ? r : refuse_missing(label, error);
}
