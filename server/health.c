// See health.h.
#include "server/health.h"

#include "server/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/banned.h"

#define TEXT_TYPE "text/plain; charset=utf-8"
#define METRICS_MAXIMUM (64u << 10)

static const char healthz[] = "/healthz", metrics[] = "/metrics";

bool health_is_asked(const struct request *request)
{
    return strcmp(request->target, healthz) == 0 || strcmp(request->target, metrics) == 0;
}

static bool is_of_this_machine(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *client = info ? info->client_addr : NULL;

    if (client && client->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)client)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (!client || client->sa_family != AF_INET6)
        return false;
    const struct in6_addr *address = &((const struct sockaddr_in6 *)(const void *)client)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(address) ||
           (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == IN_LOOPBACKNET); // of a socket for both
}

// By the calls that serve it: no other one is left to us.
static bool has_catalog(const struct site_files *files)
{
    static const char target[] = "/" SITE_PATH_CATALOG;
    struct site_path path;
    struct site_file file;

    if (site_path_parse(target, strlen(target), &path) != 0 || site_files_open_file(files, &path, &file) != 0)
        return false;
    close(file.fd);
    return true;
}

// What the index says of the site; the result of asking it.
static int ask_index(struct index_pool *pool, struct index_site *ret)
{
    struct index *index;
    struct error error = {.text = ""}; // the pool logs it

    int r = index_pool_take(pool, &index, &error);
    if (r < 0)
        return r;
    r = index_get_site(index, ret, NULL);
    index_pool_give(pool, index, r);
    return r;
}

static int answer_text(unsigned status, const char *text, struct answer *ret)
{
    return answer_make(status, TEXT_TYPE, "no-store", text, strlen(text), ret);
}

static int answer_healthz(const struct site_files *files, struct index_pool *pool, bool last, struct answer *ret)
{
    struct index_site site;

    if (last)
        return answer_text(503, "the server is ending\n", ret);
    if (!has_catalog(files))
        return answer_text(503, "there is no catalog: nothing was published yet\n", ret);
    if (pool && ask_index(pool, &site) < 0)
        return answer_text(503, "the index cannot be read\n", ret);
    return answer_text(200, "ok\n", ret);
}

static int answer_metrics(struct index_pool *pool, const struct request *request, struct answer *ret)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(METRICS_MAXIMUM);
    struct index_site site;

    if (!is_of_this_machine(request->connection))
        return answer_text(403, "for clients on this machine\n", ret);
    int r = metrics_write(&text, pool && ask_index(pool, &site) == 0 ? &site : NULL);
    if (r < 0)
        return -ENOMEM;
    return answer_make(200, "text/plain; version=0.0.4; charset=utf-8", "no-store", buf_text(&text), text.size, ret);
}

int health_answer(const struct site_files *files, struct index_pool *index, const struct request *request, bool last,
                  struct answer *ret)
{
    return strcmp(request->target, metrics) == 0 ? answer_metrics(index, request, ret)
                                                 : answer_healthz(files, index, last, ret);
}
