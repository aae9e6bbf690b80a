// Mirrors: retries, waits, deadlines and cancelling, for one job and for many (rule 3 of mirrors.h).

#include "tests/unit/mirrors_fixture.h"

#include "base/banned.h"

static void passing_failures_are_retried(void **state)
{
    (void)state;
    for (int hang_up = 0; hang_up < 2; hang_up++) {
        struct world w;
        struct got g;
        open_world(&w, 1);
        w.bad[0].hang_up = hang_up;
        w.bad[0].fail = 4;
        assert_int_equal(fetch_one(&w, &g, 20), 0);
        assert_int_equal(requests(&w, 0), 5);
        assert_int_equal(g.restarts, 5);
        close_world(&w);
    }
}

static void deadline_ends_a_fetch(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    w.bad[0].silent = 100;
    w.bad[1].fail = 100;
    uint64_t before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 1), -ENETUNREACH);
    uint64_t took = io_monotonic_ns() - before;
    assert_true(took >= SECOND && took < 3 * SECOND);
    assert_int_equal(fetch_one(&w, &g, 0), -ENETUNREACH);
    close_world(&w);
}

static void retry_after_is_honoured(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 1);
    w.bad[0].fail = 1;
    w.bad[0].retry_after = "Retry-After: 1\r\n";
    uint64_t before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 10), 0);
    assert_true(io_monotonic_ns() - before >= SECOND);
    close_world(&w);
}

static void retries_wait_between_them(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 1);
    w.bad[0].fail = 1000000;
    assert_int_equal(fetch_one(&w, &g, 2), -ENETUNREACH);
    // 50 ms doubled up to 2 s, each at least half: at most 7 attempts fit into 2 s; without jitter, 6.
    assert_in_range(requests(&w, 0), 4, 8);
    close_world(&w);
}

static void slow_source_gives_way_to_the_next(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    w.bad[0].slow = 100;
    uint64_t before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 30), 0);
    uint64_t took = io_monotonic_ns() - before;
    assert_true(took >= 9 * SECOND && took < 13 * SECOND); // TRANSPORT_STALL_SECONDS
    before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 30), 0); // nobody waits for it again
    assert_true(io_monotonic_ns() - before < SECOND);
    assert_int_equal(requests(&w, 0), 1);
    close_world(&w);
}

enum { MANY = 40 };

// Rule 7; it then counts as failed, so that the next job does not ask it first.
static void silent_sources_leave_time_for_the_last(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 3);
    w.bad[0].silent = 100;
    w.bad[1].silent = 100;
    assert_int_equal(fetch_one(&w, &g, 9), 0); // less than TRANSPORT_STALL_SECONDS
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_int_equal(fetch_one(&w, &g, 9), 0);
    assert_int_equal(requests(&w, 0), 1);
    assert_int_equal(requests(&w, 1), 1);
    assert_int_equal(requests(&w, 2), 2);
    close_world(&w);
}

static void many_jobs_go_side_by_side(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 2);
    w.bad[0].fail = 5;
    w.bad[1].lies = 5;
    struct got *got = calloc(MANY, sizeof(*got));
    struct mirrors_job jobs[MANY];
    for (unsigned i = 0; i < MANY; i++)
        jobs[i] = job_of(&got[i], (uint64_t)i * 2000, 2000);
    jobs[7].path = "not//a/path";
    assert_int_equal(mirrors_fetch(w.mirrors, jobs, MANY, io_monotonic_ns() + 20 * SECOND), -EINVAL);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(jobs[i].result, i == 7 ? -EINVAL : 0);
        if (i != 7)
            assert_memory_equal(got[i].bytes, file + (size_t)i * 2000, 2000);
    }
    assert_int_equal(mirrors_fetch(w.mirrors, jobs, 0, 0), 0);
    free(got);
    close_world(&w);
}

static void *cancel_soon(void *context)
{
    struct world *w = context;
    while (requests(w, 0) == 0)
        usleep(1000);
    mirrors_cancel(w->mirrors);
    return NULL;
}

static void cancel_ends_fetches_and_prevents_later_ones(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 1);
    w.bad[0].silent = 1;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &w), 0);
    uint64_t before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 30), -ECANCELED);
    assert_int_equal(fetch_one(&w, &g, 30), -ECANCELED);
    assert_true(io_monotonic_ns() - before < 3 * SECOND);
    assert_int_equal(requests(&w, 0), 1);
    pthread_join(thread, NULL);
    close_world(&w);
}

static void *fetch_often(void *context)
{
    struct world *w = context;
    struct got *g = malloc(sizeof(*g));
    unsigned failures = 0;
    for (unsigned i = 0; i < 50; i++) {
        struct mirrors_job job = job_of(g, (uint64_t)i * 1000, 5000);
        failures += mirrors_fetch(w->mirrors, &job, 1, io_monotonic_ns() + 30 * SECOND) != 0;
    }
    free(g);
    return failures ? context : NULL;
}

static void threads_may_fetch_at_once(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 3);
    w.bad[0].fail = 20;
    w.bad[1].lies = 3;
    w.bad[2].fail = 10;
    w.bad[2].hang_up = true;
    pthread_t threads[6];
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fetch_often, &w), 0);
    for (unsigned i = 0; i < 6; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    close_world(&w);
}

int main(void)
{
    set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passing_failures_are_retried),
        cmocka_unit_test(deadline_ends_a_fetch),
        cmocka_unit_test(retry_after_is_honoured),
        cmocka_unit_test(retries_wait_between_them),
        cmocka_unit_test(slow_source_gives_way_to_the_next),
        cmocka_unit_test(silent_sources_leave_time_for_the_last),
        cmocka_unit_test(many_jobs_go_side_by_side),
        cmocka_unit_test(cancel_ends_fetches_and_prevents_later_ones),
        cmocka_unit_test(threads_may_fetch_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
