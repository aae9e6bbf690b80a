// The shell around libmicrohttpd. What it is told, and why:
//
//   thread pool, epoll   an answer is a few system calls; waiting is epoll's work. At least 4 threads, as one blocks
//                        when sendfile(2) has to read from a disk, and the library wants more than one.
//   no unescaping        targets reach server/site_path.c as they came; decoding twice is how traversals hide.
//   strict parsing       requests with spaces in the target or without Host are refused.
//   time-out             only a second line of defence: server/slow_clients.h is stricter, and fairer to slow links.
//
// The end. A socket that was handed over stays the supervisor's, and connections wait there for the next server. But
// the library shuts its listening socket down, for everybody, when it is stopped; and MHD_quiesce_daemon() aborts the
// program if a worker leaves the socket at the same moment. So from the wind-down on the socket's number is that of
// another one, to which nobody can connect: the library accepts nothing more, and shuts that down. Connections that
// were accepted before are answered. (Workers whose epoll sets know the old one may turn idly for what is left of the
// time.)
//
// The library calls back: connection_changed (a connection begins or ends; we hang a `struct watched` on it), answer
// (twice per request: head complete, all complete; in between for pieces of the body of a request that publishes),
// answer_ended.

#include "server/http_server.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "server/metrics.h"
#include "server/slow_clients.h"

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define LIBRARY_TIMEOUT_SECONDS 60
#define THREADS_MINIMUM 4
#define THREADS_MAXIMUM 64
#define DESCRIPTORS_PER_CONNECTION 2 // a socket and the file that goes out
#define DESCRIPTORS_RESERVED 256     // ours, the library's (a few per thread), and answers on connections that close

struct http_server {
    struct MHD_Daemon *daemon;
    struct slow_clients *slow_clients;
    const struct router *router;
    struct publish_api *publish; // or NULL
    int listener;                // the library's
    int nothing;                 // a socket that listens to nobody
    atomic_bool winding_down;
};

static void log_library(void *context, const char *format, va_list arguments)
{
    char text[512], shown[1024];

    (void)context;
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        return;
    text[strcspn(text, "\n")] = '\0';
    log_debug("libmicrohttpd: %s", text_escape(slice_of(text), shown, sizeof shown));
}

static size_t leave_escaped(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strlen(text);
}

// A worker that leaves the listening socket, for it has as many connections as it may, at the very moment of the
// wind-down, does not find it. We end anyway.
static void panic(void *context, const char *file, unsigned line, const char *reason)
{
    const struct http_server *server = context;

    log_error("libmicrohttpd: %s:%u: %s", file, line, reason ? reason : "");
    if (atomic_load(&server->winding_down))
        _exit(EXIT_CODE_OK);
    abort();
}

static void connection_changed(void *context, struct MHD_Connection *connection, void **watched,
                               enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = context;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *socket = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        metrics_count_connection();
        *watched = socket ? slow_clients_add(server->slow_clients, socket->connect_fd) : NULL;
    } else {
        slow_clients_remove(server->slow_clients, *watched);
        *watched = NULL;
        metrics_end_connection();
    }
}

static struct watched *watched_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

// What `*seen` points to: the server itself for requests that read, whose head was seen; or the request that
// publishes.
static bool is_publishing(const struct http_server *server, void *const *seen)
{
    return *seen && *seen != server;
}

static enum MHD_Result answer_reading(struct http_server *server, struct MHD_Connection *connection, const char *target,
                                      const char *method, const size_t *upload_size, void **seen)
{
    const struct request request = {.connection = connection, .method = method, .target = target};

    if (!*seen) {
        *seen = server;
        slow_clients_begin_answer(server->slow_clients, watched_of(connection));
        if (!router_refuses(server->router, &request))
            return MHD_YES;
    }
    if (*upload_size)
        return MHD_NO; // a body that the head did not announce
    return router_answer(server->router, &request, atomic_load(&server->winding_down));
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *target, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **seen)
{
    struct http_server *server = context;

    (void)version;
    if (!*seen && server->publish && publish_api_owns(target)) {
        *seen = publish_api_begin(server->publish, connection, method, target, server->slow_clients,
                                  watched_of(connection));
        if (!*seen)
            return MHD_NO; // memory is short
    }
    if (is_publishing(server, seen))
        return publish_api_take(*seen, upload, upload_size, atomic_load(&server->winding_down));
    return answer_reading(server, connection, target, method, upload_size, seen);
}

static void answer_ended(void *context, struct MHD_Connection *connection, void **seen,
                         enum MHD_RequestTerminationCode how)
{
    struct http_server *server = context;

    (void)how;
    if (is_publishing(server, seen))
        publish_api_end(*seen);
    *seen = NULL;
    slow_clients_end_answer(server->slow_clients, watched_of(connection));
}

static unsigned count_threads(void)
{
    cpu_set_t cpus;
    int n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

    return n < THREADS_MINIMUM ? THREADS_MINIMUM : n > THREADS_MAXIMUM ? THREADS_MAXIMUM : (unsigned)n;
}

static unsigned count_connections(void)
{
    const rlim_t wanted = HTTP_SERVER_CONNECTIONS * DESCRIPTORS_PER_CONNECTION + DESCRIPTORS_RESERVED;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return HTTP_SERVER_CONNECTIONS_PER_ADDRESS;
    if (limit.rlim_cur < wanted) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted,
                                .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    if (limit.rlim_cur >= wanted)
        return HTTP_SERVER_CONNECTIONS;
    rlim_t usable = limit.rlim_cur > DESCRIPTORS_RESERVED ? limit.rlim_cur - DESCRIPTORS_RESERVED : 0;
    return (unsigned)(usable / DESCRIPTORS_PER_CONNECTION);
}

int http_server_start(int listener, const struct router *router, struct publish_api *publish, unsigned stall_seconds,
                      struct http_server **ret, struct error *error)
{
    int fd CLEANUP_CLOSE = listener;
    unsigned threads = count_threads(), connections = count_connections();

    if (connections < threads)
        return error_set(error, EMFILE,
                         "too few file descriptors to serve anybody: raise the limit (ulimit -n) to %u or more",
                         DESCRIPTORS_RESERVED + DESCRIPTORS_PER_CONNECTION * threads);
    if (connections < HTTP_SERVER_CONNECTIONS)
        log_warning("serving at most %u connections at once: the limit of file descriptors (ulimit -n) allows no more",
                    connections);

    struct http_server *server CLEANUP_FREE = calloc(1, sizeof *server);
    if (!server)
        return error_set(error, ENOMEM, "not enough memory to start");
    server->router = router;
    server->publish = publish;
    server->listener = fd;
    atomic_init(&server->winding_down, false);
    int nothing CLEANUP_CLOSE = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (nothing < 0)
        return error_set(error, errno, "cannot make a socket: %m");
    metrics_start(io_realtime_seconds());
    int r = slow_clients_start(stall_seconds, &server->slow_clients, error);
    if (r < 0)
        return r;

    MHD_set_panic_func(panic, server);
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG | MHD_USE_ITC | (publish ? MHD_ALLOW_SUSPEND_RESUME : 0) |
            (router->machines ? MHD_ALLOW_UPGRADE : 0),
        0, NULL, NULL, answer, server, MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_THREAD_POOL_SIZE, threads, MHD_OPTION_CONNECTION_LIMIT, connections,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)HTTP_SERVER_CONNECTIONS_PER_ADDRESS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_SERVER_CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)LIBRARY_TIMEOUT_SECONDS, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped,
        NULL, MHD_OPTION_NOTIFY_COMPLETED, answer_ended, server, MHD_OPTION_NOTIFY_CONNECTION, connection_changed,
        server, MHD_OPTION_END);
    if (!server->daemon) {
        slow_clients_stop(&server->slow_clients);
        return error_set(error, EIO, "libmicrohttpd cannot start: set RONDO_LOG=debug to see why");
    }
    (void)TAKE_FD(fd); // the library closes it
    server->nothing = TAKE_FD(nothing);
    *ret = TAKE_PTR(server);
    return 0;
}

void http_server_wind_down(struct http_server *server)
{
    if (atomic_exchange(&server->winding_down, true))
        return;
    if (dup3(server->nothing, server->listener, O_CLOEXEC) < 0)
        log_warning("connections that come while the server ends are lost: %s", strerror(errno));
}

unsigned http_server_count_answers(struct http_server *server)
{
    return slow_clients_count_answers(server->slow_clients);
}

void http_server_stop(struct http_server **server)
{
    if (!*server)
        return;
    http_server_wind_down(*server);
    if ((*server)->publish)
        publish_api_wind_down((*server)->publish); // the library is not to be stopped while connections are suspended
    MHD_stop_daemon((*server)->daemon);            // ends every connection, so each was removed from slow_clients
    slow_clients_stop(&(*server)->slow_clients);
    close((*server)->nothing);
    free(*server);
    *server = NULL;
}
