// A loop for tests: turn it for as long as something is going on.
#pragma once

#include "vmm/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop loop;
static int loop_timer;
static struct loop_source *loop_timer_source;

static inline void loop_fixture_rang(void *context, uint32_t events)
{
    uint64_t count;
    (void)context, (void)events;
    assert_int_equal(read(loop_timer, &count, sizeof count), sizeof count);
    loop_end(&loop);
}

static inline void loop_fixture_begin(void)
{
    assert_int_equal(loop_init(&loop, NULL), 0);
    loop_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    assert_int_equal(loop_add(&loop, loop_timer, EPOLLIN, loop_fixture_rang, NULL, &loop_timer_source), 0);
}

static inline void loop_fixture_end(void)
{
    loop_remove(&loop, loop_timer_source);
    loop_destroy(&loop);
    close(loop_timer);
}

// Turns the loop for so long; returns the milliseconds of processor time that it took.
static inline long loop_fixture_turn(unsigned milliseconds)
{
    struct timespec before, after;
    const struct itimerspec delay = {.it_value = {.tv_nsec = milliseconds * 1000000L}};
    assert_int_equal(timerfd_settime(loop_timer, 0, &delay, NULL), 0);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    loop.ended = false;
    assert_int_equal(loop_run(&loop), 0);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    return (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
}
