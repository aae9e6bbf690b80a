// Requests of publishing over HTTP: heads, bodies and answers (see publish_api.h). What each of them does is in
// publish_calls.c.
//
// libmicrohttpd takes an answer for a head, or when all of the body has come, but not in between: what goes wrong there
// is remembered, and the rest of the body, whose length was checked, is passed over.
#include "server/publish_api.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "server/placed.h"
#include "server/publish_error.h"
#include "server/publish_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/banned.h"

#define ANSWER_MAXIMUM (1u << 20) // of the question what is missing: 4096 lines

int publish_api_start(const struct publish_api_options *options, struct publish_api **ret, struct error *error)
{
    struct publish_api *api = calloc(1, sizeof *api);

    if (!api)
        return error_set(error, ENOMEM, "not enough memory to start");
    api->options = *options;
    api->placed = io_open(options->state, PLACED_FOLDER, O_RDONLY | O_DIRECTORY, 0);
    int r = api->placed < 0 ? error_set(error, -api->placed, "cannot open " PLACED_FOLDER " in the state folder: %s",
                                        strerror(-api->placed))
                            : publish_site_new(options->site, &api->site, error);
    if (r == 0)
        r = publish_sessions_new(&api->sessions, error);
    if (r == 0)
        r = staging_open(options->state, &api->staging, error);
    if (r == 0)
        r = publish_wait_start(api, error);
    if (r == 0)
        *ret = api;
    else
        publish_api_stop(&api);
    return r;
}

void publish_api_wind_down(struct publish_api *api)
{
    publish_wait_stop(api);
}

void publish_api_stop(struct publish_api **api)
{
    if (!*api)
        return;
    publish_wait_stop(*api);
    staging_close(&(*api)->staging);
    publish_sessions_free(&(*api)->sessions);
    publish_site_free(&(*api)->site);
    cleanup_close(&(*api)->placed);
    free(*api);
    *api = NULL;
}

bool publish_api_owns(const char *target)
{
    return strncmp(target, PUBLISH_API_PREFIX, strlen(PUBLISH_API_PREFIX)) == 0;
}

uint64_t publish_now(void)
{
    return io_monotonic_ns() / 1000000000;
}

// --- refusals ------------------------------------------------------------------------------------------------------

void publish_refuse(struct publish_request *q, unsigned status, const char *text, const char *next)
{
    if (q->status)
        return;
    buf_clear(&q->answer);
    (void)publish_error_format(&q->answer, text, next); // without memory the status has to do
    q->status = status;
}

void publish_refuse_code(struct publish_request *q, int r, const struct error *error)
{
    switch (-r) {
    case EKEYREJECTED:
    case EACCES:
        publish_refuse(q, 403, error->text, "ask the site's owner to allow it: rondo renew SITE --allow KEY:PREFIX");
        break;
    case ENOSPC:
    case EDQUOT:
        publish_refuse(q, 507, "the server has no room for this", "ask the site's owner for room");
        break;
    case ENOENT: // what a site without a catalog says
        publish_refuse(q, 503, error->text, "its owner publishes a first version there: rondo publish --to DIR");
        break;
    case EAGAIN:
    case ENOMEM:
        publish_refuse(q, 503, error->text, "try again in a moment");
        break;
    default:
        log_error("a publisher's request failed: %s", error->text);
        publish_refuse(q, 500, "the server cannot do this now", "its log says why");
        break;
    }
}

// --- heads ---------------------------------------------------------------------------------------------------------

static bool is_path(const char *target, const char *path)
{
    const size_t n = strlen(path);

    return path[n - 1] == '/' ? strncmp(target, path, n) == 0 : strcmp(target, path) == 0;
}

static void find_call(struct publish_request *q)
{
    for (unsigned i = 0; i < publish_call_count && !q->call; i++)
        if (is_path(q->target, publish_calls[i].path))
            q->call = &publish_calls[i];
    if (!q->call)
        publish_refuse(q, 404, "there is no such request of publishing", "docs/api.md lists them");
    else if (strcmp(q->method, q->call->method) != 0)
        publish_refuse(q, 405, "this takes another method", "docs/api.md names it");
}

static uint64_t check_length(struct publish_request *q)
{
    const char *text = MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "Content-Length");
    uint64_t length = 0;

    if (!text || MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "Transfer-Encoding"))
        publish_refuse(q, 411, "the head must say how long the body is (Content-Length)", NULL);
    else if (!text_parse_u64(slice_of(text), INT64_MAX, &length))
        publish_refuse(q, 400, "Content-Length is no number", NULL);
    else if (length > q->call->maximum)
        publish_refuse(q, 413, "the body is longer than this takes", NULL);
    return length;
}

static void check_token(struct publish_request *q)
{
    const char *header = MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "Authorization");
    unsigned char token[PUBLISH_CHALLENGE_BYTES];
    struct publish_site_names names;
    struct error error = {.text = ""};

    if (!header || !publish_text_parse_token(slice_of(header), token)) {
        publish_refuse(q, 401, "this takes a session's token (Authorization: Bearer TOKEN)", "open a session");
        return;
    }
    int r = publish_sessions_enter(q->api->sessions, token, publish_now(), &q->key, &error);
    if (r == -EKEYREJECTED)
        publish_refuse(q, 401, error.text, "open a new session");
    else if (r == -EAGAIN)
        publish_refuse(q, 429, error.text, "wait until one of them is answered");
    if (r < 0)
        return;
    q->session = r;
    r = publish_site_check(q->api->site, &q->key, &names, &error); // it may have been revoked since
    if (r < 0)
        publish_refuse_code(q, r, &error);
}

static void check_head(struct publish_request *q)
{
    uint64_t length = 0;

    find_call(q);
    if (!q->status)
        length = check_length(q);
    if (!q->status && q->call->with_token)
        check_token(q);
    if (!q->status && q->call->begin)
        q->call->begin(q, length);
}

struct publish_request *publish_api_begin(struct publish_api *api, struct MHD_Connection *connection,
                                          const char *method, const char *target, struct slow_clients *slow,
                                          struct watched *watched)
{
    struct publish_request *q = calloc(1, sizeof *q);

    if (!q)
        return NULL;
    *q = (struct publish_request){.api = api,
                                  .connection = connection,
                                  .slow = slow,
                                  .watched = watched,
                                  .method = method,
                                  .target = target,
                                  .session = -1,
                                  .body = BUF_WITH_MAXIMUM(0),
                                  .answer = BUF_WITH_MAXIMUM(ANSWER_MAXIMUM)};
    slow_clients_begin_body(slow, watched);
    check_head(q);
    if (q->call)
        q->body.maximum = (size_t)q->call->maximum;
    return q;
}

// --- bodies and answers --------------------------------------------------------------------------------------------

static void take_bytes(struct publish_request *q, const char *bytes, size_t n)
{
    struct error error = {.text = ""};

    if (q->status)
        return;
    int r = q->upload ? staging_add(q->upload, bytes, n, &error) : buf_append(&q->body, bytes, n);
    if (r == -ENOMEM && !error.text[0])
        error_set(&error, ENOMEM, "not enough memory");
    if (r < 0)
        publish_refuse_code(q, r, &error);
}

static enum MHD_Result answer(struct publish_request *q, bool last)
{
    const union MHD_ConnectionInfo *client = MHD_get_connection_info(q->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(q->answer.size, q->answer.data, MHD_RESPMEM_MUST_COPY);
    const struct {
        bool wanted;
        const char *name, *value;
    } headers[] = {
        {true, "Content-Type", q->is_text ? "text/plain; charset=utf-8" : "application/json"},
        {true, "Cache-Control", "no-store"},
        {true, "X-Content-Type-Options", "nosniff"},
        {q->status == 401, "WWW-Authenticate", "Bearer"},
        {q->status == 405, "Allow", q->call ? q->call->method : ""},
        {q->status == 429 || q->status == 503, "Retry-After", "2"},
        {last, "Connection", "close"},
    };
    bool made = response != NULL;

    for (size_t i = 0; i < ARRAY_SIZE(headers) && made; i++)
        made = !headers[i].wanted || MHD_add_response_header(response, headers[i].name, headers[i].value) == MHD_YES;
    if (made) {
        const struct access_log_line line = {
            .client = client ? client->client_addr : NULL,
            .method = q->method,
            .target = q->target,
            .range = MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "Content-Range"),
            .status = q->status,
            .bytes = q->answer.size,
        };
        access_log_write(q->api->options.log, &line);
        slow_clients_begin_answer(q->slow, q->watched);
        made = MHD_queue_response(q->connection, q->status, response) == MHD_YES;
    }
    if (response)
        MHD_destroy_response(response);
    return made ? MHD_YES : MHD_NO;
}

enum MHD_Result publish_api_take(struct publish_request *q, const char *upload, size_t *upload_size, bool last)
{
    if (!q->head_seen) {
        q->head_seen = true;
        return q->status ? answer(q, last) : MHD_YES;
    }
    if (*upload_size > 0) {
        take_bytes(q, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    if (!q->status && q->call->finish(q)) // the keeper has it now
        return MHD_YES;
    return answer(q, last);
}

void publish_api_end(struct publish_request *q)
{
    staging_end(&q->upload);
    if (q->session >= 0)
        publish_sessions_leave(q->api->sessions, q->session);
    buf_free(&q->body);
    buf_free(&q->answer);
    free(q);
}
