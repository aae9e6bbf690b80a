// The transport against servers that are right, wrong, slow and hostile, and against directories.

#include "blockstore/transport.h"

#include "base/io.h"
#include "tests/unit/tiny_http.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/banned.h"

#define FILE_SIZE 300000u
static unsigned char file[FILE_SIZE];

// What a sink got, and whether it was in order and right.
struct got {
    uint64_t begin, bytes;
    bool wrong;
    int refuse_with; // what the sink returns
    atomic_uint done;
};

static int take(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct got *g = context;
    if (g->refuse_with)
        return g->refuse_with;
    if (g->bytes == 0)
        g->begin = offset;
    if (offset != g->begin + g->bytes || offset + n > FILE_SIZE || memcmp(file + offset, bytes, n) != 0)
        g->wrong = true;
    g->bytes += n;
    return 0;
}

static void note_done(void *context)
{
    struct got *g = context;
    atomic_fetch_add(&g->done, 1);
}

static struct source_request request_of(struct got *g, uint64_t offset, uint64_t length)
{
    *g = (struct got){.bytes = 0};
    return (struct source_request){.path = "objects/ab/abc",
                                   .offset = offset,
                                   .length = length,
                                   .maximum = FILE_SIZE,
                                   .sink = take,
                                   .done = note_done,
                                   .context = g};
}

struct site {
    struct tiny_http *server;
    struct transport *transport;
    struct source *source;
};

static struct site open_site(tiny_handler *handler, void *context)
{
    struct site s;
    s.server = tiny_http_start(handler, context);
    assert_int_equal(transport_new(&s.transport, NULL), 0);
    assert_int_equal(source_open(s.transport, s.server->address, &s.source, NULL), 0);
    return s;
}

static void close_site(struct site *s)
{
    source_close(s->source);
    transport_free(s->transport);
    tiny_http_stop(s->server);
}

// One request from start to end; every result must come with its message.
static int fetch(struct source *s, struct source_request *r)
{
    struct got *g = r->context;
    source_start(s, r);
    source_wait(s, r);
    assert_int_equal(atomic_load(&g->done), 1);
    if (r->result < 0) {
        assert_non_null(strstr(r->error.text, r->path));
        assert_non_null(strstr(r->error.text, source_address(s)));
        print_message("# %s\n", r->error.text);
    } else {
        assert_string_equal(r->error.text, "");
    }
    assert_false(g->wrong);
    return r->result;
}

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

static bool serve(struct tiny_request *q, void *context)
{
    (void)context;
    return tiny_serve(q, file, FILE_SIZE);
}

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

static bool ignore_ranges(struct tiny_request *q, void *context)
{
    (void)context;
    return tiny_reply(q, "200 OK", "", file, FILE_SIZE);
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
    sscanf(q->path, "/hop%u", &at);
    if (at >= hops)
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

static void connections_to_a_host_are_bounded(void **state)
{
    (void)state;
    enum { MANY = 60 };
    struct site s = open_site(serve, NULL);
    struct got got[MANY];
    struct source_request r[MANY];
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

static void transport_can_be_freed_with_requests_in_flight(void **state)
{
    (void)state;
    struct tiny_http *server = tiny_http_start(wait_for_stop, NULL);
    struct transport *t;
    struct source *s;
    assert_int_equal(transport_new(&t, NULL), 0);
    assert_int_equal(source_open(t, server->address, &s, NULL), 0);
    struct got g[3];
    struct source_request r[3];
    for (unsigned i = 0; i < 3; i++) {
        r[i] = request_of(&g[i], 0, 0);
        source_start(s, &r[i]);
        source_cancel(s, &r[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        source_wait(s, &r[i]);
        assert_int_equal(r[i].result, -ECANCELED);
    }
    source_close(s);
    transport_free(t);
    tiny_http_stop(server);
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
        "",   "/etc/passwd", "../x", "objects/../../x", "objects//x", "objects/.x", "a b", "a%2e", "a\\b",
        "x/", "a\n",         "?x",   "a/./b",           "-x",         "#frag"};
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

static void directory_gives_the_same_answers(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_transport.XXXXXX";
    assert_non_null(mkdtemp(folder));
    int dir = open(folder, O_RDONLY | O_DIRECTORY);
    assert_int_equal(io_make_folders(dir, "objects/ab", 0700), 0);
    assert_int_equal(io_replace_file(dir, "objects/ab/abc", file, FILE_SIZE, 0600), 0);
    assert_int_equal(symlinkat("/etc/passwd", dir, "leak"), 0);
    assert_int_equal(symlinkat("../../etc/passwd", dir, "leak2"), 0);
    assert_int_equal(symlinkat("abc", dir, "objects/ab/inside"), 0);
    assert_int_equal(mkfifoat(dir, "pipe", 0600), 0);
    struct transport *t;
    struct source *s;
    struct got g;
    assert_int_equal(transport_new(&t, NULL), 0);
    assert_int_equal(source_open(t, folder, &s, NULL), 0);
    assert_false(source_is_remote(s));

    struct source_request r = request_of(&g, 4096, 100000);
    assert_int_equal(fetch(s, &r), 0);
    assert_int_equal(g.begin, 4096);
    assert_int_equal(g.bytes, 100000);
    r = request_of(&g, 0, 0);
    assert_int_equal(fetch(s, &r), 0);
    assert_int_equal(g.bytes, FILE_SIZE);
    char etag[128];
    snprintf(etag, sizeof(etag), "%s", r.etag);
    r = request_of(&g, 0, 0);
    r.if_etag = etag;
    assert_int_equal(fetch(s, &r), 0);
    assert_true(r.not_modified);
    assert_int_equal(g.bytes, 0);
    assert_int_equal(io_replace_file(dir, "objects/ab/abc", file, FILE_SIZE, 0600), 0);
    r = request_of(&g, 0, 0);
    r.if_etag = etag;
    assert_int_equal(fetch(s, &r), 0);
    assert_false(r.not_modified);

    r = request_of(&g, FILE_SIZE - 10, 20);
    assert_int_equal(fetch(s, &r), -EBADMSG);
    r = request_of(&g, 0, 0);
    r.maximum = FILE_SIZE - 1;
    assert_int_equal(fetch(s, &r), -EBADMSG);
    assert_int_equal(g.bytes, 0);
    r = request_of(&g, 0, 0);
    g.refuse_with = -ENOSPC;
    assert_int_equal(fetch(s, &r), -ENOSPC);
    static const struct {
        const char *path;
        int result;
    } table[] = {{"missing", -ENOENT},    {"objects/ab/abc/x", -ENOENT}, {"leak", -EBADMSG},
                 {"leak2", -EBADMSG},     {"objects", -EBADMSG},         {"pipe", -EBADMSG},
                 {"objects/ab/inside", 0}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        r = request_of(&g, 0, 0);
        r.path = table[i].path;
        assert_int_equal(fetch(s, &r), table[i].result);
    }
    source_close(s);
    transport_free(t);
    const char *const names[] = {"objects/ab/inside", "objects/ab/abc", "leak", "leak2", "pipe"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(unlinkat(dir, names[i], 0), 0);
    assert_int_equal(unlinkat(dir, "objects/ab", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dir, "objects", AT_REMOVEDIR), 0);
    close(dir);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    for (unsigned i = 0; i < FILE_SIZE; i++)
        file[i] = (unsigned char)((i * 2654435761u) >> 13);
    static const char *const proxies[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++)
        unsetenv(proxies[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(range_is_answered_with_206),
        cmocka_unit_test(whole_file_is_fetched_in_order),
        cmocka_unit_test(whole_file_answers_a_range_and_is_learned),
        cmocka_unit_test(whole_file_that_ends_before_the_range_is_wrong),
        cmocka_unit_test(range_behind_the_end_is_416),
        cmocka_unit_test(range_over_the_end_is_a_wrong_range),
        cmocka_unit_test(statuses_have_their_meaning),
        cmocka_unit_test(wrong_answers_are_refused),
        cmocka_unit_test(endless_data_stops_at_the_maximum),
        cmocka_unit_test(endless_headers_stop),
        cmocka_unit_test(five_redirects_are_followed_and_no_more),
        cmocka_unit_test(requests_share_a_connection),
        cmocka_unit_test(connections_to_a_host_are_bounded),
        cmocka_unit_test(request_says_what_it_should_and_no_more),
        cmocka_unit_test(request_can_be_cancelled),
        cmocka_unit_test(transport_can_be_freed_with_requests_in_flight),
        cmocka_unit_test(sink_can_end_a_request),
        cmocka_unit_test(nobody_there_is_a_network_error),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(paths_are_checked),
        cmocka_unit_test(directory_gives_the_same_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
