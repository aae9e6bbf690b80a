// The event loop: see loop.h. One epoll descriptor, level-triggered.
//
// A callback may remove any source, its own too, while further events of the same round still point at it: a removed
// source loses its function at once and is freed when the round is over.
#include "vmm/loop.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/banned.h"

#define EVENTS_A_ROUND 32

struct loop_source {
    int fd;
    bool counter;            // ours, and to be read
    loop_function *function; // NULL: removed
    void *context;
};

int loop_init(struct loop *l, struct error *error)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        return error_set(error, errno, "cannot make an epoll descriptor: %s", strerror(errno));
    *l = (struct loop){.epoll = epoll};
    return 0;
}

static void free_source(struct loop_source *s)
{
    if (s->counter)
        close(s->fd); // nothing can be lost
    free(s);
}

static void sweep(struct loop *l)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < l->count; i++) {
        if (l->sources[i]->function)
            l->sources[kept++] = l->sources[i];
        else
            free_source(l->sources[i]);
    }
    l->count = kept;
}

void loop_destroy(struct loop *l)
{
    for (unsigned i = 0; i < l->count; i++)
        free_source(l->sources[i]);
    l->count = 0;
    if (l->epoll >= 0)
        close(l->epoll);
    l->epoll = -1;
}

int loop_add(struct loop *l, int fd, uint32_t events, loop_function *function, void *context, struct loop_source **ret)
{
    if (l->count == LOOP_SOURCES_MAXIMUM)
        return -ENOSPC;
    struct loop_source *s = malloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    *s = (struct loop_source){.fd = fd, .function = function, .context = context};
    struct epoll_event event = {.events = events, .data.ptr = s};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        int r = -errno;
        free(s);
        return r;
    }
    l->sources[l->count++] = s;
    *ret = s;
    return 0;
}

static int add_counter(struct loop *l, int fd, loop_function *function, void *context, int *ret_fd,
                       struct loop_source **ret)
{
    int r = fd < 0 ? -errno : loop_add(l, fd, EPOLLIN, function, context, ret);
    if (r < 0) {
        cleanup_close(&fd);
        return r;
    }
    (*ret)->counter = true;
    *ret_fd = fd;
    return 0;
}

int loop_add_eventfd(struct loop *l, loop_function *function, void *context, int *ret_fd, struct loop_source **ret)
{
    return add_counter(l, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), function, context, ret_fd, ret);
}

int loop_add_timer(struct loop *l, loop_function *function, void *context, int *ret_fd, struct loop_source **ret)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return add_counter(l, fd, function, context, ret_fd, ret);
}

int loop_change(struct loop *l, struct loop_source *s, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = s};
    return epoll_ctl(l->epoll, EPOLL_CTL_MOD, s->fd, &event) < 0 ? -errno : 0;
}

void loop_remove(struct loop *l, struct loop_source *s)
{
    if (!s)
        return;
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL); // fails only if the descriptor was closed, and then it is gone
    s->function = NULL;
}

static void call(struct loop_source *s, uint32_t events)
{
    uint64_t count;
    if (s->function &&
        (!s->counter || read(s->fd, &count, sizeof count) > 0)) // a timer may have been set anew meanwhile
        s->function(s->context, events);
}

int loop_run(struct loop *l)
{
    struct epoll_event events[EVENTS_A_ROUND];
    while (!l->ended) {
        int n = epoll_wait(l->epoll, events, EVENTS_A_ROUND, -1);
        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n && !l->ended; i++)
            call(events[i].data.ptr, events[i].events);
        sweep(l);
    }
    return 0;
}

void loop_end(struct loop *l)
{
    l->ended = true;
}
