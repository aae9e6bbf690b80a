// What the tests of snapshots share: the disk as it was at a snapshot, opened beside the list of layers.
#pragma once

#include "overlay_fixture.h"

#include "blockstore/overlay_live.h"
#include "blockstore/overlay_private.h"

// The number of a snapshot in the list of layers, or -1.
static inline int snapshot_index(const struct folder *f, const char *label)
{
    struct overlay_layers layers;
    bool listed;
    assert_int_equal(overlay_layers_read(f->fd, &layers, &listed, NULL), 0);
    for (unsigned i = 0; i < layers.count; i++)
        if (layers.layers[i].kind == OVERLAY_LAYER_SNAPSHOT && strcmp(layers.layers[i].snapshot.label, label) == 0)
            return (int)i;
    return -1;
}

// An overlay of which that snapshot is the top: it is only to be read, and closed again.
static inline struct overlay *open_snapshot(const struct folder *f, const char *label, uint64_t base_size)
{
    struct overlay_base base = pattern_base(base_size);
    struct overlay_layers layers;
    struct overlay *o = NULL;
    struct error error = {0};
    bool listed;
    int at = snapshot_index(f, label);
    assert_true(at > 0);
    assert_int_equal(overlay_layers_read(f->fd, &layers, &listed, NULL), 0);
    int lock = overlay_take_lock(f->fd, &error);
    if (lock < 0 || overlay_open_layers(f->fd, lock, &layers, (unsigned)at, &some_manifest, &base, &o, &error) != 0)
        fail_msg("%s", error.text);
    return o;
}

static inline int take_snapshot(const struct folder *f, const char *label, struct error *error)
{
    char given[OVERLAY_LABEL_SIZE];
    return overlay_snapshot_take(f->fd, label, 1795428000, given, error);
}

// The new layer, in its owner's and in the overlay's process at once.
static inline int hold_for(const struct overlay_taking *taking, struct overlay *o, struct error *error)
{
    char id[OVERLAY_ID_TEXT_SIZE];
    int fds[2];
    overlay_taking_describe(taking, id, fds);
    const int copies[] = {fcntl(fds[0], F_DUPFD_CLOEXEC, 3), fcntl(fds[1], F_DUPFD_CLOEXEC, 3)};
    return overlay_live_hold(o, id, copies, error);
}

// Of an overlay that is open.
static inline int take_live(const struct folder *f, struct overlay *o, const char *label,
                            char ret_label[static OVERLAY_LABEL_SIZE], struct error *error)
{
    struct overlay_taking *taking;
    int r = overlay_taking_begin(f->fd, label, 1795428000, &taking, error);
    if (r < 0)
        return r;
    r = hold_for(taking, o, error);
    if (r == 0) {
        r = overlay_taking_finish(taking, ret_label, error);
        overlay_live_end(o, r == 0);
    }
    overlay_taking_free(taking);
    return r;
}

static inline int roll_back(const struct folder *f, const char *label, bool drop_newer, struct error *error)
{
    char given[OVERLAY_LABEL_SIZE];
    return overlay_snapshot_roll_back(f->fd, label, drop_newer, given, error);
}
