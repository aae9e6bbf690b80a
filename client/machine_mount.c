// rondo-cloop and its mount, as far as a supervisor needs them (see machine.h): the base disk, opened, and a successor
// when rondo-cloop has died. All of it may wait: for a slow site, or, in a mount whose rondo-cloop is dead, for the
// successor that nobody but us may be there to start. So it is the work of a helper, a fork of the supervisor that
// sends what it got:
//
//   supervisor                              helper
//      ──fork──▶                            connect (or start a successor with the session that we hold), open, hold
//      ◀── cloop + connection, session, state ──   (only if the connection was lost)
//                                              while starting: read what the engine will read
//      ◀── base + the base disk ──                 exit
//      or ◀── error <errno> <sentence> ──          exit
//
// There is one helper at a time; when the connection is lost while one works, it is killed and another begins anew.
// What fails is tried again a second later, unless the machine is only starting: then that has failed.
//
// A boot that is being recorded has no rondo-cloop, and its base disk is there from the beginning.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/text.h"
#include "client/ask.h"
#include "client/machine.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/banned.h"

#define RETRY_SECONDS 1
#define STARTING_TRIES 10u
#define READ_SIZE (1u << 20)

// --- the helper ----------------------------------------------------------------------------------------------------

static int connect_again(struct machine *m, int answer, struct error *error)
{
    struct supervisor_options *o = m->options;
    const struct instance_settings *s = &m->instance->settings;
    char folder[PATH_TEXT_SIZE];
    int r = cloop_connect(&o->cloop, error);
    if (r == 0)
        r = cloop_hold(&o->cloop, error); // before anything else, so that the successor may die at once, too
    if (r == 0)
        r = cloop_open_version(&o->cloop, &s->manifest, o->sources, o->source_count, NULL, folder, error);
    if (r == 0 && o->keep_owner)
        r = cloop_keep_version(&o->cloop, &s->manifest, o->keep_owner, o->keep_rate, o->sources, o->source_count,
                               error);
    if (r < 0)
        return r;
    const int fds[] = {o->cloop.socket, o->cloop.session_fd, o->cloop.state_fd};
    r = socket_send(answer, "cloop", fds, 3);
    return r < 0 ? error_set(error, -r, "cannot hand out the connection to rondo-cloop: %s", strerror(-r)) : 0;
}

static int open_base(struct machine *m, int answer, struct error *error)
{
    char path[PATH_TEXT_SIZE];
    int r = path_format(path, sizeof(path), "%s/disk", m->options->version_folder);
    if (r < 0)
        return error_set(error, -r, "the path of the base disk is too long");
    CLEANUP_CLOSE int base = io_open(AT_FDCWD, path, O_RDONLY, 0);
    if (base < 0)
        return error_set(error, -base, "cannot open the base disk %s: %s", path, strerror(-base));
    // The guest's kernel and rondo-cloop read ahead by what they know; a third guess would fetch what no boot reads.
    (void)posix_fadvise(base, 0, 0, POSIX_FADV_RANDOM);
    r = socket_send(answer, "base", &base, 1);
    return r < 0 ? error_set(error, -r, "cannot hand out the base disk: %s", strerror(-r)) : 0;
}

// One failed read ends an engine, while the disk has rondo-overlay's patience. So what an engine reads by itself is
// read here first: the kernel's cache has it then.
static int read_member(const struct machine *m, const char *name, unsigned patience, struct error *error)
{
    char path[PATH_TEXT_SIZE], runtime[PATH_TEXT_SIZE];
    const struct supervisor_options *o = m->options;
    uint64_t offset = 0;
    if (manifest_find_member(o->description, name) < 0)
        return 0;
    int r = path_format(path, sizeof(path), "%s/%s", o->version_folder, name);
    if (r == 0)
        r = path_find(PATH_RUNTIME, runtime, error);
    CLEANUP_FREE void *bytes = malloc(READ_SIZE);
    CLEANUP_CLOSE int fd = r == 0 ? io_open(AT_FDCWD, path, O_RDONLY, 0) : r;
    if (fd < 0 || !bytes)
        return error_set(error, fd < 0 ? -fd : ENOMEM, "cannot open the %s %s", name, path);
    for (uint64_t since = io_monotonic_ns();;) {
        ssize_t n = io_read_some(fd, bytes, READ_SIZE, offset);
        if (n == 0)
            return 0;
        if (n > 0) {
            offset += (uint64_t)n;
            since = io_monotonic_ns();
        } else if (io_monotonic_ns() - since >= patience * 1000000000ull) {
            return error_set(error, (int)-n, "the %s of %s %s cannot be read; %s/cloop.log says why", name,
                             o->description->name, o->description->version, runtime);
        } else {
            poll(NULL, 0, RETRY_SECONDS * 1000);
        }
    }
}

static void help(struct machine *m, int answer)
{
    struct cloop *c = &m->options->cloop;
    struct error error = {.text = ""};
    char text[ERROR_TEXT_SIZE + 32];
    // Above all the instance's lock must not live on in a helper that waits for ever.
    const bool connected = c->socket >= 0;
    const unsigned patience = m->options->offline ? 0 : c->wait_seconds; // offline there is nothing to wait for
    spawn_close_all_but((const int[]){answer, c->session_fd, c->state_fd}, connected ? 1 : 3);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int r = connected ? 0 : connect_again(m, answer, &error);
    // Whoever waits for the mount must not hold its session: were everything else killed now, the mount would live on
    // because of us, and we would wait for it for ever.
    cloop_close(c);
    bool starting = m->state == MACHINE_STARTING && m->engine.pid == 0;
    if (r == 0 && starting)
        r = read_member(m, "kernel", patience, &error);
    if (r == 0 && starting)
        r = read_member(m, "initrd", patience, &error);
    if (r == 0)
        r = open_base(m, answer, &error);
    if (r == 0)
        return;
    snprintf(text, sizeof(text), "error %d %s", -r, error.text);
    socket_send(answer, text, NULL, 0);
}

// --- the supervisor ------------------------------------------------------------------------------------------------

void machine_mount_stop(struct machine *m)
{
    if (m->helper >= 0)
        close(TAKE_FD(m->helper));
    if (m->helper_pid > 0)
        kill(m->helper_pid, SIGKILL); // it may take its time to die; nobody waits for it
    m->helper_pid = 0;
}

static bool saw_wrong_data(struct machine *m)
{
    char counts[2048];
    machine_mount_counts(m, counts, sizeof(counts));
    return supervisor_count_in(counts, "wrong") > m->options->wrong_before;
}

static void failed(struct machine *m, int result, const struct error *error)
{
    const bool ended = result == -ECONNRESET || result == -EPIPE;
    machine_mount_stop(m);
    if (m->state == MACHINE_STARTING && (!ended || ++m->mount_failures == STARTING_TRIES)) {
        // To the kernel all failures of rondo-cloop are the same.
        machine_fail_start(m, result != -EIO ? result : saw_wrong_data(m) ? -EBADMSG : -ENETUNREACH, error);
    } else {
        log_error("%s", error->text);
        machine_set_timer(m, TIMER_MOUNT, RETRY_SECONDS);
    }
}

void machine_mount_ask(struct machine *m)
{
    struct error error;
    CLEANUP_CLOSE int theirs = -1;
    if (m->options->recording) {
        machine_base_came(m, m->options->recording->disk);
        return;
    }
    machine_mount_stop(m);
    int r = socket_pair(SOCK_SEQPACKET, &m->helper, &theirs, &error);
    if (r < 0) {
        failed(m, r, &error);
        return;
    }
    pid_t pid = fork();
    if (pid < 0) {
        failed(m, error_set(&error, errno, "cannot start a process: %s", strerror(errno)), &error);
        return;
    }
    if (pid == 0) {
        help(m, theirs);
        _exit(0);
    }
    m->helper_pid = pid;
}

void machine_mount_lost(struct machine *m)
{
    struct cloop *c = &m->options->cloop;
    if (c->socket >= 0) {
        log_warning("rondo-cloop ended; starting another");
        close(TAKE_FD(c->socket));
    }
    m->timers[TIMER_MOUNT] = 0;
    if (m->state != MACHINE_ENDED)
        machine_mount_ask(m);
}

static void take_connection(struct machine *m, const int fds[static 3])
{
    struct cloop *c = &m->options->cloop;
    struct cloop new = *c;
    new.socket = fds[0];
    new.session_fd = fds[1];
    new.state_fd = fds[2];
    cloop_close(c);
    *c = new;
}

void machine_mount_hear(struct machine *m)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    int r = socket_receive(m->helper, 0, text, fds, &count);
    if (r == -EAGAIN || r == -EINTR)
        return;
    struct error error = {.text = ""};
    struct slice rest = {.length = 0};
    if (r > 0 && count == 3 && strcmp(text, "cloop") == 0) {
        take_connection(m, fds);
        return;
    }
    if (r > 0 && count == 1 && strcmp(text, "base") == 0) {
        close(TAKE_FD(m->helper));
        machine_base_came(m, fds[0]);
    } else if (r > 0 && (r = ask_parse(text, &rest, &error)) < 0) {
        failed(m, r, &error);
    } else {
        failed(m, error_set(&error, EIO, "the helper for rondo-cloop's mount ended without a word"), &error);
    }
    for (unsigned i = 0; i < count; i++)
        close(fds[i]); // without a flush that would wait: rondo-cloop asks for none
}

void machine_mount_counts(struct machine *m, char *ret_text, size_t capacity)
{
    char cloop[1024];
    const struct supervisor_options *o = m->options;
    if (o->cloop.socket < 0 || cloop_counts(&m->options->cloop, cloop, sizeof(cloop), NULL) < 0)
        snprintf(cloop, sizeof(cloop), "requests=0 bytes=0");
    unsigned long long requests = supervisor_count_in(cloop, "requests"), bytes = supervisor_count_in(cloop, "bytes");
    // A successor of rondo-cloop counts from 0.
    requests -= requests >= o->requests_before ? o->requests_before : 0;
    bytes -= bytes >= o->bytes_before ? o->bytes_before : 0;
    snprintf(ret_text, capacity, "run_requests=%llu run_bytes=%llu %s", requests + o->requests, bytes + o->bytes,
             cloop);
    if (!o->recording && o->cloop.socket < 0 && m->helper < 0 && !m->timers[TIMER_MOUNT])
        machine_set_timer(m, TIMER_MOUNT, 0); // it did not answer in time: the connection is of no more use
}
