// See upload.h: one request, and what its end means.
#include "base/cleanup.h"
#include "base/text.h"
#include "blockstore/transport.h"
#include "client/cli.h"
#include "client/json.h"
#include "client/upload_private.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/banned.h"

#define MOVE_MS 100
#define STALL_BYTES 512  // a second, of what is sent and received: four objects may share a slow line
#define TOLD_SIZE 400    // of what the server says, escaped
#define WAIT_TOLD_MS 500 // before a terminal sees what is waited for

int upload_open(const char *site, struct upload **ret, struct error *error)
{
    struct upload *u = calloc(1, sizeof(*u));
    if (u)
        u->multi = curl_multi_init();
    if (!u || !u->multi) {
        free(u);
        return error_set(error, ENOMEM, "no memory for a connection");
    }
    curl_multi_setopt(u->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    snprintf(u->site, sizeof(u->site), "%s", site);
    *ret = u;
    return 0;
}

void upload_close(struct upload *u)
{
    if (!u)
        return;
    curl_multi_cleanup(u->multi);
    explicit_bzero(u->token, sizeof(u->token));
    free(u);
}

void upload_set_token(struct upload *u, const char token[static UPLOAD_TOKEN_SIZE])
{
    memcpy(u->token, token, UPLOAD_TOKEN_SIZE);
}

// --- one request -----------------------------------------------------------------------------------------------------

static int note_failure(struct upload_transfer *t, int code, const char *what)
{
    if (t->failure == 0)
        t->failure = error_set(&t->error, code, "%s: %s", t->upload->site, what);
    return t->failure;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *context)
{
    struct upload_transfer *t = context;
    int r = buf_append(&t->answer->body, bytes, size * count);
    if (r < 0) {
        note_failure(t, r == -E2BIG ? EBADMSG : ENOMEM,
                     r == -E2BIG ? "the answer is longer than any that has a meaning" : "out of memory");
        return 0;
    }
    return size * count;
}

static size_t take_header(char *bytes, size_t size, size_t count, void *context)
{
    struct upload_transfer *t = context;
    (void)bytes;
    t->header_bytes += size * count;
    if (t->header_bytes > TRANSPORT_HEADER_BYTES) {
        note_failure(t, EBADMSG, "the answer's header lines have no end");
        return 0;
    }
    return size * count;
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)context;
    (void)purpose;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static int add_header(struct upload_transfer *t, const char *line)
{
    struct curl_slist *grown = curl_slist_append(t->headers, line);
    if (!grown)
        return -ENOMEM;
    t->headers = grown;
    return 0;
}

static int add_headers(struct upload_transfer *t, const char *header)
{
    char line[64 + UPLOAD_TOKEN_SIZE];
    int r = add_header(t, "Content-Type: application/octet-stream");
    if (r == 0 && header)
        r = add_header(t, header);
    if (r == 0 && t->upload->token[0]) {
        snprintf(line, sizeof(line), "Authorization: Bearer %s", t->upload->token);
        r = add_header(t, line);
        explicit_bzero(line, sizeof(line));
    }
    return r;
}

int upload_begin(struct upload *u, struct upload_transfer *t, const char *path, const char *header, unsigned seconds,
                 struct error *error)
{
    int n = snprintf(t->url, sizeof(t->url), "%sapi/v1/publish/%s", u->site, path);
    if (n < 0 || (size_t)n >= sizeof(t->url))
        return error_set(error, ENAMETOOLONG, "the address %.64s… is too long", u->site);
    t->upload = u;
    CURL *e = t->easy = curl_easy_init();
    int bad = e == NULL || add_headers(t, header) < 0;
#define SET(option, value) bad = bad || curl_easy_setopt(e, option, value) != CURLE_OK
    SET(CURLOPT_URL, t->url);
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_ERRORBUFFER, t->curl_error);
    SET(CURLOPT_USERAGENT, "rondo/" RONDO_VERSION);
    SET(CURLOPT_HTTPHEADER, t->headers);
    SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); // a proxy does not get the token
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)TRANSPORT_CONNECT_MS);
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES);
    SET(CURLOPT_LOW_SPEED_TIME, (long)seconds);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, t);
#undef SET
    return bad ? error_set(error, ENOMEM, "libcurl cannot prepare a request to %s", u->site) : 0;
}

int upload_start(struct upload_transfer *t, struct error *error)
{
    return curl_multi_add_handle(t->upload->multi, t->easy) == CURLM_OK
               ? 0
               : error_set(error, ENOMEM, "libcurl took no more requests to %s", t->upload->site);
}

void upload_end(struct upload_transfer *t)
{
    if (t->easy) {
        curl_multi_remove_handle(t->upload->multi, t->easy); // fine if it is not in it
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    t->easy = NULL;
    t->headers = NULL;
}

int upload_move(struct upload *u, struct error *error)
{
    int running, left;
    if (curl_multi_perform(u->multi, &running) != CURLM_OK)
        return error_set(error, EIO, "libcurl cannot go on with %s", u->site);
    for (CURLMsg *m; (m = curl_multi_info_read(u->multi, &left));) {
        struct upload_transfer *t = NULL;
        if (m->msg == CURLMSG_DONE && curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK) {
            t->code = m->data.result;
            t->over = true;
        }
    }
    if (cli_interrupted())
        return error_set(error, ECANCELED, "cancelled; the same command goes on from here");
    if (running > 0)
        curl_multi_poll(u->multi, NULL, 0, MOVE_MS, NULL);
    return 0;
}

int upload_judge(struct upload_transfer *t, struct error *error)
{
    char reason[CURL_ERROR_SIZE];
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->answer->status);
    // An answer that came before all was sent is an answer, even where the connection ended with it.
    if (t->failure == 0 && (t->code == CURLE_OK || (t->code == CURLE_SEND_ERROR && t->answer->status >= 400)))
        return 0;
    if (t->failure < 0)
        return error_set(error, -t->failure, "%s", t->error.text);
    text_escape(slice_of(t->curl_error[0] ? t->curl_error : curl_easy_strerror(t->code)), reason, sizeof(reason));
    bool strange = t->code == CURLE_UNSUPPORTED_PROTOCOL || t->code == CURLE_WEIRD_SERVER_REPLY ||
                   t->code == CURLE_BAD_CONTENT_ENCODING || t->code == CURLE_URL_MALFORMAT;
    const int code = strange ? EBADMSG : t->code == CURLE_OPERATION_TIMEDOUT ? EHOSTUNREACH : ENETUNREACH;
    return error_set(error, code, "%s: %s", t->upload->site, reason);
}

static int post_once(struct upload *u, const char *path, const void *body, size_t n, unsigned seconds,
                     const char *doing, struct upload_answer *ret, struct error *error)
{
    struct upload_transfer t = {.answer = ret};
    buf_clear(&ret->body);
    int r = upload_begin(u, &t, path, "Expect:", seconds, error);
    if (r == 0 && (curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n) != CURLE_OK ||
                   curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, n ? body : "") != CURLE_OK))
        r = error_set(error, ENOMEM, "libcurl cannot prepare a request to %s", u->site);
    if (r == 0)
        r = upload_start(&t, error);
    for (unsigned ms = 0; r == 0 && !t.over; ms += MOVE_MS) {
        r = upload_move(u, error);
        if (ms >= WAIT_TOLD_MS)
            cli_progress("%s: %s", u->site, doing);
    }
    if (r == 0)
        r = upload_judge(&t, error);
    upload_end(&t);
    return r;
}

int upload_post(struct upload *u, const char *path, const void *body, size_t n, unsigned seconds, const char *doing,
                struct upload_answer *ret, struct error *error)
{
    int r = post_once(u, path, body, n, seconds, doing, ret, error);
    if (r == -ENETUNREACH) // of a connection that was kept too long, for instance; who is silent is not asked twice
        r = post_once(u, path, body, n, seconds, doing, ret, error);
    cli_progress_end();
    return r < 0 ? error_prefix(error, r, "%s", doing) : 0;
}

// --- answers ---------------------------------------------------------------------------------------------------------

// `: "error"; next`, as far as the answer has them. Whether it says what to do next.
static bool tell(const struct upload_answer *a, char *to, size_t capacity)
{
    char text[TOLD_SIZE], escaped[TOLD_SIZE];
    size_t used = 0;
    bool next = false;
    static const char *const paths[] = {"$.error", "$.next"};
    to[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        if (a->body.size == 0 || !json_find((const char *)a->body.data, a->body.size, paths[i], text, sizeof(text)) ||
            !text[0])
            continue;
        text_escape(slice_of(text), escaped, sizeof(escaped));
        int n = snprintf(to + used, capacity - used, "%s%s", i == 0 ? ": " : "; ", escaped);
        if (n < 0 || (size_t)n >= capacity - used)
            return next;
        used += (size_t)n;
        next = i == 1;
    }
    return next;
}

int upload_explain(const struct upload *u, const char *did, const struct upload_answer *a, struct error *error)
{
    char said[TOLD_SIZE];
    const bool next = tell(a, said, sizeof(said));
    switch (a->status) {
    case 401:
    case 403:
        return error_set(error, EKEYREJECTED, "%s does not take %s%s", u->site, did, said);
    case 404:
    case 405:
    case 501:
        return error_set(error, ENOENT,
                         "%s takes no publications over HTTP (HTTP %ld)%s; its operator starts rondo-server with "
                         "--state DIR and --site-key FILE for that",
                         u->site, a->status, said);
    case 409:
        return error_set(error, EEXIST, "%s does not take %s%s", u->site, did, said);
    case 413:
    case 507:
        return error_set(error, ENOSPC, "%s has no room for %s%s; %sthen run the same command again", u->site, did,
                         said,
                         next               ? ""
                         : a->status == 413 ? "ask its operator for more (rondo-server quota), "
                                            : "ask its operator to make room, ");
    case 422:
        return error_set(error, EBADMSG, "%s finds %s wrong%s", u->site, did, said);
    case 408:
    case 429:
        return error_set(error, ENETUNREACH, "%s cannot take %s now (HTTP %ld)%s", u->site, did, a->status, said);
    default:
        if (a->status >= 300 && a->status < 400)
            return error_set(error, EINVAL,
                             "%s sends publishers elsewhere (HTTP %ld), and what is signed here goes nowhere but to "
                             "the address that was given: ask its operator for the one that takes publications, and "
                             "give that with --to",
                             u->site, a->status);
        if (a->status >= 500)
            return error_set(error, ENETUNREACH, "%s has an error (HTTP %ld)%s", u->site, a->status, said);
        return error_set(error, EBADMSG, "%s answers %s in a way that has no meaning (HTTP %ld)%s", u->site, did,
                         a->status, said);
    }
}

int upload_find_token(const struct upload *u, const struct upload_answer *a, const char *path,
                      char ret[static UPLOAD_TOKEN_SIZE], struct error *error)
{
    char text[UPLOAD_TOKEN_SIZE + 1];
    if (a->body.size == 0 || !json_find((const char *)a->body.data, a->body.size, path, text, sizeof(text)) ||
        strlen(text) != UPLOAD_TOKEN_SIZE - 1 ||
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != UPLOAD_TOKEN_SIZE - 1)
        return error_set(error, EBADMSG, "%s answers without a %s that has the right form", u->site, path + 2);
    memcpy(ret, text, UPLOAD_TOKEN_SIZE);
    return 0;
}
