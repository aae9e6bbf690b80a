// What the transport's tests share: a file, a sink that compares with it, and one server with one source.
#pragma once

#include "blockstore/transport.h"

#include "tests/unit/tiny_http.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FILE_SIZE 300000u
static unsigned char file[FILE_SIZE];

// What a sink got, and whether it was in order and right.
struct got {
    uint64_t begin, bytes;
    bool wrong;
    int refuse_with; // what the sink returns
    atomic_uint done;
};

static inline int take(void *context, uint64_t offset, const void *bytes, size_t n)
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

static inline void note_done(void *context)
{
    struct got *g = context;
    atomic_fetch_add(&g->done, 1);
}

static inline struct source_request request_of(struct got *g, uint64_t offset, uint64_t length)
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

static inline struct site open_site(tiny_handler *handler, void *context)
{
    struct site s;
    s.server = tiny_http_start(handler, context);
    assert_int_equal(transport_new(&s.transport, NULL), 0);
    assert_int_equal(source_open(s.transport, s.server->address, &s.source, NULL), 0);
    return s;
}

static inline void close_site(struct site *s)
{
    source_close(s->source);
    transport_free(s->transport);
    tiny_http_stop(s->server);
}

// One request from start to end; every result must come with its message.
static inline int fetch(struct source *s, struct source_request *r)
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

// The start of every test program: contents without a pattern, and no proxy between us and ourselves.
static inline void set_up(void)
{
    for (unsigned i = 0; i < FILE_SIZE; i++)
        file[i] = (unsigned char)((i * 2654435761u) >> 13);
    static const char *const proxies[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++)
        unsetenv(proxies[i]);
}

static inline bool serve(struct tiny_request *q, void *context)
{
    (void)context;
    return tiny_serve(q, file, FILE_SIZE);
}

static inline bool ignore_ranges(struct tiny_request *q, void *context)
{
    (void)context;
    return tiny_reply(q, "200 OK", "", file, FILE_SIZE);
}
