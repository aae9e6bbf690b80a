// The supervisor's first and last steps, and its poll loop (see supervisor.h and machine.h).
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "client/disks.h"
#include "client/machine.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/banned.h"

#define INPUT_MAXIMUM 4096u
#define LOG_END 2048u // of the machine's log, searched for the reason why it did not start

uint64_t supervisor_count_in(const char *counts, const char *name)
{
    struct slice rest = slice_of(counts);
    size_t length = strlen(name);
    while (rest.length) {
        struct slice word = slice_cut_word(&rest);
        uint64_t value;
        if (word.length > length + 1 && memcmp(word.at, name, length) == 0 && word.at[length] == '=' &&
            text_parse_u64((struct slice){word.at + length + 1, word.length - length - 1}, UINT64_MAX, &value))
            return value;
    }
    return 0;
}

static void one_round(struct machine *m)
{
    enum { CONSOLE, CONTROL, OVERLAY, CLOOP, HELPER, SIGNALS, CLIENTS };
    const bool lag = machine_clients_lag(m);
    struct pollfd polls[CLIENTS + 1 + 2 * CLIENTS_MAXIMUM] = {
        [CONSOLE] = {.fd = m->engine.console, .events = (short)((lag ? 0 : POLLIN) | (m->input.size ? POLLOUT : 0))},
        [CONTROL] = {.fd = m->engine.control, .events = POLLIN},
        [OVERLAY] = {.fd = m->overlay, .events = POLLIN},
        [CLOOP] = {.fd = m->options->cloop.socket, .events = POLLIN},
        [HELPER] = {.fd = m->helper, .events = POLLIN},
        [SIGNALS] = {.fd = m->signals, .events = POLLIN},
    };
    if (lag && !m->input.size)
        polls[CONSOLE].fd = -1; // its end would be reported again and again
    unsigned clients = machine_clients_poll(m, polls + CLIENTS);
    int ready = poll(polls, CLIENTS + clients, machine_next_timeout(m));
    // Each of these may close the descriptor of another one; a descriptor that was opened meanwhile is not looked at.
    if (ready > 0) {
        if (polls[CONSOLE].revents & (POLLIN | POLLHUP | POLLERR))
            machine_hear_console(m);
        if (polls[CONSOLE].revents & POLLOUT && m->engine.console >= 0)
            machine_feed_console(m);
        if (polls[CONTROL].revents && m->engine.control >= 0)
            machine_hear_engine(m);
        if (polls[OVERLAY].revents && m->overlay == polls[OVERLAY].fd)
            machine_hear_overlay(m);
        if (polls[CLOOP].revents && m->options->cloop.socket == polls[CLOOP].fd)
            machine_mount_lost(m); // it says nothing unasked: readable means that it ended
        if (polls[HELPER].revents && m->helper == polls[HELPER].fd)
            machine_mount_hear(m);
        machine_clients_serve(m, polls + CLIENTS, clients);
        if (polls[SIGNALS].revents)
            machine_hear_signals(m);
    }
    machine_step(m);
}

static int open_logs(struct machine *m, struct error *error)
{
    m->console_log = io_open(m->instance->folder_fd, "console.log", O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0600);
    int r = m->console_log < 0 ? m->console_log : machine_log_open(m);
    if (r < 0)
        return error_set(error, -r, "cannot write the logs in %s: %s", m->instance->folder, strerror(-r));
    if (dup2(m->machine_log, STDERR_FILENO) < 0)
        return error_set(error, errno, "cannot write to machine.log in %s: %s", m->instance->folder, strerror(errno));
    return 0;
}

static int take_signals(struct machine *m, struct error *error)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGHUP, SIG_IGN);
    m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return m->signals < 0 ? error_set(error, errno, "cannot receive signals: %s", strerror(errno)) : 0;
}

// What a program of the machine said last, as the reason why it did not start: the log may be gone in a moment.
static void add_reason(struct machine *m)
{
    char text[LOG_END + 1], escaped[ERROR_TEXT_SIZE / 2];
    struct stat st;
    if (m->machine_log < 0 || fstat(m->machine_log, &st) < 0)
        return;
    uint64_t size = (uint64_t)st.st_size;
    ssize_t n = io_read_some(m->machine_log, text, LOG_END, size > LOG_END ? size - LOG_END : 0);
    if (n <= 0)
        return;
    text[n] = '\0';
    struct slice reason = {.length = 0};
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        struct slice said = {.at = line, .length = (size_t)(end - line)};
        if (said.length && !slice_starts(said, "rondo: ")) // not what we said ourselves
            reason = said;
        end += *end == '\n';
    }
    if (reason.length)
        error_set(&m->why, -m->result, "%.380s: %s", m->why.text, text_escape(reason, escaped, sizeof(escaped)));
}

static void say_goodbye(struct machine *m)
{
    char counts[2048], size[32], text[ERROR_TEXT_SIZE + 256];
    if (m->result < 0) {
        add_reason(m);
        snprintf(m->exit_text, sizeof(m->exit_text), "%s", m->why.text);
        snprintf(text, sizeof(text), "error %d %s", -m->result, m->why.text);
        machine_clients_tell(m, text); // for whoever started it
    }
    machine_mount_counts(m, counts, sizeof(counts));
    int n = snprintf(text, sizeof(text), "exit %d %s", m->exit_code, m->exit_text);
    if (!m->options->recording)
        snprintf(text + n, sizeof(text) - (size_t)n, " (fetched %s in %s)",
                 text_format_size(supervisor_count_in(counts, "run_bytes"), size),
                 TEXT_COUNT(supervisor_count_in(counts, "run_requests"), "request"));
    machine_clients_tell(m, text);
}

static void close_all(struct machine *m)
{
    const int fds[] = {m->overlay,     m->engine.console, m->engine.control, m->base,
                       m->console_log, m->machine_log,    m->signals};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    cloop_close(&m->options->cloop);
    buf_free(&m->engine.pending);
    buf_free(&m->input);
}

int supervisor_run(struct supervisor_options *options)
{
    struct error error = {.text = ""};
    struct machine *m = calloc(1, sizeof(*m));
    if (!m)
        return EXIT_CODE_OTHER;
    m->options = options;
    m->instance = options->instance;
    m->listener = m->overlay = m->helper = m->signals = m->engine.console = m->engine.control = -1;
    m->console_log = m->machine_log = m->base = m->reads = m->own_reads = m->measure = -1;
    m->input = (struct buf)BUF_WITH_MAXIMUM(INPUT_MAXIMUM);
    m->since = io_realtime_seconds();
    machine_clients_init(m);
    machine_clients_adopt(m, options->starter, options->starter_console);
    int r = take_signals(m, &error);
    if (r == 0)
        r = open_logs(m, &error);
    if (r == 0)
        r = m->listener = instance_prepare_runtime(m->instance, &error);
    if (r >= 0)
        r = machine_measure_start(m, &error);
    if (r == 0)
        machine_mount_ask(m);
    else
        machine_fail_start(m, r, &error);
    machine_step(m);
    while (m->state != MACHINE_ENDED)
        one_round(m);
    machine_mount_stop(m);
    machine_snapshot_stop(m);
    machine_measure_end(m);
    cleanup_close(&m->listener);
    instance_clear_runtime(m->instance);
    bool remove = m->instance->settings.ephemeral || (m->result < 0 && options->remove_on_failure);
    if (remove && instance_remove(m->instance, &error) < 0)
        log_error("%s", error.text);
    disks_close(m->options);
    // The locks go before the clients hear of the end, so that a next command finds the machine stopped.
    instance_close(m->instance);
    say_goodbye(m);
    machine_clients_close(m);
    close_all(m);
    int code = m->exit_code;
    free(m);
    return code;
}
