// The console seen from the outside (see console.h).
//
//   attached ──Ctrl-]──▶ detach, message how to come back, exit 0
//      │ ──until matches──▶ kill ──▶ wait for the end ──▶ 0
//      │ ──timeout──▶ kill ──▶ wait for the end ──▶ 12
//      │ ──SIGINT/SIGTERM──▶ the owner: kill ──▶ wait for the end ──▶ 11; otherwise as Ctrl-]
//      └──machine ends──▶ its exit code (1 where --until was still waited for)
//
// What --until is matched against is until.h's business.
#include "client/console.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "base/text.h"
#include "client/cli.h"
#include "client/until.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>

#include "base/banned.h"

#define ESCAPE_KEY 0x1d // Ctrl-]
#define END_SECONDS 180 // how long the machine may take to end once told to

struct attached {
    const struct instance *instance;
    const struct console_options *options;
    int control, stream;
    bool terminal;
    struct termios before;
    struct until until; // open if the options have a pattern
    bool ended, left;
    int exit_code;
    int decided;          // exit code once it is ours to choose; -1 before
    uint64_t deadline_ns; // 0: none
};

static int ask_to_attach(struct attached *a, struct error *error)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    int r = socket_send(a->control, a->options->owner ? "attach owner" : "attach", NULL, 0);
    if (r >= 0)
        r = socket_receive(a->control, 10000, text, fds, &count);
    if (r > 0 && strcmp(text, "ok") == 0 && count == 1) {
        a->stream = fds[0];
        return 0;
    }
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    return error_set(error, r < 0 ? -r : EIO, "machine %s does not let us attach: %s", a->instance->name,
                     r > 0 ? text : "it does not answer");
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

static void say(struct attached *a, const char *text)
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

static void show_console(struct attached *a)
{
    unsigned char bytes[16384];
    ssize_t n = recv(a->stream, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close(TAKE_FD(a->stream));
        return;
    }
    for (size_t done = 0; done < (size_t)n;) {
        ssize_t w = write(STDOUT_FILENO, bytes + done, (size_t)n - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0) { // nobody reads us any more
            decide(a, EXIT_CODE_OTHER);
            break;
        }
        done += (size_t)w;
    }
    if (a->options->until && until_feed(&a->until, bytes, (size_t)n))
        decide(a, EXIT_CODE_OK);
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

// False when there is nothing more to come.
static bool type(struct attached *a)
{
    unsigned char bytes[1024];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n < 0 && errno == EINTR)
        return true;
    if (n <= 0) {
        shutdown(a->stream, SHUT_WR);
        a->left = a->terminal; // the terminal is gone
        return false;
    }
    unsigned char *escape = a->terminal ? memchr(bytes, ESCAPE_KEY, (size_t)n) : NULL;
    size_t wanted = escape ? (size_t)(escape - bytes) : (size_t)n;
    for (size_t done = 0; done < wanted;) {
        ssize_t w = send(a->stream, bytes + done, wanted - done, MSG_NOSIGNAL);
        if (w < 0 && errno != EINTR)
            break;
        done += w > 0 ? (size_t)w : 0;
    }
    a->left = escape != NULL;
    return true;
}

// Until the machine ended, or was left. The control connection ends last of all: then the machine is stopped for sure.
static void follow(struct attached *a)
{
    bool typing = a->terminal || a->options->input;
    while (a->control >= 0 && !a->left) {
        int timeout = -1;
        if (a->deadline_ns) {
            uint64_t now = io_monotonic_ns();
            timeout = now >= a->deadline_ns ? 0 : (int)((a->deadline_ns - now) / 1000000) + 1;
        }
        struct pollfd polls[] = {{.fd = a->control, .events = POLLIN},
                                 {.fd = a->stream, .events = POLLIN},
                                 {.fd = typing && a->stream >= 0 ? STDIN_FILENO : -1, .events = POLLIN}};
        int ready = poll(polls, ARRAY_SIZE(polls), timeout);
        if (cli_interrupted() && a->options->owner)
            decide(a, EXIT_CODE_CANCELLED);
        else if (cli_interrupted())
            a->left = true; // somebody else's machine: only we go
        if (ready < 0)
            continue;
        if (polls[1].revents)
            show_console(a);
        if (polls[0].revents && !(polls[1].revents & POLLIN)) // the console's last bytes before the end
            hear_machine(a);
        if (polls[2].revents)
            typing = type(a);
        if (a->deadline_ns && io_monotonic_ns() >= a->deadline_ns) {
            if (a->decided >= 0) {
                say(a, "the machine does not end; rondo ps shows it");
                break;
            }
            decide(a, EXIT_CODE_TIMED_OUT);
        }
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
    if (a->decided == EXIT_CODE_TIMED_OUT)
        fprintf(stderr, "rondo: %s did not show \"%s\" within %u seconds\n", name,
                a->options->until ? a->options->until : "its end", a->options->timeout);
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

int console_attach(const struct instance *i, const struct console_options *options)
{
    struct error error = {.text = ""};
    struct attached a = {.instance = i, .options = options, .control = -1, .stream = -1, .decided = -1};
    if (options->until && !open_pattern(&a.until, options->until))
        return EXIT_CODE_USAGE;
    a.control = instance_connect(i, &error);
    int r = a.control < 0 ? a.control : ask_to_attach(&a, &error);
    if (r < 0) {
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
    if (options->until)
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
    r = console_attach(&i, &(struct console_options){.input = true});
    instance_close(&i);
    return r;
}
