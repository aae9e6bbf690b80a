// How a rondo-cloop is come by (see cloop.h).
//
//   connect ──ok──▶ offer the session, if held ──▶ done
//      │ nobody
//      ▼
//   start rondo-cloop, wait for its word ──▶ connect again. "busy" means that another process was quicker: connect
//   again, too, for as long as CONNECT_SECONDS.
#include "client/cloop.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "client/ask.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define CONNECT_SECONDS 10
#define ANSWER_MS 60000 // opening a version may wait for a slow site
#define COUNTS_MS 2000

// One question, one answer: "ok REST" or "error CODE TEXT". Descriptors of the answer go to ret_fds. A connection on
// which an answer fails to come is closed, for it might come later, and be taken for another's.
static int ask(struct cloop *c, const char *question, const int *fds, unsigned fd_count, int timeout_ms,
               char answer[static SOCKET_LINE_MAXIMUM], int *ret_fds, unsigned *ret_count, struct error *error)
{
    unsigned count = 0;
    int received[SOCKET_FDS_MAXIMUM];
    int r = socket_send(c->socket, question, fds, fd_count);
    if (r >= 0)
        r = socket_receive(c->socket, timeout_ms, answer, received, &count);
    if (r <= 0) {
        close(TAKE_FD(c->socket));
        if (r == -EAGAIN)
            return error_set(error, EAGAIN,
                             "rondo-cloop does not answer; if it hangs, kill it: machines go on with another");
        return error_set(error, r == 0 ? ECONNRESET : -r, "rondo-cloop does not answer: %s",
                         r == 0 ? "it ended" : strerror(-r));
    }
    if (ret_count)
        *ret_count = count;
    for (unsigned i = 0; i < count; i++)
        if (ret_fds)
            ret_fds[i] = received[i];
        else
            close(received[i]);
    struct slice rest = {.length = 0};
    r = ask_parse(answer, &rest, error);
    if (r < 0)
        return r;
    memmove(answer, rest.at, rest.length);
    answer[rest.length] = '\0';
    return 0;
}

// Its first word: "ok", or "error CODE TEXT". -EPIPE if it ended without one (killed, say: then another may do better).
static int hear_ready(int reader, const char *log, struct error *error)
{
    char text[ERROR_TEXT_SIZE];
    size_t n = 0;
    int code = EIO;
    for (;;) {
        struct pollfd p = {.fd = reader, .events = POLLIN};
        int ready_count = poll(&p, 1, CONNECT_SECONDS * 1000);
        if (ready_count < 0 && errno == EINTR)
            continue;
        ssize_t got = ready_count > 0 ? read(reader, text + n, sizeof(text) - 1 - n) : 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (ready_count > 0 && got == 0)
            code = EPIPE;
        if (got <= 0)
            break;
        n += (size_t)got;
        if (text[n - 1] == '\n' || n == sizeof(text) - 1)
            break;
    }
    struct slice rest = {.length = 0};
    text[n && text[n - 1] == '\n' ? n - 1 : n] = '\0';
    return n ? ask_parse(text, &rest, error) : error_set(error, code, "rondo-cloop did not start; %s may say why", log);
}

#define ARGUMENTS_MAXIMUM 64u

// Starts rondo-cloop as a daemon with these arguments (the first two and those of every start are added here) and waits
// for its first word. It inherits `ahead` (or NULL).
static int start_daemon(const struct cloop *c, char *const *more, unsigned more_count,
                        const struct transport_ahead *ahead, struct error *error)
{
    static char ready_option[] = "--ready-fd", limit_option[] = "--cache-limit", wait_option[] = "--wait";
    char program[PATH_TEXT_SIZE], runtime[PATH_TEXT_SIZE], log[PATH_TEXT_SIZE], ready_text[16], limit_text[32],
        wait_text[16];
    int r = path_find_program("rondo-cloop", program, error);
    if (r == 0)
        r = path_make(PATH_RUNTIME, runtime, error);
    if (r < 0)
        return r;
    r = path_format(log, sizeof(log), "%s/cloop.log", runtime);
    if (r < 0)
        return error_set(error, -r, "the runtime folder's path is too long");
    CLEANUP_CLOSE int log_fd = io_open(AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log_fd < 0)
        return error_set(error, -log_fd, "cannot write %s: %s", log, strerror(-log_fd));
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0)
        return error_set(error, errno, "cannot make a pipe: %s", strerror(errno));
    CLEANUP_CLOSE int reader = ready[0];
    CLEANUP_CLOSE int writer = ready[1];
    char *arguments[ARGUMENTS_MAXIMUM + 8] = {program, ready_option, ready_text};
    unsigned n = 3;
    snprintf(ready_text, sizeof(ready_text), "%d", writer);
    if (c->cache_limit) {
        snprintf(limit_text, sizeof(limit_text), "%llu", (unsigned long long)c->cache_limit);
        arguments[n++] = limit_option;
        arguments[n++] = limit_text;
    }
    if (c->wait_seconds) {
        snprintf(wait_text, sizeof(wait_text), "%u", c->wait_seconds);
        arguments[n++] = wait_option;
        arguments[n++] = wait_text;
    }
    for (unsigned i = 0; i < more_count; i++)
        arguments[n++] = more[i];
    arguments[n] = NULL;
    struct spawn s = {.path = program,
                      .arguments = arguments,
                      .input = -1,
                      .output = -1,
                      .errors = log_fd,
                      .kept = {writer, c->session_fd, c->state_fd},
                      .kept_count = 3,
                      .new_session = true};
    for (unsigned i = 0; ahead && i < ahead->count; i++)
        s.kept[s.kept_count++] = ahead->fds[i];
    pid_t pid = spawn_program(&s, error);
    if (pid < 0)
        return pid;
    close(TAKE_FD(writer));
    return hear_ready(reader, log, error);
}

// The daemon that serves all machines, with the session if we hold one.
static int start_shared(const struct cloop *c, struct error *error)
{
    static char session_option[] = "--session-fd", state_option[] = "--state-fd";
    char session_text[16], state_text[16];
    char *arguments[] = {session_option, session_text, state_option, state_text};
    snprintf(session_text, sizeof(session_text), "%d", c->session_fd);
    snprintf(state_text, sizeof(state_text), "%d", c->state_fd);
    return start_daemon(c, arguments, c->session_fd >= 0 ? 4 : 0, NULL, error);
}

int cloop_mount(const struct cloop *settings, const char *folder, const struct sha256 *manifest, char *const *sources,
                unsigned count, const struct transport_ahead *ahead, struct error *error)
{
    static char mount_option[] = "--mount", manifest_option[] = "--manifest", source_option[] = "--source",
                connection_option[] = "--connection";
    char hex[SHA256_HEX_SIZE], numbers[TRANSPORT_AHEAD_MAXIMUM][16];
    char *arguments[ARGUMENTS_MAXIMUM] = {mount_option, (char *)folder, manifest_option, hex};
    unsigned n = 4;
    sha256_to_hex(manifest, hex);
    for (unsigned i = 0; i < count && n + 2 <= ARGUMENTS_MAXIMUM; i++) {
        arguments[n++] = source_option;
        arguments[n++] = sources[i];
    }
    for (unsigned i = 0; i < ahead->count && n + 2 <= ARGUMENTS_MAXIMUM; i++) {
        snprintf(numbers[i], sizeof(numbers[i]), "%d", ahead->fds[i]);
        arguments[n++] = connection_option;
        arguments[n++] = numbers[i];
    }
    return start_daemon(settings, arguments, n, ahead, error);
}

int cloop_connect(struct cloop *c, struct error *error)
{
    char runtime[PATH_TEXT_SIZE], path[PATH_TEXT_SIZE];
    int r = path_make(PATH_RUNTIME, runtime, error);
    if (r < 0)
        return r;
    r = path_format(path, sizeof(path), "%s/cloop.sock", runtime);
    if (r < 0)
        return error_set(error, -r, "the runtime folder's path is too long");
    uint64_t end = io_monotonic_ns() + CONNECT_SECONDS * 1000000000ull;
    int fd;
    for (;;) {
        fd = socket_connect(path, error);
        if (fd != -ENOENT && fd != -ECONNREFUSED)
            break;
        r = start_shared(c, error);
        if (r < 0 && r != -EBUSY)
            return r;
        if (io_monotonic_ns() > end)
            return error_set(error, EBUSY, "no rondo-cloop answers at %s; is another one hanging?", path);
        if (r == -EBUSY)
            poll(NULL, 0, 50);
    }
    if (fd < 0)
        return fd;
    if (c->socket >= 0)
        close(c->socket);
    c->socket = fd;
    if (c->session_fd < 0)
        return 0;
    char answer[SOCKET_LINE_MAXIMUM];
    return ask(c, "handover", (int[]){c->session_fd, c->state_fd}, 2, ANSWER_MS, answer, NULL, NULL, error);
}

// `verb` is all that stands before the manifest.
static int ask_about_version(struct cloop *c, const char *verb, const struct sha256 *manifest, char *const *sources,
                             unsigned count, const struct transport_ahead *ahead,
                             char answer[static SOCKET_LINE_MAXIMUM], struct error *error)
{
    struct buf question CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SOCKET_LINE_MAXIMUM - 1);
    char hex[SHA256_HEX_SIZE];
    int r = buf_append_format(&question, "%s%s", verb, sha256_to_hex(manifest, hex));
    for (unsigned i = 0; i < count && r >= 0; i++)
        r = buf_append_format(&question, "\n%s", sources[i]);
    if (r < 0)
        return error_set(error, -r, "the list of sources is too long");
    return ask(c, buf_text(&question), ahead ? ahead->fds : NULL, ahead ? ahead->count : 0, ANSWER_MS, answer, NULL,
               NULL, error);
}

int cloop_keep_version(struct cloop *c, const struct sha256 *manifest, const char *owner, uint64_t rate,
                       char *const *sources, unsigned count, struct error *error)
{
    char verb[PATH_TEXT_SIZE], answer[SOCKET_LINE_MAXIMUM];
    if (strchr(owner, '\n')) // it ends the word
        return error_set(error, EINVAL, "the name of a folder above it has a line break");
    int r = path_format(verb, sizeof(verb), "keep %llu %s\n", (unsigned long long)rate, owner);
    if (r < 0)
        return error_set(error, -r, "the path %s is too long", owner);
    return ask_about_version(c, verb, manifest, sources, count, NULL, answer, error);
}

int cloop_open_version(struct cloop *c, const struct sha256 *manifest, char *const *sources, unsigned count,
                       struct transport_ahead *ahead, char ret_folder[static PATH_TEXT_SIZE], struct error *error)
{
    char answer[SOCKET_LINE_MAXIMUM];
    int r = ask_about_version(c, "open ", manifest, sources, count, ahead, answer, error);
    if (ahead)
        transport_close_ahead(ahead);
    if (r < 0)
        return r;
    r = path_format(ret_folder, PATH_TEXT_SIZE, "%s", answer);
    return r < 0 ? error_set(error, -r, "rondo-cloop gave a path that is too long") : 0;
}

int cloop_hold(struct cloop *c, struct error *error)
{
    char answer[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    int r = ask(c, "hold", NULL, 0, ANSWER_MS, answer, fds, &count, error);
    if (r == 0 && count == 2) {
        if (c->session_fd >= 0) {
            close(c->session_fd);
            close(c->state_fd);
        }
        c->session_fd = fds[0];
        c->state_fd = fds[1];
        return 0;
    }
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    return r < 0 ? r : error_set(error, EPROTO, "rondo-cloop did not hand out its session");
}

int cloop_counts(struct cloop *c, char *ret_text, size_t capacity, struct error *error)
{
    char answer[SOCKET_LINE_MAXIMUM];
    int r = ask(c, "counts", NULL, 0, COUNTS_MS, answer, NULL, NULL, error);
    if (r < 0)
        return r;
    r = path_format(ret_text, capacity, "%s", answer);
    return r < 0 ? error_set(error, -r, "rondo-cloop's counts are too long") : 0;
}

void cloop_close(struct cloop *c)
{
    if (c->socket >= 0)
        close(c->socket);
    if (c->session_fd >= 0)
        close(c->session_fd);
    if (c->state_fd >= 0)
        close(c->state_fd);
    *c = (struct cloop)CLOOP_NONE;
}
