// What clients say, and the answers (docs/protocol.md).
#include "base/log.h"
#include "base/text.h"
#include "fuse-cloop/control_private.h"
#include "fuse-cloop/control_source.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static void answer(struct connection *k, const char *text)
{
    int r = socket_send(k->fd, text, NULL, 0);
    if (r < 0 && r != -EPIPE)
        log_warning("an answer to a client failed: %s", strerror(-r));
}

void control_answer_error(struct connection *k, int result, const char *sentence)
{
    char escaped[ERROR_TEXT_SIZE], text[ERROR_TEXT_SIZE + 32];
    snprintf(text, sizeof(text), "error %d %s", -result, text_escape(slice_of(sentence), escaped, sizeof(escaped)));
    answer(k, text);
}

// "<manifest>\n<address>\n<address>…"; the text is cut up.
static int parse_open(char *text, struct sha256 *ret_manifest, const char *ret_addresses[static MIRRORS_MAXIMUM],
                      unsigned *ret_count, struct error *error)
{
    unsigned count = 0;
    char *rest = text;
    char *word = strsep(&rest, "\n");
    if (!sha256_from_hex(word, strlen(word), ret_manifest))
        return error_set(error, EINVAL, "a manifest's SHA-256 is wanted");
    while (rest) {
        char *address = strsep(&rest, "\n");
        if (!*address && !rest)
            break; // the last newline
        if (!*address)
            return error_set(error, EINVAL, "a source's address is empty");
        if (count == MIRRORS_MAXIMUM)
            return error_set(error, EINVAL, "there are more than %u sources", MIRRORS_MAXIMUM);
        ret_addresses[count++] = address;
    }
    *ret_count = count;
    return 0;
}

static bool has_open(const struct connection *k, struct table_key key)
{
    for (unsigned i = 0; i < k->version_count; i++)
        if (k->versions[i].entry == key.entry && k->versions[i].generation == key.generation)
            return true;
    return false;
}

static int parse_checked(struct session *s, char *text, struct sha256 *ret_manifest,
                         const char *ret_addresses[static MIRRORS_MAXIMUM], unsigned *ret_count, struct error *error)
{
    int r = parse_open(text, ret_manifest, ret_addresses, ret_count, error);
    for (unsigned i = 0; r == 0 && i < *ret_count; i++)
        r = control_check_source(s, ret_addresses[i], error);
    return r;
}

static int open_version(struct connection *k, char *text, char ret_folder[static PATH_TEXT_SIZE], struct error *error)
{
    struct session *s = k->control->session;
    const char *addresses[MIRRORS_MAXIMUM];
    struct sha256 manifest;
    struct table_key key;
    char hex[SHA256_HEX_SIZE];
    unsigned count = 0;
    int r = parse_checked(s, text, &manifest, addresses, &count, error);
    if (r < 0)
        return r;
    r = path_format(ret_folder, PATH_TEXT_SIZE, "%s/%s", s->mount_point, sha256_to_hex(&manifest, hex));
    if (r < 0)
        return error_set(error, -r, "the mount point's path is too long");
    r = table_open(s->table, &manifest, addresses, count, &key, error);
    if (r < 0)
        return r;
    if (has_open(k, key)) {
        table_close(s->table, key);
    } else if (k->version_count == CONTROL_VERSIONS) {
        table_close(s->table, key);
        return error_set(error, EBUSY, "one client has %u versions open; that is enough", CONTROL_VERSIONS);
    } else {
        k->versions[k->version_count++] = key;
    }
    return 0;
}

// The descriptors are taken over: connections, for what will be asked for soon.
static void serve_open(struct connection *k, char *text, const int fds[static SOCKET_FDS_MAXIMUM], unsigned *fd_count)
{
    struct error error = {.text = ""};
    char folder[PATH_TEXT_SIZE], reply[PATH_TEXT_SIZE + 8];
    struct transport_ahead ahead = {.count = 0};
    for (unsigned n = *fd_count; ahead.count < n && n <= TRANSPORT_AHEAD_MAXIMUM; *fd_count = 0, ahead.count++)
        ahead.fds[ahead.count] = fds[ahead.count];
    transport_give_ahead(store_transport(k->control->store), &ahead);
    int r = open_version(k, text, folder, &error);
    if (r < 0) {
        log_warning("open: %s", error.text);
        control_answer_error(k, r, error.text);
        return;
    }
    snprintf(reply, sizeof(reply), "ok %s", folder);
    answer(k, reply);
}

// "<bytes a second> <owner>\n" and what parse_open takes; the text is cut up.
static int parse_keep(struct session *s, char *text, struct keep_wish *ret,
                      const char *ret_addresses[static MIRRORS_MAXIMUM], struct error *error)
{
    struct keep_wish wish = {.addresses = ret_addresses};
    char *rest = text;
    char *owner = strsep(&rest, "\n");
    char *rate = strsep(&owner, " ");
    if (!rest || !owner || !text_parse_u64(slice_of(rate), INT64_MAX, &wish.rate))
        return error_set(error, EINVAL, "keep wants a rate and an owner");
    int r = strcmp(owner, CACHE_OWNER_PULL) == 0 ? 0 : control_check_source(s, owner, error);
    if (r == 0)
        r = parse_checked(s, rest, &wish.manifest, ret_addresses, &wish.count, error);
    wish.owner = owner;
    if (r == 0)
        *ret = wish;
    return r;
}

// It lasts as long as the connection; another one takes its place.
static void serve_keep(struct connection *k, char *text)
{
    struct error error = {.text = ""};
    const char *addresses[MIRRORS_MAXIMUM];
    struct keep_wish wish;
    int r = parse_keep(k->control->session, text, &wish, addresses, &error);
    if (r < 0) {
        control_answer_error(k, r, error.text);
        return;
    }
    keep_stop(k->keep);
    k->keep = keep_start(k->control->store, &wish);
    answer(k, "ok");
}

static void serve_hold(struct connection *k)
{
    struct control *c = k->control;
    // Counted first: whoever was given the session may answer for it.
    pthread_mutex_lock(&c->mutex);
    if (!k->holds)
        c->counts.holders++;
    k->holds = true;
    pthread_mutex_unlock(&c->mutex);
    int r = socket_send(k->fd, "ok", (int[]){c->session->fd, c->session->state_fd}, 2);
    if (r < 0 && r != -EPIPE)
        log_warning("the session could not be handed out: %s", strerror(-r));
}

// We have a session. (Whoever comes with one while we look for it: control_await_offer.)
static void serve_handover(struct connection *k, unsigned fd_count)
{
    if (fd_count == 2)
        answer(k, CONTROL_OFFER_UNNEEDED);
    else
        control_answer_error(k, -EINVAL, CONTROL_OFFER_WANTS);
}

static void serve_counts(struct connection *k)
{
    struct store_counts n;
    struct keep_progress kept = {.have = 0};
    char text[768];
    if (k->keep)
        keep_look(k->keep, &kept);
    store_count(k->control->store, &n);
    snprintf(
        text, sizeof(text),
        "ok requests=%llu bytes=%llu failures=%llu chunks_memory=%llu chunks_cache=%llu chunks_fetched=%llu wrong=%llu "
        "chunks_stream=%llu chunks_overtaken=%llu stream_bytes=%llu stream_wasted=%llu hedges=%llu "
        "hedges_won=%llu keep_have=%llu keep_all=%llu kept=%d",
        (unsigned long long)n.network.requests, (unsigned long long)n.network.bytes,
        (unsigned long long)n.network.failures, (unsigned long long)n.chunks_memory, (unsigned long long)n.chunks_cache,
        (unsigned long long)n.chunks_fetched, (unsigned long long)n.wrong, (unsigned long long)n.chunks_stream,
        (unsigned long long)n.chunks_overtaken, (unsigned long long)n.stream_bytes, (unsigned long long)n.stream_wasted,
        (unsigned long long)n.network.hedges, (unsigned long long)n.network.hedges_won, (unsigned long long)kept.have,
        (unsigned long long)kept.all, kept.kept);
    answer(k, text);
}

static void serve_quit(struct connection *k)
{
    pthread_mutex_lock(&k->control->mutex);
    k->control->counts.quit = true;
    control_wake(k->control);
    pthread_mutex_unlock(&k->control->mutex);
    answer(k, "ok");
}

void control_serve(struct connection *k, char *text, const int fds[static SOCKET_FDS_MAXIMUM], unsigned *fd_count)
{
    if (strncmp(text, "open ", 5) == 0)
        serve_open(k, text + 5, fds, fd_count);
    else if (strncmp(text, "keep ", 5) == 0)
        serve_keep(k, text + 5);
    else if (strcmp(text, "handover") == 0)
        serve_handover(k, *fd_count);
    else if (strcmp(text, "hold") == 0)
        serve_hold(k);
    else if (strcmp(text, "counts") == 0)
        serve_counts(k);
    else if (strcmp(text, "quit") == 0)
        serve_quit(k);
    else
        control_answer_error(k, -EINVAL, "rondo-cloop knows no such message");
}
