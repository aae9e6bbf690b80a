// Listening sockets. Made here and not by libmicrohttpd, so that each failure has its own message and exit code.

#include "server/listener.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/banned.h"

#define HOST_SIZE 256     // a DNS name has at most 253 characters
#define BACKLOG 1024      // the kernel cuts it to net.core.somaxconn
#define INHERITED_FIRST 3 // SD_LISTEN_FDS_START of sd_listen_fds(3)

// Splits HOST:PORT or [HOST]:PORT; brackets are required around what has colons itself.
static bool split_address(const char *address, char host[static HOST_SIZE], char port[static 6])
{
    const char *colon = strrchr(address, ':');
    uint64_t number;

    if (!colon || !text_parse_u64(slice_of(colon + 1), 65535, &number))
        return false;
    size_t length = (size_t)(colon - address);
    bool brackets = length >= 2 && address[0] == '[' && colon[-1] == ']';
    if (brackets) {
        address++;
        length -= 2;
    }
    if (length == 0 || length >= HOST_SIZE || (memchr(address, ':', length) != NULL) != brackets)
        return false;
    memcpy(host, address, length);
    host[length] = '\0';
    (void)snprintf(port, 6, "%u", (unsigned)number);
    return true;
}

static int listen_at(const struct addrinfo *at)
{
    static const int yes = 1, no = 0;
    int fd CLEANUP_CLOSE = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);

    // Reuse: a server that is started again must not wait for the old one's connections to be forgotten.
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0)
        return -errno;
    if (at->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) < 0)
        return -errno;
    if (bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static int describe(int fd, char ret_url[static LISTENER_URL_SIZE], struct error *error)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    char host[64], port[8];

    if (getsockname(fd, (struct sockaddr *)&bound, &size) < 0)
        return error_set(error, errno, "cannot tell which port was taken: %m");
    int r = getnameinfo((struct sockaddr *)&bound, size, host, sizeof host, port, sizeof port,
                        NI_NUMERICHOST | NI_NUMERICSERV);
    if (r)
        return error_set(error, EIO, "cannot tell which port was taken: %s", gai_strerror(r));
    (void)snprintf(ret_url, LISTENER_URL_SIZE, bound.ss_family == AF_INET6 ? "http://[%s]:%s/" : "http://%s:%s/", host,
                   port);
    return 0;
}

static int explain(int r, const char *address, const char *port, struct error *error)
{
    switch (-r) {
    case EADDRINUSE:
        return error_set(
            error, EBUSY,
            "port %s is taken: stop the program that listens there, or choose another port with --listen %s", port,
            "HOST:PORT (port 0: any free one)");
    case EACCES:
    case EPERM:
        return error_set(error, EACCES,
                         "no permission to listen on %s: ports below 1024 are for root; try --listen 127.0.0.1:8080",
                         address);
    case EADDRNOTAVAIL:
        return error_set(error, ENOENT, "this machine has no address %s: try --listen 127.0.0.1:%s", address, port);
    default:
        return error_set(error, -r, "cannot listen on %s: %s", address, strerror(-r));
    }
}

int listener_open(const char *address, char ret_url[static LISTENER_URL_SIZE], struct error *error)
{
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char host[HOST_SIZE], port[6], shown[64];
    int r = -EADDRNOTAVAIL;

    text_escape(slice_of(address), shown, sizeof shown);
    if (!split_address(address, host, port))
        return error_set(error, EINVAL,
                         "%s is not HOST:PORT: write for example --listen 127.0.0.1:8080 or --listen [::1]:8080",
                         shown);
    int code = getaddrinfo(host, port, &wanted, &found);
    if (code)
        return error_set(error, ENOENT, "cannot find host of %s: %s", shown, gai_strerror(code));

    // The first of the host's addresses that works.
    int fd CLEANUP_CLOSE = -1;
    for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
        fd = listen_at(at);
        if (fd < 0)
            r = fd;
    }
    freeaddrinfo(found);
    if (fd < 0)
        return explain(r, shown, port, error);
    r = describe(fd, ret_url, error);
    return r < 0 ? r : TAKE_FD(fd);
}

static bool is_listening_tcp(int fd)
{
    int family = 0, type = 0, listens = 0;
    socklen_t size = sizeof(int);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && (family == AF_INET || family == AF_INET6) &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens;
}

int listener_inherit(char ret_url[static LISTENER_URL_SIZE], struct error *error)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t ours, number;

    // Another process's: they were meant for a parent that left them in the environment.
    bool given = pid && count && text_parse_u64(slice_of(pid), INT32_MAX, &ours) && (pid_t)ours == getpid() &&
                 text_parse_u64(slice_of(count), INT32_MAX, &number) && number > 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!given)
        return -ENOENT;
    if (number > 1)
        return error_set(error, EINVAL,
                         "%llu sockets were handed over, and one is served: write one ListenStream= line",
                         (unsigned long long)number);
    if (!is_listening_tcp(INHERITED_FIRST))
        return error_set(error, EINVAL,
                         "what was handed over is no listening TCP socket: write ListenStream=8080, and Accept=no");
    int flags = fcntl(INHERITED_FIRST, F_GETFL);
    if (flags < 0 || fcntl(INHERITED_FIRST, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(INHERITED_FIRST, F_SETFD, FD_CLOEXEC) < 0)
        return error_set(error, errno, "cannot set up the socket that was handed over: %m");
    int r = describe(INHERITED_FIRST, ret_url, error);
    return r < 0 ? r : INHERITED_FIRST;
}
