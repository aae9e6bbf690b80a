// The life of one machine (see supervisor.h and machine.h).
//
// What may end, and what follows:
//   the engine              the machine has ended: its exit code is decided by the last event and the exit status
//   rondo-overlay           the disk is gone: the engine is switched off, exit code 1, said aloud
//   rondo-cloop             a successor is started with the session's descriptors; the guest does not notice
//   passt                   the guest has no network any more; said once
//   whoever owns us         (the rondo run that started us, unless it said detach): off
//
// Nothing here may block for long. What may wait for rondo-cloop's mount is waiting for the keeper (machine_cloop.c), a
// thread of its own.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/text.h"
#include "client/machine.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/banned.h"

#define OVERLAY_END_SECONDS 120 // flushing what the guest has written to a slow disk
#define INPUT_MAXIMUM 4096u
#define START_SECONDS 600u // a kernel over a slow link

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

void machine_say(struct machine *m, const char *format, ...)
{
    char text[ERROR_TEXT_SIZE], message[ERROR_TEXT_SIZE + 8];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    snprintf(message, sizeof(message), "say %s", text);
    log_info("%s", text);
    machine_clients_tell(m, message);
}

void machine_hold(struct machine *m, enum machine_hold why, const char *text)
{
    snprintf(m->paused_why, sizeof(m->paused_why), "%s", text);
    if (m->holds == 0 && m->started && m->options->engine->pause(&m->engine) == 0)
        machine_say(m, "%s is paused: %s", m->instance->name, text);
    m->holds |= (unsigned)why;
}

void machine_release(struct machine *m, enum machine_hold why)
{
    if (!(m->holds & (unsigned)why))
        return;
    m->holds &= ~(unsigned)why;
    if (m->holds == 0 && m->started && m->options->engine->resume(&m->engine) == 0) {
        m->paused_why[0] = '\0';
        machine_say(m, "%s goes on", m->instance->name);
    }
}

// The engine cannot end, not even killed, while rondo-overlay holds a request of it (no network, no space).
static void let_requests_go(const struct machine *m)
{
    if (m->overlay >= 0)
        socket_send(m->overlay, "let-go", NULL, 0);
}

void machine_stop(struct machine *m, unsigned seconds)
{
    if (m->state == MACHINE_ENDED)
        return;
    uint64_t off_at = io_monotonic_ns() + seconds * 1000000000ull;
    if (m->off_at_ns == 0 || off_at < m->off_at_ns)
        m->off_at_ns = off_at;
    if (m->state == MACHINE_STOPPING && seconds)
        return;
    m->state = MACHINE_STOPPING;
    if (seconds == 0) {
        let_requests_go(m);
        if (!m->started || m->options->engine->switch_off(&m->engine) < 0)
            kill(m->engine.pid, SIGTERM);
        return;
    }
    machine_release(m, HOLD_USER); // a paused guest would not hear the button
    if (m->started)
        m->options->engine->press_power(&m->engine);
}

void machine_counts(struct machine *m, char *ret_text, size_t capacity)
{
    char cloop[1024];
    machine_cloop_counts(m, cloop, sizeof(cloop));
    const struct supervisor_options *o = m->options;
    uint64_t requests = supervisor_count_in(cloop, "requests"), bytes = supervisor_count_in(cloop, "bytes");
    // A successor of rondo-cloop counts from 0.
    requests -= requests >= o->requests_before ? o->requests_before : 0;
    bytes -= bytes >= o->bytes_before ? o->bytes_before : 0;
    snprintf(ret_text, capacity, "run_requests=%llu run_bytes=%llu %s", (unsigned long long)(requests + o->requests),
             (unsigned long long)(bytes + o->bytes), cloop);
}

// Says over the ready pipe how starting went; once.
static void report(struct machine *m, int result, const struct error *error)
{
    char text[ERROR_TEXT_SIZE + 32];
    if (m->options->ready_fd < 0)
        return;
    int n = result == 0 ? snprintf(text, sizeof(text), "ok\n")
                        : snprintf(text, sizeof(text), "error %d %s\n", -result, error->text);
    ssize_t written = write(m->options->ready_fd, text, (size_t)n);
    if (written != n)
        log_warning("whoever started machine %s is gone", m->instance->name);
    close(m->options->ready_fd);
    m->options->ready_fd = -1;
}

static int start_machine(struct machine *m, struct error *error)
{
    struct supervisor_options *o = m->options;
    char kernel[PATH_TEXT_SIZE], initrd[PATH_TEXT_SIZE], disk[PATH_TEXT_SIZE], cmdline[2 * MANIFEST_TEXT_MAXIMUM];
    struct engine_start s = {.machine_name = m->instance->name,
                             .memory = m->instance->settings.memory,
                             .cpus = (unsigned)m->instance->settings.cpus,
                             .disk = disk,
                             .cmdline = cmdline,
                             .network = -1,
                             .errors = m->machine_log};
    int r = path_format(kernel, sizeof(kernel), "%s/kernel", o->version_folder);
    if (r == 0)
        r = path_format(initrd, sizeof(initrd), "%s/initrd", o->version_folder);
    if (r == 0)
        r = path_format(cmdline, sizeof(cmdline), "%s%s%s", o->description->cmdline, o->append ? " " : "",
                        o->append ? o->append : "");
    if (r < 0)
        return error_set(error, -r, "a path or the kernel's command line is too long");
    if (manifest_find_member(o->description, "kernel") >= 0)
        s.kernel = kernel;
    if (manifest_find_member(o->description, "initrd") >= 0)
        s.initrd = initrd;
    r = machine_start_overlay(m, disk, error);
    if (r < 0)
        return r;
    struct error why = {.text = ""};
    if (o->network && machine_start_passt(m, &s.network, &why) < 0)
        machine_say(m, "no network for %s: %s (--net none silences this)", m->instance->name, why.text);
    CLEANUP_CLOSE int network = s.network;
    r = o->engine->start(&s, &m->engine, error);
    if (r < 0)
        return r;
    m->start_by_ns = io_monotonic_ns() + START_SECONDS * 1000000000ull;
    return 0;
}

// rondo-cloop was replaced: the base disk may lie in another mount now.
static void renew_base(struct machine *m)
{
    struct error error = {.text = ""};
    eventfd_t ignored;
    if (eventfd_read(m->base_wanted, &ignored) == 0 && m->overlay >= 0 && machine_send_base(m, &error) < 0)
        log_error("%s", error.text);
}

static void hold_for_outage(struct machine *m, const char *sentence)
{
    char why[ERROR_TEXT_SIZE], runtime[PATH_TEXT_SIZE];
    if (path_find(PATH_RUNTIME, runtime, &(struct error){.text = ""}) < 0)
        runtime[0] = '\0'; // it was found when rondo-cloop was started
    snprintf(why, sizeof(why), "%.256s; it goes on by itself once it can be (%.440s/cloop.log says more)", sentence,
             runtime);
    machine_hold(m, HOLD_OUTAGE, why);
}

static void hear_overlay(struct machine *m)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    int r = socket_receive(m->overlay, 0, text, fds, &count);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r <= 0) {
        close(TAKE_FD(m->overlay));
        if (m->state == MACHINE_ENDED)
            return;
        m->exit_code = EXIT_CODE_OTHER;
        snprintf(m->exit_text, sizeof(m->exit_text), "the disk of %s is gone: rondo-overlay ended", m->instance->name);
        machine_say(m, "%s; the machine is switched off", m->exit_text);
        machine_stop(m, 0);
        return;
    }
    struct slice rest = slice_of(text), word = slice_cut_word(&rest);
    char escaped[ERROR_TEXT_SIZE];
    text_escape(rest, escaped, sizeof(escaped));
    if (slice_equal(word, "outage")) {
        hold_for_outage(m, escaped);
    } else if (slice_equal(word, "recovered")) {
        machine_release(m, HOLD_OUTAGE);
    } else if (slice_equal(word, "no-space")) {
        char why[ERROR_TEXT_SIZE];
        snprintf(why, sizeof(why), "no space left for what it writes (%.600s); free some, and it goes on by itself",
                 escaped);
        machine_hold(m, HOLD_NO_SPACE, why);
    } else if (slice_equal(word, "space")) {
        machine_release(m, HOLD_NO_SPACE);
    } else if (slice_equal(word, "failed")) {
        m->exit_code = EXIT_CODE_OTHER;
        snprintf(m->exit_text, sizeof(m->exit_text), "%s", escaped);
        machine_say(m, "%s: %s; the machine is switched off", m->instance->name, escaped);
        machine_stop(m, 0);
    }
}

static void log_console(struct machine *m, const void *bytes, size_t n)
{
    if (m->console_logged < CONSOLE_LOG_MAXIMUM && io_write_full(m->console_log, bytes, n, m->console_logged) < 0)
        m->console_logged = CONSOLE_LOG_MAXIMUM; // a full disk: the console itself goes on
    else
        m->console_logged += n;
}

static void hear_console(struct machine *m)
{
    unsigned char bytes[16384];
    ssize_t n = read(m->engine.console, bytes, sizeof(bytes));
    if (n > 0) {
        log_console(m, bytes, (size_t)n);
        machine_clients_console(m, bytes, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(TAKE_FD(m->engine.console)); // the engine's exit follows
    }
}

static void feed_console(struct machine *m)
{
    ssize_t n = send(m->engine.console, m->input.data, m->input.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n <= 0)
        return;
    m->input.size -= (size_t)n;
    memmove(m->input.data, m->input.data + n, m->input.size);
}

static void hear_engine(struct machine *m)
{
    for (;;) {
        switch (m->options->engine->next_event(&m->engine)) {
        case ENGINE_NOTHING:
            return;
        case ENGINE_STARTED:
            if (m->state == MACHINE_STARTING)
                m->state = MACHINE_RUNNING;
            m->started = true;
            m->start_by_ns = 0;
            report(m, 0, NULL);
            if (m->holds) // an outage while it was starting
                m->options->engine->pause(&m->engine);
            break;
        case ENGINE_LOST:
            close(TAKE_FD(m->engine.control));
            return;
        case ENGINE_PANICKED:
            m->exit_code = EXIT_CODE_OTHER;
            snprintf(m->exit_text, sizeof(m->exit_text), "the guest's kernel panicked");
            machine_say(m, "%s", m->exit_text);
            break;
        case ENGINE_RESET:
            log_info("the guest restarted itself");
            break;
        case ENGINE_POWERED_OFF:
            log_info("the guest switched itself off");
            break;
        }
    }
}

static void engine_ended(struct machine *m, int status)
{
    if (m->engine.console >= 0)
        hear_console(m); // the last words
    m->engine.pid = 0;
    m->state = MACHINE_ENDED;
    if (!m->started) {
        struct error error;
        report(m,
               error_set(&error, EIO, "engine %s did not start; %.600s/machine.log says why", m->options->engine->name,
                         m->instance->folder),
               &error);
        m->exit_code = EXIT_CODE_OTHER;
    }
    if (m->exit_text[0])
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        snprintf(m->exit_text, sizeof(m->exit_text), "%s is off", m->instance->name);
        return;
    }
    m->exit_code = EXIT_CODE_OTHER;
    snprintf(m->exit_text, sizeof(m->exit_text), "engine %s ended by %s %d; %.600s/machine.log says more",
             m->options->engine->name, WIFSIGNALED(status) ? "signal" : "exit code",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), m->instance->folder);
}

static void hear_signals(struct machine *m)
{
    struct signalfd_siginfo info;
    if (read(m->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
        machine_stop(m, 0);
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == m->engine.pid) {
            engine_ended(m, status);
        } else if (pid == m->overlay_pid) {
            m->overlay_pid = 0;
        } else if (pid == m->passt_pid) {
            m->passt_pid = 0;
            if (m->state == MACHINE_RUNNING)
                machine_say(m, "passt ended: %s has no network any more", m->instance->name);
        }
    }
}

static int next_timeout(const struct machine *m)
{
    uint64_t next = m->off_at_ns && m->state == MACHINE_STOPPING ? m->off_at_ns : m->start_by_ns;
    if (next == 0)
        return -1;
    uint64_t now = io_monotonic_ns();
    return next <= now ? 0 : (int)((next - now) / 1000000) + 1;
}

static void one_round(struct machine *m)
{
    enum { CONSOLE, CONTROL, OVERLAY, BASE, SIGNALS, CLIENTS };
    struct pollfd polls[CLIENTS + 1 + 2 * CLIENTS_MAXIMUM] = {
        [CONSOLE] = {.fd = m->engine.console, .events = (short)(POLLIN | (m->input.size ? POLLOUT : 0))},
        [CONTROL] = {.fd = m->engine.control, .events = POLLIN},
        [OVERLAY] = {.fd = m->overlay, .events = POLLIN},
        [BASE] = {.fd = m->base_wanted, .events = POLLIN},
        [SIGNALS] = {.fd = m->signals, .events = POLLIN},
    };
    unsigned clients = machine_clients_poll(m, polls + CLIENTS);
    if (poll(polls, CLIENTS + clients, next_timeout(m)) < 0)
        return;
    if (polls[CONSOLE].revents & (POLLIN | POLLHUP | POLLERR))
        hear_console(m);
    if (polls[CONSOLE].revents & POLLOUT && m->engine.console >= 0)
        feed_console(m);
    if (polls[CONTROL].revents)
        hear_engine(m);
    if (polls[OVERLAY].revents)
        hear_overlay(m);
    if (polls[BASE].revents)
        renew_base(m);
    machine_clients_serve(m, polls + CLIENTS, clients);
    if (polls[SIGNALS].revents)
        hear_signals(m);
    if (m->start_by_ns && io_monotonic_ns() >= m->start_by_ns) {
        m->start_by_ns = 0;
        log_error("engine %s has not started within %u seconds", m->options->engine->name, START_SECONDS);
        kill(m->engine.pid, SIGKILL);
    }
    if (m->state == MACHINE_STOPPING && m->off_at_ns && io_monotonic_ns() >= m->off_at_ns) {
        m->off_at_ns = io_monotonic_ns() + 10000000000ull; // not again at once
        let_requests_go(m);
        if (m->options->engine->switch_off(&m->engine) < 0)
            kill(m->engine.pid, SIGKILL);
    }
}

// Waits for a child that was told to end; kills it when it does not.
static void wait_for(pid_t pid, unsigned seconds)
{
    uint64_t end = io_monotonic_ns() + seconds * 1000000000ull;
    while (pid > 0 && waitpid(pid, NULL, WNOHANG) == 0) {
        if (io_monotonic_ns() > end) {
            log_error("process %d does not end; it is killed", (int)pid);
            kill(pid, SIGKILL);
            end = UINT64_MAX;
        }
        poll(NULL, 0, 10);
    }
}

// Takes everything down, in the order in which nothing is lost: engine, then the overlay with its last flush.
static void take_down(struct machine *m)
{
    if (m->engine.pid > 0) {
        let_requests_go(m);
        kill(m->engine.pid, SIGTERM);
        wait_for(m->engine.pid, 10);
    }
    if (m->overlay >= 0)
        socket_send(m->overlay, "quit", NULL, 0);
    wait_for(m->overlay_pid, OVERLAY_END_SECONDS);
    if (m->passt_pid > 0)
        kill(m->passt_pid, SIGTERM);
    wait_for(m->passt_pid, 5);
    if (m->overlay >= 0)
        close(m->overlay);
    if (m->engine.console >= 0)
        close(m->engine.console);
    if (m->engine.control >= 0)
        close(m->engine.control);
    buf_free(&m->engine.pending);
    buf_free(&m->input);
}

static int open_logs(struct machine *m, struct error *error)
{
    m->console_log = io_open(m->instance->folder_fd, "console.log", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    m->machine_log = io_open(m->instance->folder_fd, "machine.log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (m->console_log < 0 || m->machine_log < 0)
        return error_set(error, m->console_log < 0 ? -m->console_log : -m->machine_log, "cannot write the logs in %s",
                         m->instance->folder);
    dup2(m->machine_log, STDERR_FILENO);
    return 0;
}

static int take_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGHUP, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void say_goodbye(struct machine *m)
{
    char counts[2048], size[32], text[ERROR_TEXT_SIZE + 256];
    machine_counts(m, counts, sizeof(counts));
    snprintf(text, sizeof(text), "exit %d %s (fetched %s in %llu requests)", m->exit_code, m->exit_text,
             text_format_size(supervisor_count_in(counts, "run_bytes"), size),
             (unsigned long long)supervisor_count_in(counts, "run_requests"));
    machine_clients_tell(m, text);
}

int supervisor_run(struct supervisor_options *options)
{
    struct error error = {.text = ""};
    struct machine *m = calloc(1, sizeof(*m));
    if (!m)
        return EXIT_CODE_OTHER;
    m->options = options;
    m->instance = options->instance;
    m->listener = m->overlay = m->base_wanted = m->engine.console = m->engine.control = m->console_log =
        m->machine_log = -1;
    m->input = (struct buf)BUF_WITH_MAXIMUM(INPUT_MAXIMUM);
    m->since = io_realtime_seconds();
    machine_clients_init(m);
    m->signals = take_signals();
    int r = m->signals < 0 ? error_set(&error, errno, "cannot receive signals: %s", strerror(errno)) : 0;
    if (r == 0)
        r = open_logs(m, &error);
    if (r == 0)
        r = instance_prepare_runtime(m->instance, &error);
    if (r == 0)
        r = machine_listen(m, &error);
    if (r == 0)
        r = machine_keep_cloop(m, &error);
    if (r == 0)
        r = start_machine(m, &error);
    if (r < 0) {
        report(m, r, &error);
        log_error("%s", error.text);
        m->exit_code = (int)error_exit_code(r);
    }
    while (r == 0 && m->state != MACHINE_ENDED)
        one_round(m);
    m->state = MACHINE_ENDED;
    take_down(m);
    if (r == 0)
        say_goodbye(m);
    bool left = machine_leave_cloop(m); // else its thread still uses *m and *options, until the process ends
    instance_clear_runtime(m->instance);
    bool remove = m->instance->settings.ephemeral || (!m->started && options->remove_on_failure);
    if (remove && instance_remove(m->instance, &error) < 0)
        log_error("%s", error.text);
    // The lock goes before the clients hear of the end, so that a next command finds the machine stopped.
    instance_close(m->instance);
    machine_clients_close(m);
    int code = m->exit_code;
    close(m->console_log);
    close(m->machine_log);
    close(m->signals);
    if (left) {
        cloop_close(&options->cloop);
        free(m);
    }
    return code;
}
