// An HTTP server of a test site, that counts, and misbehaves on demand.
#pragma once

#include "tests/unit/store_fixture.h"
#include "tests/unit/tiny_http.h"
#include <time.h>

#define SERVER_LOG 4096u

struct site_request {
    char path[128];
    bool has_range;
    unsigned long long first, last;
};

struct site_server {
    struct tiny_http *http;
    const struct test_site *site;
    atomic_bool ignore_ranges; // 200 for all
    atomic_bool closed;        // no answers: the connection ends
    atomic_uint lie_every;     // every so manieth answer of an object has one bit wrong
    atomic_uint fail_every;    // every so manieth answer is 503
    atomic_uint cut_every;     // every so manieth answer ends in its middle
    atomic_uint delay_ms;      // before each answer
    atomic_bool hold;          // no answer until this is false
    atomic_uint served;        // answers in all
    atomic_ullong bytes;       // of their bodies
    pthread_mutex_t mutex;
    struct site_request log[SERVER_LOG];
    unsigned logged;
};

static inline void server_sleep(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static inline void server_note(struct site_server *s, const struct tiny_request *q)
{
    pthread_mutex_lock(&s->mutex);
    struct site_request *r = &s->log[s->logged < SERVER_LOG ? s->logged++ : SERVER_LOG - 1];
    snprintf(r->path, sizeof(r->path), "%.127s", q->path);
    r->has_range = q->has_range;
    r->first = q->first;
    r->last = q->last;
    pthread_mutex_unlock(&s->mutex);
}

static inline bool every(unsigned number, unsigned n)
{
    return n && number % n == 0;
}

static inline bool server_handle(struct tiny_request *q, void *context)
{
    struct site_server *s = context;
    unsigned number = atomic_fetch_add(&s->served, 1) + 1;
    char path[512];
    void *bytes CLEANUP_FREE = NULL;
    size_t n;

    server_note(s, q);
    server_sleep(atomic_load(&s->delay_ms));
    while (atomic_load(&s->hold) && !atomic_load(&q->server->stopping))
        server_sleep(5);
    if (atomic_load(&s->closed))
        return false;
    if (every(number, atomic_load(&s->fail_every)))
        return tiny_reply(q, "503 Service Unavailable", "", "", 0);
    snprintf(path, sizeof(path), "%s%s", s->site->folder, q->path);
    if (io_read_file(AT_FDCWD, path, PACK_SIZE_MAXIMUM, &bytes, &n) < 0)
        return tiny_reply(q, "404 Not Found", "", "", 0);
    if (atomic_load(&s->ignore_ranges))
        q->has_range = false;
    unsigned long long first = q->has_range ? q->first : 0, last = q->has_range ? q->last : n - 1;
    if (every(number, atomic_load(&s->lie_every)))
        ((unsigned char *)bytes)[first + (last - first) / 2] ^= 4;
    if (every(number, atomic_load(&s->cut_every))) {
        char head[96];
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
        tiny_text(q->fd, head);
        tiny_send(q->fd, bytes, n / 2);
        return false;
    }
    atomic_fetch_add(&s->bytes, last - first + 1);
    return tiny_serve(q, bytes, n);
}

static inline struct site_server *server_start(const struct test_site *site)
{
    struct site_server *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->site = site;
    pthread_mutex_init(&s->mutex, NULL);
    s->http = tiny_http_start(server_handle, s);
    return s;
}

static inline void server_stop(struct site_server *s)
{
    tiny_http_stop(s->http);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

static inline unsigned server_requests(struct site_server *s)
{
    return atomic_load(&s->served);
}
