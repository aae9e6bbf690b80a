// The host's end of a console: see stream.h.
//
//   input:  waiting for a listener or for room ◀──room 0── reading ──end, error──▶ ended
//                     └───────stream_more_room──────▶───┘
//
// epoll tells when the input can be read, but for two cases in which it is simply always so: files and /dev/null, which
// epoll does not take (EPERM), and an input whose writer has gone, which epoll reports at every turn whether we want to
// read or not. There the stream calls itself (`poke`, an eventfd in the loop) as long as there is room.
//
// 1. `lock` guards everything but the reading itself, which is the loop's thread's. The listener is called without it,
//    so a device may hold its own lock while it calls the stream.
// 2. Output leaves in the order of the calls: nothing is written past a backlog.
// 3. A device that makes room after it was asked for it and before reading stops is not missed (`more_room`).
#include "vmm/stream.h"

#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/banned.h"

#define READ_MAXIMUM 4096u
#define LAST_WORDS_NS UINT64_C(500000000)
#define LAST_WORDS_POLL_MS 100

struct descriptor {
    int fd;
    int flags;                  // as they were; -1: not changed
    struct loop_source *source; // NULL: epoll does not watch it
    uint32_t interest;
};

struct stream {
    struct loop *loop;
    pthread_mutex_t lock;
    struct descriptor input, output; // output.fd is a duplicate, so that epoll can watch both if they are the same
    struct termios terminal;         // as it was
    bool raw;
    int poke;
    struct loop_source *poke_source;
    struct stream_listener listener;
    bool input_ended, waiting, more_room, output_ended, batch;
    unsigned char *backlog; // a ring
    size_t first, used;
    _Atomic uint64_t lost;
};

// --- what epoll watches (with the lock held) ------------------------------------------------------------------------

static void watch(struct stream *s, struct descriptor *d, uint32_t interest)
{
    if (d->source && d->interest != interest && loop_change(s->loop, d->source, interest) == 0)
        d->interest = interest;
}

static void watch_both(struct stream *s)
{
    uint32_t in = s->input_ended || s->waiting ? 0u : (uint32_t)EPOLLIN;
    uint32_t out = s->used > 0 && !s->output_ended && !s->batch ? (uint32_t)EPOLLOUT : 0u;
    watch(s, &s->input, in);
    watch(s, &s->output, out);
}

// Reading goes on.
static void wake_input(struct stream *s)
{
    s->more_room = true;
    if (!s->waiting || !s->listener.room || s->input_ended)
        return;
    s->waiting = false;
    if (s->input.source)
        watch_both(s);
    else
        eventfd_write(s->poke, 1);
}

// --- output (with the lock held) ------------------------------------------------------------------------------------

static void end_output(struct stream *s)
{
    s->lost += s->used;
    s->used = 0;
    s->output_ended = true;
}

// Writes what the descriptor takes at once: how much.
static size_t write_some(struct stream *s, const unsigned char *bytes, size_t n)
{
    size_t done = 0;
    while (done < n && !s->output_ended) {
        ssize_t r = write(s->output.fd, bytes + done, n - done);
        if (r >= 0) {
            done += (size_t)r;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno == ENOSPC || errno == EDQUOT) { // of a file: later output may find space again
            s->lost += n - done;
            done = n;
        } else if (errno != EINTR) {
            end_output(s);
        }
    }
    return done;
}

static void flush_backlog(struct stream *s)
{
    while (s->used > 0 && !s->output_ended) {
        size_t piece = STREAM_BACKLOG_MAXIMUM - s->first;
        if (piece > s->used)
            piece = s->used;
        size_t done = write_some(s, s->backlog + s->first, piece);
        if (s->output_ended)
            break;
        s->first = (s->first + done) % STREAM_BACKLOG_MAXIMUM;
        s->used -= done;
        if (done < piece)
            break;
    }
}

// The oldest goes, of the new bytes too.
static void keep(struct stream *s, const unsigned char *bytes, size_t n)
{
    size_t excess = n > STREAM_BACKLOG_MAXIMUM - s->used ? n - (STREAM_BACKLOG_MAXIMUM - s->used) : 0;
    size_t old = excess < s->used ? excess : s->used;
    s->lost += excess;
    s->first = (s->first + old) % STREAM_BACKLOG_MAXIMUM;
    s->used -= old;
    bytes += excess - old;
    n -= excess - old;
    size_t end = (s->first + s->used) % STREAM_BACKLOG_MAXIMUM;
    size_t piece = n < STREAM_BACKLOG_MAXIMUM - end ? n : STREAM_BACKLOG_MAXIMUM - end;
    memcpy(s->backlog + end, bytes, piece);
    memcpy(s->backlog, bytes + piece, n - piece);
    s->used += n;
}

void stream_write(struct stream *s, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    pthread_mutex_lock(&s->lock);
    size_t done = s->used == 0 && !s->batch ? write_some(s, at, n) : 0;
    if (s->output_ended)
        s->lost += n - done;
    else if (done < n)
        keep(s, at + done, n - done);
    watch_both(s);
    pthread_mutex_unlock(&s->lock);
}

void stream_batch(struct stream *s, bool on)
{
    pthread_mutex_lock(&s->lock);
    s->batch = on;
    if (!on)
        flush_backlog(s);
    watch_both(s);
    pthread_mutex_unlock(&s->lock);
}

uint64_t stream_lost(const struct stream *s)
{
    return s->lost;
}

// --- input (in the loop's thread) -----------------------------------------------------------------------------------

// Asks the listener for room; 0 if nothing is to be read, and then `waiting` if that is for want of room.
static size_t ask_room(struct stream *s, struct stream_listener *ret)
{
    size_t room = 0;
    pthread_mutex_lock(&s->lock);
    while (room == 0 && !s->input_ended && !s->waiting) {
        *ret = s->listener; // there is one: without, the stream is waiting
        s->more_room = false;
        pthread_mutex_unlock(&s->lock);
        room = ret->room(ret->context);
        pthread_mutex_lock(&s->lock);
        s->waiting = room == 0 && !s->more_room;
    }
    watch_both(s);
    pthread_mutex_unlock(&s->lock);
    return room;
}

static void read_input(struct stream *s)
{
    unsigned char bytes[READ_MAXIMUM];
    struct stream_listener listener;
    size_t room = ask_room(s, &listener);
    if (room == 0)
        return;
    ssize_t n = read(s->input.fd, bytes, room < sizeof bytes ? room : sizeof bytes);
    if (n > 0)
        listener.input(listener.context, bytes, (size_t)n);
    pthread_mutex_lock(&s->lock);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        s->input_ended = true;
    else if (!s->input.source)
        eventfd_write(s->poke, 1);
    watch_both(s);
    pthread_mutex_unlock(&s->lock);
}

static void input_ready(void *context, uint32_t events)
{
    struct stream *s = context;
    if (events & (EPOLLHUP | EPOLLERR)) {
        pthread_mutex_lock(&s->lock);
        loop_remove(s->loop, TAKE_PTR(s->input.source));
        eventfd_write(s->poke, 1);
        pthread_mutex_unlock(&s->lock);
    } else if (events & EPOLLIN) {
        read_input(s);
    }
}

static void output_ready(void *context, uint32_t events)
{
    struct stream *s = context;
    pthread_mutex_lock(&s->lock);
    flush_backlog(s);
    if (events & (EPOLLHUP | EPOLLERR)) {
        loop_remove(s->loop, TAKE_PTR(s->output.source));
        end_output(s);
    }
    watch_both(s);
    pthread_mutex_unlock(&s->lock);
}

static void poked(void *context, uint32_t events)
{
    struct stream *s = context;
    (void)events;
    if (!s->input.source)
        read_input(s);
}

void stream_more_room(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    wake_input(s);
    pthread_mutex_unlock(&s->lock);
}

void stream_listen(struct stream *s, const struct stream_listener *listener)
{
    pthread_mutex_lock(&s->lock);
    if (memcmp(&s->listener, listener, sizeof *listener) != 0) {
        s->listener = *listener;
        wake_input(s);
    }
    pthread_mutex_unlock(&s->lock);
}

// --- making and ending it -------------------------------------------------------------------------------------------

static int prepare(struct stream *s, struct descriptor *d, loop_function *function)
{
    d->flags = fcntl(d->fd, F_GETFL);
    if (d->flags < 0)
        return -errno;
    if (!(d->flags & O_NONBLOCK) && fcntl(d->fd, F_SETFL, d->flags | O_NONBLOCK) < 0)
        return -errno;
    int r = loop_add(s->loop, d->fd, 0, function, s, &d->source);
    return r == -EPERM ? 0 : r;
}

static void make_raw(struct stream *s)
{
    // In the background, changing the terminal would stop the program.
    if (s->input.fd < 0 || tcgetpgrp(s->input.fd) != getpgrp() || tcgetattr(s->input.fd, &s->terminal) < 0)
        return;
    struct termios raw = s->terminal;
    cfmakeraw(&raw);
    s->raw = tcsetattr(s->input.fd, TCSANOW, &raw) == 0;
}

int stream_new(struct loop *loop, int input, int output, struct stream **ret, struct error *error)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(error, ENOMEM, "no memory for a console");
    pthread_mutex_init(&s->lock, NULL); // cannot fail with default attributes
    s->loop = loop;
    s->input = (struct descriptor){.fd = input, .flags = -1};
    s->output = (struct descriptor){.fd = fcntl(output, F_DUPFD_CLOEXEC, 0), .flags = -1};
    s->waiting = true;
    s->input_ended = input < 0;
    s->backlog = malloc(STREAM_BACKLOG_MAXIMUM);
    int r = s->backlog ? loop_add_eventfd(loop, poked, s, &s->poke, &s->poke_source) : -ENOMEM;
    if (r == 0 && s->input.fd >= 0)
        r = prepare(s, &s->input, input_ready);
    if (r == 0)
        r = prepare(s, &s->output, output_ready);
    if (r < 0) {
        stream_free(s);
        return error_set(error, -r, "cannot use the console's descriptors: %s", strerror(-r));
    }
    make_raw(s);
    *ret = s;
    return 0;
}

// A guest's last words: its reader may be a little behind.
static void write_last(struct stream *s)
{
    uint64_t end = io_monotonic_ns() + LAST_WORDS_NS;
    flush_backlog(s);
    while (s->used > 0 && !s->output_ended && io_monotonic_ns() < end) {
        struct pollfd output = {.fd = s->output.fd, .events = POLLOUT};
        poll(&output, 1, LAST_WORDS_POLL_MS);
        flush_backlog(s);
    }
}

static void release(struct stream *s, struct descriptor *d)
{
    loop_remove(s->loop, d->source);
    if (d->flags >= 0 && !(d->flags & O_NONBLOCK))
        fcntl(d->fd, F_SETFL, d->flags);
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    write_last(s);
    if (s->raw)
        tcsetattr(s->input.fd, TCSANOW, &s->terminal);
    release(s, &s->output);
    release(s, &s->input);
    cleanup_close(&s->output.fd);
    loop_remove(s->loop, s->poke_source);
    pthread_mutex_destroy(&s->lock);
    free(s->backlog);
    free(s);
}
