// The reads of a base, noted in a file: what a boot profile is made of, and the log of a measured machine
// (client/measure.h). It stands between an overlay and its base, where every engine passes, and so sees exactly what
// the guest asked for that it had not written itself: no read-ahead of the host's, no reads of the host's own; and it
// sees it, too, where the host's kernel has the bytes already and asks nobody for them.
//
//   record file: one struct overlay_read after another, in the order in which the reads began
//
// 1. What cannot be noted (a full file, a failed write) is left out; the read itself never fails for it.
// 2. The file is bounded: OVERLAY_READS_MAXIMUM records (a boot of Debian makes about a thousand). A read all of whose
//    blocks were read before, since the record was opened, is not noted again.
// 3. A record is written before the base is read: nothing is given to the guest that is not noted, or about to be by
//    another thread that reads the same.
// 4. A record of zeros is one whose writer was killed before it wrote: whoever reads the file passes it over. Nothing
//    in it may be trusted: it is what another program wrote.
#pragma once

#include "blockstore/overlay.h"
#include <stdatomic.h>

#define OVERLAY_READS_MAXIMUM (1u << 20)

struct overlay_read {
    uint64_t offset, length; // bytes, in the host's byte order: the file never leaves the machine
};

struct overlay_record {
    int fd;
    struct overlay_base base;
    atomic_uint next;             // the record to be written next
    _Atomic uint64_t *read_words; // a bit for each block of the base: it was read. Pages of it are there once touched
};

// *base_in_place gets, in place of `base`, one that notes its reads behind those that `fd`, a regular file open for
// writing, has already; `r` must outlive it. fd −1: no file, and *base_in_place is `base` itself. The descriptor stays
// the caller's. On success the caller closes with overlay_record_close, after the last read.
int overlay_record_open(struct overlay_record *r, int fd, const struct overlay_base *base,
                        struct overlay_base *base_in_place, struct error *error);
void overlay_record_close(struct overlay_record *r);
