// The thread that hands manifests to the keeper, one after the other. Their connections are suspended meanwhile, so
// that no thread of libmicrohttpd waits: reading and hashing all of a version may take minutes.
//
// So that one publisher does not keep the others out: one manifest of each waits, beside the one that the keeper has;
// and whose client has gone by its turn, nothing is done for.
#include "server/publish_private.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/banned.h"

static const char *client_of(const struct publish_request *q, char text[static INET6_ADDRSTRLEN])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(q->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info ? info->client_addr : NULL;
    const void *at = !a                        ? NULL
                     : a->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)(const void *)a)->sin_addr
                     : a->sa_family == AF_INET6
                         ? (const void *)&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr
                         : NULL;
    return at && inet_ntop(a->sa_family, at, text, INET6_ADDRSTRLEN) ? text : "-";
}

static void hand_in(struct publish_request *q)
{
    struct publish_api *api = q->api;
    struct error error = {.text = ""};
    char client[INET6_ADDRSTRLEN];

    int fd CLEANUP_CLOSE = staging_put_manifest(api->staging, q->body.data, q->body.size, &error);
    if (fd < 0) {
        publish_refuse_code(q, fd, &error);
        return;
    }
    CLEANUP_FREE struct keeper_answer *answer = malloc(sizeof *answer);
    if (!answer) {
        publish_refuse(q, 503, "not enough memory", "hand the manifest in again in a moment");
        return;
    }
    int r = keeper_hand_in(api->options.keeper, &q->key, client_of(q, client), q->tag, fd, answer, &error);
    if (r == 0)
        r = buf_append(&q->answer, answer->json, strlen(answer->json));
    if (r == 0)
        q->status = answer->status;
    else
        publish_refuse(q, 503, "the server is ending", "hand the manifest in again in a moment");
}

static void *run(void *context)
{
    struct publish_api *api = context;

    pthread_mutex_lock(&api->lock);
    for (;;) {
        while (!api->first && !api->stopping)
            pthread_cond_wait(&api->wake, &api->lock);
        struct publish_request *q = api->first;
        if (!q)
            break;
        api->first = q->next;
        api->last = api->first ? api->last : NULL;
        const bool stopping = api->stopping;
        pthread_mutex_unlock(&api->lock);
        if (stopping)
            publish_refuse(q, 503, "the server is ending", "hand the manifest in again in a moment");
        else if (slow_clients_has_left(q->watched))
            publish_refuse(q, 503, "the client has gone", "hand the manifest in again");
        else
            hand_in(q);
        MHD_resume_connection(q->connection); // *q may be gone behind this
        pthread_mutex_lock(&api->lock);
    }
    pthread_mutex_unlock(&api->lock);
    return NULL;
}

// Under the lock.
static bool has_one_waiting(const struct publish_api *api, const struct key_public *key)
{
    for (const struct publish_request *q = api->first; q; q = q->next)
        if (key_equal(&q->key, key) && !slow_clients_has_left(q->watched))
            return true;
    return false;
}

int publish_wait_for_keeper(struct publish_request *q)
{
    struct publish_api *api = q->api;

    pthread_mutex_lock(&api->lock);
    int r = api->stopping ? -ESHUTDOWN : has_one_waiting(api, &q->key) ? -EBUSY : 0;
    if (r == 0) {
        slow_clients_begin_work(q->slow, q->watched);
        MHD_suspend_connection(q->connection);
        if (api->last)
            api->last->next = q;
        else
            api->first = q;
        api->last = q;
        pthread_cond_signal(&api->wake);
    }
    pthread_mutex_unlock(&api->lock);
    return r;
}

int publish_wait_start(struct publish_api *api, struct error *error)
{
    pthread_mutex_init(&api->lock, NULL);
    pthread_cond_init(&api->wake, NULL);
    int code = pthread_create(&api->thread, NULL, run, api);
    api->waits = code == 0;
    return code ? error_set(error, code, "cannot start a thread: %s", strerror(code)) : 0;
}

void publish_wait_stop(struct publish_api *api)
{
    if (!api->waits)
        return;
    pthread_mutex_lock(&api->lock);
    api->stopping = true;
    pthread_cond_signal(&api->wake);
    pthread_mutex_unlock(&api->lock);
    shutdown(api->options.keeper->fd, SHUT_RDWR); // who waits for an answer waits no longer; the keeper ends
    pthread_join(api->thread, NULL);
    api->waits = false;
}
