// Mirrors: hedges (rule 5 of mirrors.h), and jobs that are taken back (rule 6). Two servers of `file` whose answers
// wait for one another, so that the order of what happens is the test's, whatever the machine does meanwhile.

#include "tests/unit/mirrors_fixture.h"

#include "blockstore/mirrors_private.h"

#include "base/banned.h"

#define ARRIVAL_US 100000 // after this, what another server sent has arrived

// What a server does with its first request; with later ones it just serves.
struct part {
    atomic_uint *before;  // it waits until this is not 0 …
    bool half;            // … sends half of its answer …
    atomic_uint *between; // … waits until this is not 0, if it is not NULL …
    bool lies;            // … and one bit of it is wrong
    bool whole;           // it ignores the range
    atomic_uint done, half_sent;
};

struct stage {
    struct transport *transport;
    struct mirrors *mirrors;
    struct tiny_http *server[2];
    struct part part[2];
    atomic_uint never;
};

static void wait_for(struct tiny_request *q, atomic_uint *sign)
{
    while (sign && !atomic_load(sign) && !atomic_load(&q->server->stopping))
        usleep(1000);
    usleep(sign ? ARRIVAL_US : 0);
}

static bool play(struct tiny_request *q, void *context)
{
    struct part *p = context;
    if (q->number > 1)
        return tiny_serve(q, file, FILE_SIZE);
    wait_for(q, p->before);
    if (p->whole) {
        tiny_reply(q, "200 OK", "", file, FILE_SIZE);
        atomic_store(&p->done, 1);
        return true;
    }
    char head[200];
    size_t n = (size_t)(q->last - q->first + 1);
    unsigned char *body = malloc(n);
    memcpy(body, file + q->first, n);
    body[n - 1] ^= p->lies;
    snprintf(head, sizeof(head), "HTTP/1.1 206 P\r\nContent-Range: bytes %llu-%llu/%u\r\nContent-Length: %zu\r\n\r\n",
             q->first, q->last, FILE_SIZE, n);
    tiny_text(q->fd, head);
    tiny_send(q->fd, body, p->half ? n / 2 : n);
    if (p->half) {
        atomic_store(&p->half_sent, 1);
        wait_for(q, p->between);
        tiny_send(q->fd, body + n / 2, n - n / 2);
    }
    free(body);
    atomic_store(&p->done, 1);
    return true;
}

static void open_stage(struct stage *s, unsigned count)
{
    const char *addresses[2];
    for (unsigned i = 0; i < count; i++) {
        s->server[i] = tiny_http_start(play, &s->part[i]);
        addresses[i] = s->server[i]->address;
    }
    assert_int_equal(transport_new(&s->transport, NULL), 0);
    assert_int_equal(mirrors_new(s->transport, addresses, count, &s->mirrors, NULL), 0);
}

static void close_stage(struct stage *s)
{
    mirrors_free(s->mirrors);
    transport_free(s->transport);
    for (unsigned i = 0; i < 2; i++)
        if (s->server[i])
            tiny_http_stop(s->server[i]);
}

static int fetch_demand(struct stage *s, struct got *g, uint64_t seconds)
{
    struct mirrors_job job = job_of(g, 4096, 8192);
    return mirrors_fetch(s->mirrors, &job, 1, io_monotonic_ns() + seconds * SECOND);
}

static void assert_requests(const struct stage *s, unsigned first, unsigned second)
{
    assert_int_equal(atomic_load(&s->server[0]->requests), first);
    assert_int_equal(atomic_load(&s->server[1]->requests), second);
}

static void assert_hedges(struct stage *s, unsigned hedges, unsigned won)
{
    struct transport_counts counts;
    transport_count(s->transport, &counts);
    assert_int_equal(counts.hedges, hedges);
    assert_int_equal(counts.hedges_won, won);
}

static void hedge_wins_when_the_first_is_silent(void **state)
{
    (void)state;
    struct stage s = {.part = {{.before = &s.never}}};
    struct got g;
    open_stage(&s, 2);
    assert_int_equal(fetch_demand(&s, &g, 60), 0);
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_int_equal(g.restarts, 1);
    assert_requests(&s, 1, 1);
    assert_hedges(&s, 1, 1);
    assert_int_equal(fetch_demand(&s, &g, 60), 0); // who was late is not the first to be asked any more
    assert_requests(&s, 1, 2);
    assert_hedges(&s, 1, 1);
    close_stage(&s);
}

static void hedge_that_loses_is_cancelled(void **state)
{
    (void)state;
    struct stage s = {.part = {{.half = false}, {.before = &s.never}}};
    struct got g;
    open_stage(&s, 2);
    s.part[0].before = &s.server[1]->requests;
    assert_int_equal(fetch_demand(&s, &g, 60), 0);
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_requests(&s, 1, 1);
    assert_hedges(&s, 1, 0);
    close_stage(&s);
}

static void hedge_overtakes_one_that_stopped_halfway(void **state)
{
    (void)state;
    struct stage s = {.part = {{.half = true, .between = &s.never}, {.before = &s.part[0].half_sent}}};
    struct got g;
    open_stage(&s, 2);
    s.part[0].before = &s.server[1]->requests;
    assert_int_equal(fetch_demand(&s, &g, 60), 0);
    assert_int_equal(g.n, 8192);
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_int_equal(g.restarts, 2);
    assert_requests(&s, 1, 1);
    assert_hedges(&s, 1, 1);
    close_stage(&s);
}

static void hedge_lies_and_the_first_goes_on(void **state)
{
    (void)state;
    struct stage s = {.part = {{.before = &s.part[1].done}, {.lies = true}}};
    struct got g;
    open_stage(&s, 2);
    assert_int_equal(fetch_demand(&s, &g, 60), 0);
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_requests(&s, 1, 1);
    assert_hedges(&s, 1, 0);
    close_stage(&s);
}

static void first_lies_and_the_hedge_goes_on(void **state)
{
    (void)state;
    struct stage s = {.part = {{.lies = true}, {.before = &s.part[0].done}}};
    struct got g;
    open_stage(&s, 2);
    s.part[0].before = &s.server[1]->requests;
    assert_int_equal(fetch_demand(&s, &g, 60), 0);
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_requests(&s, 1, 1);
    assert_hedges(&s, 1, 1);
    close_stage(&s);
}

static void one_that_was_overtaken_by_a_liar_is_asked_again(void **state)
{
    (void)state;
    struct stage s = {.part = {{.half = true, .between = &s.never}, {.before = &s.part[0].half_sent, .lies = true}}};
    struct got g;
    open_stage(&s, 2);
    s.part[0].before = &s.server[1]->requests;
    assert_int_equal(fetch_demand(&s, &g, 60), 0);
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_requests(&s, 2, 1);
    assert_hedges(&s, 1, 0);
    close_stage(&s);
}

static void lies_of_both_are_refused(void **state)
{
    (void)state;
    struct stage s = {.part = {{.lies = true, .before = &s.part[1].done}, {.lies = true}}};
    struct got g;
    open_stage(&s, 2);
    assert_int_equal(fetch_demand(&s, &g, 60), -EBADMSG);
    assert_requests(&s, 1, 1);
    close_stage(&s);
}

// What a server without ranges sends cannot be held: the slower of the two is given up.
static void whole_answer_is_no_hedge(void **state)
{
    (void)state;
    struct stage s = {.part = {{.half = true}, {.whole = true, .before = &s.part[0].half_sent}}};
    struct got g;
    open_stage(&s, 2);
    s.part[0].before = &s.server[1]->requests;
    s.part[0].between = &s.part[1].done;
    assert_int_equal(fetch_demand(&s, &g, 60), 0);
    assert_int_equal(g.n, 8192);
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_requests(&s, 1, 1);
    assert_hedges(&s, 1, 0);
    close_stage(&s);
}

static void nobody_hedges_what_nobody_waits_for_or_one_mirror_has(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 2; count++) {
        struct stage s = {.part = {{.before = &s.never}}};
        struct got g;
        open_stage(&s, count);
        struct mirrors_job job = job_of(&g, 4096, 8192);
        job.priority = count == 1 ? SOURCE_DEMAND : SOURCE_STREAM;
        assert_int_equal(mirrors_fetch(s.mirrors, &job, 1, io_monotonic_ns() + SECOND), -ENETUNREACH);
        assert_int_equal(atomic_load(&s.server[0]->requests), 1);
        if (count == 2)
            assert_requests(&s, 1, 0);
        assert_hedges(&s, 0, 0);
        close_stage(&s);
    }
}

static bool say_nothing(struct tiny_request *q, void *context)
{
    char byte;
    (void)context;
    recv(q->fd, &byte, 1, 0);
    return false;
}

enum { JOBS = 3 * MIRRORS_HEDGE_SHARE };

static void hedges_have_a_budget(void **state)
{
    (void)state;
    struct stage s = {.never = 0};
    s.server[0] = tiny_http_start(say_nothing, NULL);
    s.server[1] = tiny_http_start(play, &s.part[1]);
    const char *addresses[2] = {s.server[0]->address, s.server[1]->address};
    assert_int_equal(transport_new(&s.transport, NULL), 0);
    assert_int_equal(mirrors_new(s.transport, addresses, 2, &s.mirrors, NULL), 0);
    struct got *got = calloc(JOBS, sizeof(*got));
    struct mirrors_job jobs[JOBS];
    for (unsigned i = 0; i < JOBS; i++)
        jobs[i] = job_of(&got[i], (uint64_t)i * 1000, 1000);
    assert_int_equal(mirrors_fetch(s.mirrors, jobs, JOBS, io_monotonic_ns() + 2 * SECOND), -ENETUNREACH);
    unsigned delivered = 0;
    for (unsigned i = 0; i < JOBS; i++)
        delivered += jobs[i].result == 0;
    assert_hedges(&s, 4, 4); // two at first, and one for each MIRRORS_HEDGE_SHARE jobs, up to four
    assert_int_equal(delivered, 4);
    assert_int_equal(atomic_load(&s.server[1]->requests), 4);
    free(got);
    close_stage(&s);
}

static void *cancel_when_both_are_asked(void *context)
{
    struct stage *s = context;
    while (atomic_load(&s->server[1]->requests) == 0)
        usleep(1000);
    mirrors_cancel(s->mirrors);
    return NULL;
}

static void cancel_ends_both(void **state)
{
    (void)state;
    struct stage s = {.part = {{.before = &s.never}, {.before = &s.never}}};
    struct got g;
    pthread_t thread;
    open_stage(&s, 2);
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_both_are_asked, &s), 0);
    assert_int_equal(fetch_demand(&s, &g, 600), -ECANCELED);
    pthread_join(thread, NULL);
    assert_hedges(&s, 1, 0);
    close_stage(&s);
}

static void sinks_failure_ends_both(void **state)
{
    (void)state;
    struct stage s = {.part = {{.before = &s.never}}};
    struct got g;
    open_stage(&s, 2);
    struct mirrors_job job = job_of(&g, 4096, 8192);
    g.refuse_with = -ENOSPC;
    assert_int_equal(mirrors_fetch(s.mirrors, &job, 1, io_monotonic_ns() + 60 * SECOND), -ENOSPC);
    assert_requests(&s, 1, 1);
    assert_int_equal(fetch_demand(&s, &g, 60), 0); // and blames nobody
    close_stage(&s);
}

static void job_that_crawls_is_taken_back(void **state)
{
    (void)state;
    struct stage s = {.part = {{.half = false}, {.half = true, .between = &s.never}}};
    struct got g;
    open_stage(&s, 2);
    for (unsigned i = 0; i < 2; i++) {
        struct mirrors_job job = job_of(&g, 4096, 8192);
        job.priority = SOURCE_FILL;
        assert_int_equal(mirrors_fetch(s.mirrors, &job, 1, io_monotonic_ns() + 60 * SECOND), 0);
        assert_int_equal(g.n, 8192);
        assert_memory_equal(g.bytes, file + 4096, 8192);
        assert_requests(&s, 1 + i, i); // the second tries who was never asked, and then goes back
        s.mirrors->mirror[0].speed.rate = 10000000;
    }
    assert_int_equal(g.restarts, 2);
    assert_hedges(&s, 0, 0);
    close_stage(&s);
}

static void stream_that_crawls_is_taken_back(void **state)
{
    (void)state;
    struct stage s = {.part = {{.half = true, .between = &s.never}, {.half = false}}};
    struct got g;
    open_stage(&s, 2);
    struct mirrors_job job = job_of(&g, 4096, 8192);
    job.priority = SOURCE_STREAM;
    s.mirrors->mirror[1].speed.rate = 10000000; // readers have found that out
    assert_int_equal(mirrors_fetch(s.mirrors, &job, 1, io_monotonic_ns() + 5 * SECOND), 0);
    assert_int_equal(g.n, 8192);
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_requests(&s, 1, 1);
    assert_hedges(&s, 0, 0);
    close_stage(&s);
}

int main(void)
{
    set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hedge_wins_when_the_first_is_silent),
        cmocka_unit_test(hedge_that_loses_is_cancelled),
        cmocka_unit_test(hedge_overtakes_one_that_stopped_halfway),
        cmocka_unit_test(hedge_lies_and_the_first_goes_on),
        cmocka_unit_test(first_lies_and_the_hedge_goes_on),
        cmocka_unit_test(one_that_was_overtaken_by_a_liar_is_asked_again),
        cmocka_unit_test(lies_of_both_are_refused),
        cmocka_unit_test(whole_answer_is_no_hedge),
        cmocka_unit_test(nobody_hedges_what_nobody_waits_for_or_one_mirror_has),
        cmocka_unit_test(hedges_have_a_budget),
        cmocka_unit_test(cancel_ends_both),
        cmocka_unit_test(sinks_failure_ends_both),
        cmocka_unit_test(job_that_crawls_is_taken_back),
        cmocka_unit_test(stream_that_crawls_is_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
