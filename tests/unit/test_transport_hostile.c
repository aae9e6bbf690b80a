// The transport with servers that are wrong or hostile: statuses, false ranges, broken and endless answers, loops.

#include "tests/unit/transport_fixture.h"

#include "base/io.h"
#include <errno.h>

#include "base/banned.h"

// The whole test, where one handler decides and the result is all that matters.
static void expect(tiny_handler *handler, uint64_t offset, uint64_t length, int result, const char *word)
{
    struct site s = open_site(handler, NULL);
    struct got g;
    struct source_request r = request_of(&g, offset, length);
    assert_int_equal(fetch(s.source, &r), result);
    assert_non_null(strstr(r.error.text, word));
    struct transport_counts counts;
    transport_count(s.transport, &counts);
    assert_int_equal(counts.failures, result < 0 ? 1 : 0);
    close_site(&s);
}

static void whole_file_that_ends_before_the_range_is_wrong(void **state)
{
    (void)state;
    expect(ignore_ranges, FILE_SIZE - 10, 20, -EBADMSG, "only 300000 of 300010");
}

static void range_behind_the_end_is_416(void **state)
{
    (void)state;
    expect(serve, FILE_SIZE + 10, 20, -EBADMSG, "416");
}

static void range_over_the_end_is_a_wrong_range(void **state)
{
    (void)state;
    expect(serve, FILE_SIZE - 10, 20, -EBADMSG, "299990 to 300009");
}

static bool answer_status(struct tiny_request *q, void *context)
{
    return tiny_reply(q, context, "Retry-After: 3\r\n", "sorry\n", 6);
}

static void statuses_have_their_meaning(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        int result;
        unsigned retry_after_ms;
    } table[] = {
        {"404 Not Found", -ENOENT, 3000},         {"410 Gone", -ENOENT, 3000},
        {"403 Forbidden", -EBADMSG, 3000},        {"400 Bad Request", -EBADMSG, 3000},
        {"500 Oh", -ENETUNREACH, 3000},           {"503 Later", -ENETUNREACH, 3000},
        {"429 Too Many", -ENETUNREACH, 3000},     {"408 Timeout", -ENETUNREACH, 3000},
        {"304 Not Modified", -EBADMSG, 3000},     {"204 No Content", -EBADMSG, 3000},
        {"300 Multiple Choices", -EBADMSG, 3000}, {"302 Found", -EBADMSG, 3000},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char status[64];
        snprintf(status, sizeof(status), "%s", table[i].status);
        struct site s = open_site(answer_status, status);
        struct got g;
        struct source_request r = request_of(&g, 0, 0);
        assert_int_equal(fetch(s.source, &r), table[i].result);
        assert_int_equal(r.retry_after_ms, table[i].retry_after_ms);
        assert_int_equal(g.bytes, 0);
        close_site(&s);
    }
}

static bool answer_raw(struct tiny_request *q, void *context)
{
    tiny_text(q->fd, context);
    return false;
}

// Answers that the head alone condemns, and bodies that break off.
static void wrong_answers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int result;
        const char *word;
    } table[] = {
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 1-10/99\r\nContent-Length: 10\r\n\r\n0123456789", -EBADMSG,
         "asked for"},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-10/99\r\nContent-Length: 11\r\n\r\n01234567890", -EBADMSG,
         "asked for"},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-8/99\r\nContent-Length: 9\r\n\r\n012345678", -EBADMSG, "asked for"},
        {"HTTP/1.1 206 P\r\nContent-Length: 10\r\n\r\n0123456789", -EBADMSG, "Content-Range"},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes */99\r\nContent-Length: 10\r\n\r\n0123456789", -EBADMSG,
         "Content-Range"},
        {"HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 10\r\n\r\n0123456789",
         -EBADMSG, "Content-Range"},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/99\r\nContent-Length: 99\r\n\r\n0123456789", -EBADMSG,
         "announces 99"},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/99\r\n\r\n0123456789more", -EBADMSG, "more than 10"},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/99\r\n\r\n01234", -ENETUNREACH, "only 5 of 10"},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/99\r\nContent-Length: 10\r\n\rX\n0123456789", -EBADMSG, "head"},
        {"HTTP/1.1 200 O\r\nContent-Length: 10\r\n\r\r\n0123456789", -EBADMSG, "head"},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/99\r\nContent-Length: 10\r\n\r\n01234", -ENETUNREACH, ""},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/99\r\nContent-Encoding: gzip\r\n\r\n0123456789", -EBADMSG,
         "compresses"},
        {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/99\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", -EBADMSG,
         "compresses"},
        {"HTTP/1.1 200 O\r\nContent-Length: 9223372036854775807\r\n\r\n0123456789", -EBADMSG, "announces"},
        {"HTTP/1.1 200 O\r\nContent-Encoding: br\r\n\r\n0123456789", -EBADMSG, "compresses"},
        {"HTTP/1.1 200 O\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\nzz", -ENETUNREACH, ""},
        {"HTTP/1.1 200 O\r\nContent-Length: ten\r\n\r\n0123456789", -EBADMSG, ""},
        {"", -ENETUNREACH, ""},
        {"HTTP/1.1 200 O\r\nContent-Len", -ENETUNREACH, ""},
        {"SSH-2.0-OpenSSH_9.2\r\n", -EBADMSG, ""},
        {"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", -EBADMSG, "refused"},
        {"HTTP/1.1 302 F\r\nLocation: gopher://127.0.0.1:70/\r\nContent-Length: 0\r\n\r\n", -EBADMSG, "refused"},
        {"HTTP/1.1 302 F\r\nLocation: http://me:pw@127.0.0.1/\r\nContent-Length: 0\r\n\r\n", -EBADMSG, "refused"},
        {"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:99999/\r\nContent-Length: 0\r\n\r\n", -EBADMSG, "refused"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char answer[512];
        snprintf(answer, sizeof(answer), "%s", table[i].answer);
        struct site s = open_site(answer_raw, answer);
        struct got g;
        struct source_request r = request_of(&g, 0, 10);
        source_start(s.source, &r);
        source_wait(s.source, &r);
        if (r.result != table[i].result || !strstr(r.error.text, table[i].word))
            fail_msg("answer %zu: %d %s", i, r.result, r.error.text);
        close_site(&s);
    }
}

static void a_head_that_breaks_off_is_no_empty_file(void **state)
{
    (void)state;
    char answer[] = "HTTP/1.1 200 O\r\nContent-Len";
    struct site s = open_site(answer_raw, answer);
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    assert_int_equal(fetch(s.source, &r), -ENETUNREACH);
    assert_int_equal(g.bytes, 0);
    close_site(&s);
}

static bool answer_without_end(struct tiny_request *q, void *context)
{
    (void)context;
    static const char chunk[4096];
    tiny_text(q->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (!atomic_load(&q->server->stopping) && send(q->fd, "1000\r\n", 6, MSG_NOSIGNAL) == 6) {
        tiny_send(q->fd, chunk, sizeof(chunk));
        tiny_text(q->fd, "\r\n");
    }
    return false;
}

static int count_only(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct got *g = context;
    (void)offset;
    (void)bytes;
    g->bytes += n;
    return 0;
}

static void endless_data_stops_at_the_maximum(void **state)
{
    (void)state;
    struct site s = open_site(answer_without_end, NULL);
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    r.sink = count_only;
    r.maximum = 1000000;
    assert_int_equal(fetch(s.source, &r), -EBADMSG);
    assert_non_null(strstr(r.error.text, "more than 1000000"));
    assert_true(g.bytes <= 1000000);
    close_site(&s);
}

static bool answer_head_without_end(struct tiny_request *q, void *context)
{
    const char *line = context;
    tiny_text(q->fd, "HTTP/1.1 200 OK\r\n");
    while (!atomic_load(&q->server->stopping) && send(q->fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line))
        ;
    return false;
}

static void endless_headers_stop(void **state)
{
    (void)state;
    static char *const lines[] = {"X-A: 0123456789012345678901234567890123456789\r\n", "x", "HTTP/1.1 100 C\r\n\r\n"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct site s = open_site(answer_head_without_end, lines[i]);
        struct got g;
        struct source_request r = request_of(&g, 0, 0);
        assert_int_equal(fetch(s.source, &r), -EBADMSG);
        close_site(&s);
    }
}

static bool redirect(struct tiny_request *q, void *context)
{
    unsigned hops = *(unsigned *)context;
    unsigned at = 0;
    if (sscanf(q->path, "/hop%u", &at) == 1 && at >= hops)
        return tiny_serve(q, file, FILE_SIZE);
    char fields[128];
    snprintf(fields, sizeof(fields), "Location: /hop%u\r\n", at + 1);
    return tiny_reply(q, "302 Found", fields, "moved", 5);
}

static void five_redirects_are_followed_and_no_more(void **state)
{
    (void)state;
    unsigned hops = TRANSPORT_REDIRECTS_MAXIMUM;
    struct site s = open_site(redirect, &hops);
    struct got g;
    struct source_request r = request_of(&g, 100, 1000);
    assert_int_equal(fetch(s.source, &r), 0);
    assert_int_equal(g.begin, 100);
    assert_int_equal(r.received, 1000);
    assert_int_equal(s.server->requests, TRANSPORT_REDIRECTS_MAXIMUM + 1);
    assert_int_equal(s.server->connections, 1);
    hops = 1000000; // a loop
    r = request_of(&g, 100, 1000);
    assert_int_equal(fetch(s.source, &r), -EBADMSG);
    assert_int_equal(s.server->requests, 2 * (TRANSPORT_REDIRECTS_MAXIMUM + 1));
    close_site(&s);
}

static bool wait_for_stop(struct tiny_request *q, void *context)
{
    (void)context;
    char byte;
    recv(q->fd, &byte, 1, 0);
    return false;
}

static void nobody_waits_twice_for_a_silent_server(void **state)
{
    (void)state;
    enum { MANY = 2 * TRANSPORT_HOST_CONNECTIONS };
    struct site s = open_site(wait_for_stop, NULL);
    struct got g[MANY];
    struct source_request r[MANY];
    uint64_t before = io_monotonic_ns();
    for (unsigned i = 0; i < MANY; i++) {
        r[i] = request_of(&g[i], 0, 0);
        source_start(s.source, &r[i]);
    }
    for (unsigned i = 0; i < MANY; i++) {
        source_wait(s.source, &r[i]);
        assert_int_equal(r[i].result, -ENETUNREACH);
    }
    assert_true(io_monotonic_ns() - before < UINT64_C(1500000000) * TRANSPORT_STALL_SECONDS);
    assert_int_equal(s.server->requests, TRANSPORT_HOST_CONNECTIONS);
    close_site(&s);
}

int main(void)
{
    set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_file_that_ends_before_the_range_is_wrong),
        cmocka_unit_test(range_behind_the_end_is_416),
        cmocka_unit_test(range_over_the_end_is_a_wrong_range),
        cmocka_unit_test(statuses_have_their_meaning),
        cmocka_unit_test(wrong_answers_are_refused),
        cmocka_unit_test(a_head_that_breaks_off_is_no_empty_file),
        cmocka_unit_test(endless_data_stops_at_the_maximum),
        cmocka_unit_test(endless_headers_stop),
        cmocka_unit_test(five_redirects_are_followed_and_no_more),
        cmocka_unit_test(nobody_waits_twice_for_a_silent_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
