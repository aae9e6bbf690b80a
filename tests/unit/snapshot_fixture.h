// What the tests of snapshots share: the disk as it was at a snapshot, opened beside the list of layers.
#pragma once

#include "overlay_fixture.h"

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

static inline int roll_back(const struct folder *f, const char *label, bool drop_newer, struct error *error)
{
    char given[OVERLAY_LABEL_SIZE];
    return overlay_snapshot_roll_back(f->fd, label, drop_newer, given, error);
}
