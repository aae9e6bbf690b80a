// The event loop of the main thread: everything that is not a vCPU and not a block worker happens in it. Callbacks run
// one after the other and never block.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define LOOP_SOURCES_MAXIMUM 96u

struct loop_source;
typedef void loop_function(void *context, uint32_t events); // EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR

struct loop {
    int epoll;
    bool ended;
    struct loop_source *sources[LOOP_SOURCES_MAXIMUM];
    unsigned count;
};

int loop_init(struct loop *l, struct error *error);
void loop_destroy(struct loop *l);
// The descriptor stays the caller's, and must stay open until loop_remove. *ret is the loop's. Before loop_run, or from
// the loop's own thread.
int loop_add(struct loop *l, int fd, uint32_t events, loop_function *function, void *context, struct loop_source **ret);
// The same for an eventfd or a timerfd, which is made here: what it counts has been read when the function is called,
// and it is closed when the source goes.
int loop_add_eventfd(struct loop *l, loop_function *function, void *context, int *ret_fd, struct loop_source **ret);
int loop_add_timer(struct loop *l, loop_function *function, void *context, int *ret_fd, struct loop_source **ret);
int loop_change(struct loop *l, struct loop_source *s, uint32_t events); // any thread
void loop_remove(struct loop *l, struct loop_source *s);                 // from the loop's own thread; NULL: nothing
int loop_run(struct loop *l);                                            // until loop_end; 0 or -errno
void loop_end(struct loop *l);                                           // from the loop's own thread
