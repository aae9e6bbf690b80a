// One HTTP request: what is asked, how the answer's body is counted, where redirects may lead, and what the end means.
// (How its head is judged is transport_http_head.c's.) All of it runs on the transport's thread.
//
//   begin → hop: head → body → end ──┬─ over, with a result
//             ↑                      │
//             └── redirect accepted ─┘   at most TRANSPORT_REDIRECTS_MAXIMUM times
//
// 1. What the head allows is delivered, and no byte more: anything beyond is refused when it arrives, whatever
//    Content-Length said (TRUST rule 4, T10).
// 2. Redirects are followed here, not by curl, each after http_address_redirect agreed. Once a hop was at a public
//    address, none that follows may be at a private one. What counts is the address that the connection really has
//    (names can be made to lie), for new connections before they are made, for kept ones before they are used.
//    Behind a proxy that address is the proxy's, so there the host's text decides, and the proxy's own rules.
// 3. Sockets are close-on-exec: rondo starts other programs.

#include "blockstore/transport_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define UNWANTED_BYTES 65536 // of an error page that are read, to keep the connection
#define RECEIVE_BUFFER 65536

int transport_http_note_failure(struct source_transfer *tr, int result)
{
    if (tr->failure == 0)
        tr->failure = result;
    return result;
}

long transport_http_status(struct source_transfer *tr)
{
    long status = 0;
    curl_easy_getinfo(tr->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static bool is_forbidden_hop(const struct source_transfer *tr, bool is_private)
{
    return is_private && tr->redirects > 0 && tr->public_seen && !tr->source->transport->proxied;
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct source_transfer *tr = context;
    (void)purpose; // there is only one
    if (is_forbidden_hop(tr, http_address_is_private(&a->addr))) {
        tr->address_refused = true;
        return CURL_SOCKET_BAD;
    }
    tr->ahead_fd = a->socktype == SOCK_STREAM ? transport_ahead_find(tr->source->transport, a) : -1;
    return tr->ahead_fd >= 0 ? tr->ahead_fd : socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

// Called by curl for the socket that it was given just now.
static int look_at_socket(void *context, curl_socket_t fd, curlsocktype purpose)
{
    const struct source_transfer *tr = context;
    (void)purpose;
    return fd == tr->ahead_fd ? CURL_SOCKOPT_ALREADY_CONNECTED : CURL_SOCKOPT_OK;
}

// Called by curl when a connection stands and nothing was sent on it.
static int before_request(void *context, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    struct source_transfer *tr = context;
    (void)local_ip;
    (void)local_port;
    bool is_private = http_address_text_is_private(remote_ip);
    if (is_forbidden_hop(tr, is_private)) {
        tr->address_refused = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (!is_private)
        tr->public_seen = true;
    transport_ahead_connect(tr, remote_ip, remote_port);
    atomic_fetch_add_explicit(&tr->source->transport->requests, 1, memory_order_relaxed);
    return CURL_PREREQFUNC_OK;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *context)
{
    struct source_transfer *tr = context;
    struct source_request *r = tr->request;
    size_t n = size * count;
    atomic_fetch_add_explicit(&tr->source->transport->bytes, n, memory_order_relaxed);
    r->received += n;
    if (!tr->wanted) {
        tr->taken += n;
        tr->enough = tr->taken > UNWANTED_BYTES;
        return tr->enough ? 0 : n;
    }
    if (n > tr->limit - tr->taken) {
        TRANSPORT_HTTP_FAIL(tr, EBADMSG, "the server sends more than %llu bytes", (unsigned long long)tr->limit);
        return 0;
    }
    int result = r->sink(r->context, tr->offset + tr->taken, bytes, n);
    if (result < 0) {
        TRANSPORT_HTTP_FAIL(tr, -result, "the bytes could not be taken: %s", strerror(-result));
        return 0;
    }
    tr->taken += n;
    return n;
}

static int judge_code(struct source_transfer *tr, CURLcode code)
{
    char reason[CURL_ERROR_SIZE];
    const char *text = tr->curl_error[0] ? tr->curl_error : curl_easy_strerror(code);
    text_escape(slice_of(text), reason, sizeof(reason));
    if (tr->address_refused)
        return TRANSPORT_HTTP_FAIL(tr, EBADMSG, "a redirect to a private address was refused");
    switch (code) {
    case CURLE_OUT_OF_MEMORY: // libcurl's word for a header line that exceeds its own bound, too
        return TRANSPORT_HTTP_FAIL(tr, EBADMSG,
                                   "libcurl has no memory for the answer; its header lines may be too long");
    case CURLE_UNSUPPORTED_PROTOCOL: // an answer that is no HTTP comes under this code as well
    case CURLE_URL_MALFORMAT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return TRANSPORT_HTTP_FAIL(tr, EBADMSG, "%s", reason);
    default:
        return TRANSPORT_HTTP_FAIL(tr, ENETUNREACH, "%s", reason);
    }
}

static int judge_body(struct source_transfer *tr)
{
    const struct source_request *r = tr->request;
    if (!tr->wanted) // libcurl also takes a lost connection, or any line that begins with a CR, for the end of a head
        return TRANSPORT_HTTP_FAIL(tr, tr->taken ? EBADMSG : ENETUNREACH,
                                   "the answer's head does not end with an empty line");
    uint64_t wanted = !r->length ? 0 : r->whole ? r->offset + r->length : r->length;
    if (tr->taken >= wanted)
        return 0;
    // A whole file of a length that the server itself gave ends before the range; otherwise it was cut off.
    int code = r->whole && tr->declared == tr->taken ? EBADMSG : ENETUNREACH;
    return TRANSPORT_HTTP_FAIL(tr, code, "only %llu of %llu bytes came", (unsigned long long)tr->taken,
                               (unsigned long long)wanted);
}

// 0 if the easy handle is ready for the next hop.
static int follow(struct source_transfer *tr)
{
    struct source_request *r = tr->request;
    const char *to = NULL;
    if (curl_easy_getinfo(tr->easy, CURLINFO_REDIRECT_URL, &to) != CURLE_OK || !to)
        return TRANSPORT_HTTP_FAIL(tr, EBADMSG, "the server redirects to nowhere");
    if (tr->redirects == TRANSPORT_REDIRECTS_MAXIMUM)
        return TRANSPORT_HTTP_FAIL(tr, EBADMSG, "more than %d redirects", TRANSPORT_REDIRECTS_MAXIMUM);
    char url[HTTP_ADDRESS_SIZE];
    struct error refusal;
    int result = http_address_redirect(tr->url, to, url, &refusal);
    if (result < 0)
        return TRANSPORT_HTTP_FAIL(tr, -result, "%s", refusal.text);
    if (tr->source->transport->proxied && http_address_names_private_host(url) &&
        !http_address_names_private_host(tr->source->address))
        return TRANSPORT_HTTP_FAIL(tr, EBADMSG, "a redirect to a private address was refused");
    memcpy(tr->url, url, sizeof(url));
    if (curl_easy_setopt(tr->easy, CURLOPT_URL, tr->url) != CURLE_OK)
        return TRANSPORT_HTTP_FAIL(tr, ENOMEM, "no memory");
    tr->redirects++;
    transport_http_forget_head(tr);
    r->received = 0;
    return 0;
}

static int judge_answer(struct source_transfer *tr, bool *ret_again)
{
    struct source_request *r = tr->request;
    long status = transport_http_status(tr);
    int result;
    switch (status) {
    case 200:
    case 206:
        return judge_body(tr);
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
        result = follow(tr);
        *ret_again = result == 0;
        return result;
    case 304:
        r->not_modified = r->if_etag != NULL;
        return r->not_modified
                   ? 0
                   : TRANSPORT_HTTP_FAIL(tr, EBADMSG, "the server says \"not modified\" of what it was not asked");
    case 404:
    case 410:
        return TRANSPORT_HTTP_FAIL(tr, ENOENT, "it is not there (HTTP %ld)", status);
    case 416:
        return TRANSPORT_HTTP_FAIL(tr, EBADMSG, "the file there ends before byte %llu (HTTP 416)",
                                   (unsigned long long)(r->offset + r->length));
    case 408: // request time-out
    case 425: // too early
    case 429: // too many requests
        return TRANSPORT_HTTP_FAIL(tr, ENETUNREACH, "the server cannot answer now (HTTP %ld)", status);
    default:
        return TRANSPORT_HTTP_FAIL(tr, status >= 500 ? ENETUNREACH : EBADMSG, "the server %s (HTTP %ld)",
                                   status >= 500 ? "has an error" : "refuses", status);
    }
}

bool transport_http_end(struct source_transfer *tr, CURLcode code)
{
    bool again = false;
    int result;
    if (tr->failure < 0)
        result = tr->failure;
    else if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && tr->enough))
        result = judge_answer(tr, &again);
    else
        result = judge_code(tr, code);
    tr->request->result = result;
    return again;
}

static int set_conditions(struct source_transfer *tr)
{
    const struct source_request *r = tr->request;
    char text[192];
    if (r->length) {
        snprintf(text, sizeof(text), "%llu-%llu", (unsigned long long)r->offset,
                 (unsigned long long)(r->offset + r->length - 1));
        if (curl_easy_setopt(tr->easy, CURLOPT_RANGE, text) != CURLE_OK)
            return -ENOMEM;
    }
    // The tag came from a server once; one that could not have been copied from there is not sent.
    char etag[sizeof(r->etag)];
    if (r->if_etag && http_header_copy_etag(slice_of(r->if_etag), etag, sizeof(etag))) {
        snprintf(text, sizeof(text), "If-None-Match: %s", etag);
        tr->headers = curl_slist_append(NULL, text);
        if (!tr->headers || curl_easy_setopt(tr->easy, CURLOPT_HTTPHEADER, tr->headers) != CURLE_OK)
            return -ENOMEM;
    }
    return 0;
}

int transport_http_begin(struct source_transfer *tr)
{
    CURL *e = tr->easy = curl_easy_init();
    if (!e)
        return transport_fail(tr->source, tr->request, ENOMEM, "no memory");
    int bad = 0; // any of these fails only for lack of memory, or with a libcurl that was built without it
#define SET(option, value) bad |= curl_easy_setopt(e, option, value) != CURLE_OK
    SET(CURLOPT_URL, tr->url);
    SET(CURLOPT_PRIVATE, tr);
    SET(CURLOPT_ERRORBUFFER, tr->curl_error);
    SET(CURLOPT_USERAGENT, "rondo/" RONDO_VERSION);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); // a cancelled look-up of a name is left behind, not waited for
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); // a proxy's own answer is not the server's
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)TRANSPORT_CONNECT_MS);
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)TRANSPORT_STALL_BYTES);
    SET(CURLOPT_LOW_SPEED_TIME, (long)TRANSPORT_STALL_SECONDS);
    SET(CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, tr);
    SET(CURLOPT_SOCKOPTFUNCTION, look_at_socket);
    SET(CURLOPT_SOCKOPTDATA, tr);
    SET(CURLOPT_PREREQFUNCTION, before_request);
    SET(CURLOPT_PREREQDATA, tr);
    SET(CURLOPT_HEADERFUNCTION, transport_http_take_header);
    SET(CURLOPT_HEADERDATA, tr);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, tr);
#undef SET
    if (bad || set_conditions(tr) < 0)
        return transport_fail(tr->source, tr->request, ENOMEM, "libcurl cannot prepare the request");
    return 0;
}

void transport_http_release(struct source_transfer *tr)
{
    curl_easy_cleanup(tr->easy);
    curl_slist_free_all(tr->headers);
    tr->easy = NULL;
    tr->headers = NULL;
}
