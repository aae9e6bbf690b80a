// parallel_each: everything is done once, the first failure ends it, and the caller hears of the progress.

#include "base/parallel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/banned.h"

#define COUNT 1000u

struct work {
    atomic_uint done[COUNT];
    atomic_uint sum, ticks;
    unsigned fail_at, cancel_at; // COUNT: never
};

static int work(void *context, size_t i)
{
    struct work *w = context;
    if (i == w->fail_at)
        return -5;
    atomic_fetch_add(&w->done[i], 1);
    atomic_fetch_add(&w->sum, 1);
    if (w->cancel_at < COUNT || w->fail_at < COUNT)
        usleep(1000);
    return 0;
}

static int tick(void *context)
{
    struct work *w = context;
    return atomic_fetch_add(&w->ticks, 1) >= w->cancel_at ? -125 : 0;
}

static void each_is_done_once(void **state)
{
    (void)state;
    static struct work w = {.fail_at = COUNT, .cancel_at = COUNT};
    assert_int_equal(parallel_each(COUNT, work, tick, &w), 0);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(atomic_load(&w.done[i]), 1);
    assert_true(atomic_load(&w.ticks) >= 1);
    assert_int_equal(parallel_each(0, work, NULL, &w), 0);
    assert_int_equal(atomic_load(&w.sum), COUNT);
}

static void a_failure_ends_it(void **state)
{
    (void)state;
    static struct work w = {.fail_at = 10, .cancel_at = COUNT};
    assert_int_equal(parallel_each(COUNT, work, NULL, &w), -5);
    assert_true(atomic_load(&w.sum) >= 10 && atomic_load(&w.sum) < COUNT);
}

static void the_caller_can_end_it(void **state)
{
    (void)state;
    static struct work w = {.fail_at = COUNT, .cancel_at = 0};
    assert_int_equal(parallel_each(COUNT, work, tick, &w), -125);
    assert_true(atomic_load(&w.sum) < COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_done_once),
        cmocka_unit_test(a_failure_ends_it),
        cmocka_unit_test(the_caller_can_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
