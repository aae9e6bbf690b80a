// The console seen from the outside (see console.h).
//
//   attached ──Ctrl-], or the terminal is gone──▶ detach, message how to come back, exit 0
//      │ ──until matches──▶ kill ──▶ wait for the end ──▶ 0
//      │ ──timeout──▶ kill ──▶ wait for the end ──▶ 12
//      │ ──SIGINT, SIGTERM──▶ the owner: kill ──▶ wait for the end ──▶ 11; otherwise as Ctrl-]
//      └──machine ends──▶ its exit code (1 where --until was still waited for)
//
// 1. Nothing waits but poll: neither a reader of our output that has stopped reading nor a guest that takes no input
//    keeps a time limit or a signal from being heeded.
// 2. The machine's messages are heard only when all of its console was shown: the end comes last.
// What --until is matched against is until.h's business.
#include "client/console.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "client/ask.h"
#include "client/cli.h"
#include "client/until.h"
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>

#include "base/banned.h"

#define ESCAPE_KEY 0x1d   // Ctrl-]
#define END_SECONDS 180   // how long the machine may take to end once told to
#define POLL_SECONDS 3600 // poll's milliseconds are an int
#define INPUT_MAXIMUM 65536u
#define ANSWER_MS 10000

struct attached {
    const struct instance *instance;
    const struct console_options *options;
    int control, stream;
    bool terminal;
    struct termios before;
    struct until until; // open if the options have a pattern
    struct buf output;  // from the console, not yet on standard output
    struct buf input;   // for the console, not yet taken
    bool typing;        // standard input is forwarded
    bool ended, left;
    int exit_code;
    int decided;          // exit code once it is ours to choose; -1 before
    uint64_t deadline_ns; // 0: none
};

static void say(struct attached *a, const char *text)
{
    // In raw mode a line begins and ends with a carriage return.
    fprintf(stderr, "%srondo: %s%s\n", a->terminal ? "\r\n" : "", text, a->terminal ? "\r" : "");
}

static int ask_to_attach(struct attached *a, struct error *error)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    struct slice rest;
    int r = socket_send(a->control, "attach", NULL, 0);
    if (r >= 0)
        r = socket_receive(a->control, ANSWER_MS, text, fds, &count);
    if (r == 0 || r == -EPIPE)
        r = error_set(error, ENOENT, "machine %s has just ended; %s/machine.log may say why", a->instance->name,
                      a->instance->folder);
    else if (r == -EAGAIN)
        r = error_set(error, ETIMEDOUT, "machine %s does not answer; %s/machine.log may say why", a->instance->name,
                      a->instance->folder);
    else if (r < 0)
        error_set(error, -r, "machine %s does not let us attach: %s", a->instance->name, strerror(-r));
    else if ((r = ask_parse(text, &rest, error)) < 0)
        error_prefix(error, r, "machine %s", a->instance->name);
    else if (count != 1)
        r = error_set(error, EPROTO, "machine %s gave no console", a->instance->name);
    if (r == 0)
        a->stream = fds[0];
    for (unsigned i = 0; r < 0 && i < count; i++)
        close(fds[i]);
    return r;
}

static void raw_terminal(struct attached *a)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &a->before) < 0)
        return;
    struct termios raw = a->before;
    cfmakeraw(&raw);
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0)
        a->terminal = true;
}

static void restore_terminal(struct attached *a)
{
    if (a->terminal)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &a->before);
    a->terminal = false;
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
        say(a, rest.at);
    } else if (slice_equal(word, "exit") && text_parse_u64(slice_cut_word(&rest), 255, &code)) {
        a->ended = true;
        a->exit_code = (int)code;
        restore_terminal(a);
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
        say(a, "it is still being switched off; rondo ps shows it");
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
        say(a, "the machine does not end; rondo ps shows it");
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
static void follow(struct attached *a)
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

static int conclude(struct attached *a)
{
    const char *name = a->instance->name;
    if (a->left) {
        socket_send(a->control, "detach", NULL, 0);
        fprintf(stderr, "\nrondo: %s runs on; come back with: rondo console %s\n", name, name);
        return EXIT_CODE_OK;
    }
    if (a->decided == EXIT_CODE_TIMED_OUT && a->options->until)
        fprintf(stderr, "rondo: %s did not show \"%s\" within %u seconds\n", name, a->options->until,
                a->options->timeout);
    else if (a->decided == EXIT_CODE_TIMED_OUT)
        fprintf(stderr, "rondo: %s did not end within %u seconds\n", name, a->options->timeout);
    if (a->decided == EXIT_CODE_CANCELLED)
        fprintf(stderr, "rondo: cancelled; %s was switched off\n", name);
    if (a->decided >= 0)
        return a->decided;
    if (!a->ended) {
        fprintf(stderr, "rondo: the supervisor of %s ended without a word; %s/machine.log may say why\n", name,
                a->instance->folder);
        return EXIT_CODE_OTHER;
    }
    if (a->options->until) {
        fprintf(stderr, "rondo: %s ended before its console showed \"%s\"\n", name, a->options->until);
        return a->exit_code ? a->exit_code : EXIT_CODE_OTHER;
    }
    return a->exit_code;
}

static bool open_pattern(struct until *u, const char *pattern)
{
    char why[256];
    int r = until_open(u, pattern, why, sizeof(why));
    if (r < 0)
        fprintf(stderr, "rondo: --until \"%s\": %s\n", pattern, why);
    return r == 0;
}

bool console_check_pattern(const char *pattern)
{
    struct until u;
    if (!open_pattern(&u, pattern))
        return false;
    until_close(&u);
    return true;
}

int console_attach(const struct instance *i, int connection, int console, const struct console_options *options)
{
    struct error error = {.text = ""};
    struct attached a = {.instance = i,
                         .options = options,
                         .control = connection,
                         .stream = console,
                         .decided = -1,
                         .output = BUF_WITH_MAXIMUM(INPUT_MAXIMUM),
                         .input = BUF_WITH_MAXIMUM(INPUT_MAXIMUM)};
    bool opened = !options->until || open_pattern(&a.until, options->until);
    int r = opened && console < 0 ? ask_to_attach(&a, &error) : 0;
    if (!opened) {
        r = EXIT_CODE_USAGE;
    } else if (r < 0) {
        r = cli_fail(r, &error);
    } else {
        cli_catch_signals();
        if (options->timeout)
            a.deadline_ns = io_monotonic_ns() + options->timeout * 1000000000ull;
        raw_terminal(&a);
        if (a.terminal)
            fprintf(stderr, "rondo: attached to %s; Ctrl-] leaves\r\n", i->name);
        follow(&a);
        restore_terminal(&a);
        r = conclude(&a);
    }
    if (a.control >= 0)
        close(a.control);
    if (a.stream >= 0)
        close(a.stream);
    buf_free(&a.output);
    buf_free(&a.input);
    if (options->until && opened)
        until_close(&a.until);
    return r;
}

int verb_console(int argc, char **argv)
{
    static const struct option options[] = {{NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    struct instance i = INSTANCE_NONE;
    r = instance_open(argv[1], &i, &error);
    if (r < 0) {
        instance_close(&i);
        return cli_fail(r, &error);
    }
    r = instance_connect(&i, &error);
    if (r < 0)
        r = cli_fail(r, &error);
    else
        r = console_attach(&i, r, -1, &(struct console_options){.input = true});
    instance_close(&i);
    return r;
}
