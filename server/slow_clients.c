// A list of connections and one thread that walks it every second. A connection in the list is in one of these states:
//
//   (none) --slow_clients_add--> asking --begin_body--> sending --begin_work--> waiting --begin_answer--> answering
//
// Any of them may be left out, end_answer leads back to asking, and slow_clients_remove ends it.
//
// Each has a window: the time of its start and the count of bytes then that were acknowledged, or
// (sending) that came. When it ends, the rule in the header decides; a connection that passes gets a new window. A
// request opens a new window too, the next time that the thread comes by, so that time spent idle is not held against
// its answer. Idle connections thus end after one to two windows.
//
// Lock: `lock` guards the list, and all in it but the atomic members, which are what a request touches: no request
// waits for another one's, or for the thread. shutdown(2) happens under it, and remove() takes it before the caller
// closes the socket: the number can never be another connection's by then. Nothing under it waits.

#include "server/slow_clients.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "server/metrics.h"

#include <linux/sockios.h>
#include <netinet/in.h>
// <netinet/tcp.h> of glibc knows a shorter struct tcp_info, without tcpi_bytes_acked.
#include <linux/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/banned.h"

#define NS_PER_SECOND 1000000000ULL

enum state { ASKING, SENDING, WAITING, ANSWERING };

struct watched {
    struct watched *next, *previous;
    int fd;
    atomic_int state;
    atomic_bool moved; // to another state since the thread came by, and not to asking
    atomic_bool let_be;
    bool shut;
    bool left;             // it had closed its end when the thread came by last
    uint64_t window_start; // io_monotonic_ns()
    bool sending;          // in the window, whatever the state is now
    uint64_t progress;     // at the start of the window
};

struct slow_clients {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    struct watched *first;
    atomic_uint answers;
    unsigned window; // seconds
    bool stopping;
};

static uint64_t progress_of(const struct watched *w)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    if (getsockopt(w->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return 0;
    return w->sending ? info.tcpi_bytes_received : info.tcpi_bytes_acked;
}

// The kernel's TCP_CLOSE and TCP_CLOSE_WAIT (net/tcp_states.h): no header that goes with linux/tcp.h names them.
#define CLOSE 7 // by a reset
#define CLOSE_WAIT 8

// Has the client closed its end?
static bool has_left(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           (info.tcpi_state == CLOSE_WAIT || info.tcpi_state == CLOSE);
}

static bool has_output_queued(int fd)
{
    int queued = 0;

    return ioctl(fd, SIOCOUTQ, &queued) == 0 && queued > 0;
}

static void open_window(struct watched *w, uint64_t now)
{
    w->window_start = now;
    w->sending = atomic_load(&w->state) == SENDING;
    w->progress = progress_of(w);
}

// What was not taken so far must not stay in the kernel's memory for minutes more: the linger option makes the
// close, which follows when libmicrohttpd sees the end of the connection, drop it and send a reset.
static void cut(struct watched *w, bool owed)
{
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};

    log_debug("closing a connection that %s", w->sending ? "sends too slowly"
                                              : owed     ? "takes its answer too slowly"
                                                         : "has nothing to ask");
    if (owed)
        setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    shutdown(w->fd, SHUT_RDWR);
    metrics_count_slow_client();
    w->shut = true;
}

static void check(const struct slow_clients *s, struct watched *w, uint64_t now)
{
    if (atomic_load(&w->let_be))
        return;
    const int state = atomic_load(&w->state);
    // Who owes a body and closed its end sends no more. libmicrohttpd misses that where the end came with the last
    // bytes, and an upload that seems to be under way would keep the same publisher from going on.
    const bool left = state == SENDING && !w->shut && has_left(w->fd);
    if (left && w->left) {
        cut(w, false);
        return;
    }
    w->left = left;
    if (atomic_exchange(&w->moved, false) || w->sending != (state == SENDING)) {
        open_window(w, now);
        return;
    }
    if (w->shut || state == WAITING || now - w->window_start < s->window * NS_PER_SECOND)
        return;
    bool owed = state == ANSWERING || (state == ASKING && has_output_queued(w->fd));
    uint64_t needed = owed || w->sending ? (uint64_t)s->window * SLOW_CLIENTS_BYTES_PER_SECOND : 1;
    if (progress_of(w) - w->progress < needed) {
        cut(w, owed);
        return;
    }
    open_window(w, now);
}

static void *watch(void *argument)
{
    struct slow_clients *s = argument;

    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        uint64_t now = io_monotonic_ns();
        for (struct watched *w = s->first; w; w = w->next)
            check(s, w, now);
        uint64_t until = now + NS_PER_SECOND;
        struct timespec t = {.tv_sec = (time_t)(until / NS_PER_SECOND), .tv_nsec = (long)(until % NS_PER_SECOND)};
        pthread_cond_timedwait(&s->wake, &s->lock, &t);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int slow_clients_start(unsigned window, struct slow_clients **ret, struct error *error)
{
    struct slow_clients *s CLEANUP_FREE = calloc(1, sizeof *s);
    pthread_condattr_t attributes;

    if (!s)
        return error_set(error, ENOMEM, "not enough memory to start");
    s->window = window;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attributes);
    pthread_condattr_destroy(&attributes);

    int code = pthread_create(&s->thread, NULL, watch, s);
    if (code) {
        pthread_cond_destroy(&s->wake);
        pthread_mutex_destroy(&s->lock);
        return error_set(error, code, "cannot start a thread: %s", strerror(code));
    }
    *ret = TAKE_PTR(s);
    return 0;
}

void slow_clients_stop(struct slow_clients **s)
{
    if (!*s)
        return;
    pthread_mutex_lock(&(*s)->lock);
    (*s)->stopping = true;
    pthread_cond_signal(&(*s)->wake);
    pthread_mutex_unlock(&(*s)->lock);
    pthread_join((*s)->thread, NULL);
    pthread_cond_destroy(&(*s)->wake);
    pthread_mutex_destroy(&(*s)->lock);
    free(*s);
    *s = NULL;
}

struct watched *slow_clients_add(struct slow_clients *s, int fd)
{
    struct watched *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->fd = fd;
    open_window(w, io_monotonic_ns());
    pthread_mutex_lock(&s->lock);
    w->next = s->first;
    if (w->next)
        w->next->previous = w;
    s->first = w;
    pthread_mutex_unlock(&s->lock);
    return w;
}

void slow_clients_remove(struct slow_clients *s, struct watched *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&s->lock);
    if (w->next)
        w->next->previous = w->previous;
    if (w->previous)
        w->previous->next = w->next;
    else
        s->first = w->next;
    pthread_mutex_unlock(&s->lock);
    slow_clients_end_answer(s, w);
    free(w);
}

static void count_answers(struct slow_clients *s, int by)
{
    atomic_fetch_add(&s->answers, (unsigned)by);
    metrics_change_answers(by);
}

static void enter(struct slow_clients *s, struct watched *w, enum state state)
{
    if (!w)
        return;
    if (atomic_exchange(&w->state, state) == ASKING)
        count_answers(s, 1);
    atomic_store(&w->moved, true);
}

void slow_clients_begin_body(struct slow_clients *s, struct watched *w)
{
    enter(s, w, SENDING);
}

void slow_clients_begin_work(struct slow_clients *s, struct watched *w)
{
    enter(s, w, WAITING);
}

void slow_clients_begin_answer(struct slow_clients *s, struct watched *w)
{
    enter(s, w, ANSWERING);
}

void slow_clients_end_answer(struct slow_clients *s, struct watched *w)
{
    if (!w)
        return;
    if (atomic_exchange(&w->state, ASKING) != ASKING)
        count_answers(s, -1);
}

bool slow_clients_has_left(const struct watched *w)
{
    return w && has_left(w->fd);
}

void slow_clients_let_be(struct watched *w)
{
    if (w)
        atomic_store(&w->let_be, true);
}

unsigned slow_clients_count_answers(struct slow_clients *s)
{
    return atomic_load(&s->answers);
}
