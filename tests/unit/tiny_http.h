// A small HTTP server inside a test's own process, whose every answer the test writes itself: for the behaviour of
// clients towards servers that are wrong, slow or hostile. One thread listens; each connection has its own.
#pragma once

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TINY_CONNECTIONS 256

struct tiny_request {
    struct tiny_http *server;
    int fd;
    unsigned number; // from 1, over all connections
    char method[8], path[256];
    char head[4096]; // all of it
    bool has_range;
    unsigned long long first, last;
};

// Writes an answer; returns false if the connection is to be closed.
typedef bool tiny_handler(struct tiny_request *q, void *context);

struct tiny_http {
    tiny_handler *handler;
    void *context;
    int listener;
    unsigned port;
    char address[64]; // http://127.0.0.1:PORT/
    atomic_uint connections, requests;
    atomic_bool stopping;
    pthread_t thread, workers[TINY_CONNECTIONS];
    int fds[TINY_CONNECTIONS]; // each is closed by tiny_http_stop
};

static inline void tiny_send(int fd, const void *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = send(fd, (const char *)bytes + done, n - done, MSG_NOSIGNAL);
        if (r <= 0)
            return; // the client has left, which is its right
        done += (size_t)r;
    }
}

static inline void tiny_text(int fd, const char *text)
{
    tiny_send(fd, text, strlen(text));
}

// An answer with Content-Length; `fields` are further header lines, each with its \r\n.
static inline bool tiny_reply(struct tiny_request *q, const char *status, const char *fields, const void *body,
                              size_t n)
{
    char head[1024];
    int length = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n", status, fields, n);
    assert(length > 0 && (size_t)length < sizeof(head));
    tiny_text(q->fd, head);
    tiny_send(q->fd, body, n);
    return true;
}

// The well-behaved server of one file.
static inline bool tiny_serve(struct tiny_request *q, const unsigned char *file, size_t size)
{
    if (!q->has_range)
        return tiny_reply(q, "200 OK", "", file, size);
    if (q->first >= size)
        return tiny_reply(q, "416 Range Not Satisfiable", "", "", 0);
    unsigned long long last = q->last < size ? q->last : size - 1;
    char field[96];
    snprintf(field, sizeof(field), "Content-Range: bytes %llu-%llu/%zu\r\n", q->first, last, size);
    return tiny_reply(q, "206 Partial Content", field, file + q->first, (size_t)(last - q->first + 1));
}

static inline bool tiny_read_head(struct tiny_request *q)
{
    size_t n = 0;
    q->head[0] = '\0';
    while (!strstr(q->head, "\r\n\r\n")) {
        ssize_t r = recv(q->fd, q->head + n, 1, 0); // a byte at a time: the next request stays in the socket
        if (r <= 0 || ++n >= sizeof(q->head) - 1)
            return false;
        q->head[n] = '\0';
    }
    const char *range = strstr(q->head, "\r\nRange: bytes=");
    q->has_range = range && sscanf(range, "\r\nRange: bytes=%llu-%llu", &q->first, &q->last) == 2;
    return sscanf(q->head, "%7s %255s", q->method, q->path) == 2;
}

struct tiny_worker {
    struct tiny_http *server;
    int fd;
};

static inline void *tiny_work(void *context)
{
    struct tiny_worker worker = *(struct tiny_worker *)context;
    free(context);
    struct tiny_request q = {.server = worker.server, .fd = worker.fd};
    do {
        if (!tiny_read_head(&q))
            break;
        q.number = atomic_fetch_add(&worker.server->requests, 1) + 1;
    } while (worker.server->handler(&q, worker.server->context));
    shutdown(worker.fd, SHUT_RDWR);
    return NULL;
}

static inline void *tiny_listen(void *context)
{
    struct tiny_http *s = context;
    for (;;) {
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0 || atomic_load(&s->stopping)) {
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        struct tiny_worker *worker = malloc(sizeof(*worker));
        assert(worker && s->connections < TINY_CONNECTIONS);
        *worker = (struct tiny_worker){.server = s, .fd = fd};
        s->fds[s->connections] = fd;
        int r = pthread_create(&s->workers[s->connections], NULL, tiny_work, worker);
        assert(r == 0);
        (void)r;
        s->connections++;
    }
}

static inline struct tiny_http *tiny_http_start_at(uint32_t ip, tiny_handler *handler, void *context)
{
    struct tiny_http *s = calloc(1, sizeof(*s));
    assert(s);
    s->handler = handler;
    s->context = context;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(ip)};
    socklen_t length = sizeof(in);
    int r = bind(s->listener, (struct sockaddr *)&in, length);
    r |= listen(s->listener, 64);
    r |= getsockname(s->listener, (struct sockaddr *)&in, &length);
    s->port = ntohs(in.sin_port);
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
    snprintf(s->address, sizeof(s->address), "http://%s:%u/", text, s->port);
    r |= pthread_create(&s->thread, NULL, tiny_listen, s);
    assert(r == 0);
    (void)r;
    return s;
}

static inline struct tiny_http *tiny_http_start(tiny_handler *handler, void *context)
{
    return tiny_http_start_at(INADDR_LOOPBACK, handler, context);
}

static inline void tiny_http_stop(struct tiny_http *s)
{
    atomic_store(&s->stopping, true);
    shutdown(s->listener, SHUT_RDWR); // wakes accept
    pthread_join(s->thread, NULL);
    close(s->listener);
    for (unsigned i = 0; i < s->connections; i++)
        shutdown(s->fds[i], SHUT_RDWR);
    for (unsigned i = 0; i < s->connections; i++) {
        pthread_join(s->workers[i], NULL);
        close(s->fds[i]);
    }
    free(s);
}
