// "Try it in the browser" over HTTP: docs/api.md, "Machines to try".
//
//   POST /api/v1/try/NAME               a token for one machine of that image
//   GET  /api/v1/try/socket?token=…     a WebSocket: its console
//   GET  /try/NAME                      the page with the terminal, and the files that it needs
#pragma once

#include "server/answer.h"
#include "server/index_pool.h"
#include "server/try_host.h"
#include "server/try_sessions.h"

struct try_api;

// The host of machines of the site in `site`, which write into the state folder; before anything is given up
// (try_host_start). -EOPNOTSUPP in a build without xterm.js.
int try_api_start_host(const char *site, const char *state, const struct try_limits *limits, struct try_host *ret,
                       struct error *error);

// Starts one thread. The host and the index must live as long.
int try_api_start(const struct try_host *host, const struct try_limits *limits, struct index_pool *index,
                  struct try_api **ret, struct error *error);
void try_api_wind_down(struct try_api *api); // before libmicrohttpd is stopped; NULL is fine
void try_api_stop(struct try_api **api);     // after it; NULL is fine

bool try_api_owns(const char *target);
// Whether a GET or HEAD asks for the page of an image that the site does not have.
bool try_api_is_missing(const struct try_api *api, const struct request *request);
// True if the request can be refused from its head alone.
bool try_api_refuses(const struct request *request);
int try_api_answer(struct try_api *api, const struct request *request, struct answer *ret); // 0 or -ENOMEM
