// A process beside ours (beside.h) that opens objects in sources that are folders: sources are named by clients, and
// plugged in, after we have given up to read what is the user's. It is confined itself: it reads files, and can do
// nothing else; and it opens nothing but regular files at objects/xx/<the 64 digits of a hash>, below the folder that
// it is given. So whoever takes us over can read what looks like a site's, and not the user's other files.
#pragma once

#include "base/beside.h"
#include "base/confine.h"

int opener_start(struct beside *ret, struct error *error); // while there is one thread

// For transport_set_opener: `context` is the struct beside. A descriptor, or −errno.
int opener_open(void *context, int root, const char *path);

// The system calls that it may make (tests/hostile/opener.calls).
extern const struct confine_call opener_calls[];
extern const size_t opener_call_count;
