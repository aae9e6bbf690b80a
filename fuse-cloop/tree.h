// The tree of files that rondo-cloop shows, as libfuse's operations:
//
//   shared:   /<manifest sha256>/{disk,kernel,initrd,…,manifest}      single (rondo mount):   /{disk,…,manifest}
//
// A node number says all about its node, so a successor understands every number that the kernel knows:
//
//   bits 12 and up: generation of the version's entry    bits 4 to 11: entry    bits 0 to 3: 0 the folder, 1 + the
//   number of the member, or 15 the manifest itself.    1 is the root.
//
// Nothing that has a name here ever changes, so the kernel may keep everything for as long as it likes.
#pragma once

#include "fuse-cloop/session.h"

extern const struct fuse_lowlevel_ops tree_operations; // of a fuse_session whose userdata is a struct session
