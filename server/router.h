// Which request goes where: to the site's files, or to the API, or to the pages.
#pragma once

#include "server/answer.h"
#include "server/index_pool.h"
#include "server/static_site.h"
#include "server/try_api.h"

struct router {
    const struct static_site *site;
    struct index_pool *index; // NULL: the site's files are all there is
    struct try_api *machines; // NULL: there are none to try
    uint64_t try_memory;      // bytes that each of them has; 0 without them
};

// True if the request can be refused from its head alone, and its body, if there is one, need not be read.
bool router_refuses(const struct router *router, const struct request *request);
// Queues the answer, and logs it. `last` adds "Connection: close". MHD_NO (memory is short) closes the connection.
enum MHD_Result router_answer(const struct router *router, const struct request *request, bool last);
