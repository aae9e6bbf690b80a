// The kvm engine: rondo-vmm, our own machine on /dev/kvm (docs/vmm.md). It opens the base disk and the overlay itself,
// so there is no rondo-overlay beside it, and what that would say about the disk comes over the engine's own control
// connection, in the same words. Console and control are socket pairs made before it starts.
//
// A guest that restarts itself ends the process; the supervisor starts it again (machine_life.c).
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/text.h"
#include "client/engine.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/banned.h"

#define PROGRAM "rondo-vmm"
#define PROBE_MS 20000                  // rondo-vmm gives up a KVM that is stuck after 5 s; the rest is for a busy host
#define MEMORY_STEP (UINT64_C(2) << 20) // what guest_memory_make takes multiples of

// --- probing -------------------------------------------------------------------------------------------------------

// What rondo-vmm --probe says on its standard error, without its name before it; false if it does not end in time.
static bool hear_probe(int pipe, char *ret, size_t capacity)
{
    static const char prefix[] = PROGRAM ": error: ";
    uint64_t deadline = io_monotonic_ns() + PROBE_MS * UINT64_C(1000000);
    char text[ERROR_TEXT_SIZE];
    size_t n = 0;
    for (;;) {
        uint64_t now = io_monotonic_ns();
        struct pollfd wait = {.fd = pipe, .events = POLLIN};
        int ready = now < deadline ? poll(&wait, 1, (int)((deadline - now) / 1000000) + 1) : 0;
        if (ready < 0 && errno == EINTR)
            continue; // to read now could wait for ever
        if (ready == 0)
            return false;
        ssize_t got = read(pipe, text + n, sizeof(text) - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    struct slice said = slice_of(text);
    if (slice_starts(said, prefix)) {
        said.at += sizeof(prefix) - 1;
        said.length -= sizeof(prefix) - 1;
    }
    while (said.length && said.at[said.length - 1] == '\n')
        said.length--;
    text_escape(said, ret, capacity);
    return true;
}

static int kvm_probe(struct error *error)
{
    char program[PATH_TEXT_SIZE], said[ERROR_TEXT_SIZE / 2];
    int r = path_find_program(PROGRAM, program, error), ends[2], status = 0;
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set(error, errno, "cannot make a pipe: %s", strerror(errno));
    CLEANUP_CLOSE int ours = ends[0];
    CLEANUP_CLOSE int theirs = ends[1];
    char *arguments[] = {program, (char[]){"--probe"}, NULL};
    struct spawn s = {.path = program, .arguments = arguments, .input = -1, .output = -1, .errors = theirs};
    pid_t pid = spawn_program(&s, error);
    if (pid < 0)
        return pid;
    close(TAKE_FD(theirs));
    bool ended = hear_probe(ours, said, sizeof(said));
    if (!ended)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!ended)
        return error_set(error, EOPNOTSUPP, "the test of /dev/kvm does not end");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return error_set(error, EOPNOTSUPP, "%s", said[0] ? said : "the test of /dev/kvm failed");
}

// --- starting ------------------------------------------------------------------------------------------------------

static void build(const struct engine_start *s, const char *program, int control, int console,
                  struct spawn_arguments *a)
{
    char manifest[SHA256_HEX_SIZE];
    uint64_t steps = (s->memory + MEMORY_STEP - 1) / MEMORY_STEP;
    spawn_argument(a, "%s", program);
    spawn_argument(a, "--kernel=%s", s->kernel);
    if (s->initrd)
        spawn_argument(a, "--initrd=%s", s->initrd);
    spawn_argument(a, "--cmdline=%s", s->cmdline);
    spawn_argument(a, "--memory=%lluM", (unsigned long long)steps * (MEMORY_STEP >> 20));
    spawn_argument(a, "--cpus=%u", s->cpus);
    spawn_argument(a, "--overlay=%s,base=fd:%d,manifest=%s", s->folder, s->base, sha256_to_hex(s->manifest, manifest));
    spawn_argument(a, "--on-outage=%s", s->pass_outage ? "error" : "pause");
    spawn_argument(a, "--outage-after=%u", s->outage_after);
    for (unsigned i = 0; i < s->disk_count; i++)
        spawn_argument(a, "--disk=fd:%d%s,name=%s", s->disks[i].fd, s->disks[i].read_only ? ",ro" : "",
                       s->disks[i].serial);
    if (s->record >= 0)
        spawn_argument(a, "--record=fd:%d", s->record);
    if (s->network >= 0)
        spawn_argument(a, "--net=passt:fd:%d", s->network);
    spawn_argument(a, "--console=fd:%d", console);
    spawn_argument(a, "--control=fd:%d", control);
}

static int kvm_start(const struct engine_start *s, struct engine_process *ret, struct error *error)
{
    char program[PATH_TEXT_SIZE];
    int r = path_find_program(PROGRAM, program, error);
    if (r < 0)
        return r;
    CLEANUP_CLOSE int control_ours = -1;
    CLEANUP_CLOSE int control_theirs = -1;
    CLEANUP_CLOSE int console_ours = -1;
    CLEANUP_CLOSE int console_theirs = -1;
    r = socket_pair(SOCK_SEQPACKET, &control_ours, &control_theirs, error);
    if (r == 0)
        r = socket_pair(SOCK_STREAM, &console_ours, &console_theirs, error);
    if (r < 0)
        return r;
    struct spawn_arguments a CLEANUP(spawn_arguments_free) = SPAWN_ARGUMENTS_NONE;
    build(s, program, control_theirs, console_theirs, &a);
    if (a.result < 0)
        return error_set(error, -a.result, "the machine's settings are too long");
    struct spawn spawn = {.path = program,
                          .arguments = a.list,
                          .input = -1,
                          .output = s->errors,
                          .errors = s->errors,
                          .kept = {control_theirs, console_theirs, s->base, s->lock},
                          .kept_count = 4};
    if (s->network >= 0)
        spawn.kept[spawn.kept_count++] = s->network;
    if (s->record >= 0)
        spawn.kept[spawn.kept_count++] = s->record;
    for (unsigned i = 0; i < s->disk_count; i++)
        spawn.kept[spawn.kept_count++] = s->disks[i].fd;
    pid_t pid = spawn_program(&spawn, error);
    if (pid < 0)
        return pid;
    fcntl(console_ours, F_SETFL, O_NONBLOCK);
    *ret = (struct engine_process){.pid = pid, .console = TAKE_FD(console_ours), .control = TAKE_FD(control_ours)};
    return 0;
}

// --- the conversation ----------------------------------------------------------------------------------------------

static int kvm_pause(struct engine_process *p)
{
    return socket_send(p->control, "pause", NULL, 0);
}

static int kvm_resume(struct engine_process *p)
{
    return socket_send(p->control, "resume", NULL, 0);
}

static int kvm_press_power(struct engine_process *p)
{
    return socket_send(p->control, "power", NULL, 0);
}

static int kvm_switch_off(struct engine_process *p)
{
    return socket_send(p->control, "quit", NULL, 0);
}

static int kvm_tell_disk(struct engine_process *p, const char *text, const int *fds, unsigned count)
{
    return socket_send(p->control, text, fds, count);
}

static int kvm_ask_statistics(struct engine_process *p)
{
    return socket_send(p->control, "statistics", NULL, 0);
}

static enum engine_event understand(struct engine_process *p, const char *text)
{
    static const struct {
        const char *text;
        enum engine_event event;
    } events[] = {
        {"ready", ENGINE_STARTED},           {"event powered-off", ENGINE_POWERED_OFF},
        {"event reset", ENGINE_RESET},       {"event triple-fault", ENGINE_TRIPLE_FAULT},
        {"event panicked", ENGINE_PANICKED}, {"event stopped", ENGINE_NOTHING},
        {"paused", ENGINE_NOTHING},          {"resumed", ENGINE_NOTHING},
    };
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (strcmp(text, events[i].text) == 0)
            return events[i].event;
    snprintf(p->said, sizeof(p->said), "%s", text);
    return ENGINE_SAYS;
}

static enum engine_event kvm_next_event(struct engine_process *p)
{
    char text[SOCKET_LINE_MAXIMUM];
    for (;;) {
        int r = socket_receive(p->control, 0, text, NULL, NULL);
        if (r == -EAGAIN || r == -EINTR)
            return ENGINE_NOTHING;
        if (r <= 0)
            return ENGINE_LOST;
        enum engine_event event = understand(p, text);
        if (event != ENGINE_NOTHING)
            return event;
    }
}

const struct engine engine_kvm = {
    .name = "kvm",
    .opens_disk = true,
    .needs_kernel = true,
    .ends_at_reset = true,
    .probe = kvm_probe,
    .start = kvm_start,
    .pause = kvm_pause,
    .resume = kvm_resume,
    .press_power = kvm_press_power,
    .switch_off = kvm_switch_off,
    .next_event = kvm_next_event,
    .tell_disk = kvm_tell_disk,
    .ask_statistics = kvm_ask_statistics,
};
