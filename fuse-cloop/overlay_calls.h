// What rondo-overlay calls while it serves, and why: the table of its filter (base/confine.h).
#pragma once

#include "base/confine.h"

extern const struct confine_call overlay_calls[];
extern const size_t overlay_call_count;
