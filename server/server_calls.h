// What rondo-server calls while it serves, and why: the table of its filter (base/confine.h).
#pragma once

#include "base/confine.h"

extern const struct confine_call server_calls[];
extern const size_t server_call_count;

// What comes with an index (catalog/index.h).
extern const struct confine_call server_index_calls[];
extern const size_t server_index_call_count;
// And of one that has machines to try (server/try_host.h).
extern const struct confine_call server_try_calls[];
extern const size_t server_try_call_count;

// What comes with publishing (server/publish_api.h).
extern const struct confine_call publish_server_calls[];
extern const size_t publish_server_call_count;

// The filter for all threads, with what comes with these or without.
int server_calls_confine(bool has_index, bool publishes, bool has_machines, struct error *error);
