// The threads that serve the kernel's requests: each owns one slot of the state memfd, reads a request, answers it, and
// begins again. A thread that takes the last free one's place starts another, up to STATE_SLOTS, so that reads which
// wait for the network do not keep others waiting; those that stand idle beyond WORKERS_IDLE end.
#pragma once

#include "fuse-cloop/session.h"

#define WORKERS_IDLE 8u
#define WORKERS_STACK (256u << 10) // bytes; libcurl and libcrypto run on other threads, or need less

struct workers;
// Starts serving: the requests in used slots first, each by its own thread. `ended_fd` (an eventfd) becomes readable
// when the mount is gone.
int workers_start(struct session *s, int ended_fd, struct workers **ret, struct error *error);
// Waits at most so long for the threads to end, after the mount is gone; true if all did.
bool workers_wait(struct workers *w, unsigned milliseconds);
