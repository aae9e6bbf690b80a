// Boot profiles: the order in which a boot reads members, recorded once; what boot packs are laid out by.
//
//   rondo-profile 1
//   member kernel 14186432           each member that it speaks of, with its size in bytes
//   member disk 2147483648
//   read kernel 0 3464               first block, number of blocks (4 KiB), in the order of first reading
//   read disk 12 8
//
// A block is recorded once, where it was read first; reads that go on where the last one ended are one line. A profile
// is no secret and is not signed: one that is wrong makes a boot slower, never different.
//
// Recording:  profile_new, profile_add_member for each, profile_add_read as reads come, profile_format
// Publishing: profile_parse, profile_check_members, then the reads, in order
// Not for use by several threads at once.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "blockstore/manifest.h"

// A boot of Debian 12 reads 39 MiB, in about 1,000 reads: 10,000 blocks. The limits are 25 and 128 times that. A text
// within them has at most 128Ki lines of 40 bytes.
#define PROFILE_TEXT_MAXIMUM (6u << 20)
#define PROFILE_READS_MAXIMUM (128u << 10)
#define PROFILE_BLOCKS_MAXIMUM (256u << 10) // 1 GiB
#define PROFILE_MEMBERS_MAXIMUM MANIFEST_MEMBERS_MAXIMUM

struct profile_member {
    char name[sizeof(((struct manifest_member *)0)->name)];
    uint64_t size; // bytes
};
struct profile_read {
    uint64_t first;  // block of the member
    uint32_t blocks; // ≥ 1
    uint32_t member; // number
};
struct profile_word;

struct profile { // to be read; changed only through the functions below
    struct profile_member members[PROFILE_MEMBERS_MAXIMUM];
    unsigned member_count;
    struct profile_read *reads; // no block is in two of them
    size_t read_count;
    uint64_t block_count;       // in all reads
    size_t read_capacity;       // private, as is what follows: the set of recorded blocks
    struct profile_word *words; // hash table, 2^word_bits slots
    uint64_t odd;               // its key: random, so that nobody can write a text whose blocks collide in it
    unsigned word_bits;
    size_t word_count;
};

struct profile *profile_new(void); // empty; NULL if memory is short
void profile_free(struct profile *p);
void cleanup_profile(struct profile **p); // for CLEANUP

// 0, -EINVAL (no member name, there already, larger than a member may be) or -E2BIG (too many).
int profile_add_member(struct profile *p, const char *name, uint64_t size, unsigned *ret_member);

// Records that blocks first … first + blocks − 1 of a member were read, those that were not recorded before. 0, -EINVAL
// (no such member, beyond its end, no blocks), -E2BIG (the profile is full: what was recorded so far stays, the rest
// of this read is left out) or -ENOMEM (the same).
int profile_add_read(struct profile *p, unsigned member, uint64_t first, uint64_t blocks);

// Writes the text; 0, -E2BIG if ret_text is too small for it (PROFILE_TEXT_MAXIMUM is always enough), or -ENOMEM.
int profile_format(const struct profile *p, struct buf *ret_text);

// Parses a text; -EBADMSG with the number of the line that is wrong. *ret is to be freed with profile_free.
int profile_parse(const void *bytes, size_t n, struct profile **ret, struct error *error);

// Does the profile speak of these members? -EINVAL unless each of its own is among them, with the same size.
int profile_check_members(const struct profile *p, const struct profile_member *members, unsigned n,
                          struct error *error);
