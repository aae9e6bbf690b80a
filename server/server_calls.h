// What rondo-server calls while it serves, and why: the table of its filter (base/confine.h).
#pragma once

#include "base/confine.h"

extern const struct confine_call server_calls[];
extern const size_t server_call_count;
