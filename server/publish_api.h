// Publishing over HTTP: the server's side of docs/api.md, "Publishing". Requests come in through libmicrohttpd's
// callbacks; a manifest is handed on to the keeper (server/keeper.h).
//
//   head ──▶ refused at once: method, token, length                        publish_api_begin
//    │       (then no body is read)
//    ▼
//   body, piece by piece: objects into the staging area, texts into memory  publish_api_take
//    │
//    ▼
//   answered; a manifest first waits for the keeper, its connection         publish_api_take with nothing more
//   suspended
//
// 1. Nothing of unknown size is read: a body needs a length in its head, within the cap of its kind.
// 2. Whole in memory are texts alone; those of more than 4 KiB only with a token, and a session has few requests at a
//    time.
// 3. Whatever of a token's rights the catalog takes away is gone at the next request.
#pragma once

#include "base/beside.h"
#include "server/access_log.h"
#include "server/index_pool.h"
#include "server/slow_clients.h"
#include <microhttpd.h>
#include <stdbool.h>

#define PUBLISH_API_PREFIX "/api/v1/publish/"
#define PUBLISH_QUOTA_DEFAULT (UINT64_C(64) << 30)

struct publish_api_options {
    const char *site; // folder
    int state;        // the state folder, kept open by the caller
    struct beside *keeper;
    uint64_t quota; // bytes of a publisher, in the staging area and in what it brought into the site
    struct index_pool *index;
    struct access_log *log;
};
// Starts one thread, which talks to the keeper.
struct publish_api;
int publish_api_start(const struct publish_api_options *options, struct publish_api **ret, struct error *error);
// Before libmicrohttpd is stopped: ends the conversation with the keeper, and lets those go who wait for it. From then
// on everything is refused.
void publish_api_wind_down(struct publish_api *api);
void publish_api_stop(struct publish_api **api); // when no request is left; NULL is fine

bool publish_api_owns(const char *target);

// A request's head. NULL: memory is short. The connection's place among slow clients is kept up to date until the end.
struct publish_request;
struct publish_request *publish_api_begin(struct publish_api *api, struct MHD_Connection *connection,
                                          const char *method, const char *target, struct slow_clients *slow,
                                          struct watched *watched);
// As libmicrohttpd's callback gives it, the head's call included.
enum MHD_Result publish_api_take(struct publish_request *q, const char *upload, size_t *upload_size, bool last);
void publish_api_end(struct publish_request *q);
