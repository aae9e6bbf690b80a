// The socket that the server listens on: from HOST:PORT, or handed over by who starts it.
#pragma once

#include "base/error.h"
#include <stddef.h>

#define LISTENER_URL_SIZE 96

// `address` is HOST:PORT with a name, an IPv4 address, or an IPv6 address in brackets ("[::1]:8080"; "[::]" takes
// IPv4 too); port 0 lets the kernel choose one. Returns a listening descriptor and the URL to reach it. -EINVAL for a
// malformed address, -ENOENT for an unknown host, -EBUSY for a port that is taken, -EACCES for one that we may not
// have.
int listener_open(const char *address, char ret_url[static LISTENER_URL_SIZE], struct error *error);

// Socket activation (sd_listen_fds(3)): the one TCP socket that LISTEN_FDS and LISTEN_PID hand to this process, or
// -ENOENT where there is none. It listens already. What is handed over and is not that is -EINVAL. Takes both variables
// out of the environment. Before there are threads.
int listener_inherit(char ret_url[static LISTENER_URL_SIZE], struct error *error);
