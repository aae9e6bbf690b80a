// Looking an instance's disk over without opening it: what rondo fsck does.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include <stdbool.h>

// Reads the list of layers, each layer's header, and its whole map, and calls `problem` for each thing that is wrong:
// the list is malformed; a file is missing, or has the wrong size; a header does not hash; layers that are of different
// disks or of another base than `base_manifest`; a page of the map that no overlay can have written. The disk must not
// be in use. Holes are passed over: the cost follows what was written. 0, or -errno if it cannot be looked at.
// `whole`: of the list, without which nothing of the disk can be told, snapshots included.
int overlay_check(int dir, const struct sha256 *base_manifest,
                  void (*problem)(void *context, bool whole, const char *text), void *context);
