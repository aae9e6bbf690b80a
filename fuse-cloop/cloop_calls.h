// The system calls that rondo-cloop may make while it serves (tests/hostile/cloop.calls).
#pragma once

#include "base/confine.h"

extern const struct confine_call cloop_calls[];
extern const size_t cloop_call_count;
