// What a virtio disk reads from and writes to. Calls come from several threads at once and may take as long as a
// network outage lasts; they do not fail for one unless told to (--on-outage error).
//
//   block_file.c      a raw file or block device
//   block_overlay.c   an instance's overlay over a read-only base
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct block_backend {
    // 0 or -errno. Offsets and sizes are multiples of 512 within `size` (the device checked). `pieces` are of n bytes
    // together, at most VECTOR_MAXIMUM (base/vector.h) of them.
    int (*read)(struct block_backend *b, uint64_t offset, const struct iovec *to, size_t n);
    int (*write)(struct block_backend *b, uint64_t offset, const struct iovec *from, size_t n);
    int (*flush)(struct block_backend *b);
    int (*discard)(struct block_backend *b, uint64_t offset, uint64_t n); // a hint: what it reads as later is undefined
    int (*write_zeroes)(struct block_backend *b, uint64_t offset, uint64_t n);
    // The guest does not flush: each change is stable before it returns (FORMATS, overlay rule 6).
    void (*set_write_through)(struct block_backend *b, bool on);
    // The next three are NULL where there is nothing to wait for and no base.
    // Requests that wait for the network or for space fail now, and so does any that would.
    void (*let_go)(struct block_backend *b);
    // In milliseconds, when look wants to be called again; -1: never. Notices requests that wait for too long.
    int (*look)(struct block_backend *b);
    // What the supervisor says of the disk (overlay_live_hear).
    bool (*hear)(struct block_backend *b, const char *text, int *fds, unsigned count, char *ret_answer);
    // Flushes, closes and frees; nothing may be in progress. The first failure is reported.
    int (*close)(struct block_backend *b, struct error *error);
    uint64_t size; // bytes, a multiple of 512
    bool read_only;
};

// A regular file or a block device; the descriptor is taken over, also on failure; the name must outlive it. A size
// that is no multiple of 512 is rounded down. `control`: where to tell that there is no space; -1: only in the log.
int block_file_new(int fd, const char *name, bool read_only, int control, struct block_backend **ret,
                   struct error *error);

struct block_overlay_settings {
    int folder, base; // descriptors: the folder stays the caller's, the base is taken over, also on failure
    const char *folder_name;
    struct sha256 manifest; // what the overlay was made over
    int control;            // where to tell of outages (docs/vmm.md); -1: only in the log
    bool pass_outage;
    unsigned outage_after_seconds;
    int record; // where to note the reads of the base (blockstore/overlay_record.h); −1: nowhere. Stays the caller's
};
int block_overlay_new(const struct block_overlay_settings *settings, struct block_backend **ret, struct error *error);
