// The transport with servers that do as they should: ranges, connections, requests, cancelling, addresses.

#include "tests/unit/transport_fixture.h"

#include "base/io.h"
#include <errno.h>

#include "base/banned.h"

static void range_is_answered_with_206(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL);
    struct got g;
    struct source_request r = request_of(&g, 4096, 100000);
    assert_int_equal(fetch(s.source, &r), 0);
    assert_int_equal(g.begin, 4096);
    assert_int_equal(g.bytes, 100000);
    assert_int_equal(r.received, 100000);
    assert_false(r.whole);
    assert_false(source_ignores_ranges(s.source));
    assert_true(source_is_remote(s.source));
    close_site(&s);
}

static void whole_file_is_fetched_in_order(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL);
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    assert_int_equal(fetch(s.source, &r), 0);
    assert_int_equal(g.bytes, FILE_SIZE);
    assert_false(r.whole);
    close_site(&s);
}

static void whole_file_answers_a_range_and_is_learned(void **state)
{
    (void)state;
    struct site s = open_site(ignore_ranges, NULL);
    struct got g;
    struct source_request r = request_of(&g, 8192, 4096);
    assert_int_equal(fetch(s.source, &r), 0);
    assert_true(r.whole);
    assert_int_equal(g.begin, 0);
    assert_int_equal(g.bytes, FILE_SIZE);
    assert_true(source_ignores_ranges(s.source));
    close_site(&s);
}

static void requests_share_a_connection(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL);
    for (unsigned i = 0; i < 50; i++) {
        struct got g;
        struct source_request r = request_of(&g, (uint64_t)i * 5000, 5000);
        assert_int_equal(fetch(s.source, &r), 0);
    }
    assert_int_equal(s.server->connections, 1);
    struct transport_counts counts;
    transport_count(s.transport, &counts);
    assert_int_equal(counts.requests, 50);
    assert_int_equal(counts.bytes, 250000);
    assert_int_equal(counts.failures, 0);
    close_site(&s);
}

static void connections_to_a_source_are_bounded_and_nobody_is_forgotten(void **state)
{
    (void)state;
    enum { MANY = 60, ROUNDS = 20 };
    struct site s = open_site(serve, NULL);
    struct got got[MANY];
    struct source_request r[MANY];
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t before = io_monotonic_ns();
        for (unsigned i = 0; i < MANY; i++) {
            r[i] = request_of(&got[i], (uint64_t)i * 4096, 4096);
            source_start(s.source, &r[i]);
        }
        for (unsigned i = 0; i < MANY; i++) {
            source_wait(s.source, &r[i]);
            assert_int_equal(r[i].result, 0);
            assert_int_equal(got[i].begin, (uint64_t)i * 4096);
            assert_int_equal(got[i].bytes, 4096);
            assert_false(got[i].wrong);
        }
        assert_true(io_monotonic_ns() - before < UINT64_C(1000000) * TRANSPORT_CONNECT_MS);
    }
    assert_true(s.server->connections <= TRANSPORT_HOST_CONNECTIONS);
    close_site(&s);
}

static bool examine_request(struct tiny_request *q, void *context)
{
    snprintf(context, sizeof(q->head), "%s", q->head);
    return tiny_reply(q, "304 Not Modified", "ETag: \"x\"\r\n", "", 0);
}

static void request_says_what_it_should_and_no_more(void **state)
{
    (void)state;
    char head[4096];
    struct site s = open_site(examine_request, head);
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    r.if_etag = "W/\"abc\"";
    assert_int_equal(fetch(s.source, &r), 0);
    assert_true(r.not_modified);
    assert_string_equal(r.etag, "\"x\"");
    assert_non_null(strstr(head, "GET /objects/ab/abc HTTP/1.1\r\n"));
    assert_non_null(strstr(head, "\r\nIf-None-Match: W/\"abc\"\r\n"));
    assert_non_null(strstr(head, "\r\nUser-Agent: rondo/"));
    assert_null(strstr(head, "Accept-Encoding"));
    assert_null(strstr(head, "Range"));
    assert_null(strstr(head, "Upgrade"));
    assert_null(strstr(head, "Cookie"));
    r = request_of(&g, 0, 0);
    r.if_etag = "\"a\"\r\nX-Injected: yes\r\n\"";
    assert_int_equal(fetch(s.source, &r), 0);
    assert_null(strstr(head, "Injected"));
    close_site(&s);
}

static bool wait_for_stop(struct tiny_request *q, void *context)
{
    (void)context;
    char byte;
    recv(q->fd, &byte, 1, 0); // until the client or the test hangs up
    return false;
}

struct queue {
    atomic_uint asked, let_go; // requests so far; the first byte of the one that is answered
    unsigned long long order[32];
};

static bool answer_who_is_let_go(struct tiny_request *q, void *context)
{
    struct queue *queue = context;
    queue->order[atomic_fetch_add(&queue->asked, 1) % 32] = q->first;
    while (atomic_load(&queue->let_go) != q->first && !atomic_load(&q->server->stopping))
        usleep(1000);
    return tiny_serve(q, file, FILE_SIZE);
}

static void await_asked(struct queue *queue, unsigned n)
{
    for (unsigned ms = 0; atomic_load(&queue->asked) < n && ms < 10000; ms++)
        usleep(1000);
    usleep(20000); // should there be more
    assert_int_equal(atomic_load(&queue->asked), n);
}

static void what_somebody_waits_for_goes_first(void **state)
{
    (void)state;
    enum { FILL = TRANSPORT_HOST_CONNECTIONS + 2, ALL = FILL + 3 };
    const unsigned ahead = TRANSPORT_HOST_CONNECTIONS - TRANSPORT_HOST_CONNECTIONS / TRANSPORT_RESERVED_SHARE;
    struct queue queue = {.let_go = 1000};
    struct site s = open_site(answer_who_is_let_go, &queue);
    struct got g[ALL];
    struct source_request r[ALL];
    for (unsigned i = 0; i < ALL; i++) {
        r[i] = request_of(&g[i], i, 1);
        r[i].priority = i < FILL ? SOURCE_FILL : i == FILL ? SOURCE_STREAM : SOURCE_DEMAND;
    }
    for (unsigned i = 0; i < FILL; i++)
        source_start(s.source, &r[i]);
    await_asked(&queue, ahead); // some places stay free
    for (unsigned i = FILL; i < ALL; i++)
        source_start(s.source, &r[i]);
    await_asked(&queue, ahead + 2);
    assert_true(queue.order[ahead] > FILL && queue.order[ahead + 1] > FILL); // for these two
    atomic_store(&queue.let_go, (unsigned)queue.order[0]);
    await_asked(&queue, ahead + 3);
    assert_int_equal(queue.order[ahead + 2], FILL); // overtakes what was there before it
    for (unsigned i = 0; i < ALL; i++)
        source_cancel(s.source, &r[i]);
    for (unsigned i = 0; i < ALL; i++)
        source_wait(s.source, &r[i]);
    close_site(&s);
}

static void request_can_be_cancelled(void **state)
{
    (void)state;
    struct site s = open_site(wait_for_stop, NULL);
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    source_start(s.source, &r);
    while (atomic_load(&s.server->requests) == 0)
        usleep(1000);
    uint64_t before = io_monotonic_ns();
    source_cancel(s.source, &r);
    source_wait(s.source, &r);
    assert_int_equal(r.result, -ECANCELED);
    assert_int_equal(g.done, 1);
    assert_true(io_monotonic_ns() - before < UINT64_C(2000000000));
    close_site(&s);
}

static void requests_can_be_cancelled_before_they_are_sent(void **state)
{
    (void)state;
    enum { MANY = 3 * TRANSPORT_HOST_CONNECTIONS };
    struct site s = open_site(wait_for_stop, NULL);
    struct got g[MANY];
    struct source_request r[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        r[i] = request_of(&g[i], 0, 0);
        source_start(s.source, &r[i]);
    }
    for (unsigned i = MANY; i-- > 0;) // those that wait for their turn first
        source_cancel(s.source, &r[i]);
    for (unsigned i = 0; i < MANY; i++) {
        source_wait(s.source, &r[i]);
        assert_int_equal(r[i].result, -ECANCELED);
    }
    assert_true(s.server->connections <= TRANSPORT_HOST_CONNECTIONS);
    close_site(&s);
}

static void sink_can_end_a_request(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL);
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    g.refuse_with = -ENOSPC;
    assert_int_equal(fetch(s.source, &r), -ENOSPC);
    close_site(&s);
}

static void nobody_there_is_a_network_error(void **state)
{
    (void)state;
    static const char *const addresses[] = {"http://127.0.0.1:1/", "http://no-such-host.invalid/"};
    for (unsigned i = 0; i < 2; i++) {
        struct transport *t;
        struct source *s;
        assert_int_equal(transport_new(&t, NULL), 0);
        assert_int_equal(source_open(t, addresses[i], &s, NULL), 0);
        struct got g;
        struct source_request r = request_of(&g, 0, 0);
        assert_int_equal(fetch(s, &r), -ENETUNREACH);
        source_close(s);
        transport_free(t);
    }
}

static void addresses_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "ftp://a/",         "file:///etc",        "http://u@a/",        "http://u:p@a/", "http://a b/",
        "http://a/\n",      "http://a/?x=1",      "http://a/#x",        "http://",       "http://a:70000/",
        "http://\xc3\xa9/", "http://a/?",         "http://lo%calhost/", "http://a%2fb/", "http://a%40b/",
        "http://a%00b/",    "http://106%353216/", "http:///a/",         "HTTPS://u@a/x", "javascript://a/%0a"};
    struct transport *t;
    struct source *s;
    struct error e;
    assert_int_equal(transport_new(&t, NULL), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int r = source_open(t, bad[i], &s, &e);
        if (r != -EINVAL)
            fail_msg("%s: %d", bad[i], r);
        assert_non_null(strstr(e.text, "cannot be used"));
    }
    assert_int_equal(source_open(t, "HTTP://Example.COM:80/a", &s, &e), 0);
    assert_string_equal(source_address(s), "http://example.com/a/");
    source_close(s);
    assert_int_equal(source_open(t, "/no/such/directory", &s, &e), -ENOENT);
    transport_free(t);
}

static void paths_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",       "/etc/passwd", "../x", "objects/../../x", "objects//x", "objects/.x", "a b",   "a%2e",  "a\\b",
        "x/",     "a\n",         "?x",   "a/./b",           "-x",         "#frag",      "x?a b", "x?a#b", "x?a?b",
        "x?/../a"};
    struct site s = open_site(serve, NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct got g;
        struct source_request r = request_of(&g, 0, 0);
        r.path = bad[i];
        source_start(s.source, &r);
        source_wait(s.source, &r);
        assert_int_equal(r.result, -EINVAL);
    }
    struct got g;
    struct source_request r = request_of(&g, UINT64_MAX - 5, 10);
    assert_int_equal(fetch(s.source, &r), -EINVAL);
    assert_int_equal(s.server->requests, 0);
    close_site(&s);
}

int main(void)
{
    set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(range_is_answered_with_206),
        cmocka_unit_test(whole_file_is_fetched_in_order),
        cmocka_unit_test(whole_file_answers_a_range_and_is_learned),
        cmocka_unit_test(requests_share_a_connection),
        cmocka_unit_test(connections_to_a_source_are_bounded_and_nobody_is_forgotten),
        cmocka_unit_test(request_says_what_it_should_and_no_more),
        cmocka_unit_test(what_somebody_waits_for_goes_first),
        cmocka_unit_test(request_can_be_cancelled),
        cmocka_unit_test(requests_can_be_cancelled_before_they_are_sent),
        cmocka_unit_test(sink_can_end_a_request),
        cmocka_unit_test(nobody_there_is_a_network_error),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(paths_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
