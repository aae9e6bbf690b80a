// See ports.h.
#include "client/ports.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/banned.h"

static bool parse(const char *text, uint64_t *ret_host)
{
    const char *colon = strchr(text, ':');
    uint64_t guest;
    return colon && text_parse_u64((struct slice){.at = text, .length = (size_t)(colon - text)}, 65535, ret_host) &&
           *ret_host && text_parse_u64(slice_of(colon + 1), 65535, &guest) && guest;
}

int ports_check(const struct option_list *ports)
{
    uint64_t hosts[OPTION_LIST_MAXIMUM];
    for (unsigned i = 0; i < ports->count; i++) {
        if (!parse(ports->values[i], &hosts[i]))
            return cli_usage("run", "--port takes HOST:GUEST, two port numbers, not \"%s\"", ports->values[i]);
        for (unsigned j = 0; j < i; j++)
            if (hosts[i] == hosts[j])
                return cli_usage("run", "--port names port %u of this host twice", (unsigned)hosts[i]);
    }
    return 0;
}

// Whether it could be bound to: 0 or -errno. A host without this kind of address has no such port, and none in use.
static int try_port(const struct sockaddr *address, socklen_t size)
{
    const int on = 1;
    CLEANUP_CLOSE int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno == EAFNOSUPPORT ? 0 : -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (address->sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0))
        return -errno;
    return bind(fd, address, size) == 0 || errno == EADDRNOTAVAIL ? 0 : -errno;
}

int ports_check_free(const struct option_list *ports, struct error *error)
{
    for (unsigned i = 0; i < ports->count; i++) {
        uint64_t port;
        if (!parse(ports->values[i], &port))
            return error_set(error, EINVAL, "\"%s\" is not HOST:GUEST", ports->values[i]);
        const struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        const struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        int r = try_port((const struct sockaddr *)&four, sizeof(four));
        if (r == 0)
            r = try_port((const struct sockaddr *)&six, sizeof(six));
        if (r == -EADDRINUSE)
            return error_set(error, EBUSY, "port %u of this host is in use; choose another one for --port",
                             (unsigned)port);
        if (r == -EACCES)
            return error_set(error, EACCES, "port %u of this host is not for this user; choose one from 1024 on",
                             (unsigned)port);
        if (r < 0)
            return error_set(error, -r, "port %u of this host cannot be used: %s", (unsigned)port, strerror(-r));
    }
    return 0;
}
