// The shared part of the verbs (see cli.h). The option parser is a table walk, because getopt_long keeps hidden state,
// accepts abbreviations that change meaning as options are added, and cannot check the values.
#include "client/cli.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
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

static int option_store(const char *verb, const struct option *o, const char *value)
{
    struct option_list *list = o->target;
    switch (o->type) {
    case OPTION_FLAG:
        *(bool *)o->target = true;
        return 0;
    case OPTION_TEXT:
        *(const char **)o->target = value;
        return 0;
    case OPTION_SIZE:
    case OPTION_LIMIT:
        if (!text_parse_size(value, o->target) || (*(uint64_t *)o->target == 0 && o->type == OPTION_SIZE))
            return cli_usage(verb, "--%s takes a size like 512M or 2G, not \"%s\"", o->name, value);
        return 0;
    case OPTION_NUMBER:
    case OPTION_TIME:
        if (!text_parse_u64(slice_of(value), UINT32_MAX, o->target) ||
            (*(uint64_t *)o->target == 0 && o->type == OPTION_NUMBER))
            return cli_usage(verb, "--%s takes a number from %d on, not \"%s\"", o->name, o->type == OPTION_NUMBER,
                             value);
        return 0;
    case OPTION_LIST:
        if (list->count == OPTION_LIST_MAXIMUM)
            return cli_usage(verb, "--%s may be given at most %u times", o->name, OPTION_LIST_MAXIMUM);
        list->values[list->count++] = value;
        return 0;
    }
    return EXIT_CODE_USAGE;
}

static bool is_key(const char *text)
{
    struct key_public key;
    return key_from_text(text, strlen(text), &key);
}

int cli_parse(int argc, char **argv, const struct option *options, unsigned minimum_operands, unsigned maximum_operands,
              unsigned *ret_operands)
{
    const char *verb = argv[0];
    unsigned operands = 0;
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (ended || argument[0] != '-' || argument[1] == '\0' || is_key(argument)) {
            if (operands == maximum_operands)
                return cli_usage(verb, "unexpected argument \"%s\"", argument);
            argv[1 + operands++] = argv[i];
            continue;
        }
        if (strcmp(argument, "--") == 0) {
            ended = true;
            continue;
        }
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            const struct verb *v = find_verb(verb);
            printf("usage: rondo %s %s\n\n%s\n\nThe manual: man rondo\n", verb, v->form, v->summary);
            return -1;
        }
        const struct option *o = options;
        size_t length = 0;
        for (; o->name; o++) {
            length = strlen(o->name);
            if (strncmp(argument, "--", 2) == 0 && strncmp(argument + 2, o->name, length) == 0 &&
                (argument[2 + length] == '\0' || argument[2 + length] == '='))
                break;
        }
        if (!o->name)
            return cli_usage(verb, "no option %s", argument);
        const char *value = argument[2 + length] == '=' ? argument + 3 + length : NULL;
        if (o->type == OPTION_FLAG && value)
            return cli_usage(verb, "--%s takes no value", o->name);
        if (o->type != OPTION_FLAG && !value) {
            if (++i == argc)
                return cli_usage(verb, "--%s needs a value", o->name);
            value = argv[i];
        }
        int r = option_store(verb, o, value);
        if (r != 0)
            return r;
    }
    if (operands < minimum_operands)
        return cli_usage(verb, "an argument is missing");
    argv[1 + operands] = NULL;
    *ret_operands = operands;
    return 0;
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
            "and --source names another place for what is missing\n",
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
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "rondo: cannot write to standard output: %s\n", strerror(errno));
        return code == EXIT_CODE_OK ? EXIT_CODE_OTHER : code;
    }
    return code;
}

int cli_end(int result, const struct error *error)
{
    return result < 0 ? cli_fail(result, error) : cli_finish_output(EXIT_CODE_OK);
}
