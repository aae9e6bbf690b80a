// A loop of the test's own thread, turned until nothing waits in it.
#pragma once

#include "vmm/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static inline void turn_loop_end(void *context, uint32_t events)
{
    (void)events;
    loop_end(context);
}

// Each round calls every source that has something; what one source does may give another something to do, in the next
// round.
static inline void turn_loop(struct loop *loop, unsigned rounds)
{
    struct loop_source *source;
    const int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC); // readable for ever
    assert_true(fd >= 0);
    for (; rounds > 0; rounds--) {
        assert_int_equal(loop_add(loop, fd, EPOLLIN, turn_loop_end, loop, &source), 0);
        loop->ended = false;
        assert_int_equal(loop_run(loop), 0);
        loop_remove(loop, source);
    }
    close(fd);
}
