// What the mirrors' tests share: servers that misbehave as told, a job that verifies what it got, and a world of up to
// three servers and one list of mirrors over them.
#pragma once

#include "blockstore/mirrors.h"

#include "base/io.h"
#include "tests/unit/tiny_http.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define FILE_SIZE 100000u
static unsigned char file[FILE_SIZE];

// A server of `file` that misbehaves as its test says.
struct bad_server {
    atomic_uint fail;   // so many requests get 500, or no answer at all if `hang_up`
    bool hang_up;       // close in the middle of the body instead
    bool missing;       // 404
    atomic_uint lies;   // so many answers have one bit flipped
    atomic_uint silent; // so many requests get no answer until the test ends
    atomic_uint slow;   // so many get two bytes a second
    const char *retry_after;
};

static inline bool take_one(atomic_uint *left)
{
    if (atomic_load(left) == 0)
        return false;
    atomic_fetch_sub(left, 1);
    return true;
}

static inline bool misbehave(struct tiny_request *q, void *context)
{
    struct bad_server *b = context;
    if (b->missing)
        return tiny_reply(q, "404 Not Found", "", "", 0);
    if (take_one(&b->silent)) {
        char byte;
        recv(q->fd, &byte, 1, 0);
        return false;
    }
    if (take_one(&b->slow)) {
        tiny_text(q->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        for (unsigned i = 0; !atomic_load(&q->server->stopping) && send(q->fd, file + i, 1, MSG_NOSIGNAL) == 1; i++)
            usleep(500000);
        return false;
    }
    if (take_one(&b->fail)) {
        if (!b->hang_up)
            return tiny_reply(q, "503 Later", b->retry_after ? b->retry_after : "", "", 0);
        char head[200];
        snprintf(head, sizeof(head), "HTTP/1.1 206 P\r\nContent-Range: bytes %llu-%llu/%u\r\n\r\n", q->first, q->last,
                 FILE_SIZE);
        tiny_text(q->fd, head);
        tiny_send(q->fd, file + q->first, (size_t)(q->last - q->first + 1) / 2);
        return false;
    }
    if (take_one(&b->lies)) {
        unsigned char changed[FILE_SIZE];
        memcpy(changed, file, FILE_SIZE);
        changed[q->has_range ? q->first : 0] ^= 1;
        return tiny_serve(q, changed, FILE_SIZE);
    }
    return tiny_serve(q, file, FILE_SIZE);
}

// What a job collects; its verification compares with `file`.
struct got {
    uint64_t offset, length; // wanted
    unsigned char bytes[FILE_SIZE];
    uint64_t n, begin;
    unsigned restarts;
    int refuse_with;
};

static inline void restart(void *context)
{
    struct got *g = context;
    g->n = 0;
    g->restarts++;
}

static inline int take(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct got *g = context;
    if (g->refuse_with)
        return g->refuse_with;
    if (g->n == 0)
        g->begin = offset;
    assert_true(offset == g->begin + g->n && g->n + n <= FILE_SIZE);
    memcpy(g->bytes + g->n, bytes, n);
    g->n += n;
    return 0;
}

static inline int verify(void *context, struct error *error)
{
    const struct got *g = context;
    uint64_t at = g->offset - g->begin;
    if (g->begin > g->offset || at + g->length > g->n ||
        memcmp(g->bytes + at, file + g->offset, (size_t)g->length) != 0)
        return error_set(error, EBADMSG, "the bytes are not what they should be");
    return 0;
}

static inline struct mirrors_job job_of(struct got *g, uint64_t offset, uint64_t length)
{
    memset(g, 0, sizeof(*g));
    g->offset = offset;
    g->length = length;
    return (struct mirrors_job){.path = "objects/ab/abc",
                                .offset = offset,
                                .length = length,
                                .maximum = FILE_SIZE,
                                .restart = restart,
                                .sink = take,
                                .verify = verify,
                                .context = g};
}

struct world {
    struct transport *transport;
    struct mirrors *mirrors;
    struct tiny_http *server[3];
    struct bad_server bad[3];
    unsigned count;
};

static inline void open_world(struct world *w, unsigned count)
{
    memset(w, 0, sizeof(*w));
    w->count = count;
    const char *addresses[3];
    for (unsigned i = 0; i < count; i++) {
        w->server[i] = tiny_http_start(misbehave, &w->bad[i]);
        addresses[i] = w->server[i]->address;
    }
    assert_int_equal(transport_new(&w->transport, NULL), 0);
    assert_int_equal(mirrors_new(w->transport, addresses, count, &w->mirrors, NULL), 0);
    assert_int_equal(mirrors_count(w->mirrors), count);
}

static inline void close_world(struct world *w)
{
    mirrors_free(w->mirrors);
    transport_free(w->transport);
    for (unsigned i = 0; i < w->count; i++)
        tiny_http_stop(w->server[i]);
}

static inline int fetch_one(struct world *w, struct got *g, uint64_t seconds)
{
    struct mirrors_job job = job_of(g, 4096, 8192);
    int r = mirrors_fetch(w->mirrors, &job, 1, io_monotonic_ns() + seconds * SECOND);
    assert_int_equal(r, job.result);
    if (r < 0) {
        print_message("# %s\n", job.error.text);
        assert_non_null(strstr(job.error.text, "objects/ab/abc"));
    } else {
        assert_string_equal(job.error.text, "");
    }
    return r;
}

static inline unsigned requests(const struct world *w, unsigned i)
{
    return atomic_load(&w->server[i]->requests);
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
