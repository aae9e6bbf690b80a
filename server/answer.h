// An answer of HTTP on its way: made by whoever knows what was asked, sent and logged here.
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/access_log.h"
#include <microhttpd.h>
#include <stdbool.h>

struct answer {
    unsigned status;
    uint64_t bytes; // of the body
    struct MHD_Response *response;
};

// What a request asks for, as libmicrohttpd has it: `target` is not decoded yet, and has no query.
struct request {
    struct MHD_Connection *connection;
    const char *method, *target;
};

void answer_destroy_response(struct MHD_Response **response);
#define CLEANUP_RESPONSE CLEANUP(answer_destroy_response)

// Adds a header, unless `value` is "". False if memory is short.
bool answer_add(struct MHD_Response *response, const char *name, const char *value);
// A body with its type, which no browser may take for another, and how long it may be kept. `text` stays the caller's.
// 0 or -ENOMEM.
int answer_make(unsigned status, const char *content_type, const char *cache_control, const void *text, size_t n,
                struct answer *ret);
// The value of a request's header; "" if there is none.
const char *answer_header(struct MHD_Connection *connection, const char *name);
// Whether If-None-Match names `tag`, an ETag with its quotes.
bool answer_is_known(struct MHD_Connection *connection, const char *tag);
// Whether a request's body was announced.
bool answer_has_body(struct MHD_Connection *connection);

// Queues the answer, writes its line into the log, and lets go of it. `last` adds "Connection: close". `made`: what
// came of making it; negative closes the connection, since memory is short.
enum MHD_Result answer_send(const struct request *request, int made, struct answer *answer, struct access_log *log,
                            bool last);
