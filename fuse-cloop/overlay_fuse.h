// The file system of rondo-overlay: one folder with one file, `disk`, whose bytes are the overlay's.
//
// The file has a fixed size, belongs to the user who mounted it, and nobody else may look into the mount. It is always
// opened for direct I/O: the kernel keeps no page of it, so what a guest's monitor was told is written is in the
// overlay, and shared mappings do not exist.
#pragma once

#include "base/error.h"
#include "blockstore/overlay.h"
#include "blockstore/overlay_hold.h"
#include "fuse-cloop/unmounter.h"

struct overlay_fuse;

struct overlay_fuse_settings {
    struct overlay *overlay;
    struct overlay_hold *hold;
    int folder; // the overlay's, for the free space that statfs reports
    struct beside *unmounter;
};

// Mounts at the folder `mountpoint`. -EOPNOTSUPP if this host cannot mount with FUSE. All the settings' objects must
// outlive what is returned.
int overlay_fuse_mount(const struct overlay_fuse_settings *settings, const char *mountpoint, struct overlay_fuse **ret,
                       struct error *error);

// Serves requests with several threads until overlay_fuse_end is called, or somebody unmounts. 0 or -errno. To be
// called by the thread that mounted; SIGUSR1 must interrupt it (a handler without SA_RESTART).
int overlay_fuse_serve(struct overlay_fuse *f);

// From another thread: makes overlay_fuse_serve return soon. It may have to be called again: a signal that arrives just
// before the serving thread waits is lost.
void overlay_fuse_end(struct overlay_fuse *f);

void overlay_fuse_unmount(struct overlay_fuse *f); // unmounts (if still mounted)
void overlay_fuse_free(struct overlay_fuse *f);    // after the unmounting
