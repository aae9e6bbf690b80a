// What the parts of a machine have to say (see machine.h), and what follows from the end of each:
//
//   the engine      the machine stops; its exit code is decided by the last event and by how it ended
//   rondo-overlay   the disk is gone: the machine stops, exit code 1, said aloud
//   passt           the guest has no network any more; said once
//   the helper      machine_mount.c sees the end of its connection
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/text.h"
#include "client/machine.h"
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "base/banned.h"

#define CRASH_SECONDS 5
#define SPACE_SECONDS 1
#define SPACE_ENOUGH (1u << 20) // less would be full again at once

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

static void hold_for_outage(struct machine *m, const char *sentence)
{
    char why[ERROR_TEXT_SIZE], runtime[PATH_TEXT_SIZE];
    if (path_find(PATH_RUNTIME, runtime, NULL) < 0)
        runtime[0] = '\0'; // it was found when rondo-cloop was started
    snprintf(why, sizeof(why), "%.256s; it goes on by itself once it can be (%.440s/cloop.log says more)", sentence,
             runtime);
    machine_hold(m, HOLD_OUTAGE, why);
}

// What rondo-overlay says, or an engine that has the disk open.
static void hear_of_disk(struct machine *m, struct slice word, const char *text)
{
    if (slice_equal(word, "outage")) {
        hold_for_outage(m, text);
    } else if (slice_equal(word, "recovered")) {
        machine_release(m, HOLD_OUTAGE);
    } else if (slice_equal(word, "no-space")) {
        char why[ERROR_TEXT_SIZE];
        for (unsigned d = 0; d < m->instance->settings.volume_count; d++)
            if (strcmp(text, m->options->disks[d].serial) == 0) // rondo-vmm knows no more of it
                text = m->instance->settings.volumes[d].path;
        snprintf(why, sizeof(why), "no space left for what it writes (%.600s); free some, and it goes on by itself",
                 text);
        machine_hold(m, HOLD_NO_SPACE, why);
    } else if (slice_equal(word, "space")) {
        machine_release(m, HOLD_NO_SPACE);
    } else if (slice_equal(word, "failed")) {
        machine_fail(m, "the disk of %s failed: %.600s; what was written last may be lost", m->instance->name, text);
        machine_stop(m, 0);
    } else if (slice_equal(word, "snapshot")) {
        machine_snapshot_hear(m, slice_of(text));
    } else if (slice_equal(word, "error")) {
        log_error("the disk of %s: %.600s", m->instance->name, text);
    }
}

// An engine that does not look for space itself goes on when it is told to, and then makes the same write again.
void machine_look_for_space(struct machine *m)
{
    struct statvfs s;
    if (fstatvfs(m->options->disks[m->full_volume].fd, &s) == 0 && (uint64_t)s.f_bavail * s.f_frsize >= SPACE_ENOUGH)
        machine_release(m, HOLD_NO_SPACE);
    else
        machine_set_timer(m, TIMER_SPACE, SPACE_SECONDS);
}

static void hear_of_full_volume(struct machine *m, struct slice text)
{
    uint64_t number;
    if (!text_parse_u64(text, UINT32_MAX, &number) || number >= m->instance->settings.volume_count)
        return;
    m->full_volume = (unsigned)number;
    machine_set_timer(m, TIMER_SPACE, SPACE_SECONDS);
    hear_of_disk(m, slice_of("no-space"), m->instance->settings.volumes[number].path);
}

void machine_hear_overlay(struct machine *m)
{
    char text[SOCKET_LINE_MAXIMUM], escaped[ERROR_TEXT_SIZE];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    int r = socket_receive(m->overlay, 0, text, fds, &count);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r > 0) {
        struct slice rest = slice_of(text), word = slice_cut_word(&rest);
        if (slice_equal(word, "ready"))
            machine_overlay_came(m);
        else
            hear_of_disk(m, word, text_escape(rest, escaped, sizeof(escaped)));
        return;
    }
    close(TAKE_FD(m->overlay)); // its end follows
    if (m->state != MACHINE_RUNNING)
        return;
    machine_fail(m, "the disk of %s is gone, as rondo-overlay ended; it is switched off", m->instance->name);
    machine_stop(m, 0);
}

static void overlay_ended(struct machine *m, int status)
{
    struct error error = {.text = ""};
    m->overlay_pid = 0;
    while (m->overlay >= 0 && is_readable(m->overlay))
        machine_hear_overlay(m); // its last words
    if (m->state == MACHINE_STARTING)
        machine_fail_start(m,
                           error_set(&error, machine_errno_of(status), "the disk of machine %s could not be opened",
                                     m->instance->name),
                           &error);
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        machine_fail(m, "the disk of %s was not closed in order; %.500s/machine.log says more", m->instance->name,
                     m->instance->folder);
}

static void log_console(struct machine *m, const void *bytes, size_t n)
{
    if (m->console_logged < INSTANCE_CONSOLE_LOG_MAXIMUM &&
        io_write_full(m->console_log, bytes, n, m->console_logged) < 0)
        m->console_logged = INSTANCE_CONSOLE_LOG_MAXIMUM; // a full disk: the console itself goes on
    else
        m->console_logged += n;
}

void machine_hear_console(struct machine *m)
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

void machine_feed_console(struct machine *m)
{
    ssize_t n = send(m->engine.console, m->input.data, m->input.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n <= 0)
        return;
    m->input.size -= (size_t)n;
    memmove(m->input.data, m->input.data + n, m->input.size);
}

static void hear_statistics(struct machine *m, const char *lines)
{
    struct buf answer CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SOCKET_LINE_MAXIMUM - 1);
    int r = buf_append_format(&answer, "ok %s", lines);
    machine_clients_answer(m, ASKED_STATISTICS, r < 0 ? "error 7 too many statistics" : buf_text(&answer));
}

static void hear_engine_say(struct machine *m, const char *text)
{
    char escaped[ERROR_TEXT_SIZE];
    struct slice rest = slice_of(text), word = slice_cut_word(&rest);
    text_escape(rest, escaped, sizeof(escaped));
    if (slice_starts(slice_of(text), "statistics\n"))
        hear_statistics(m, strchr(text, '\n') + 1);
    else if (slice_equal(word, "error"))
        log_error("engine %s: %s", m->options->engine->name, escaped);
    else if (slice_equal(word, "volume-full"))
        hear_of_full_volume(m, rest);
    else if (slice_equal(word, "broken"))
        machine_fail(m, "%s broke down: %.600s", m->instance->name, escaped);
    else
        hear_of_disk(m, word, escaped);
}

// A processor that cannot handle a fault restarts the machine, as some systems do on purpose. One that does so at once
// would do it for ever.
static void hear_triple_fault(struct machine *m)
{
    if (io_monotonic_ns() - m->engine_started < CRASH_SECONDS * UINT64_C(1000000000)) {
        machine_fail(m, "%s crashed as it began (a triple fault); its kernel may not fit this machine",
                     m->instance->name);
        return;
    }
    machine_say(m, "%s restarts, after a triple fault", m->instance->name);
    m->restarting = true;
}

void machine_hear_engine(struct machine *m)
{
    for (;;) {
        switch (m->options->engine->next_event(&m->engine)) {
        case ENGINE_NOTHING:
            return;
        case ENGINE_STARTED:
            machine_engine_came(m);
            break;
        case ENGINE_LOST:
            close(TAKE_FD(m->engine.control));
            return;
        case ENGINE_PANICKED:
            machine_fail(m, "the kernel of %s panicked", m->instance->name);
            break;
        case ENGINE_RESET:
            log_info("the guest restarted itself");
            m->restarting = m->options->engine->ends_at_reset;
            break;
        case ENGINE_TRIPLE_FAULT:
            hear_triple_fault(m);
            break;
        case ENGINE_SAYS:
            hear_engine_say(m, m->engine.said);
            break;
        case ENGINE_POWERED_OFF:
            log_info("the guest switched itself off");
            m->engine_ends = true;
            break;
        }
    }
}

static void engine_ended(struct machine *m, int status)
{
    const char *name = m->options->engine->name;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    // Of rondo-vmm some codes tell what the guest did, which its events have told already.
    bool in_order = code == 0 || (m->options->engine->ends_at_reset && code >= ENGINE_GUEST_EXIT_FIRST);
    if (m->engine.control >= 0)
        machine_hear_engine(m); // its last events
    while (m->engine.console >= 0 && is_readable(m->engine.console))
        machine_hear_console(m); // the guest's last words
    m->engine.pid = 0;
    if (m->restarting && m->state == MACHINE_RUNNING) {
        machine_restart(m);
        return;
    }
    struct error error;
    if (m->state == MACHINE_STARTING)
        machine_fail_start(m, error_set(&error, machine_errno_of(status), "engine %s did not start", name), &error);
    else if (!in_order && m->off_means < 2)
        machine_fail(m, "engine %s ended by %s %d; %.500s/machine.log says more", name,
                     WIFSIGNALED(status) ? "signal" : "exit code",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), m->instance->folder);
    if (!m->exit_text[0])
        snprintf(m->exit_text, sizeof(m->exit_text), "%s is off", m->instance->name);
    machine_stop(m, 0);
}

// It ends with the engine, and may be quicker: what the engine has said last is looked at first.
static void passt_ended(struct machine *m)
{
    m->passt_pid = 0;
    if (m->engine.control >= 0)
        machine_hear_engine(m);
    bool with_engine = m->restarting || m->engine_ends || (m->engine_runs && m->engine.control < 0);
    if (!with_engine && (m->state == MACHINE_STARTING || m->state == MACHINE_RUNNING))
        machine_say(m, "passt ended: %s has no network any more; %.500s/machine.log may say why", m->instance->name,
                    m->instance->folder);
}

void machine_hear_signals(struct machine *m)
{
    struct signalfd_siginfo info;
    if (read(m->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
        machine_stop(m, 0);
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == m->engine.pid)
            engine_ended(m, status);
        else if (pid == m->overlay_pid)
            overlay_ended(m, status);
        else if (pid == m->passt_pid)
            passt_ended(m);
        else if (pid == m->helper_pid)
            m->helper_pid = 0;
        else if (pid == m->measure_pid)
            machine_measure_ended(m, status);
    }
}
