// One machine of a visitor (see try_machine.h).
#include "server/try_machine.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/text.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/banned.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define END_SECONDS 20 // for SIGTERM to be heeded: a machine is switched off, and its folder removed
#define LIFE_GRACE 60  // seconds after which rondo run ends by itself, should we not have told it to

enum { VISITOR, CONSOLE, PROCESS };

bool try_machine_is_free(const struct try_machine *m)
{
    return m->pid == 0 && m->console < 0 && m->visitor < 0;
}

static bool is_empty(const struct try_pipe *pipe)
{
    return pipe->begin == pipe->end;
}

// --- start ---------------------------------------------------------------------------------------------------------

static int spawn(struct try_machine *m, const struct try_place *place, int console, struct error *error)
{
    struct spawn_arguments a CLEANUP(spawn_arguments_free) = SPAWN_ARGUMENTS_NONE;
    spawn_argument(&a, "rondo");
    spawn_argument(&a, "run");
    spawn_argument(&a, "%s/%s", place->site, m->image);
    spawn_argument(&a, "--name");
    spawn_argument(&a, "%s", m->name);
    spawn_argument(&a, "--ephemeral");
    spawn_argument(&a, "--input");
    spawn_argument(&a, "--net");
    spawn_argument(&a, "none");
    spawn_argument(&a, "--cpus");
    spawn_argument(&a, "1");
    spawn_argument(&a, "--memory");
    spawn_argument(&a, "%llu", (unsigned long long)place->limits.memory);
    spawn_argument(&a, "--timeout");
    spawn_argument(&a, "%u", place->limits.life + LIFE_GRACE);
    if (a.result < 0)
        return error_set(error, -a.result, "the command line of a machine is too long");
    const struct spawn s = {.path = place->program,
                            .arguments = a.list,
                            .input = console,
                            .output = console,
                            .errors = STDERR_FILENO,
                            .die_with_us = true};
    return spawn_program(&s, error);
}

int try_machine_start(struct try_machine *m, const struct try_place *place, const char *image, struct error *error)
{
    struct try_machine new = TRY_MACHINE_NONE;
    CLEANUP_CLOSE int visitor = -1, theirs = -1, console = -1, its = -1;
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return error_set(error, EIO, "there are no random numbers: %m");
    snprintf(new.name, sizeof new.name, "try-%016llx", (unsigned long long)random);
    if (strlen(image) >= sizeof new.image)
        return error_set(error, ENAMETOOLONG, "the name of an image is too long");
    memcpy(new.image, image, strlen(image) + 1);
    int r = socket_pair(SOCK_STREAM, &visitor, &theirs, error);
    if (r == 0)
        r = socket_pair(SOCK_STREAM, &console, &its, error);
    if (r == 0)
        r = new.pid = spawn(&new, place, its, error);
    if (r < 0)
        return r;
    new.process = pidfd_open(new.pid, 0);
    new.started = new.typed = io_monotonic_ns();
    new.visitor = TAKE_FD(visitor);
    new.console = TAKE_FD(console);
    *m = new;
    if (m->process < 0) { // nothing would tell us of its end
        r = error_set(error, errno, "cannot watch a process: %m");
        kill(m->pid, SIGKILL);
        waitpid(m->pid, &m->status, 0);
        close(m->visitor);
        close(m->console);
        *m = (struct try_machine)TRY_MACHINE_NONE;
        return r;
    }
    return TAKE_FD(theirs);
}

// --- end -----------------------------------------------------------------------------------------------------------

static void close_stream(int *fd)
{
    if (*fd >= 0)
        close(TAKE_FD(*fd));
}

void try_machine_end(struct try_machine *m, const char *why)
{
    char text[256];
    if (m->ending || try_machine_is_free(m))
        return;
    m->ending = true;
    log_info("%s (%s) ends: %s", m->name, m->image, why);
    snprintf(text, sizeof text, "\r\n[%s]\r\n", why);
    if (m->visitor >= 0) // lost on a visitor who does not read what came before
        send(m->visitor, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    close_stream(&m->visitor);
    close_stream(&m->console);
    if (m->pid > 0)
        kill(m->pid, SIGTERM);
    m->told = io_monotonic_ns();
}

static void reap(struct try_machine *m)
{
    if (m->pid > 0 && waitpid(m->pid, &m->status, WNOHANG) == m->pid) {
        m->pid = 0;
        close_stream(&m->process);
    }
}

// Bytes of the disk that its files take.
static uint64_t count_written(const struct try_machine *m, const struct try_place *place)
{
    static const char *const files[] = {"disk.data", "disk.map", "console.log", "machine.log"};
    uint64_t written = 0;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char path[PATH_TEXT_SIZE];
        struct stat st;
        if (path_format(path, sizeof path, "%s/instances/%s/%s", place->home, m->name, files[i]) == 0 &&
            lstat(path, &st) == 0)
            written += (uint64_t)st.st_blocks * 512;
    }
    return written;
}

static void check_limits(struct try_machine *m, const struct try_place *place)
{
    const uint64_t now = io_monotonic_ns();
    char why[128], size[32];
    if (m->ending) {
        if (m->pid > 0 && now - m->told > END_SECONDS * NS_PER_SECOND) {
            kill(m->pid, SIGKILL);
            m->told = now;
        }
        return;
    }
    if (now - m->started >= place->limits.life * NS_PER_SECOND)
        snprintf(why, sizeof why, "switched off: machines live %s here", TEXT_COUNT(place->limits.life, "second"));
    else if (now - m->typed >= place->limits.idle * NS_PER_SECOND)
        snprintf(why, sizeof why, "switched off: %s for %s",
                 is_empty(&m->in) ? "nothing was typed" : "it has taken nothing of what was typed",
                 TEXT_COUNT(place->limits.idle, "second"));
    else if (count_written(m, place) > place->limits.disk)
        snprintf(why, sizeof why, "switched off: it has written more than %s",
                 text_format_size(place->limits.disk, size));
    else
        return;
    try_machine_end(m, why);
}

// --- between -------------------------------------------------------------------------------------------------------

void try_machine_prepare(const struct try_machine *m, struct pollfd polls[static TRY_MACHINE_POLLS])
{
    const bool in = m->in.begin < m->in.end, out = m->out.begin < m->out.end;
    polls[VISITOR] = (struct pollfd){.fd = m->visitor, .events = (short)((in ? 0 : POLLIN) | (out ? POLLOUT : 0))};
    polls[CONSOLE] = (struct pollfd){.fd = m->console, .events = (short)((out ? 0 : POLLIN) | (in ? POLLOUT : 0))};
    polls[PROCESS] = (struct pollfd){.fd = m->process, .events = POLLIN};
    // A console that has ended reports it again and again, while the visitor does not take its last words.
    if (out && !in)
        polls[CONSOLE].fd = -1;
}

// False at the end of the stream.
static bool fill(struct try_pipe *pipe, int fd)
{
    ssize_t n = recv(fd, pipe->bytes, sizeof pipe->bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    pipe->begin = 0;
    pipe->end = n > 0 ? (size_t)n : 0;
    return n > 0;
}

static bool drain(struct try_pipe *pipe, int fd)
{
    ssize_t n = send(fd, pipe->bytes + pipe->begin, pipe->end - pipe->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    pipe->begin += n > 0 ? (size_t)n : 0;
    return n >= 0;
}

static void hear_visitor(struct try_machine *m, short events)
{
    bool there = true;
    if (events & POLLOUT && !is_empty(&m->out))
        there = drain(&m->out, m->visitor);
    if (there && events & (POLLIN | POLLHUP | POLLERR) && is_empty(&m->in)) {
        there = fill(&m->in, m->visitor);
        m->typed = is_empty(&m->in) ? m->typed : io_monotonic_ns();
    } else if (events & (POLLHUP | POLLERR)) {
        there = false; // nobody reads what the console shows
    }
    if (!there)
        try_machine_end(m, "the visitor has left");
}

static void hear_console(struct try_machine *m, short events)
{
    bool there = true;
    if (events & POLLOUT && !is_empty(&m->in))
        there = drain(&m->in, m->console);
    if (there && events & (POLLIN | POLLHUP | POLLERR) && is_empty(&m->out))
        there = fill(&m->out, m->console);
    if (!there)
        close_stream(&m->console);
}

void try_machine_handle(struct try_machine *m, const struct try_place *place,
                        const struct pollfd polls[static TRY_MACHINE_POLLS])
{
    if (polls[PROCESS].revents)
        reap(m);
    if (polls[CONSOLE].revents && m->console >= 0)
        hear_console(m, polls[CONSOLE].revents);
    if (polls[VISITOR].revents && m->visitor >= 0)
        hear_visitor(m, polls[VISITOR].revents);
    check_limits(m, place);
    // Its last words have gone out, and how it has ended is known.
    if (!m->ending && m->pid == 0 && m->console < 0 && is_empty(&m->out))
        try_machine_end(m, WIFEXITED(m->status) && WEXITSTATUS(m->status) == 0
                               ? "the machine has been switched off"
                               : "the machine could not be started, or has failed");
    if (try_machine_is_free(m))
        m->ending = false;
}
