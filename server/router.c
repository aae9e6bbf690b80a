// See router.h. /healthz and /metrics come before files of these names: who watches a server asks every one alike.
#include "server/router.h"

#include "server/api_read.h"
#include "server/health.h"

#include <string.h>

#include "base/banned.h"

static bool is_api(const struct router *router, const char *target)
{
    return router->index && strncmp(target, API_PREFIX, strlen(API_PREFIX)) == 0;
}

bool router_refuses(const struct router *router, const struct request *request)
{
    (void)router; // neither files nor the read API take anything but GET and HEAD, without a body
    return static_site_refuses(request->connection, request->method);
}

enum MHD_Result router_answer(const struct router *router, const struct request *request, bool last)
{
    struct answer answer = {0};
    if (health_is_asked(request) && !static_site_refuses(request->connection, request->method)) {
        int made = health_answer(router->site->files, router->index, request, last, &answer);
        return answer_send(request, made, &answer, router->site->log, last);
    }
    if (!is_api(router, request->target))
        return static_site_answer(router->site, request->connection, request->method, request->target, last);
    int r = api_read_answer(router->index, request, &answer);
    return answer_send(request, r, &answer, router->site->log, last);
}
