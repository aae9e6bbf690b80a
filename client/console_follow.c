// The loop of an attached console (see console.h).
//
// 1. Nothing waits but poll: neither a reader of our output that has stopped reading nor a guest that takes no input
//    keeps a time limit or a signal from being heeded.
// 2. The machine's messages are heard only when all of its console was shown: the end comes last.
// What --until is matched against is until.h's business.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "base/text.h"
#include "client/cli.h"
#include "client/console_private.h"
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/banned.h"

#define ESCAPE_KEY 0x1d   // Ctrl-]
#define END_SECONDS 180   // how long the machine may take to end once told to
#define POLL_SECONDS 3600 // poll's milliseconds are an int

void console_say(const struct attached *a, const char *text)
{
    // In raw mode a line begins and ends with a carriage return.
    fprintf(stderr, "%srondo: %s%s\n", a->terminal ? "\r\n" : "", text, a->terminal ? "\r" : "");
}

static void decide(struct attached *a, int code)
{
    if (a->decided >= 0)
        return;
    a->decided = code;
    socket_send(a->control, "kill", NULL, 0);
    a->deadline_ns = io_monotonic_ns() + END_SECONDS * 1000000000ull;
}

// There is nothing more for us to do here.
static void give_up(struct attached *a, int code)
{
    if (a->options->owner)
        decide(a, code);
    else
        a->left = true; // somebody else's machine: only we go
}

static void take_console(struct attached *a)
{
    unsigned char bytes[16384];
    ssize_t n = recv(a->stream, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close(TAKE_FD(a->stream));
        return;
    }
    if (buf_append(&a->output, bytes, (size_t)n) < 0)
        give_up(a, EXIT_CODE_OTHER); // out of memory
    if (a->options->until && until_feed(&a->until, bytes, (size_t)n))
        decide(a, EXIT_CODE_OK);
}

static void show_output(struct attached *a)
{
    // What a pipe that is ready takes for sure without waiting (pipe(7)).
    size_t piece = a->output.size < PIPE_BUF ? a->output.size : PIPE_BUF;
    ssize_t n = write(STDOUT_FILENO, a->output.data, piece);
    if (n < 0 && errno != EINTR && errno != EAGAIN) {
        buf_clear(&a->output);
        give_up(a, EXIT_CODE_OTHER); // nobody reads us any more
    } else if (n > 0) {
        a->output.size -= (size_t)n;
        memmove(a->output.data, a->output.data + n, a->output.size);
    }
}

static void hear_machine(struct attached *a)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    int r = socket_receive(a->control, 0, text, fds, &count);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r <= 0) {
        close(TAKE_FD(a->control));
        return;
    }
    struct slice rest = slice_of(text), word = slice_cut_word(&rest);
    uint64_t code;
    if (slice_equal(word, "say")) {
        console_say(a, rest.at);
    } else if (slice_equal(word, "exit") && text_parse_u64(slice_cut_word(&rest), 255, &code)) {
        a->ended = true;
        a->exit_code = (int)code;
        console_restore_terminal(a);
        fprintf(stderr, "%srondo: %.*s\n", a->options->until || !isatty(STDERR_FILENO) ? "\n" : "\r\n",
                SLICE_ARGUMENTS(rest));
    }
}

static void send_input(struct attached *a)
{
    ssize_t n = send(a->stream, a->input.data, a->input.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        n = (ssize_t)a->input.size; // the end of the console will be seen
    if (n > 0) {
        a->input.size -= (size_t)n;
        memmove(a->input.data, a->input.data + n, a->input.size);
    }
    if (a->input.size == 0 && !a->typing)
        shutdown(a->stream, SHUT_WR);
}

static void type(struct attached *a)
{
    unsigned char bytes[1024];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        a->typing = false;
        a->left = a->terminal; // the terminal is gone
    } else {
        unsigned char *escape = a->terminal ? memchr(bytes, ESCAPE_KEY, (size_t)n) : NULL;
        a->left = escape != NULL;
        // What a guest that does not listen leaves no room for is lost, as on a serial line.
        (void)buf_append(&a->input, bytes, escape ? (size_t)(escape - bytes) : (size_t)n);
    }
    send_input(a);
}

// A terminal that went away (SIGHUP) is no reason to switch its machine off.
static void heed_signals(struct attached *a)
{
    int number = cli_take_signal();
    if (number == 0)
        return;
    if (number == SIGHUP && a->terminal) {
        a->left = true;
    } else if (a->decided >= 0) {
        console_say(a, "it is still being switched off; rondo ps shows it");
        close(TAKE_FD(a->control));
    } else {
        give_up(a, EXIT_CODE_CANCELLED);
    }
}

static void heed_deadline(struct attached *a)
{
    if (!a->deadline_ns || io_monotonic_ns() < a->deadline_ns)
        return;
    if (a->decided >= 0) {
        console_say(a, "the machine does not end; rondo ps shows it");
        close(TAKE_FD(a->control));
    } else {
        decide(a, EXIT_CODE_TIMED_OUT);
    }
}

static int time_left(const struct attached *a)
{
    uint64_t now = io_monotonic_ns();
    if (!a->deadline_ns)
        return -1;
    if (now >= a->deadline_ns)
        return 0;
    uint64_t left = a->deadline_ns - now;
    return left > POLL_SECONDS * 1000000000ull ? POLL_SECONDS * 1000 : (int)(left / 1000000) + 1;
}

// Until the machine ended, or was left. The control connection ends last of all: then the machine is stopped for sure.
void console_follow(struct attached *a)
{
    a->typing = a->terminal || a->options->input;
    while (a->control >= 0 && !a->left) {
        enum { CONTROL, STREAM, INPUT, OUTPUT };
        // From a pipe no more is read than the guest takes; a terminal is always read, for the sake of Ctrl-].
        bool listens = a->typing && a->stream >= 0 && (a->terminal || a->input.size == 0);
        struct pollfd polls[] = {
            [CONTROL] = {.fd = a->output.size && a->decided < 0 ? -1 : a->control, .events = POLLIN},
            [STREAM] = {.fd = a->stream,
                        .events = (short)((a->output.size ? 0 : POLLIN) | (a->input.size ? POLLOUT : 0))},
            [INPUT] = {.fd = listens ? STDIN_FILENO : -1, .events = POLLIN},
            [OUTPUT] = {.fd = a->output.size ? STDOUT_FILENO : -1, .events = POLLOUT},
        };
        if (a->output.size && !a->input.size)
            polls[STREAM].fd = -1; // its end would be reported again and again
        int ready = cli_poll(polls, ARRAY_SIZE(polls), time_left(a));
        heed_signals(a);
        heed_deadline(a);
        if (ready <= 0 || a->control < 0)
            continue;
        bool shown = a->output.size == 0 && !(polls[STREAM].revents & POLLIN);
        if (polls[OUTPUT].revents)
            show_output(a);
        if (polls[STREAM].revents && a->output.size == 0)
            take_console(a);
        if (polls[STREAM].revents & POLLOUT && a->stream >= 0)
            send_input(a);
        if (polls[CONTROL].revents && (shown || a->decided >= 0))
            hear_machine(a);
        if (polls[INPUT].revents && a->stream >= 0)
            type(a);
    }
}
