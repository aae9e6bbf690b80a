// The control socket of a machine and its console (docs/protocol.md, "An instance"). Clients come and go. What an
// attached client is too slow to take is kept for it. While it takes some of it, the console is not read beyond LAG, so
// that it misses nothing; one that has taken nothing for READER_SECONDS makes nobody wait, and what is too much for its
// buffer is skipped.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "base/text.h"
#include "client/machine.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/banned.h"

#define LAG (256u << 10)
#define READER_SECONDS 5
#define DRAIN_NS 5000000000ull // for the last bytes of the console

void machine_clients_init(struct machine *m)
{
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++)
        m->clients[i] =
            (struct machine_client){.fd = -1, .console = -1, .late = BUF_WITH_MAXIMUM(CLIENT_BUFFER_MAXIMUM)};
}

static void detach(struct machine_client *c)
{
    if (c->console >= 0)
        close(c->console);
    c->console = -1;
    c->silent = false;
    buf_free(&c->late);
}

static void let_go(struct machine_client *c)
{
    detach(c);
    close(c->fd);
    c->fd = -1;
    c->owner = false;
    c->asked = ASKED_NOTHING;
}

unsigned machine_clients_poll(struct machine *m, struct pollfd *polls)
{
    unsigned n = 0;
    polls[n++] = (struct pollfd){.fd = m->timers[TIMER_ACCEPT] ? -1 : m->listener, .events = POLLIN};
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++) {
        const struct machine_client *c = &m->clients[i];
        short wanted = 0;
        if (c->console >= 0)
            wanted =
                (short)((m->input.size < m->input.maximum && !c->silent ? POLLIN : 0) | (c->late.size ? POLLOUT : 0));
        polls[n++] = (struct pollfd){.fd = c->fd, .events = POLLIN};
        polls[n++] = (struct pollfd){.fd = wanted ? c->console : -1, .events = wanted};
    }
    return n;
}

// Sends what the client has not taken yet.
static void send_late(struct machine_client *c)
{
    while (c->late.size) {
        ssize_t n = send(c->console, c->late.data, c->late.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            detach(c);
        if (n < 0)
            return;
        c->took_ns = io_monotonic_ns();
        c->late.size -= (size_t)n;
        memmove(c->late.data, c->late.data + n, c->late.size);
    }
}

bool machine_clients_lag(struct machine *m)
{
    bool lag = false;
    uint64_t now = io_monotonic_ns();
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++) {
        const struct machine_client *c = &m->clients[i];
        lag = lag || (c->console >= 0 && c->late.size > LAG && now - c->took_ns < READER_SECONDS * 1000000000ull);
    }
    if (lag && !m->timers[TIMER_READER])
        machine_set_timer(m, TIMER_READER, READER_SECONDS);
    return lag;
}

static void give(struct machine_client *c, const void *bytes, size_t n)
{
    if (c->late.size == 0)
        c->took_ns = io_monotonic_ns();
    if (buf_append(&c->late, bytes, n) < 0) {
        char note[96];
        snprintf(note, sizeof(note), "\r\n[rondo: %zu bytes were skipped, as they were not read]\r\n",
                 c->late.size + n);
        buf_clear(&c->late);
        (void)buf_append(&c->late, note, strlen(note)); // without memory for that, there is nothing to be said either
    }
    send_late(c);
}

void machine_clients_console(struct machine *m, const void *bytes, size_t n)
{
    const unsigned char *from = bytes;
    for (size_t i = 0; i < n; i++)
        m->ring[m->ring_written++ % CONSOLE_RING_SIZE] = from[i];
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++)
        if (m->clients[i].console >= 0)
            give(&m->clients[i], bytes, n);
}

void machine_clients_tell(struct machine *m, const char *message)
{
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++)
        if (m->clients[i].fd >= 0 && (m->clients[i].console >= 0 || m->clients[i].owner) &&
            socket_send(m->clients[i].fd, message, NULL, 0) == -EAGAIN)
            detach(&m->clients[i]); // it does not listen: not a second time
}

static int attach(struct machine *m, struct machine_client *c)
{
    CLEANUP_CLOSE int ours = -1;
    CLEANUP_CLOSE int theirs = -1;
    if (c->console >= 0)
        return -EBUSY;
    int r = socket_pair(SOCK_STREAM, &ours, &theirs, NULL);
    if (r == 0)
        r = fcntl(ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : socket_send(c->fd, "ok", &theirs, 1);
    if (r < 0)
        return r;
    c->console = TAKE_FD(ours);
    uint64_t size = m->ring_written < CONSOLE_RING_SIZE ? m->ring_written : CONSOLE_RING_SIZE;
    size_t start = (size_t)((m->ring_written - size) % CONSOLE_RING_SIZE);
    size_t first = size < CONSOLE_RING_SIZE - start ? (size_t)size : CONSOLE_RING_SIZE - start;
    give(c, m->ring + start, first);
    if (c->console >= 0 && size > first)
        give(c, m->ring, (size_t)size - first);
    return 1; // answered
}

static const char *state_name(const struct machine *m)
{
    switch (m->state) {
    case MACHINE_STARTING:
        return "starting";
    case MACHINE_RUNNING:
        return machine_why_held(m)[0] ? "paused" : "running";
    case MACHINE_STOPPING:
    case MACHINE_ENDED:
        break;
    }
    return "stopping";
}

static int status(struct machine *m, struct buf *answer)
{
    char hex[SHA256_HEX_SIZE], since[32];
    const struct instance_settings *s = &m->instance->settings;
    return buf_append_format(answer,
                             "ok state %s\nreason %s\nengine %s\npid %d\nmanifest %s\nimage %s\nversion %s\nsite %s\n"
                             "since %s\n",
                             state_name(m), machine_why_held(m), m->options->engine->name, (int)m->engine.pid,
                             sha256_to_hex(&s->manifest, hex), s->image, s->version, s->site,
                             text_format_time(m->since, since));
}

// The answer comes when the engine has given it.
static int ask_for_statistics(struct machine *m, struct machine_client *c)
{
    const struct engine *engine = m->options->engine;
    if (!engine->ask_statistics || !m->engine_runs)
        return -EOPNOTSUPP;
    int r = engine->ask_statistics(&m->engine);
    if (r < 0)
        return r;
    c->asked = ASKED_STATISTICS;
    return 1;
}

static int ask_for_snapshot(struct machine *m, struct machine_client *c, struct slice label, struct buf *answer)
{
    char text[OVERLAY_LABEL_SIZE + 1]; // one that is too long stays so
    struct error error = {.text = ""};
    snprintf(text, sizeof(text), "%.*s", SLICE_ARGUMENTS(label));
    int r = machine_snapshot_begin(m, label.length ? text : NULL, &error);
    if (r < 0)
        return buf_append_format(answer, "error %d %s", -r, error.text) < 0 ? r : 1;
    c->asked = ASKED_SNAPSHOT;
    return 1;
}

void machine_clients_answer(struct machine *m, enum machine_question question, const char *text)
{
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++) {
        struct machine_client *c = &m->clients[i];
        if (c->fd < 0 || c->asked != question)
            continue;
        c->asked = ASKED_NOTHING;
        if (socket_send(c->fd, text, NULL, 0) < 0 && !c->owner)
            let_go(c);
    }
}

// Carries out one message. Returns what failed, 0 for a plain "ok", 1 if `answer` holds one or it was sent already.
static int obey(struct machine *m, struct machine_client *c, const char *text, struct buf *answer)
{
    struct slice rest = slice_of(text), word = slice_cut_word(&rest);
    uint64_t seconds;
    if (slice_equal(word, "status"))
        return status(m, answer) < 0 ? -E2BIG : 1;
    if (slice_equal(word, "counts")) {
        char counts[2048];
        machine_mount_counts(m, counts, sizeof(counts));
        return buf_append_format(answer, "ok %s", counts) < 0 ? -E2BIG : 1;
    }
    if (slice_equal(word, "stop") && text_parse_u64(rest, 86400, &seconds)) {
        machine_stop(m, (unsigned)seconds);
        return 0;
    }
    if (slice_equal(word, "kill") && rest.length == 0) {
        machine_stop(m, 0);
        return 0;
    }
    if (slice_equal(word, "pause") && rest.length == 0) {
        if (m->state == MACHINE_STOPPING) // it would not hear the power button
            return buf_append_format(answer, "error %d %s is being stopped", EBUSY, m->instance->name) < 0 ? -E2BIG : 1;
        machine_hold(m, HOLD_USER, "by rondo pause");
        return 0;
    }
    if (slice_equal(word, "resume") && rest.length == 0) {
        machine_release(m, HOLD_USER);
        return 0;
    }
    if (slice_equal(word, "statistics") && rest.length == 0)
        return ask_for_statistics(m, c);
    if (slice_equal(word, "snapshot"))
        return ask_for_snapshot(m, c, rest, answer);
    if (slice_equal(word, "attach") && rest.length == 0)
        return attach(m, c);
    if (slice_equal(word, "detach") && rest.length == 0) {
        c->owner = false;
        return 0;
    }
    return -EINVAL;
}

static void serve_message(struct machine *m, struct machine_client *c)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    int r = socket_receive(c->fd, 0, text, fds, &count);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r <= 0) {
        bool owner = c->owner;
        let_go(c);
        if (owner)
            machine_stop(m, 0);
        return;
    }
    struct buf answer CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SOCKET_LINE_MAXIMUM - 1);
    r = obey(m, c, text, &answer);
    if (r < 0 && buf_append_format(&answer, "error %d %s", -r, strerror(-r)) < 0)
        return;
    if (r == 0 && buf_append(&answer, "ok", 2) < 0)
        return;
    if (answer.size && socket_send(c->fd, buf_text(&answer), NULL, 0) < 0 && !c->owner)
        let_go(c);
}

static void serve_console(struct machine *m, struct machine_client *c, short ready)
{
    if (ready & POLLOUT)
        send_late(c);
    if (c->console < 0 || c->silent || !(ready & (POLLIN | POLLHUP | POLLERR)))
        return;
    unsigned char bytes[1024];
    size_t room = m->input.maximum - m->input.size;
    ssize_t n = recv(c->console, bytes, room < sizeof(bytes) ? room : sizeof(bytes), MSG_DONTWAIT);
    if (n > 0)
        buf_append(&m->input, bytes, (size_t)n); // there is room: that was checked
    else if (n == 0 && room)
        c->silent = true; // it types no more, but still listens
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        detach(c);
}

static struct machine_client *admit(struct machine *m, int fd)
{
    const struct timeval patience = {.tv_sec = 1}; // for one that does not read what it is told
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
        return NULL;
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++)
        if (m->clients[i].fd < 0) {
            m->clients[i].fd = fd;
            return &m->clients[i];
        }
    socket_send(fd, "error 16 too many connections to this machine", NULL, 0); // EBUSY
    return NULL;
}

void machine_clients_adopt(struct machine *m, int fd, int console)
{
    CLEANUP_CLOSE int stream = console;
    struct machine_client *c = admit(m, fd);
    if (!c) {
        close(fd);
        return;
    }
    c->owner = true;
    if (console >= 0 && fcntl(console, F_SETFL, O_NONBLOCK) == 0)
        c->console = TAKE_FD(stream);
}

static void welcome(struct machine *m)
{
    int fd = socket_accept(m->listener);
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS)
        machine_set_timer(m, TIMER_ACCEPT, 1); // it stays waiting: do not look at it again at once
    if (fd >= 0 && !admit(m, fd))
        close(fd);
}

void machine_clients_serve(struct machine *m, const struct pollfd *polls, unsigned count)
{
    for (unsigned i = 0; i < CLIENTS_MAXIMUM && 2 * i + 2 < count; i++) {
        struct machine_client *c = &m->clients[i];
        const struct pollfd *message = &polls[1 + 2 * i], *console = &polls[2 + 2 * i];
        if (console->revents && c->console == console->fd)
            serve_console(m, c, console->revents);
        if (message->revents && c->fd == message->fd)
            serve_message(m, c);
    }
    if (polls[0].revents)
        welcome(m);
}

// Waits until nobody has anything left to take, or nobody takes anything any more.
static void drain(struct machine *m)
{
    uint64_t end = io_monotonic_ns() + DRAIN_NS;
    for (uint64_t now = io_monotonic_ns(); now < end; now = io_monotonic_ns()) {
        struct pollfd polls[CLIENTS_MAXIMUM];
        bool late = false;
        for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++) {
            const struct machine_client *c = &m->clients[i];
            bool wants = c->console >= 0 && c->late.size;
            polls[i] = (struct pollfd){.fd = wants ? c->console : -1, .events = POLLOUT};
            late = late || wants;
        }
        if (!late || poll(polls, CLIENTS_MAXIMUM, (int)((end - now) / 1000000) + 1) <= 0)
            return;
        for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++)
            if (polls[i].revents)
                send_late(&m->clients[i]);
    }
}

void machine_clients_close(struct machine *m)
{
    drain(m);
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++)
        if (m->clients[i].fd >= 0)
            let_go(&m->clients[i]);
}
