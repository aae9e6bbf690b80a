// The answers of a static site (FORMATS, "Site layout"): GET and HEAD of its files, whole or one range of them, with
// validators and caching headers. Nothing is ever compressed or changed on its way.
#pragma once

#include "server/access_log.h"
#include "server/site_files.h"
#include <microhttpd.h>
#include <stdbool.h>

struct static_site {
    const struct site_files *files;
    struct access_log *log;
};

// True if the request can be refused from its head alone: another method, or a body, which is then not read. Such a
// request is answered as soon as its head is there, every other one when all of it was received.
bool static_site_refuses(struct MHD_Connection *connection, const char *method);

// Queues the answer and writes its line into the log. `target` is not decoded yet; libmicrohttpd has cut its query
// off. `last` adds "Connection: close". MHD_NO (memory is short) closes the connection.
enum MHD_Result static_site_answer(const struct static_site *site, struct MHD_Connection *connection,
                                   const char *method, const char *target, bool last);
