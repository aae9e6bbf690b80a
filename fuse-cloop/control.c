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
    int r = start_connection(c, fd);
    if (r < 0) {
        char text[64];
        snprintf(text, sizeof(text), "error %d too many connections to rondo-cloop", -r);
        socket_send(fd, text, NULL, 0);
        close(fd);
    }
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
    pthread_cond_init(&c->changed, NULL);
    *ret = c;
    return 0;
}

int control_listener(const struct control *c)
{
    return c->listener;
}

// --- the main loop's side ------------------------------------------------------------------------------------------

int control_take_offer(struct control *c, int ret_fds[static 2])
{
    pthread_mutex_lock(&c->mutex);
    bool made = c->offer == OFFER_MADE;
    if (made) {
        ret_fds[0] = c->offered[0];
        ret_fds[1] = c->offered[1];
        c->offer = OFFER_LOOKED_AT;
    }
    pthread_mutex_unlock(&c->mutex);
    return made;
}

void control_answer_handover(struct control *c, bool taken)
{
    pthread_mutex_lock(&c->mutex);
    c->offer = taken ? OFFER_TAKEN : OFFER_REFUSED;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

void control_set_ready(struct control *c, struct session *s, struct store *store)
{
    pthread_mutex_lock(&c->mutex);
    c->session = s;
    c->store = store;
    c->ready = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
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
