// The conversation with the kernel over /dev/fuse, through libfuse's low-level API, made so that it outlives this
// process.
//
// Requests are read into a slot of the state memfd (state.h), and the slot is free again when the answer was written.
// A successor, which has both descriptors, replays INIT into its own libfuse (the answer is swallowed: the kernel had
// it) and then either asks the kernel for all unanswered requests again (FUSE_NOTIFY_RESEND, Linux 6.9) or serves what
// stands in the slots.
//
// Why no answer is lost and none is wrong:
//   1. A request is in the kernel's queue, or wholly in a used slot, or answered: the slot is used before the read, and
//      the kernel completes a copy that it has begun, whatever signal is pending.
//   2. A second answer to a request finds nobody: `unique` is never used again (the kernel says ENOENT, which is fine),
//      and a request that was sent again has another one (its highest bit is set).
//   3. Slots are emptied only after RESEND was accepted. A death in between leaves slots with requests that have
//   another
//      `unique` now: answering them is harmless, by 2.
//   4. A successor begins when its predecessor's lock is free, that is, when its last thread is gone: no answer of the
//      dead one can come late. What an answer says is decided by node number, offset and size alone, and never changes.
//
// RONDO_CLOOP_RESEND=0 in the environment makes a successor serve the slots although the kernel could resend: for
// tests, so that both ways are tried on one kernel.
#pragma once

#include "base/error.h"
#include "base/path.h"
#include "fuse-cloop/state.h"
#include <fuse_lowlevel.h>
#include <stdatomic.h>

#define SESSION_READ_MAXIMUM (128u << 10) // bytes of one READ: a chunk
#define SESSION_REQUEST_SIZE (STATE_SLOT_SIZE + 1u)
#define SESSION_BACKGROUND 256u // requests that the kernel sends ahead

struct table;
struct beside;
struct session {
    struct fuse_session *fuse;
    struct state *state;
    int fd, state_fd; // /dev/fuse and the memfd; -1 before
    struct table *table;
    struct beside *unmounter; // of the mount point
    bool single;              // the root is the folder of entry 0 (rondo mount)
    char mount_point[PATH_TEXT_SIZE];
    dev_t device; // of the mounted files
    uint64_t init_unique;
    bool replaying;
};

// Mounts anew on s->mount_point (an existing folder) and answers INIT. Makes a state unless s->state is there already.
// -EOPNOTSUPP or -EACCES if the host cannot.
int session_start(struct session *s, struct error *error);

// Goes on with `fd` and `state_fd`, which belong to the session afterwards (on failure they stay the caller's):
// -EBADMSG if the state is damaged. Afterwards the requests in the used slots are to be served by session_serve_slot.
int session_adopt(struct session *s, int fd, int state_fd, struct error *error);

// True if the mount found at the mount point is the one of this state.
bool session_is_mounted(const struct session *s, const struct state *state);

// Reads one request into the slot, and copies it to `buf` (SESSION_REQUEST_SIZE bytes at buf->mem): 1, or 0 when the
// mount is gone, or -EINTR, -EAGAIN, or another -errno. The calling thread must own the slot, until the request is
// processed.
int session_receive(struct session *s, unsigned slot, struct fuse_buf *buf);
int session_receive_slot(struct session *s, unsigned slot, struct fuse_buf *buf); // 1 if one stands in the slot, else 0
void session_process(struct session *s, struct fuse_buf *buf);
