// The life of a machine (see machine.h): what follows upon what, and when.
//
//   STARTING ──base disk open──▶ rondo-overlay started ──ready──▶ passt and the engine started ──it says so──▶ RUNNING
//      │  failure, or stop                                                                                       │
//      ▼                                       machine_stop, the engine's end, the disk's end                    │
//      (An engine that opens the disk itself is started at once, and again when the guest restarts.)
//   STOPPING ◀───────────────────────────────────────────────────────────────────────────────────────────────────┘
//      │ 1. the engine ends: by the power button, then switched off, then killed
//      │ 2. rondo-overlay is told to end, and flushes what the guest has written; passt is told to end
//      ▼ 3. all have ended
//   ENDED
//
// While rondo-overlay holds requests of the guest (an outage, a full disk), an engine can neither obey nor die, not
// even killed: it waits for them. Whoever switches it off therefore has rondo-overlay let them go first.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "client/machine.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define OVERLAY_READY_SECONDS 30
#define ENGINE_READY_SECONDS 300 // its kernel was read before; to load it takes seconds
#define OVERLAY_END_SECONDS 120  // flushing what the guest has written to a slow disk
#define PASST_END_SECONDS 5
#define OFF_SECONDS 10 // between one means to end the engine and the next

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

void machine_fail(struct machine *m, const char *format, ...)
{
    char text[ERROR_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    machine_say(m, "%s", text);
    if (m->exit_code != EXIT_CODE_OK)
        return;
    m->exit_code = EXIT_CODE_OTHER;
    snprintf(m->exit_text, sizeof(m->exit_text), "%s", text);
}

// --- time ----------------------------------------------------------------------------------------------------------

void machine_set_timer(struct machine *m, enum machine_timer t, unsigned seconds)
{
    m->timers[t] = io_monotonic_ns() + seconds * 1000000000ull;
}

static bool is_due(struct machine *m, enum machine_timer t, uint64_t now)
{
    if (!m->timers[t] || m->timers[t] > now)
        return false;
    m->timers[t] = 0;
    return true;
}

int machine_next_timeout(const struct machine *m)
{
    uint64_t next = 0;
    for (int t = 0; t < TIMERS; t++)
        if (m->timers[t] && (next == 0 || m->timers[t] < next))
            next = m->timers[t];
    if (next == 0)
        return -1;
    uint64_t now = io_monotonic_ns();
    return next <= now ? 0 : (int)((next - now) / 1000000) + 1;
}

// --- starting ------------------------------------------------------------------------------------------------------

void machine_fail_start(struct machine *m, int result, const struct error *error)
{
    if (m->result < 0)
        return;
    m->result = result;
    m->why = *error;
    log_error("%s", error->text);
    m->exit_code = (int)error_exit_code(result);
    machine_stop(m, 0);
}

static void start_engine(struct machine *m)
{
    struct error error = {.text = ""};
    int r = machine_start_engine(m, &error);
    m->engine_started = io_monotonic_ns();
    if (r == 0) {
        machine_measure_given(m);
        machine_set_timer(m, TIMER_ENGINE_READY, ENGINE_READY_SECONDS);
    } else if (m->state == MACHINE_STARTING) {
        machine_fail_start(m, r, &error);
    } else {
        machine_fail(m, "%s could not be started again: %.600s", m->instance->name, error.text);
        machine_stop(m, 0);
    }
}

// For an engine that opens the disk itself.
static void keep_base(struct machine *m, int base)
{
    struct error error = {.text = ""};
    int copy = fcntl(base, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) {
        int r = error_set(&error, errno, "cannot keep the base disk: %s", strerror(errno));
        if (m->state == MACHINE_STARTING)
            machine_fail_start(m, r, &error);
        else
            log_error("%s", error.text); // the guest goes on with the one that it has
        return;
    }
    if (m->base >= 0)
        close(m->base);
    m->base = copy;
    if (m->state == MACHINE_STARTING && m->engine.pid == 0) {
        start_engine(m);
    } else if (m->engine.control >= 0) {
        int r = m->options->engine->tell_disk(&m->engine, "base", &base, 1);
        if (r < 0)
            log_error("cannot hand the base disk to the engine: %s", strerror(-r));
    }
}

void machine_base_came(struct machine *m, int base)
{
    struct error error = {.text = ""};
    if (m->options->engine->opens_disk) {
        if (m->state != MACHINE_STOPPING)
            keep_base(m, base);
    } else if (m->state == MACHINE_STARTING && m->overlay_pid == 0) {
        int r = machine_start_overlay(m, base, &error);
        if (r < 0)
            machine_fail_start(m, r, &error);
        else
            machine_set_timer(m, TIMER_OVERLAY_READY, OVERLAY_READY_SECONDS);
    } else if (m->overlay >= 0 && !m->overlay_told) {
        int r = socket_send(m->overlay, "base", &base, 1);
        if (r < 0)
            log_error("cannot hand the base disk to rondo-overlay: %s", strerror(-r));
    }
}

void machine_overlay_came(struct machine *m)
{
    m->timers[TIMER_OVERLAY_READY] = 0;
    if (m->state == MACHINE_STARTING && m->engine.pid == 0)
        start_engine(m);
}

void machine_restart(struct machine *m)
{
    cleanup_close(&m->engine.console);
    cleanup_close(&m->engine.control);
    m->engine.console = m->engine.control = -1;
    buf_free(&m->engine.pending);
    m->held[HOLD_OUTAGE] = m->held[HOLD_NO_SPACE] = false; // what waited is gone with the engine
    m->engine_runs = false;
    m->restarting = true; // machine_step goes on when passt, which ends with its connection, has given up its ports
    if (m->passt_pid > 0)
        machine_set_timer(m, TIMER_PASST_END, PASST_END_SECONDS);
}

// The engine says that its guest restarts before it ends, and until then it has the disk.
static void go_on_restarting(struct machine *m)
{
    if (m->state != MACHINE_RUNNING || m->engine.pid > 0 || m->passt_pid > 0)
        return;
    m->restarting = false;
    m->timers[TIMER_PASST_END] = 0;
    start_engine(m);
}

static bool is_held(const struct machine *m)
{
    return m->held[HOLD_USER] || m->held[HOLD_OUTAGE] || m->held[HOLD_NO_SPACE];
}

void machine_engine_came(struct machine *m)
{
    m->engine_runs = true;
    m->timers[TIMER_ENGINE_READY] = 0;
    if (m->state == MACHINE_STARTING) {
        m->state = MACHINE_RUNNING;
        machine_clients_tell(m, "ok");
    }
    if (m->state == MACHINE_RUNNING && is_held(m)) // an outage while it was starting
        m->options->engine->pause(&m->engine);
}

// --- pausing -------------------------------------------------------------------------------------------------------

const char *machine_why_held(const struct machine *m)
{
    for (int h = HOLDS - 1; h >= 0; h--)
        if (m->held[h])
            return m->why_held[h];
    return "";
}

void machine_hold(struct machine *m, enum machine_hold why, const char *text)
{
    bool was_held = is_held(m);
    m->held[why] = true;
    snprintf(m->why_held[why], sizeof(m->why_held[why]), "%s", text);
    if (m->options->recording) {
        machine_fail(m, "%.*s", (int)strcspn(text, ";"), text); // behind it is how it would go on
        machine_stop(m, 0);
        return;
    }
    if (was_held || !m->engine_runs)
        return;
    if (m->options->engine->pause(&m->engine) == 0)
        machine_say(m, "%s is paused: %s", m->instance->name, text);
}

void machine_release(struct machine *m, enum machine_hold why)
{
    bool was_held = m->held[why];
    m->held[why] = false;
    if (!was_held || is_held(m) || !m->engine_runs)
        return;
    if (m->options->engine->resume(&m->engine) == 0)
        machine_say(m, "%s goes on", m->instance->name);
}

// --- stopping ------------------------------------------------------------------------------------------------------

void machine_stop(struct machine *m, unsigned seconds)
{
    if (m->state == MACHINE_ENDED)
        return;
    bool first = m->state != MACHINE_STOPPING;
    if (m->state == MACHINE_STARTING && m->result == 0) {
        m->result = error_set(&m->why, ECANCELED, "%s was stopped before it had started", m->instance->name);
        m->exit_code = EXIT_CODE_CANCELLED;
    }
    if (!m->engine_runs)
        seconds = 0; // nobody would hear the button
    uint64_t before = m->timers[TIMER_OFF];
    machine_set_timer(m, TIMER_OFF, seconds);
    if (!first && (m->off_means > 0 || before < m->timers[TIMER_OFF]))
        m->timers[TIMER_OFF] = before; // what was decided earlier takes its course
    m->state = MACHINE_STOPPING;
    m->timers[TIMER_OVERLAY_READY] = m->timers[TIMER_ENGINE_READY] = 0;
    if (first && seconds) {
        machine_release(m, HOLD_USER); // a paused guest would not hear it either
        m->options->engine->press_power(&m->engine);
    }
}

static void tell_overlay(struct machine *m)
{
    if (m->overlay_pid == 0 || m->overlay_told)
        return;
    m->overlay_told = true;
    machine_set_timer(m, TIMER_OVERLAY_END, OVERLAY_END_SECONDS);
    if (m->overlay < 0 || socket_send(m->overlay, "quit", NULL, 0) < 0)
        kill(m->overlay_pid, SIGTERM);
}

static void let_requests_go(const struct machine *m)
{
    if (m->overlay >= 0)
        socket_send(m->overlay, "let-go", NULL, 0);
}

// The next means to end the engine, each harder than the one before.
static void switch_off(struct machine *m)
{
    let_requests_go(m);
    if (!m->engine_runs) {
        kill(m->engine.pid, SIGKILL); // no guest has run: there is nothing that could be lost
        m->off_means = 2;
    } else if (m->off_means == 0) {
        if (m->options->engine->switch_off(&m->engine) < 0)
            kill(m->engine.pid, SIGTERM);
        m->off_means = 1;
    } else {
        log_error("engine %s does not end; it is killed", m->options->engine->name);
        kill(m->engine.pid, SIGKILL);
        m->off_means = 2;
    }
    // One that has the disk open flushes it now.
    if (m->off_means == 1)
        machine_set_timer(m, TIMER_OFF, m->options->engine->opens_disk ? OVERLAY_END_SECONDS : OFF_SECONDS);
}

static void end_parts(struct machine *m)
{
    m->timers[TIMER_OFF] = m->timers[TIMER_MOUNT] = 0;
    machine_mount_stop(m);
    tell_overlay(m);
    if (m->passt_pid > 0 && !m->timers[TIMER_PASST_END]) {
        kill(m->passt_pid, SIGTERM);
        machine_set_timer(m, TIMER_PASST_END, PASST_END_SECONDS);
    }
    if (m->overlay_pid == 0 && m->passt_pid == 0)
        m->state = MACHINE_ENDED;
}

static void fail_late(struct machine *m, const char *program, int seconds)
{
    struct error error;
    machine_fail_start(m, error_set(&error, EIO, "%s was not ready within %d seconds", program, seconds), &error);
}

void machine_step(struct machine *m)
{
    uint64_t now = io_monotonic_ns();
    if (is_due(m, TIMER_OVERLAY_READY, now)) {
        kill(m->overlay_pid, SIGKILL);
        fail_late(m, "rondo-overlay", OVERLAY_READY_SECONDS);
    }
    if (is_due(m, TIMER_ENGINE_READY, now))
        fail_late(m, m->options->engine->name, ENGINE_READY_SECONDS);
    if (is_due(m, TIMER_MOUNT, now))
        machine_mount_ask(m);
    if (is_due(m, TIMER_OVERLAY_END, now) && m->overlay_pid > 0) {
        machine_fail(m, "the disk of %s could not be flushed within %d seconds; rondo-overlay is killed",
                     m->instance->name, OVERLAY_END_SECONDS);
        kill(m->overlay_pid, SIGKILL);
    }
    if (is_due(m, TIMER_PASST_END, now) && m->passt_pid > 0)
        kill(m->passt_pid, SIGKILL);
    if (is_due(m, TIMER_SPACE, now))
        machine_look_for_space(m);
    if (is_due(m, TIMER_LOG, now))
        machine_log_look(m);
    is_due(m, TIMER_ACCEPT, now); // these two only wake the loop
    is_due(m, TIMER_READER, now);
    machine_snapshot_look(m);
    if (m->restarting)
        go_on_restarting(m);
    if (is_due(m, TIMER_OFF, now) && m->engine.pid > 0)
        switch_off(m);
    if (m->state == MACHINE_STOPPING && m->engine.pid == 0)
        end_parts(m);
}
