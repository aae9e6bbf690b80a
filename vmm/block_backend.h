// What a virtio disk reads from and writes to. Calls come from several threads at once and may block for as long as a
// network outage lasts; they never fail for one unless told to (--on-outage error).
#pragma once

#include "base/error.h"
#include "blockstore/overlay.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct block_backend {
    // 0 or -errno. offset and sizes are multiples of 512 within size (the device checked).
    int (*read)(struct block_backend *b, uint64_t offset, const struct iovec *to, unsigned count, size_t bytes);
    int (*write)(struct block_backend *b, uint64_t offset, const struct iovec *from, unsigned count, size_t bytes);
    int (*flush)(struct block_backend *b);
    int (*discard)(struct block_backend *b, uint64_t offset, uint64_t bytes);
    int (*write_zeroes)(struct block_backend *b, uint64_t offset, uint64_t bytes, bool may_unmap);
    void (*set_write_through)(struct block_backend *b, bool on); // the guest does not flush (FORMATS, overlay rule 6)
    uint64_t size;                                               // bytes
    bool read_only;
};

// A raw file: descriptor taken over.
int block_file_new(int fd, bool read_only, struct block_backend **ret, struct error *error);
