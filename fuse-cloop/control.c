// The conversation with clients (see control.h).
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/thread.h"
#include "fuse-cloop/control_private.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/banned.h"

#define CONNECTION_STACK (256u << 10)

void control_wake(struct control *c)
{
    if (eventfd_write(c->wake_fd, 1) < 0)
        log_error("cannot wake the main loop: %s", strerror(errno));
}

// --- connections ---------------------------------------------------------------------------------------------------

static void *serve_connection(void *context)
{
    struct connection *k = context;
    struct control *c = k->control;
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM], n;
    for (;;) {
        unsigned fd_count = 0;
        n = socket_receive(k->fd, -1, text, fds, &fd_count);
        if (n == -EINTR)
            continue;
        if (n == 0)
            break;
        if (n < 0)
            control_answer_error(k, n, "that is no message");
        else
            control_serve(k, text, fds, &fd_count);
        for (unsigned i = 0; i < fd_count; i++)
            close(fds[i]);
        if (n < 0)
            break;
    }
    keep_stop(k->keep);
    for (unsigned i = 0; i < k->version_count; i++)
        table_close(c->session->table, k->versions[i]);
    close(k->fd);
    pthread_mutex_lock(&c->mutex);
    c->counts.connections--;
    if (k->holds)
        c->counts.holders--;
    c->counts.last_end_ns = io_monotonic_ns();
    control_wake(c);
    pthread_mutex_unlock(&c->mutex);
    free(k);
    return NULL;
}

static int start_connection(struct control *c, int fd)
{
    struct connection *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->control = c;
    k->fd = fd;
    pthread_mutex_lock(&c->mutex);
    int r = c->counts.connections < CONTROL_CONNECTIONS ? thread_start(NULL, CONNECTION_STACK, serve_connection, k)
                                                        : -EBUSY;
    if (r == 0)
        c->counts.connections++;
    pthread_mutex_unlock(&c->mutex);
    if (r < 0)
        free(k);
    return r;
}

static void give_connection(struct control *c, int fd)
{
    int r = start_connection(c, fd);
    if (r < 0) {
        char text[64];
        snprintf(text, sizeof(text), "error %d too many connections to rondo-cloop", -r);
        socket_send(fd, text, NULL, 0);
        close(fd);
    }
}

void control_accept(struct control *c)
{
    struct pollfd p = {.fd = c->listener, .events = POLLIN};
    if (poll(&p, 1, 0) <= 0)
        return;
    int fd = socket_accept(c->listener);
    if (fd < 0) {
        log_warning("a connection was not taken: %s", strerror(-fd));
        if (fd == -EMFILE || fd == -ENFILE)
            poll(NULL, 0, 100); // it stays waiting; do not spin
        return;
    }
    if (c->session || c->line_count == CONTROL_CONNECTIONS)
        give_connection(c, fd);
    else
        c->line[c->line_count++] = (struct control_line){.fd = fd};
}

int control_new(const char *path, int wake_fd, struct control **ret, struct error *error)
{
    struct control *c = calloc(1, sizeof(*c));
    if (!c)
        return error_set(error, ENOMEM, "out of memory");
    int r = path_format(c->path, sizeof(c->path), "%s", path);
    if (r == 0)
        r = path_format(c->aside, sizeof(c->aside), "%s.ending", path);
    if (r < 0)
        error_set(error, -r, "the socket's path is too long: %s", path);
    else
        r = socket_listen(path, error);
    if (r < 0) {
        free(c);
        return r;
    }
    c->listener = r;
    c->wake_fd = wake_fd;
    pthread_mutex_init(&c->mutex, NULL);
    *ret = c;
    return 0;
}

int control_listener(const struct control *c)
{
    return c->listener;
}

// --- the main loop's side ------------------------------------------------------------------------------------------

// Looks at what somebody in line says first, without taking it: 1 if a session is offered, then with its descriptors.
static int hear(struct control_line *who, int ret_fds[static 2])
{
    static const char offer[] = "handover";
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    ssize_t n = recv(who->fd, text, sizeof(offer), MSG_PEEK | MSG_DONTWAIT);
    who->asked = n != sizeof(offer) - 1 || memcmp(text, offer, sizeof(offer) - 1) != 0;
    if (who->asked || socket_receive(who->fd, 0, text, fds, &count) <= 0)
        return 0;
    if (count == 2) {
        memcpy(ret_fds, fds, 2 * sizeof(int));
        return 1;
    }
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    control_answer_error(&(struct connection){.fd = who->fd}, -EINVAL, CONTROL_OFFER_WANTS);
    return 0;
}

int control_await_offer(struct control *c, uint64_t end_ns, int ret_fds[static 2])
{
    for (;;) {
        struct pollfd polls[1 + CONTROL_CONNECTIONS] = {{.fd = c->listener, .events = POLLIN}};
        uint64_t now = io_monotonic_ns();
        unsigned count = c->line_count;
        if (now >= end_ns)
            return 0;
        for (unsigned i = 0; i < count; i++)
            polls[1 + i] = (struct pollfd){.fd = c->line[i].asked ? -1 : c->line[i].fd, .events = POLLIN};
        if (poll(polls, 1 + count, (int)((end_ns - now) / 1000000) + 1) < 0)
            continue;
        if (polls[0].revents)
            control_accept(c);
        for (c->offerer = 0; c->offerer < count; c->offerer++)
            if (polls[1 + c->offerer].revents && hear(&c->line[c->offerer], ret_fds))
                return 1;
    }
}

void control_answer_offer(struct control *c, bool taken)
{
    socket_send(c->line[c->offerer].fd, taken ? "ok" : CONTROL_OFFER_UNNEEDED, NULL, 0); // else it is gone
}

void control_set_ready(struct control *c, struct session *s, struct store *store)
{
    c->session = s;
    c->store = store;
    for (unsigned i = 0; i < c->line_count; i++)
        give_connection(c, c->line[i].fd);
    c->line_count = 0;
}

void control_count(struct control *c, struct control_counts *ret)
{
    pthread_mutex_lock(&c->mutex);
    *ret = c->counts;
    pthread_mutex_unlock(&c->mutex);
}

int control_withdraw(struct control *c)
{
    struct pollfd p = {.fd = c->listener, .events = POLLIN};
    if (rename(c->path, c->aside) < 0 && errno != ENOENT)
        return -errno;
    while (poll(&p, 1, 0) > 0)
        control_accept(c);
    return 0;
}

void control_return(struct control *c)
{
    if (rename(c->aside, c->path) < 0)
        log_error("the socket %s could not be put back: %s", c->path, strerror(errno));
}

void control_remove(struct control *c)
{
    unlink(c->aside);
    close(TAKE_FD(c->listener));
}
