// See router.h. /healthz and /metrics come before files of these names: who watches a server asks every one alike.
#include "server/router.h"

#include "server/api_read.h"
#include "server/health.h"
#include "server/live_pages.h"

#include <string.h>

#include "base/banned.h"

static bool is_api(const struct router *router, const char *target)
{
    return router->index && strncmp(target, API_PREFIX, strlen(API_PREFIX)) == 0;
}

static bool is_try(const struct router *router, const char *target)
{
    return router->machines && try_api_owns(target);
}

bool router_refuses(const struct router *router, const struct request *request)
{
    if (is_try(router, request->target))
        return try_api_refuses(request);
    // neither files nor pages nor the read API take anything but GET and HEAD, without a body
    return static_site_refuses(request->connection, request->method);
}

enum MHD_Result router_answer(const struct router *router, const struct request *request, bool last)
{
    // A browser gets a page where there is no image to try.
    const bool no_machine = is_try(router, request->target) && live_pages_is_browser(request) &&
                            try_api_is_missing(router->machines, request);
    struct answer answer = {0};
    int r;
    if (health_is_asked(request) && !static_site_refuses(request->connection, request->method))
        r = health_answer(router->site->files, router->index, request, last, &answer);
    else if (is_try(router, request->target) && !no_machine)
        r = try_api_answer(router->machines, request, &answer);
    else if (is_api(router, request->target))
        r = api_read_answer(router->index, request, &answer);
    else if (no_machine || (router->index && (live_pages_has(request->target) ||
                                              (!static_site_refuses(request->connection, request->method) &&
                                               live_pages_tell_missing(router->site->files, request)))))
        r = live_pages_answer(router->index, router->site->files, router->try_memory, request, &answer);
    else
        return static_site_answer(router->site, request->connection, request->method, request->target, last);
    return answer_send(request, r, &answer, router->site->log, last);
}
