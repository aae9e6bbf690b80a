// The reads of a base, noted in a file: what a boot profile is made of. It stands between an overlay and its base,
// where every engine passes, and so sees exactly what the guest asked for that it had not written itself: no read-ahead
// of the host's, no reads of the host's own.
//
//   record file: one struct overlay_read after another, in the order in which the reads began
//
// 1. What cannot be noted (a full file, a failed write) is left out; the read itself never fails for it.
// 2. The file is bounded: OVERLAY_READS_MAXIMUM records (a boot of Debian makes about a thousand).
// 3. A record of zeros is one whose writer was killed before it wrote: whoever reads the file passes it over. Nothing
//    in it may be trusted: it is what another program wrote.
#pragma once

#include "blockstore/overlay.h"
#include <stdatomic.h>

#define OVERLAY_READS_MAXIMUM 262144u

struct overlay_read {
    uint64_t offset, length; // bytes, in the host's byte order: the file never leaves the machine
};

struct overlay_record {
    int fd;
    struct overlay_base base;
    atomic_uint next; // the record to be written next
};

// *base_in_place gets, in place of `base`, one that notes its reads behind those that `fd`, a regular file open for
// writing, has already; `r` must outlive it. fd −1: no file, and *base_in_place is `base` itself. The descriptor stays
// the caller's.
int overlay_record_open(struct overlay_record *r, int fd, const struct overlay_base *base,
                        struct overlay_base *base_in_place, struct error *error);
