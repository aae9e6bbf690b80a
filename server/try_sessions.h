// All visitors' connections that are WebSockets (server/try_session.h), on one thread, which also asks the host for
// their machines.
#pragma once

#include "base/error.h"
#include "server/try_host.h"
#include "server/try_places.h"
#include <microhttpd.h>

struct try_sessions;

// Starts the thread. Host and places must live as long.
int try_sessions_start(const struct try_host *host, struct try_places *places, struct try_sessions **ret,
                       struct error *error);

// A connection that libmicrohttpd has just handed over, with what it had read already; any thread. The connection of a
// place that was given up, or while we stop, is closed.
void try_sessions_take(struct try_sessions *s, uint64_t place, int socket, const void *early, size_t size,
                       struct MHD_UpgradeResponseHandle *handle);

// Closes all connections (status 1001) and those that still come, before libmicrohttpd is stopped. NULL is fine.
void try_sessions_wind_down(struct try_sessions *s);
void try_sessions_stop(struct try_sessions **s); // after libmicrohttpd; NULL is fine
