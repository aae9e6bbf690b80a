// What rondo search and rondo ls --remote share: sites asked one after the other, and what they answer shown.
#pragma once

#include "client/cli.h"
#include "client/site_search.h"

struct search_request {
    struct site_search search;
    const char *const *sites; // as they were typed
    unsigned site_count;      // 0: all that the trust database knows, and the configuration's
    bool json;
};
// Prints what is found; returns an exit code. A site that fails is told of; the failure is the command's if nothing was
// found elsewhere.
int search_and_print(const struct search_request *request);
