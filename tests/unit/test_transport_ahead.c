// Connections made ahead: begun with a request, of use to another transport, to nobody else, and not for long.

#include "tests/unit/transport_fixture.h"

#include "base/io.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "base/banned.h"

#define WAIT_MS 20000

static void wait_for_connections(struct tiny_http *server, unsigned count)
{
    for (unsigned i = 0; i < WAIT_MS / 10 && server->connections < count; i++)
        poll(NULL, 0, 10);
    assert_int_equal(server->connections, count);
}

static void fetch_one(struct site *s)
{
    struct got g;
    struct source_request r = request_of(&g, 4096, 10000);
    assert_int_equal(fetch(s->source, &r), 0);
    assert_int_equal(g.bytes, 10000);
}

// The site as another process sees it: a transport of its own.
static struct site open_again(const struct site *s)
{
    struct site again = {.server = s->server};
    assert_int_equal(transport_new(&again.transport, NULL), 0);
    assert_int_equal(source_open(again.transport, s->server->address, &again.source, NULL), 0);
    return again;
}

static void close_again(struct site *s)
{
    source_close(s->source);
    transport_free(s->transport);
}

static struct transport_ahead make_ahead(struct site *s)
{
    struct transport_ahead a;
    transport_connect_ahead(s->transport);
    fetch_one(s);
    transport_take_ahead(s->transport, &a);
    assert_int_equal(a.count, TRANSPORT_AHEAD_MAXIMUM);
    wait_for_connections(s->server, 1 + TRANSPORT_AHEAD_MAXIMUM);
    return a;
}

static void another_transport_asks_over_them(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL), other = open_again(&s);
    struct transport_ahead a = make_ahead(&s);
    transport_give_ahead(other.transport, &a);
    assert_int_equal(a.count, 0);
    struct got g[TRANSPORT_AHEAD_MAXIMUM];
    struct source_request r[TRANSPORT_AHEAD_MAXIMUM];
    for (unsigned i = 0; i < TRANSPORT_AHEAD_MAXIMUM; i++) {
        r[i] = request_of(&g[i], 0, FILE_SIZE);
        source_start(other.source, &r[i]);
    }
    for (unsigned i = 0; i < TRANSPORT_AHEAD_MAXIMUM; i++) {
        source_wait(other.source, &r[i]);
        assert_int_equal(r[i].result, 0);
        assert_int_equal(g[i].bytes, FILE_SIZE);
    }
    assert_int_equal(s.server->requests, 1 + TRANSPORT_AHEAD_MAXIMUM);
    assert_int_equal(s.server->connections, 1 + TRANSPORT_AHEAD_MAXIMUM); // none but those
    struct transport_counts counts;
    transport_count(other.transport, &counts);
    assert_int_equal(counts.requests, TRANSPORT_AHEAD_MAXIMUM);
    close_again(&other);
    close_site(&s);
}

static void none_is_begun_without_a_request_or_a_wish(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL);
    struct transport_ahead a;
    transport_connect_ahead(s.transport);
    transport_take_ahead(s.transport, &a); // the wish is taken back
    assert_int_equal(a.count, 0);
    fetch_one(&s);
    transport_take_ahead(s.transport, &a);
    assert_int_equal(a.count, 0);
    assert_int_equal(s.server->connections, 1);
    close_site(&s);
}

static void nobody_there_fails_as_ever(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL);
    struct transport_ahead a;
    tiny_http_stop(s.server);
    transport_connect_ahead(s.transport);
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    assert_int_equal(fetch(s.source, &r), -ENETUNREACH);
    transport_take_ahead(s.transport, &a);
    assert_int_equal(a.count, 0);
    close_again(&s);
}

static void they_lead_nowhere_else(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL), other = open_site(serve, NULL);
    struct transport_ahead a = make_ahead(&s);
    transport_give_ahead(other.transport, &a);
    fetch_one(&other);
    assert_int_equal(other.server->connections, 1);
    assert_int_equal(s.server->requests, 1);
    close_site(&other);
    close_site(&s);
}

static void closed_ones_are_left_aside(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL), other = open_again(&s);
    struct transport_ahead a = make_ahead(&s);
    for (unsigned i = 0; i < a.count; i++) {
        shutdown(s.server->fds[1 + i], SHUT_RDWR);
        struct pollfd p = {.fd = a.fds[i], .events = POLLRDHUP};
        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    }
    transport_give_ahead(other.transport, &a);
    fetch_one(&other);
    assert_int_equal(s.server->connections, 2 + TRANSPORT_AHEAD_MAXIMUM);
    close_again(&other);
    close_site(&s);
}

// What is no connection is of no use, and does no harm; what was not used is closed while the transport lives.
static void unused_descriptors_are_closed(void **state)
{
    (void)state;
    struct site s = open_site(serve, NULL);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct transport_ahead a = {.fds = {open("/dev/null", O_RDWR | O_CLOEXEC), pair[0]}, .count = 2};
    transport_give_ahead(s.transport, &a); // its thread begins with this
    fetch_one(&s);
    assert_int_equal(s.server->connections, 1);
    struct pollfd p = {.fd = pair[1]};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_true(p.revents & POLLHUP);
    close(pair[1]);
    close_site(&s);
}

int main(void)
{
    set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_transport_asks_over_them), cmocka_unit_test(none_is_begun_without_a_request_or_a_wish),
        cmocka_unit_test(nobody_there_fails_as_ever),       cmocka_unit_test(they_lead_nowhere_else),
        cmocka_unit_test(closed_ones_are_left_aside),       cmocka_unit_test(unused_descriptors_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
