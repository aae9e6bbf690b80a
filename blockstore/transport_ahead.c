// Connections that are made ahead, by one process for another (see transport.h).
//
//   transport_connect_ahead ─ the next request goes out ─→ as many sockets connect to where it went
//        ─ transport_take_ahead ─→ (another process) ─ transport_give_ahead ─→ curl asks for a socket to that address
//                                                                        └── AHEAD_MS pass, or the server closes:
//                                                                        closed
//
// 1. A socket serves only where curl is about to connect to the very address that it is connected to: which addresses
//    may be connected to is decided before, as for any other (transport_http.c).
// 2. No request is made here, nothing waits, and nothing that fails here is told: then curl connects itself.
// 3. None outlives AHEAD_MS in a transport: a server that gives each connection a worker has it back soon.
// 4. The transport's mutex guards the pool. First come, first served: a server that takes one connection after the
//    other waits for the first one.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/transport_private.h"
#include <arpa/inet.h>
#include <poll.h>
#include <string.h>

#include "base/banned.h"

#define AHEAD_MS 5000u

void transport_close_ahead(struct transport_ahead *a)
{
    for (unsigned i = 0; i < a->count; i++)
        close(a->fds[i]);
    a->count = 0;
}

void transport_connect_ahead(struct transport *t)
{
    pthread_mutex_lock(&t->mutex);
    t->ahead_wanted = !t->proxied; // the proxy's connections are nobody else's
    pthread_mutex_unlock(&t->mutex);
}

void transport_take_ahead(struct transport *t, struct transport_ahead *ret)
{
    pthread_mutex_lock(&t->mutex);
    *ret = t->ahead;
    t->ahead.count = 0;
    t->ahead_wanted = false;
    pthread_mutex_unlock(&t->mutex);
}

void transport_give_ahead(struct transport *t, struct transport_ahead *a)
{
    pthread_mutex_lock(&t->mutex);
    transport_close_ahead(&t->ahead);
    if (a->count > 0 && transport_loop_wake(t) == 0) { // which closes what stays over
        t->ahead = *a;
        t->ahead_end_ns = io_monotonic_ns() + AHEAD_MS * 1000000ull;
        a->count = 0;
    }
    pthread_mutex_unlock(&t->mutex);
    transport_close_ahead(a);
}

static bool parse_address(const char *ip, int port, struct sockaddr_storage *ret, socklen_t *ret_size)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, ip, &in.sin_addr) == 1) {
        memcpy(ret, &in, *ret_size = sizeof(in));
        return true;
    }
    // (A link-local address is of no use without its interface.)
    if (inet_pton(AF_INET6, ip, &in6.sin6_addr) != 1 || IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr))
        return false;
    memcpy(ret, &in6, *ret_size = sizeof(in6));
    return true;
}

void transport_ahead_connect(struct source_transfer *tr, const char *ip, int port)
{
    struct transport *t = tr->source->transport;
    struct sockaddr_storage address;
    socklen_t size;
    pthread_mutex_lock(&t->mutex);
    bool wanted = t->ahead_wanted && tr->redirects == 0 && parse_address(ip, port, &address, &size);
    if (wanted) {
        t->ahead_wanted = false;
        t->ahead_end_ns = io_monotonic_ns() + AHEAD_MS * 1000000ull;
    }
    // Over https requests share a connection, or wait for the first one to say that they cannot.
    unsigned count = !wanted ? 0 : strncmp(tr->url, "https:", 6) == 0 ? 1 : TRANSPORT_AHEAD_MAXIMUM;
    while (t->ahead.count < count) {
        CLEANUP_CLOSE int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || (connect(fd, (struct sockaddr *)&address, size) < 0 && errno != EINPROGRESS))
            break;
        t->ahead.fds[t->ahead.count++] = TAKE_FD(fd);
    }
    pthread_mutex_unlock(&t->mutex);
}

static bool leads_to(int fd, const struct curl_sockaddr *a)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(peer);
    if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0 || peer.ss_family != a->family)
        return false;
    if (a->family == AF_INET) {
        struct sockaddr_in x, y;
        memcpy(&x, &peer, sizeof(x));
        memcpy(&y, &a->addr, sizeof(y));
        return x.sin_port == y.sin_port && x.sin_addr.s_addr == y.sin_addr.s_addr;
    }
    if (a->family == AF_INET6) {
        struct sockaddr_in6 x, y;
        memcpy(&x, &peer, sizeof(x));
        memcpy(&y, &a->addr, sizeof(y));
        return x.sin6_port == y.sin6_port && x.sin6_scope_id == y.sin6_scope_id &&
               IN6_ARE_ADDR_EQUAL(&x.sin6_addr, &y.sin6_addr);
    }
    return false;
}

static int remove_at(struct transport_ahead *a, unsigned i)
{
    int fd = a->fds[i];
    memmove(a->fds + i, a->fds + i + 1, (--a->count - i) * sizeof(a->fds[0]));
    return fd;
}

int transport_ahead_find(struct transport *t, const struct curl_sockaddr *a)
{
    int found = -1;
    pthread_mutex_lock(&t->mutex);
    for (unsigned i = 0; i < t->ahead.count && found < 0;) {
        struct pollfd p = {.fd = t->ahead.fds[i], .events = POLLIN | POLLOUT | POLLRDHUP};
        poll(&p, 1, 0);
        if (p.revents & ~POLLOUT) // it failed, was closed, or speaks before it was asked
            close(remove_at(&t->ahead, i));
        else if ((p.revents & POLLOUT) && leads_to(p.fd, a))
            found = remove_at(&t->ahead, i);
        else
            i++;
    }
    pthread_mutex_unlock(&t->mutex);
    return found;
}

int transport_ahead_tidy(struct transport *t, int wait_ms)
{
    pthread_mutex_lock(&t->mutex);
    if (t->ahead.count > 0) {
        uint64_t now = io_monotonic_ns();
        if (now >= t->ahead_end_ns)
            transport_close_ahead(&t->ahead);
        else
            wait_ms = (int)((t->ahead_end_ns - now) / 1000000) + 1;
    }
    pthread_mutex_unlock(&t->mutex);
    return wait_ms;
}
