// Unix sockets between Rondo's own programs: text lines, with file descriptors beside them (SCM_RIGHTS,
// unix(7)). Every accepted peer is checked to be the same user (SO_PEERCRED).
#pragma once

#include "base/error.h"
#include <stddef.h>

#define SOCKET_LINE_MAXIMUM 8192 // bytes of one message line, newline included
#define SOCKET_FDS_MAXIMUM 4     // descriptors beside one message

// A listening SOCK_SEQPACKET socket at `path` (mode 0600). A stale socket file is replaced; a live one is -EBUSY
// (a connection to it succeeds); anything else at that path is -EEXIST. Returns the descriptor.
int socket_listen(const char *path, struct error *error);
int socket_connect(const char *path, struct error *error); // -ECONNREFUSED or -ENOENT if nobody is there;
                                                           // -EPERM if another user is
int socket_accept(int listener); // the descriptor, or -errno; -EPERM if the peer is another user

// A connected pair for a child and us, both ends close-on-exec and owned by the caller. `type`: SOCK_STREAM or
// SOCK_SEQPACKET, also with SOCK_NONBLOCK: then socket_send returns -EAGAIN where there is no room.
int socket_pair(int type, int *ret_ours, int *ret_theirs, struct error *error);

// One message. `fds` may be NULL with count 0. Received descriptors are close-on-exec and owned by the caller.
// socket_send returns -EINVAL for an empty text, -EMSGSIZE for one of SOCKET_LINE_MAXIMUM bytes or more, -EPIPE if
// the peer is gone (no signal is raised).
// socket_receive returns the length of the text (NUL-terminated in `text`), 0 at the end of the connection,
// -EMSGSIZE for a truncated message (whose descriptors are closed), -EBADMSG for one with a NUL byte in it, -EAGAIN
// when `timeout_ms` (−1: none) passes, -EINTR when a signal came. `ret_fds` has SOCKET_FDS_MAXIMUM places; with
// NULL, a message that carries descriptors is -EMSGSIZE.
int socket_send(int fd, const char *text, const int *fds, unsigned count);
int socket_receive(int fd, int timeout_ms, char text[static SOCKET_LINE_MAXIMUM], int *ret_fds, unsigned *ret_count);
