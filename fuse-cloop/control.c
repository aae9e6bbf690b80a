// The conversation with clients (see control.h).
#include "fuse-cloop/control.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/text.h"
#include "fuse-cloop/control_source.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/banned.h"

#define CONNECTION_STACK (256u << 10)

struct control {
    pthread_mutex_t mutex;
    pthread_cond_t changed; // the phase, or the offer
    int listener, wake_fd;
    char path[PATH_TEXT_SIZE], aside[PATH_TEXT_SIZE];
    bool ready;
    struct session *session; // once ready
    struct store *store;
    struct control_counts counts;
    enum { OFFER_NONE, OFFER_MADE, OFFER_LOOKED_AT, OFFER_TAKEN, OFFER_REFUSED } offer;
    int offered[2];
};

struct connection {
    struct control *control;
    int fd;
    bool holds;
    struct table_key versions[CONTROL_VERSIONS];
    unsigned version_count;
};

static void wake(struct control *c)
{
    if (eventfd_write(c->wake_fd, 1) < 0)
        log_error("cannot wake the main loop: %s", strerror(errno));
}

static void answer(struct connection *k, const char *text)
{
    int r = socket_send(k->fd, text, NULL, 0);
    if (r < 0 && r != -EPIPE)
        log_warning("an answer to a client failed: %s", strerror(-r));
}

static void answer_error(struct connection *k, int result, const char *sentence)
{
    char escaped[ERROR_TEXT_SIZE], text[ERROR_TEXT_SIZE + 32];
    snprintf(text, sizeof(text), "error %d %s", -result, text_escape(slice_of(sentence), escaped, sizeof(escaped)));
    answer(k, text);
}

static void wait_until_ready(struct control *c)
{
    pthread_mutex_lock(&c->mutex);
    while (!c->ready)
        pthread_cond_wait(&c->changed, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

// --- messages ------------------------------------------------------------------------------------------------------

// "<manifest>\n<address>\n<address>…"; the text is cut up.
static int parse_open(char *text, struct sha256 *ret_manifest, const char *ret_addresses[static MIRRORS_MAXIMUM],
                      unsigned *ret_count, struct error *error)
{
    unsigned count = 0;
    char *rest = text;
    char *word = strsep(&rest, "\n");
    if (!sha256_from_hex(word, strlen(word), ret_manifest))
        return error_set(error, EINVAL, "open wants a manifest's SHA-256");
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

static int open_version(struct connection *k, char *text, char ret_folder[static PATH_TEXT_SIZE], struct error *error)
{
    struct session *s = k->control->session;
    const char *addresses[MIRRORS_MAXIMUM];
    struct sha256 manifest;
    struct table_key key;
    char hex[SHA256_HEX_SIZE];
    unsigned count = 0;
    int r = parse_open(text, &manifest, addresses, &count, error);
    for (unsigned i = 0; i < count && r == 0; i++)
        r = control_check_source(s, addresses[i], error);
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

static void serve_open(struct connection *k, char *text)
{
    struct error error = {.text = ""};
    char folder[PATH_TEXT_SIZE], reply[PATH_TEXT_SIZE + 8];
    int r = open_version(k, text, folder, &error);
    if (r < 0) {
        log_warning("open: %s", error.text);
        answer_error(k, r, error.text);
        return;
    }
    snprintf(reply, sizeof(reply), "ok %s", folder);
    answer(k, reply);
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

// Takes over the descriptors.
static void serve_handover(struct connection *k, int fds[static SOCKET_FDS_MAXIMUM], unsigned *fd_count)
{
    struct control *c = k->control;
    if (*fd_count != 2) {
        answer_error(k, -EINVAL, "handover needs two descriptors");
        return;
    }
    pthread_mutex_lock(&c->mutex);
    while (!c->ready && c->offer != OFFER_NONE) // one at a time
        pthread_cond_wait(&c->changed, &c->mutex);
    bool taken = false;
    if (!c->ready) {
        c->offer = OFFER_MADE;
        c->offered[0] = fds[0];
        c->offered[1] = fds[1];
        *fd_count = 0;
        wake(c);
        while (!c->ready && (c->offer == OFFER_MADE || c->offer == OFFER_LOOKED_AT))
            pthread_cond_wait(&c->changed, &c->mutex);
        taken = c->offer == OFFER_TAKEN;
        if (c->offer == OFFER_MADE) { // nobody looked
            fds[0] = c->offered[0];
            fds[1] = c->offered[1];
            *fd_count = 2;
        }
        c->offer = OFFER_NONE;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->mutex);
    answer(k, taken ? "ok" : "ok unneeded");
}

static void serve_counts(struct connection *k)
{
    struct store_counts n;
    char text[512];
    store_count(k->control->store, &n);
    snprintf(
        text, sizeof(text),
        "ok requests=%llu bytes=%llu failures=%llu chunks_memory=%llu chunks_cache=%llu chunks_fetched=%llu wrong=%llu",
        (unsigned long long)n.network.requests, (unsigned long long)n.network.bytes,
        (unsigned long long)n.network.failures, (unsigned long long)n.chunks_memory, (unsigned long long)n.chunks_cache,
        (unsigned long long)n.chunks_fetched, (unsigned long long)n.wrong);
    answer(k, text);
}

static void serve_quit(struct connection *k)
{
    pthread_mutex_lock(&k->control->mutex);
    k->control->counts.quit = true;
    wake(k->control);
    pthread_mutex_unlock(&k->control->mutex);
    answer(k, "ok");
}

static void serve_message(struct connection *k, char *text, int fds[static SOCKET_FDS_MAXIMUM], unsigned *fd_count)
{
    if (strcmp(text, "handover") == 0) {
        serve_handover(k, fds, fd_count);
        return;
    }
    wait_until_ready(k->control);
    if (strncmp(text, "open ", 5) == 0)
        serve_open(k, text + 5);
    else if (strcmp(text, "hold") == 0)
        serve_hold(k);
    else if (strcmp(text, "counts") == 0)
        serve_counts(k);
    else if (strcmp(text, "quit") == 0)
        serve_quit(k);
    else
        answer_error(k, -EINVAL, "rondo-cloop knows no such message");
}

// --- connections ---------------------------------------------------------------------------------------------------

static void *serve_connection(void *context)
{
    struct connection *k = context;
    struct control *c = k->control;
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM], n;
    for (;;) {
        unsigned fd_count = 0;
        n = socket_receive(k->fd, -1, text, fds, &fd_count);
        if (n == -EINTR)
            continue;
        if (n == 0)
            break;
        if (n < 0)
            answer_error(k, n, "that is no message");
        else
            serve_message(k, text, fds, &fd_count);
        for (unsigned i = 0; i < fd_count; i++)
            close(fds[i]);
        if (n < 0)
            break;
    }
    for (unsigned i = 0; i < k->version_count; i++)
        table_close(c->session->table, k->versions[i]);
    close(k->fd);
    pthread_mutex_lock(&c->mutex);
    c->counts.connections--;
    if (k->holds)
        c->counts.holders--;
    c->counts.last_end_ns = io_monotonic_ns();
    wake(c);
    pthread_mutex_unlock(&c->mutex);
    free(k);
    return NULL;
}

static int start_connection(struct control *c, int fd)
{
    struct connection *k = calloc(1, sizeof(*k));
    pthread_attr_t attributes;
    pthread_t thread;
    if (!k)
        return -ENOMEM;
    k->control = c;
    k->fd = fd;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, CONNECTION_STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_mutex_lock(&c->mutex);
    int r =
        c->counts.connections < CONTROL_CONNECTIONS ? pthread_create(&thread, &attributes, serve_connection, k) : EBUSY;
    if (r == 0)
        c->counts.connections++;
    pthread_mutex_unlock(&c->mutex);
    pthread_attr_destroy(&attributes);
    if (r != 0)
        free(k);
    return -r;
}

void control_accept(struct control *c)
{
    struct pollfd p = {.fd = c->listener, .events = POLLIN};
    if (poll(&p, 1, 0) <= 0)
        return;
    int fd = socket_accept(c->listener);
    if (fd < 0) {
        log_warning("a connection was not taken: %s", strerror(-fd));
        if (fd == -EMFILE || fd == -ENFILE)
            poll(NULL, 0, 100); // it stays waiting; do not spin
        return;
    }
    int r = start_connection(c, fd);
    if (r < 0) {
        char text[64];
        snprintf(text, sizeof(text), "error %d too many connections to rondo-cloop", -r);
        socket_send(fd, text, NULL, 0);
        close(fd);
    }
}

int control_new(const char *path, int wake_fd, struct control **ret, struct error *error)
{
    struct control *c CLEANUP_FREE = calloc(1, sizeof(*c));
    if (!c)
        return error_set(error, ENOMEM, "out of memory");
    int r = path_format(c->path, sizeof(c->path), "%s", path);
    if (r == 0)
        r = path_format(c->aside, sizeof(c->aside), "%s.ending", path);
    if (r < 0)
        return error_set(error, -r, "the socket's path is too long: %s", path);
    c->wake_fd = wake_fd;
    c->listener = socket_listen(path, error);
    if (c->listener < 0)
        return c->listener;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->changed, NULL);
    *ret = TAKE_PTR(c);
    return 0;
}

int control_listener(const struct control *c)
{
    return c->listener;
}

// --- the main loop's side ------------------------------------------------------------------------------------------

int control_take_offer(struct control *c, int ret_fds[static 2])
{
    pthread_mutex_lock(&c->mutex);
    bool made = c->offer == OFFER_MADE;
    if (made) {
        ret_fds[0] = c->offered[0];
        ret_fds[1] = c->offered[1];
        c->offer = OFFER_LOOKED_AT;
    }
    pthread_mutex_unlock(&c->mutex);
    return made;
}

void control_answer_handover(struct control *c, bool taken)
{
    pthread_mutex_lock(&c->mutex);
    c->offer = taken ? OFFER_TAKEN : OFFER_REFUSED;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

void control_set_ready(struct control *c, struct session *s, struct store *store)
{
    pthread_mutex_lock(&c->mutex);
    c->session = s;
    c->store = store;
    c->ready = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

void control_count(struct control *c, struct control_counts *ret)
{
    pthread_mutex_lock(&c->mutex);
    *ret = c->counts;
    pthread_mutex_unlock(&c->mutex);
}

int control_withdraw(struct control *c)
{
    struct pollfd p = {.fd = c->listener, .events = POLLIN};
    if (rename(c->path, c->aside) < 0)
        return -errno;
    while (poll(&p, 1, 0) > 0)
        control_accept(c);
    return 0;
}

void control_return(struct control *c)
{
    if (rename(c->aside, c->path) < 0)
        log_error("the socket %s could not be put back: %s", c->path, strerror(errno));
}

void control_remove(struct control *c)
{
    unlink(c->aside);
    close(TAKE_FD(c->listener));
}
