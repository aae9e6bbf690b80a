// rondo-overlay and passt: started by the supervisor, connected to it by socket pairs alone, and gone with it (the end
// of the connection tells rondo-overlay, the end of the guest's connection tells passt; the parent-death signal is the
// net below).
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "client/machine.h"
#include "client/spawn.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/banned.h"

#define OVERLAY_READY_MS 30000
#define PASST_SETTLE_MS 150

static int open_base(struct machine *m, struct error *error)
{
    char path[PATH_TEXT_SIZE];
    int r = path_format(path, sizeof(path), "%s/disk", m->options->version_folder);
    if (r < 0)
        return error_set(error, -r, "the path of the base disk is too long");
    int fd = io_open(AT_FDCWD, path, O_RDONLY, 0);
    return fd < 0 ? error_set(error, -fd, "cannot open the base disk %s: %s", path, strerror(-fd)) : fd;
}

int machine_send_base(struct machine *m, struct error *error)
{
    CLEANUP_CLOSE int base = open_base(m, error);
    if (base < 0)
        return base;
    int r = socket_send(m->overlay, "base", &base, 1);
    return r < 0 ? error_set(error, -r, "cannot hand the base disk to rondo-overlay: %s", strerror(-r)) : 0;
}

int machine_start_overlay(struct machine *m, char ret_disk[static PATH_TEXT_SIZE], struct error *error)
{
    char program[PATH_TEXT_SIZE], mount[PATH_TEXT_SIZE], manifest[SHA256_HEX_SIZE], base_text[16], control_text[16];
    int r = path_find_program("rondo-overlay", program, error);
    if (r < 0)
        return r;
    r = path_format(mount, sizeof(mount), "%s/disk", m->instance->runtime);
    if (r == 0)
        r = path_format(ret_disk, PATH_TEXT_SIZE, "%s/disk", mount);
    if (r < 0)
        return error_set(error, -r, "the path of machine %s is too long", m->instance->name);
    CLEANUP_CLOSE int base = open_base(m, error);
    if (base < 0)
        return base;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(error, errno, "cannot make a socket pair: %s", strerror(errno));
    CLEANUP_CLOSE int ours = pair[0];
    CLEANUP_CLOSE int theirs = pair[1];
    snprintf(base_text, sizeof(base_text), "%d", base);
    snprintf(control_text, sizeof(control_text), "%d", theirs);
    static char pause[] = "pause", fail[] = "error";
    char *outage = m->options->outage_error ? fail : pause;
    char *arguments[] = {program,
                         (char[]){"--dir"},
                         m->instance->folder,
                         (char[]){"--mount"},
                         mount,
                         (char[]){"--manifest"},
                         (char *)sha256_to_hex(&m->instance->settings.manifest, manifest),
                         (char[]){"--base-fd"},
                         base_text,
                         (char[]){"--control-fd"},
                         control_text,
                         (char[]){"--on-outage"},
                         outage,
                         NULL};
    struct spawn s = {.path = program,
                      .arguments = arguments,
                      .input = -1,
                      .output = m->machine_log,
                      .errors = m->machine_log,
                      .kept = {base, theirs},
                      .kept_count = 2};
    pid_t pid = spawn_program(&s, error);
    if (pid < 0)
        return pid;
    m->overlay_pid = pid;
    close(TAKE_FD(theirs));
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    r = socket_receive(ours, OVERLAY_READY_MS, text, fds, &count);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    if (r > 0 && strcmp(text, "ready") == 0) {
        m->overlay = TAKE_FD(ours);
        return 0;
    }
    // It says why in the machine's log, and by its exit code.
    int status = 0;
    if (r != 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    m->overlay_pid = 0;
    int code = EIO;
    if (WIFEXITED(status))
        code = WEXITSTATUS(status) == EXIT_CODE_BUSY           ? EBUSY
               : WEXITSTATUS(status) == EXIT_CODE_NO_SPACE     ? ENOSPC
               : WEXITSTATUS(status) == EXIT_CODE_VERIFICATION ? EBADMSG
               : WEXITSTATUS(status) == EXIT_CODE_HOST_CANNOT  ? EOPNOTSUPP
                                                               : EIO;
    return error_set(error, code, "the disk of machine %s could not be opened; %s/machine.log says why",
                     m->instance->name, m->instance->folder);
}

int machine_start_passt(struct machine *m, int *ret_network, struct error *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(error, errno, "cannot make a socket pair: %s", strerror(errno));
    CLEANUP_CLOSE int ours = pair[0];
    CLEANUP_CLOSE int theirs = pair[1];
    char fd_text[16];
    snprintf(fd_text, sizeof(fd_text), "%d", theirs);
    // --no-map-gw: the guest cannot reach the host's own loopback services through the gateway's address (TRUST T29).
    char *arguments[16 + 2 * OPTION_LIST_MAXIMUM] = {(char[]){"passt"},
                                                     (char[]){"--foreground"},
                                                     (char[]){"--quiet"},
                                                     (char[]){"--stderr"},
                                                     (char[]){"--no-map-gw"},
                                                     (char[]){"--fd"},
                                                     fd_text};
    static char forward[] = "-t"; // TCP from the host's port to the guest's
    unsigned n = 7;
    for (unsigned i = 0; i < m->options->ports->count; i++) {
        arguments[n++] = forward;
        arguments[n++] = (char *)m->options->ports->values[i];
    }
    arguments[n] = NULL;
    struct spawn s = {.path = "passt",
                      .arguments = arguments,
                      .input = -1,
                      .output = m->machine_log,
                      .errors = m->machine_log,
                      .kept = {theirs},
                      .kept_count = 1,
                      .die_with_us = true};
    pid_t pid = spawn_program(&s, error);
    if (pid < 0)
        return pid == -ENOENT ? error_set(error, EOPNOTSUPP, "passt is not installed (apt-get install passt)") : pid;
    // It gives up at once on a host that has no network interface, or whose port is taken.
    struct pollfd wait = {.fd = ours, .events = POLLIN};
    close(TAKE_FD(theirs));
    int status;
    if (poll(&wait, 1, PASST_SETTLE_MS) > 0 && (wait.revents & POLLHUP) && waitpid(pid, &status, 0) == pid)
        return error_set(error, EOPNOTSUPP,
                         "passt ended at once: no network interface, or a port in use (%s/machine.log)",
                         m->instance->folder);
    m->passt_pid = pid;
    *ret_network = TAKE_FD(ours);
    return 0;
}
