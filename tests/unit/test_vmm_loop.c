// vmm/loop.h: callbacks, their removal while a round is under way, the end.
#include "vmm/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/banned.h"

struct source {
    struct loop *loop;
    struct loop_source *self, *other;
    int fd;
    unsigned calls;
};

static int ringing(void)
{
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

static void count_and_end(void *context, uint32_t events)
{
    struct source *s = context;
    assert_true(events & EPOLLIN);
    if (++s->calls == 3)
        loop_end(s->loop);
}

static void callback_comes_as_long_as_there_is_something(void **state)
{
    struct loop l;
    struct source s = {.loop = &l, .fd = ringing()};
    (void)state;
    assert_int_equal(loop_init(&l, NULL), 0);
    assert_int_equal(loop_add(&l, s.fd, EPOLLIN, count_and_end, &s, &s.self), 0);
    assert_int_equal(loop_run(&l), 0);
    assert_int_equal(s.calls, 3);
    loop_destroy(&l);
    assert_int_equal(close(s.fd), 0); // the caller's: still open
}

static void remove_the_other(void *context, uint32_t events)
{
    struct source *s = context;
    (void)events;
    s->calls++;
    if (s->other)
        loop_remove(s->loop, s->other);
    s->other = NULL;
    loop_remove(s->loop, s->self);
}

static void end_now(void *context, uint32_t events)
{
    (void)events;
    loop_end(context);
}

// Both ring at once; whichever is called first removes the other and itself.
static void source_removed_in_its_round_is_not_called(void **state)
{
    struct loop l;
    struct source a = {.loop = &l, .fd = ringing()}, b = {.loop = &l, .fd = ringing()};
    struct loop_source *last;
    int timer = ringing();
    (void)state;
    assert_int_equal(loop_init(&l, NULL), 0);
    assert_int_equal(loop_add(&l, a.fd, EPOLLIN, remove_the_other, &a, &a.self), 0);
    assert_int_equal(loop_add(&l, b.fd, EPOLLIN, remove_the_other, &b, &b.self), 0);
    assert_int_equal(loop_add(&l, timer, EPOLLIN, end_now, &l, &last), 0);
    a.other = b.self;
    b.other = a.self;
    assert_int_equal(loop_run(&l), 0);
    assert_int_equal(a.calls + b.calls, 1);
    assert_int_equal(l.count, 1); // the others are gone
    loop_destroy(&l);
    close(a.fd);
    close(b.fd);
    close(timer);
}

static void events_can_be_changed(void **state)
{
    struct loop l;
    struct source quiet = {.loop = &l, .fd = ringing()}, s = {.loop = &l, .fd = ringing()};
    (void)state;
    assert_int_equal(loop_init(&l, NULL), 0);
    assert_int_equal(loop_add(&l, quiet.fd, EPOLLIN, count_and_end, &quiet, &quiet.self), 0);
    assert_int_equal(loop_add(&l, s.fd, 0, count_and_end, &s, &s.self), 0);
    assert_int_equal(loop_change(&l, quiet.self, 0), 0);
    assert_int_equal(loop_change(&l, s.self, EPOLLIN), 0);
    assert_int_equal(loop_run(&l), 0);
    assert_int_equal(s.calls, 3);
    assert_int_equal(quiet.calls, 0);
    loop_destroy(&l);
    close(quiet.fd);
    close(s.fd);
}

static void too_many_sources_and_a_bad_descriptor_are_said(void **state)
{
    struct loop l;
    struct source s = {.loop = &l, .fd = -1};
    int fds[LOOP_SOURCES_MAXIMUM];
    (void)state;
    assert_int_equal(loop_init(&l, NULL), 0);
    assert_int_equal(loop_add(&l, -1, EPOLLIN, count_and_end, &s, &s.self), -EBADF);
    for (unsigned i = 0; i < LOOP_SOURCES_MAXIMUM; i++) {
        fds[i] = ringing();
        assert_int_equal(loop_add(&l, fds[i], EPOLLIN, count_and_end, &s, &s.self), 0);
    }
    assert_int_equal(loop_add(&l, fds[0], EPOLLIN, count_and_end, &s, &s.self), -ENOSPC);
    loop_destroy(&l);
    for (unsigned i = 0; i < LOOP_SOURCES_MAXIMUM; i++)
        close(fds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callback_comes_as_long_as_there_is_something),
        cmocka_unit_test(source_removed_in_its_round_is_not_called),
        cmocka_unit_test(events_can_be_changed),
        cmocka_unit_test(too_many_sources_and_a_bad_descriptor_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
