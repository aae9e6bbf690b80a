// What is asked of the server about machines to try (see try_api.h). Tokens and sockets are given to pages of this very
// server alone: the Origin that a browser states must be the Host that it asks.
#include "server/try_api.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "base/text.h"
#include "server/slow_clients.h"
#include "server/websocket.h"
#include "web/try_assets.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define API "/api/v1/try/"
#define PAGE "/try/"
#define SOCKET API "socket"
#define FILES PAGE "-/" // no image's name begins so
#define ASSET_CACHE "max-age=3600"
#define POLICY                                                                                                         \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "   \
    "form-action 'none'; frame-ancestors 'none'"

// What libmicrohttpd calls back with.
struct opening {
    struct try_api *api;
    uint64_t place;
};

struct try_api {
    struct index_pool *index;
    struct try_places *places;
    struct try_sessions *sessions;
    struct opening openings[TRY_MACHINES_MAXIMUM]; // of a place, by its slot
};

// --- answers -------------------------------------------------------------------------------------------------------

// `name`: NULL, or a header with its `value`.
static int refuse(unsigned status, const char *error, const char *next, const char *name, const char *value,
                  struct answer *ret)
{
    char text[512];
    struct answer answer;
    int n = snprintf(text, sizeof text, "{\"error\": \"%s\", \"next\": \"%s\"}\n", error, next); // texts of ours
    int r = answer_make(status, "application/json", "no-store", text, (size_t)n, &answer);
    if (r == 0 && value && !answer_add(answer.response, name, value)) {
        answer_destroy_response(&answer.response);
        r = -ENOMEM;
    }
    if (r == 0)
        *ret = answer;
    return r;
}

static int refuse_method(const char *allowed, struct answer *ret)
{
    return refuse(405, "this is not done here", "see docs/api.md", "Allow", allowed, ret);
}

static int refuse_origin(struct answer *ret)
{
    return refuse(403, "this is for pages of this server alone", "open the image's page here", NULL, NULL, ret);
}

static bool is_reading(const struct request *request)
{
    return strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
}

static int refuse_name(struct answer *ret)
{
    return refuse(404, "there is no such image", "see the list of images", NULL, NULL, ret);
}

// Whether the site has the image, as its pages say. Where they cannot tell now, rondo run will.
static bool is_image(struct index_pool *pool, const char *name)
{
    struct index_list one CLEANUP(index_list_free) = {.versions = NULL};
    struct error error = {.text = ""};
    struct index *x;
    if (!text_is_image_name(slice_of(name)))
        return false;
    if (index_pool_take(pool, &x, &error) < 0)
        return true;
    int r = index_find_image(x, name, NULL, &one, &error);
    index_pool_give(pool, x, r);
    return r != -ENOENT;
}

// --- a token -------------------------------------------------------------------------------------------------------

static int answer_token(struct try_api *api, const struct request *request, const char *name, struct answer *ret)
{
    const union MHD_ConnectionInfo *client =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char token[TRY_TOKEN_SIZE], text[128];
    if (strcmp(request->method, "POST") != 0)
        return refuse_method("POST", ret);
    if (!websocket_is_same_origin(answer_header(request->connection, "Origin"),
                                  answer_header(request->connection, "Host")))
        return refuse_origin(ret);
    if (!client || !is_image(api->index, name))
        return refuse_name(ret);
    const struct try_address who = try_address_of(
        client->client_addr, MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "X-Forwarded-For"));
    switch (try_places_reserve(api->places, &who, name, io_monotonic_ns(), token)) {
    case 0:
        break;
    case -EUSERS:
        return refuse(429, "you have a machine already", "end it first, or wait until it has ended", "Retry-After",
                      "60", ret);
    case -EBUSY:
        return refuse(503, "all machines are in use", "try again in some minutes, or run it on your own computer",
                      "Retry-After", "60", ret);
    default:
        return refuse(500, "no token could be made", "try again", NULL, NULL, ret);
    }
    int n = snprintf(text, sizeof text, "{\"token\": \"%s\", \"seconds\": %d}\n", token, TRY_TOKEN_SECONDS);
    return answer_make(200, "application/json", "no-store", text, (size_t)n, ret);
}

// --- the socket ----------------------------------------------------------------------------------------------------

static void upgraded(void *context, struct MHD_Connection *connection, void *request, const char *early, size_t size,
                     MHD_socket socket, struct MHD_UpgradeResponseHandle *handle)
{
    const struct opening *o = context;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    (void)request;
    if (info)
        slow_clients_let_be(info->socket_context); // a machine may have nothing to show for long: see try_session.h
    try_sessions_take(o->api->sessions, o->place, socket, early, size, handle);
}

static int answer_socket(struct try_api *api, const struct request *request, struct answer *ret)
{
    struct MHD_Connection *connection = request->connection;
    const struct websocket_request wanted = {
        .host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host"),
        .origin = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Origin"),
        .upgrade = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Upgrade"),
        .connection = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Connection"),
        .version = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Sec-WebSocket-Version"),
        .key = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Sec-WebSocket-Key"),
    };
    const char *token = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "token");
    char accept[WEBSOCKET_ACCEPT_SIZE];
    uint64_t place;
    switch (websocket_check_request(&wanted, accept)) {
    case 101:
        break;
    case 403:
        return refuse_origin(ret);
    case 426:
        return refuse(426, "this is a WebSocket of version " WEBSOCKET_VERSION, "see docs/api.md",
                      "Sec-WebSocket-Version", WEBSOCKET_VERSION, ret);
    default:
        return refuse(400, "Sec-WebSocket-Key is not right", "see docs/api.md", NULL, NULL, ret);
    }
    if (!token || try_places_take(api->places, token, io_monotonic_ns(), &place) < 0)
        return refuse(403, "this token was used, is too old, or never was one", "load the page again", NULL, NULL, ret);
    struct opening *o = &api->openings[place % TRY_MACHINES_MAXIMUM];
    *o = (struct opening){.api = api, .place = place};
    struct MHD_Response *response CLEANUP_RESPONSE = MHD_create_response_for_upgrade(upgraded, o);
    if (!response || !answer_add(response, "Upgrade", "websocket") ||
        !answer_add(response, "Sec-WebSocket-Accept", accept)) {
        try_places_release(api->places, place);
        return -ENOMEM;
    }
    *ret = (struct answer){.status = 101, .response = TAKE_PTR(response)};
    return 0;
}

// --- the page and its files ----------------------------------------------------------------------------------------

static int answer_file(const char *bytes, const char *type, struct answer *ret)
{
    const bool page = bytes == try_assets_page;
    const size_t size = strlen(bytes);
    struct MHD_Response *response CLEANUP_RESPONSE =
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes, MHD_RESPMEM_PERSISTENT); // it is only read
    if (!response || !answer_add(response, "Content-Type", type) ||
        !answer_add(response, "Cache-Control", page ? "no-cache" : ASSET_CACHE) ||
        !answer_add(response, "X-Content-Type-Options", "nosniff") ||
        !answer_add(response, "Content-Security-Policy", page ? POLICY : "") ||
        !answer_add(response, "Referrer-Policy", page ? "no-referrer" : ""))
        return -ENOMEM;
    *ret = (struct answer){.status = 200, .bytes = size, .response = TAKE_PTR(response)};
    return 0;
}

bool try_api_is_missing(const struct try_api *api, const struct request *request)
{
    return is_reading(request) && !answer_has_body(request->connection) &&
           strncmp(request->target, PAGE, strlen(PAGE)) == 0 && strncmp(request->target, FILES, strlen(FILES)) != 0 &&
           !is_image(api->index, request->target + strlen(PAGE));
}

static int answer_page(const struct try_api *api, const struct request *request, struct answer *ret)
{
    static const struct {
        const char *target, *bytes, *type;
    } files[] = {
        {FILES "try.js", try_assets_script, "text/javascript"},
        {FILES "try.css", try_assets_style, "text/css"},
        {FILES "xterm.js", try_assets_xterm, "text/javascript"},
        {FILES "xterm.css", try_assets_xterm_style, "text/css"},
    };
    if (!is_reading(request))
        return refuse_method("GET, HEAD", ret);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (strcmp(request->target, files[i].target) == 0)
            return answer_file(files[i].bytes, files[i].type, ret);
    if (is_image(api->index, request->target + strlen(PAGE)))
        return answer_file(try_assets_page, "text/html; charset=utf-8", ret);
    return refuse_name(ret);
}

// --- all of them ---------------------------------------------------------------------------------------------------

bool try_api_owns(const char *target)
{
    return strncmp(target, API, strlen(API)) == 0 || strncmp(target, PAGE, strlen(PAGE)) == 0;
}

bool try_api_refuses(const struct request *request)
{
    return answer_has_body(request->connection) || (!is_reading(request) && strcmp(request->method, "POST") != 0);
}

int try_api_answer(struct try_api *api, const struct request *request, struct answer *ret)
{
    if (answer_has_body(request->connection))
        return refuse(400, "there is no body in this request", "see docs/api.md", NULL, NULL, ret);
    if (strncmp(request->target, API, strlen(API)) != 0)
        return answer_page(api, request, ret);
    if (strcmp(request->target, SOCKET) == 0 && strcmp(request->method, "GET") == 0)
        return answer_socket(api, request, ret);
    return answer_token(api, request, request->target + strlen(API), ret);
}

int try_api_start_host(const char *site, const char *state, const struct try_limits *limits, struct try_host *ret,
                       struct error *error)
{
    char absolute[PATH_MAX], beside[PATH_MAX], folder[PATH_TEXT_SIZE], program[PATH_TEXT_SIZE];
    if (try_assets_xterm[0] == '\0')
        return error_set(error, EOPNOTSUPP,
                         "this rondo-server was built without xterm.js, which --try needs; with npm there, and without "
                         "build/xterm, make builds another");
    if (!realpath(site, absolute) || !realpath(state, beside))
        return error_set(error, errno, "cannot find %s or %s: %m", site, state);
    if (path_format(folder, sizeof folder, "%s/try", beside) < 0)
        return error_set(error, ENAMETOOLONG, "the path of %s is too long", state);
    int r = path_find_program("rondo", program, error);
    return r < 0 ? r : try_host_start(absolute, folder, program, limits, ret, error);
}

int try_api_start(const struct try_host *host, const struct try_limits *limits, struct index_pool *index,
                  struct try_api **ret, struct error *error)
{
    struct try_api *api CLEANUP_FREE = calloc(1, sizeof *api);
    if (api)
        api->places = try_places_new(limits->machines);
    if (!api || !api->places)
        return error_set(error, ENOMEM, "not enough memory to start");
    api->index = index;
    int r = try_sessions_start(host, api->places, &api->sessions, error);
    if (r < 0) {
        try_places_free(&api->places);
        return r;
    }
    *ret = TAKE_PTR(api);
    return 0;
}

void try_api_wind_down(struct try_api *api)
{
    if (api)
        try_sessions_wind_down(api->sessions);
}

void try_api_stop(struct try_api **api)
{
    if (!*api)
        return;
    try_sessions_stop(&(*api)->sessions);
    try_places_free(&(*api)->places);
    free(*api);
    *api = NULL;
}
