// Sources and requests: what is common to directories and HTTP. See transport.h; the thread is in transport_loop.c.
//
// A request's life, and who moves it:
//
//   source_start ── directory: read here, by the caller ─────────────────────────────────┐
//        └── HTTP ─→ incoming ─ thread ─→ active ─ curl ends it, or source_cancel ─→ over ─→ source_wait
//
// 1. One mutex guards the flags of every transfer. It is never held while a sink, a done callback or curl runs.
// 2. `done` is called before `over` is set, so a request is never freed while its done callback runs.
// 3. Paths are ours, not the network's: what does not look like one of FORMATS' site paths is -EINVAL, so no path
//    can leave the site, whatever it was made from. A query behind it is percent-encoded text; folders have none.

#include "blockstore/transport_private.h"

#include "base/cleanup.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define PATH_MAXIMUM 200
#define QUERY_MAXIMUM 2048

static int curl_ready; // of curl_global_init

static void start_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK ? 0 : -ENOMEM;
}

// The variables that libcurl itself obeys (libcurl-env(3)).
static bool environment_names_proxy(void)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return true;
    }
    return false;
}

int transport_new(struct transport **ret, struct error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    if (curl_ready < 0)
        return error_set(error, -curl_ready, "libcurl cannot be initialized");
    struct transport *t = calloc(1, sizeof(*t));
    if (!t)
        return error_set(error, ENOMEM, "no memory for the network transport");
    t->proxied = environment_names_proxy();
    t->incoming_last = &t->incoming_first;
    pthread_mutex_init(&t->mutex, NULL);
    *ret = t;
    return 0;
}

void transport_set_opener(struct transport *t, int (*open)(void *context, int root, const char *path), void *context)
{
    t->opener = open;
    t->opener_context = context;
}

void transport_free(struct transport *t)
{
    if (!t)
        return;
    transport_loop_stop(t);
    transport_close_ahead(&t->ahead);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

void transport_count(struct transport *t, struct transport_counts *ret)
{
    *ret = (struct transport_counts){.requests = atomic_load_explicit(&t->requests, memory_order_relaxed),
                                     .bytes = atomic_load_explicit(&t->bytes, memory_order_relaxed),
                                     .failures = atomic_load_explicit(&t->failures, memory_order_relaxed),
                                     .hedges = atomic_load_explicit(&t->hedges, memory_order_relaxed),
                                     .hedges_won = atomic_load_explicit(&t->hedges_won, memory_order_relaxed)};
}

int source_open(struct transport *t, const char *address, struct source **ret, struct error *error)
{
    struct source *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(error, ENOMEM, "no memory for a source");
    s->transport = t;
    s->root = -1;
    char url[HTTP_ADDRESS_SIZE];
    int r;
    if (http_address_has_scheme(address)) {
        s->remote = true;
        r = http_address_normalize(address, url, error);
        if (r == 0 && !(s->address = strdup(url)))
            r = error_set(error, ENOMEM, "no memory for a source");
        // The first request to an https site finds out whether the following can share its connection.
        s->limit = r == 0 && strncmp(url, "https:", 6) == 0 ? 1 : TRANSPORT_HOST_CONNECTIONS;
    } else {
        r = transport_directory_open(s, address, error);
    }
    if (r < 0) {
        source_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

void source_close(struct source *s)
{
    if (!s)
        return;
    cleanup_close(&s->root);
    free(s->address);
    free(s);
}

const char *source_address(const struct source *s)
{
    return s->address;
}

bool source_is_remote(const struct source *s)
{
    return s->remote;
}

bool source_ignores_ranges(const struct source *s)
{
    return atomic_load_explicit(&s->ignores_ranges, memory_order_relaxed);
}

bool transport_same_source(const struct source *a, const struct source *b)
{
    if (a->remote != b->remote)
        return false;
    return a->remote ? strcmp(a->address, b->address) == 0 : a->device == b->device && a->inode == b->inode;
}

int transport_fail(struct source *s, struct source_request *r, int code, const char *format, ...)
{
    char address[256], path[256], reason[384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    return error_set(&r->error, code, "cannot fetch %s from %s: %s", text_escape(slice_of(r->path), path, sizeof(path)),
                     text_escape(slice_of(s->address), address, sizeof(address)), reason);
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Folders and names of [A-Za-z0-9._-], none of which begins with a dot.
static bool is_site_path(const char *path, size_t n)
{
    if (n == 0 || n > PATH_MAXIMUM)
        return false;
    char before = '/';
    for (size_t i = 0; i < n; i++) {
        if (!is_plain(path[i]) && (before == '/' || (path[i] != '.' && path[i] != '-' && path[i] != '/')))
            return false;
        before = path[i];
    }
    return before != '/';
}

static bool is_query(const char *query)
{
    size_t n = 0;
    while (is_plain(query[n]) || (query[n] && strchr("-.~%=&+", query[n])))
        n++;
    return query[n] == '\0' && n <= QUERY_MAXIMUM;
}

// Fails a request that was not started.
static void refuse(struct source *s, struct source_request *r, int result)
{
    r->result = result;
    atomic_fetch_add_explicit(&s->transport->failures, 1, memory_order_relaxed);
    if (r->done)
        r->done(r->context);
}

static int start_http(struct source *s, struct source_request *r)
{
    struct source_transfer *tr = calloc(1, sizeof(*tr));
    if (!tr)
        return transport_fail(s, r, ENOMEM, "no memory");
    tr->source = s;
    tr->request = r;
    tr->declared = UINT64_MAX;
    tr->ahead_fd = -1;
    int n = snprintf(tr->url, sizeof(tr->url), "%s%s", s->address, r->path);
    if (n < 0 || (size_t)n >= sizeof(tr->url)) {
        free(tr);
        return transport_fail(s, r, EINVAL, "the address is too long");
    }
    pthread_cond_init(&tr->changed, NULL);
    r->transfer = tr;
    int result = transport_loop_submit(tr);
    if (result < 0) {
        r->transfer = NULL;
        pthread_cond_destroy(&tr->changed);
        free(tr);
        return transport_fail(s, r, -result, "the network thread cannot be started: %s", strerror(-result));
    }
    return 0;
}

void source_start(struct source *s, struct source_request *r)
{
    r->result = 0;
    r->whole = false;
    r->not_modified = false;
    r->received = 0;
    r->etag[0] = '\0';
    r->retry_after_ms = 0;
    r->error.text[0] = '\0';
    r->transfer = NULL;
    int result = 0;
    const size_t path = strcspn(r->path, "?");
    if (!is_site_path(r->path, path) || (r->path[path] && !is_query(r->path + path + 1)))
        result = transport_fail(s, r, EINVAL, "that is no path of a site");
    else if (r->path[path] && !s->remote)
        result = transport_fail(s, r, ENOENT, "a folder answers no questions");
    else if (r->offset > INT64_MAX || r->length > (uint64_t)INT64_MAX - r->offset || (r->offset && !r->length))
        result = transport_fail(s, r, EINVAL, "there is no such range");
    else if (!s->remote)
        transport_directory_read(s, r);
    else
        result = start_http(s, r);
    if (result < 0)
        refuse(s, r, result);
}

void source_wait(struct source *s, struct source_request *r)
{
    struct source_transfer *tr = r->transfer;
    if (!tr)
        return;
    pthread_mutex_lock(&s->transport->mutex);
    while (!tr->over)
        pthread_cond_wait(&tr->changed, &s->transport->mutex);
    r->transfer = NULL;
    pthread_mutex_unlock(&s->transport->mutex);
    pthread_cond_destroy(&tr->changed);
    free(tr);
}

void source_cancel(struct source *s, struct source_request *r)
{
    struct transport *t = s->transport;
    pthread_mutex_lock(&t->mutex);
    if (r->transfer && !r->transfer->over && !r->transfer->cancelled) {
        r->transfer->cancelled = true;
        t->cancels = true;
        curl_multi_wakeup(t->multi);
    }
    pthread_mutex_unlock(&t->mutex);
}
