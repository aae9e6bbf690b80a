// The state memfd of a rondo-cloop: all that a successor must know to go on with its mount. It is mapped shared by the
// rondo-cloop that serves, and its descriptor is kept by every supervisor beside that of /dev/fuse (docs/protocol.md).
//
//   header     what this is, and the session's name, which is also the mount's source (so a successor can tell whether
//              what is mounted belongs to what it was given)
//   INIT       the bytes of the session's first request: a successor's libfuse learns from them what was agreed
//   versions   entry number and generation → manifest → addresses. Node numbers are made of these (tree.h), so a
//              successor answers for every node that the kernel knows
//   slots      one for each thread that serves: the request that it has read and not answered
//
// Invariants
//   1. What is written is complete before the word that makes it count (generation, addresses_size, init_size) is
//   stored
//      with release order: a process that dies between two stores leaves the old state or the new one.
//   2. A generation is given once in a session's life. An entry keeps its generation while it is open.
//   3. A slot is `used` from before its request is read until after its answer was written; while it is used and its
//      `unique` is 0, nothing was read into it.
//   4. open_files never counts too few: it grows before OPEN is answered and shrinks after RELEASE was. A death in
//      between may leave it too large; the entry then cannot be reused by this session, and that is all.
//   5. The memfd is sealed against any change of size, so that nobody can make a mapping of it fault.
//   6. A successor trusts nothing in it: state_adopt checks every count and bound.
//   7. Entries are given from the first on: entry i is in use only if more than i generations were given. Nobody looks
//      at those behind (state_entry_end), because each that is looked at takes memory from then on.
//
// Versions and slots may be changed by any thread of the one process that serves; who does it holds table.mutex for a
// version (but for open_files, which is atomic), and is the thread that owns the slot.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include "base/socket.h"
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define STATE_VERSIONS 256u
#define STATE_SLOTS 256u
#define STATE_SLOT_SIZE 8192u                       // FUSE_MIN_READ_BUFFER: the kernel accepts no smaller buffer
#define STATE_INIT_MAXIMUM 512u                     // INIT is 104 bytes in protocol 7.38
#define STATE_ADDRESSES_SIZE SOCKET_LINE_MAXIMUM    // whatever one `open` can say
#define STATE_SESSION_SIZE 17u                      // 16 hex digits and a NUL byte
#define STATE_GENERATION_MAXIMUM ((1ull << 48) - 1) // what a node number has room for

struct state_version {
    _Atomic uint64_t generation; // 0: the entry is free
    struct sha256 manifest;
    _Atomic uint32_t open_files;
    _Atomic uint32_t addresses_size;      // bytes in use
    char addresses[STATE_ADDRESSES_SIZE]; // each with a NUL byte behind it
};

struct state {
    char magic[8];
    uint32_t size; // of this struct: another layout has another size
    // For whoever looks at a session from outside: where the slots are.
    uint32_t slot_count, slot_size, used_offset, slots_offset;
    char session[STATE_SESSION_SIZE];
    _Atomic uint64_t last_generation;
    _Atomic uint32_t init_size; // 0: INIT was not read yet
    unsigned char init[STATE_INIT_MAXIMUM];
    struct state_version versions[STATE_VERSIONS];
    _Atomic uint32_t used[STATE_SLOTS];
    alignas(4096) unsigned char slots[STATE_SLOTS][STATE_SLOT_SIZE];
};

// A new, empty state with a random session name. *ret_fd is its memfd (close-on-exec).
int state_create(struct state **ret, int *ret_fd, struct error *error);

// Maps what was handed over, and checks it: -EBADMSG with the reason if it is damaged or of another layout. `fd` stays
// the caller's.
int state_adopt(int fd, struct state **ret, struct error *error);
void state_unmap(struct state *s);

// Keeps the INIT request. -EBADMSG if it is none, or too long.
int state_keep_init(struct state *s, const void *bytes, size_t n);

// Entries from this number on were never in use.
unsigned state_entry_end(const struct state *s);

// Gives entry `i` to a manifest, with a new generation and no addresses. *ret_generation is never 0. -EOVERFLOW when
// all generations are used up.
int state_set_version(struct state *s, unsigned i, const struct sha256 *manifest, uint64_t *ret_generation);
// Adds an address. -ENOSPC if there is no room.
int state_add_address(struct state_version *v, const char *address);
// Forgets all addresses. To a successor that finds it so, the version is offline until somebody says `open` again, as
// all do who lost their connection.
void state_clear_addresses(struct state_version *v);
// The address after `previous` (NULL: the first), or NULL at the end.
const char *state_next_address(const struct state_version *v, const char *previous);
bool state_has_address(const struct state_version *v, const char *address);

// Slots. state_slot_request is the request in a used slot: its length, or 0 if nothing was read into it.
void state_slot_begin(struct state *s, unsigned slot);
void state_slot_end(struct state *s, unsigned slot);
bool state_slot_is_used(const struct state *s, unsigned slot);
size_t state_slot_request(const struct state *s, unsigned slot);
