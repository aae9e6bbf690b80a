// A process beside rondo-server (base/beside.h) that opens the access log anew after it was renamed (SIGHUP): the
// server has given up to open files by then, and whoever takes it over shall not write others. This one opens that one
// name in its folder, for appending, and can do nothing else.
#pragma once

#include "base/beside.h"
#include "base/confine.h"

// While there is one thread. `file` must live as long as the process.
int log_opener_start(const char *file, struct beside *ret, struct error *error);

int log_opener_open(struct beside *opener, struct error *error); // a descriptor, or -errno

// The system calls that it may make (tests/hostile/log_opener.calls).
extern const struct confine_call log_opener_calls[];
extern const size_t log_opener_call_count;
