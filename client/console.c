// The console seen from the outside (see console.h).
//
//   attached ──Ctrl-], or the terminal is gone──▶ detach, message how to come back, exit 0
//      │ ──until matches──▶ kill ──▶ wait for the end ──▶ 0
//      │ ──timeout──▶ kill ──▶ wait for the end ──▶ 12
//      │ ──SIGINT, SIGTERM──▶ the owner: kill ──▶ wait for the end ──▶ 11; otherwise as Ctrl-]
//      └──machine ends──▶ its exit code (1 where --until was still waited for)
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "client/ask.h"
#include "client/cli.h"
#include "client/console_private.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define BUFFER_MAXIMUM 65536u
#define ANSWER_MS 10000

static int ask_to_attach(struct attached *a, struct error *error)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM] = {-1};
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

void console_restore_terminal(struct attached *a)
{
    if (a->terminal)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &a->before);
    a->terminal = false;
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
        fprintf(stderr, "rondo: %s did not show \"%s\" within %s\n", name, a->options->until,
                TEXT_COUNT(a->options->timeout, "second"));
    else if (a->decided == EXIT_CODE_TIMED_OUT)
        fprintf(stderr, "rondo: %s did not end within %s\n", name, TEXT_COUNT(a->options->timeout, "second"));
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
                         .output = BUF_WITH_MAXIMUM(BUFFER_MAXIMUM),
                         .input = BUF_WITH_MAXIMUM(BUFFER_MAXIMUM)};
    bool opened = !options->until || open_pattern(&a.until, options->until);
    int r = opened && console < 0 ? ask_to_attach(&a, &error) : 0;
    if (!opened) {
        r = EXIT_CODE_USAGE;
    } else if (r < 0) {
        r = cli_fail(r, &error);
    } else {
        cli_catch_signals();
        a.deadline_ns = options->deadline_ns;
        raw_terminal(&a);
        if (a.terminal)
            fprintf(stderr, "rondo: attached to %s; Ctrl-] leaves\r\n", i->name);
        console_follow(&a);
        console_restore_terminal(&a);
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
    int r = cli_parse_operand(argc, argv);
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
