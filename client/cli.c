// The shared part of the verbs (see cli.h).
#include "client/cli.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/output.h"
#include "base/text.h"
#include "catalog/key.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

static const struct verb *find_verb(const char *name)
{
    for (const struct verb *v = verbs; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

int cli_usage(const char *verb, const char *format, ...)
{
    char text[ERROR_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    const struct verb *v = find_verb(verb);
    fprintf(stderr, "rondo %s: %s\nusage: rondo %s %s\n", verb, text, verb, v ? v->form : "");
    return EXIT_CODE_USAGE;
}

int cli_parsed(int result)
{
    return result < 0 ? cli_finish_output(EXIT_CODE_OK) : result;
}

int cli_parse(int argc, char **argv, const struct option *options, unsigned minimum_operands, unsigned maximum_operands,
              unsigned *ret_operands)
{
    struct error error;
    const char *verb = argv[0];
    int r = options_parse(argc, argv, options, key_is_text, minimum_operands, maximum_operands, ret_operands, &error);
    if (r < 0)
        return cli_usage(verb, "%s", error.text);
    if (r == 0)
        return 0;
    const struct verb *v = find_verb(verb);
    printf("usage: rondo %s %s\n\n%s\n\nThe manual: man rondo\n", verb, v->form, v->summary);
    return -1;
}

int cli_parse_operand(int argc, char **argv)
{
    static const struct option none[] = {{NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    return cli_parse(argc, argv, none, 1, 1, &operands);
}

int cli_fail(int result, const struct error *error)
{
    cli_progress_end();
    const char *text = error && error->text[0] ? error->text : strerror(result < 0 ? -result : result);
    fprintf(stderr, "rondo: %s\n", text);
    if (error_is_network(result) && result != -ENONET)
        fputs(
            "rondo: is the address right? If so, try again later; what is in the cache runs with rondo run --offline, "
            "and rondo run --source names another place for what is missing\n",
            stderr);
    return (int)error_exit_code(result);
}

static bool progress_shown; // with stderr locked

void cli_progress(const char *format, ...)
{
    static uint64_t last;
    if (!isatty(STDERR_FILENO))
        return;
    flockfile(stderr); // threads that fetch or check tell of it, too
    uint64_t now = io_monotonic_ns();
    if (!progress_shown || now - last >= 100000000u) {
        last = now;
        char text[256];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        fprintf(stderr, "\r\033[K%s", text);
        (void)fflush(stderr);
        progress_shown = true;
    }
    funlockfile(stderr);
}

void cli_progress_end(void)
{
    flockfile(stderr);
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
    funlockfile(stderr);
}

static void cancel(int number)
{
    (void)number;
    static const char text[] = "\nrondo: cancelled\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)ignored;
    _exit(EXIT_CODE_CANCELLED);
}

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

static void handle_signals(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler}; // no SA_RESTART: waits end with EINTR
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)sigaction(signals[i], &action, NULL);
}

void cli_cancel_on_signals(void)
{
    handle_signals(cancel);
}

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

void cli_catch_signals(void)
{
    handle_signals(on_signal);
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

int cli_take_signal(void)
{
    int number = interrupted;
    interrupted = 0;
    return number;
}

int cli_poll(struct pollfd *polls, unsigned count, int timeout_ms)
{
    const struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
    sigset_t ours, before;
    sigemptyset(&ours);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaddset(&ours, signals[i]);
    sigprocmask(SIG_BLOCK, &ours, &before);
    int ready = -1, code = EINTR;
    if (!interrupted) {
        ready = ppoll(polls, count, timeout_ms < 0 ? NULL : &timeout, &before);
        code = errno;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return ready;
}

int cli_finish_output(int code)
{
    struct error error;
    if (output_end(&error) < 0) {
        fprintf(stderr, "rondo: %s\n", error.text);
        return code == EXIT_CODE_OK ? EXIT_CODE_OTHER : code;
    }
    return code;
}

int cli_end(int result, const struct error *error)
{
    return result < 0 ? cli_fail(result, error) : cli_finish_output(EXIT_CODE_OK);
}
