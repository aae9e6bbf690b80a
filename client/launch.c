// See launch.h.
//
//   rondo run                                   supervisor: a session of its own, no terminal, none of our descriptors
//      ──fork, with socket pairs between, one for messages and one for the console──▶
//      ◀── say <sentence> … ──
//      ──kill──▶ (Ctrl-C)
//      ◀── ok ──  or  ◀── error <errno> <sentence> ──, after everything was taken down
#include "client/launch.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "client/ask.h"
#include "client/disks.h"
#include "client/measure_log.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/banned.h"

#define PROGRESS_MS 500

static int become_supervisor(struct supervisor_options *o)
{
    const struct instance *i = o->instance;
    setsid();
    umask(077);
    if (chdir("/") < 0)
        log_warning("cannot leave the working folder: %s", strerror(errno));
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
        return EXIT_CODE_OTHER;
    // Nobody who waits for the end of a pipe that our caller left open may have to wait for the machine's.
    int kept[10 + ENGINE_DISKS_MAXIMUM] = {i->folder_fd,
                                           i->lock_fd,
                                           o->cloop.socket,
                                           o->cloop.session_fd,
                                           o->cloop.state_fd,
                                           o->starter,
                                           o->starter_console,
                                           o->recording ? o->recording->disk : -1,
                                           o->recording ? o->recording->reads : -1,
                                           o->measure ? o->measure->fd : -1};
    unsigned count = 10;
    for (unsigned d = 0; d < o->disk_count; d++)
        kept[count++] = o->disks[d].fd;
    spawn_close_all_but(kept, count);
    return supervisor_run(o);
}

// One message of the supervisor: 1 if the guest runs, 0 to go on, or how it failed.
static int hear(int fd, struct error *error)
{
    char text[SOCKET_LINE_MAXIMUM];
    struct slice rest = {.length = 0};
    int r = socket_receive(fd, 0, text, NULL, NULL);
    if (r == -EAGAIN || r == -EINTR)
        return 0;
    if (r <= 0)
        return error_set(error, EIO, "the supervisor ended without a word");
    if (strncmp(text, "say ", 4) == 0) {
        cli_progress_end();
        fprintf(stderr, "rondo: %s\n", text + 4);
        return 0;
    }
    r = ask_parse(text, &rest, error);
    return r == 0 ? 1 : r == -EPROTO ? 0 : r;
}

// Until the guest runs (1) or the supervisor is gone; or sets *ret_impatient, at a second signal.
static int hear_start(const char *name, int fd, uint64_t deadline_ns, bool *ret_impatient, struct error *error)
{
    int stopped = 0; // why we had it stopped: -ECANCELED or -ETIMEDOUT
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = cli_poll(&wait, 1, PROGRESS_MS);
        bool signalled = cli_take_signal() != 0, late = deadline_ns && io_monotonic_ns() >= deadline_ns;
        if (signalled && stopped) {
            *ret_impatient = true;
            return error_set(error, ECANCELED, "cancelled; %s is still being stopped", name);
        }
        if (!stopped && (signalled || late)) {
            stopped = signalled ? -ECANCELED : -ETIMEDOUT;
            socket_send(fd, "kill", NULL, 0);
        }
        if (ready == 0)
            cli_progress(stopped ? "stopping %s" : "starting %s", name);
        if (ready <= 0)
            continue;
        int r = hear(fd, error);
        if (r < 0 && stopped)
            return error_set(error, -stopped, "%s: %s did not start",
                             stopped == -ETIMEDOUT ? "the time is over" : "cancelled", name);
        if (r < 0 || (r > 0 && !stopped))
            return r;
    }
}

int launch_machine(struct supervisor_options *o, bool console, uint64_t deadline_ns, struct launched *ret,
                   struct error *error)
{
    CLEANUP_CLOSE int ours = -1;
    CLEANUP_CLOSE int theirs = -1;
    CLEANUP_CLOSE int our_console = -1;
    CLEANUP_CLOSE int their_console = -1;
    int r = socket_pair(SOCK_SEQPACKET, &ours, &theirs, error);
    if (r == 0 && console)
        r = socket_pair(SOCK_STREAM, &our_console, &their_console, error);
    if (r < 0)
        return r;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        return error_set(error, errno, "cannot start the supervisor: %s", strerror(errno));
    if (child == 0) {
        o->starter = theirs;
        o->starter_console = their_console;
        _exit(become_supervisor(o));
    }
    close(TAKE_FD(theirs));
    if (console)
        close(TAKE_FD(their_console));
    // The machine is the supervisor's now: our copies of its descriptors must not keep its lock.
    close(TAKE_FD(o->instance->lock_fd));
    disks_close(o);
    cloop_close(&o->cloop);
    bool impatient = false;
    r = hear_start(o->instance->name, ours, deadline_ns, &impatient, error);
    cli_progress_end();
    if (r > 0) {
        *ret = (struct launched){.connection = TAKE_FD(ours), .console = TAKE_FD(our_console)};
        return 0;
    }
    while (!impatient && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return r;
}
