// libmicrohttpd, set up for one site: a pool of threads with epoll, and a bound on everything that a client
// can make us hold (TRUST T12): connections, connections per address, memory per connection, descriptors, time.
#pragma once

#include "base/error.h"
#include "server/publish_api.h"
#include "server/router.h"

// An address may hold one part in 16 of all connections. A proxy in front of us is one address, too, and needs fewer.
#define HTTP_SERVER_CONNECTIONS 4096
#define HTTP_SERVER_CONNECTIONS_PER_ADDRESS 256
#define HTTP_SERVER_CONNECTION_MEMORY (16 * 1024) // bytes: request head and response head
#define HTTP_SERVER_STALL_SECONDS 15              // see server/slow_clients.h

struct http_server;

// Takes over `listener`, also on failure. Raises RLIMIT_NOFILE to what the connections need, or serves fewer of them.
// `router`, and `publish` (NULL: no publications are taken), must live as long as the server. All signals must be
// blocked, so that the threads do not take any.
int http_server_start(int listener, const struct router *router, struct publish_api *publish, unsigned stall_seconds,
                      struct http_server **ret, struct error *error);

// From now on no connection is accepted, and each ends with the answer it is at.
void http_server_wind_down(struct http_server *server);
unsigned http_server_count_answers(struct http_server *server); // under way

void http_server_stop(struct http_server **server); // cuts what is left; NULL is fine
