// The overlay: an instance's copy-on-write disk over a read-only base. Used by every engine: rondo-overlay serves it
// to qemu, rondo-vmm calls it directly.
//
//   <folder>/disk.data   sparse: block n at offset n × 4096
//   <folder>/disk.map    header page, then 2 bits a block from offset 4096: 0 base, 1 data, 2 zero
//
//   header page: "RONDOOV1", version u32 = 1, 0 u32, block count u64, base manifest SHA-256 (32), parent layer id
//   (16 bytes, zero: none), SHA-256 of the header up to here; then zeros
//
// The numbered rules are those of FORMATS, "Overlay"; overlay.c says where each is kept.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define OVERLAY_MAGIC "RONDOOV1"
#define OVERLAY_HEADER_SIZE 4096u

// How the base is read: exactly n bytes at offset (always within the size) into pieces of memory (at most
// VECTOR_MAXIMUM, of n bytes together); 0 or -errno. Any thread, several at once.
struct overlay_base {
    int (*read)(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n);
    void *context;
    uint64_t size; // bytes; what lies between this and the disk's size reads as zeros
};

struct overlay;

// Makes the two files in the folder `dir` (which must not have them), durable when this returns. `size` is the disk's
// size in bytes, a multiple of 4096, at least the base's.
int overlay_create(int dir, uint64_t size, const struct sha256 *base_manifest, struct error *error);

// Opens. The files are locked (flock) against a second opening: -EBUSY (TRUST T42). -EBADMSG if the header is damaged,
// -ESTALE if the overlay was made over another manifest (TRUST T43).
int overlay_open(int dir, const struct sha256 *base_manifest, const struct overlay_base *base, struct overlay **ret,
                 struct error *error);
// Flushes and closes. The first failure (rule 4) is reported.
int overlay_close(struct overlay *o, struct error *error);

uint64_t overlay_size(const struct overlay *o);             // bytes
void overlay_set_write_through(struct overlay *o, bool on); // rule 6: each change is flushed before it returns

// Any offset and length within the disk (-EINVAL otherwise), any number of threads. 0 or -errno: -ENOSPC if the
// overlay's file system is full (the write did not happen, and may be tried again), the base's error, -EIO after a
// failed flush (rule 4).
int overlay_read(struct overlay *o, uint64_t offset, void *to, size_t n);
int overlay_write(struct overlay *o, uint64_t offset, const void *from, size_t n);
// The same with memory in pieces: at most VECTOR_MAXIMUM (base/vector.h) of n bytes together.
int overlay_readv(struct overlay *o, uint64_t offset, const struct iovec *to, size_t n);
int overlay_writev(struct overlay *o, uint64_t offset, const struct iovec *from, size_t n);
int overlay_discard(struct overlay *o, uint64_t offset, uint64_t n);      // whole blocks inside the range become zero
int overlay_write_zeroes(struct overlay *o, uint64_t offset, uint64_t n); // exactly the range becomes zero
int overlay_flush(struct overlay *o);

// Rule 4: 0 while no flush has failed; afterwards -EIO and the sentence that says which and why.
int overlay_failure(struct overlay *o, struct error *error);

struct overlay_counts {
    uint64_t data_blocks, zero_blocks; // by the map
    uint64_t flushes, rounds;          // asked for, and done
};
int overlay_count(struct overlay *o, struct overlay_counts *ret);

// The first blocks at or behind `block` that do not come from the base, in any layer: 1 and a run of them (what follows
// it may have changed, too), 0 if there are none, or -errno. For an overlay that nobody has written to since it was
// opened or flushed.
struct overlay_change {
    uint64_t first, count;
    bool zero; // they read as zeros
};
int overlay_find_change(struct overlay *o, uint64_t block, struct overlay_change *ret);
