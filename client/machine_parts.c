// The programs of a machine: started by the supervisor, connected to it by socket pairs alone, and gone with it (the
// end of the connection tells rondo-overlay, the end of the guest's connection tells passt; the parent-death signal is
// the net below).
//
// rondo-overlay inherits the instance's lock, too: a machine whose supervisor was killed counts as running until its
// disk is flushed and closed.
#include "base/cleanup.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "client/machine.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/banned.h"

#define PASST_SETTLE_MS 150

static int find_mount(const struct machine *m, char ret_path[static PATH_TEXT_SIZE], struct error *error)
{
    int r = path_format(ret_path, PATH_TEXT_SIZE, "%s/disk", m->instance->runtime);
    return r < 0 ? error_set(error, -r, "the path of machine %s is too long", m->instance->name) : 0;
}

// Offline there is nothing to wait for.
static unsigned outage_after(const struct machine *m)
{
    return m->options->offline ? 0 : m->options->cloop.wait_seconds;
}

int machine_start_overlay(struct machine *m, int base, struct error *error)
{
    char program[PATH_TEXT_SIZE], mount[PATH_TEXT_SIZE], manifest[SHA256_HEX_SIZE], base_text[16], control_text[16],
        seconds[16], record[16];
    int r = path_find_program("rondo-overlay", program, error);
    if (r < 0)
        return r;
    r = find_mount(m, mount, error);
    if (r < 0)
        return r;
    CLEANUP_CLOSE int ours = -1;
    CLEANUP_CLOSE int theirs = -1;
    r = socket_pair(SOCK_SEQPACKET, &ours, &theirs, error);
    if (r < 0)
        return r;
    snprintf(base_text, sizeof(base_text), "%d", base);
    snprintf(control_text, sizeof(control_text), "%d", theirs);
    snprintf(seconds, sizeof(seconds), "%u", outage_after(m));
    static char pause[] = "pause", fail[] = "error", option[] = "--record-fd";
    char *outage = m->options->outage_error ? fail : pause;
    snprintf(record, sizeof(record), "%d", m->reads);
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
                         (char[]){"--outage-after"},
                         seconds,
                         m->reads >= 0 ? option : NULL,
                         record,
                         NULL};
    struct spawn s = {.path = program,
                      .arguments = arguments,
                      .input = -1,
                      .output = m->machine_log,
                      .errors = m->machine_log,
                      .kept = {base, theirs, m->instance->lock_fd, m->reads},
                      .kept_count = m->reads >= 0 ? 4 : 3};
    pid_t pid = spawn_program(&s, error);
    if (pid < 0)
        return pid;
    m->overlay_pid = pid;
    m->overlay = TAKE_FD(ours);
    return 0;
}

int machine_errno_of(int status)
{
    static const struct {
        int exit_code, code;
    } table[] = {{EXIT_CODE_BUSY, EBUSY},
                 {EXIT_CODE_NO_SPACE, ENOSPC},
                 {EXIT_CODE_VERIFICATION, EBADMSG},
                 {EXIT_CODE_HOST_CANNOT, EOPNOTSUPP}};
    for (size_t i = 0; WIFEXITED(status) && i < ARRAY_SIZE(table); i++)
        if (WEXITSTATUS(status) == table[i].exit_code)
            return table[i].code;
    return EIO;
}

int machine_start_engine(struct machine *m, struct error *error)
{
    struct supervisor_options *o = m->options;
    char kernel[PATH_TEXT_SIZE], initrd[PATH_TEXT_SIZE], disk[PATH_TEXT_SIZE], mount[PATH_TEXT_SIZE],
        cmdline[2 * MANIFEST_TEXT_MAXIMUM];
    struct engine_start s = {.machine_name = m->instance->name,
                             .memory = m->instance->settings.memory,
                             .cpus = (unsigned)m->instance->settings.cpus,
                             .disk = disk,
                             .cmdline = cmdline,
                             .folder = m->instance->folder,
                             .base = m->base,
                             .lock = m->instance->lock_fd,
                             .manifest = &m->instance->settings.manifest,
                             .disks = o->disks,
                             .disk_count = o->disk_count,
                             .record = m->reads,
                             .pass_outage = o->outage_error,
                             .outage_after = outage_after(m),
                             .network = -1,
                             .errors = m->machine_log};
    int r = find_mount(m, mount, error);
    if (r < 0)
        return r;
    r = path_format(disk, sizeof(disk), "%s/disk", mount);
    if (r == 0)
        r = path_format(kernel, sizeof(kernel), "%s/kernel", o->version_folder);
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
    struct error why = {.text = ""};
    if (o->network) {
        r = machine_start_passt(m, &s.network, &why);
        if (r < 0 && o->ports->count) // asked for in so many words: not without it
            return error_prefix(error, error_set(error, -r, "%s", why.text), "no network for %s, so no --port",
                                m->instance->name);
        if (r < 0)
            machine_say(m, "no network for %s: %s%s", m->instance->name, why.text,
                        o->recording ? "" : " (--net none silences this)");
    }
    r = o->engine->start(&s, &m->engine, error);
    if (s.network >= 0)
        close(s.network); // the engine has it now: its end tells passt
    return r;
}

int machine_start_passt(struct machine *m, int *ret_network, struct error *error)
{
    CLEANUP_CLOSE int ours = -1;
    CLEANUP_CLOSE int theirs = -1;
    int r = socket_pair(SOCK_STREAM, &ours, &theirs, error);
    if (r < 0)
        return r;
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
        return error_set(error, EOPNOTSUPP, "passt ended at once: no network interface, or a port in use");
    m->passt_pid = pid;
    *ret_network = TAKE_FD(ours);
    return 0;
}
