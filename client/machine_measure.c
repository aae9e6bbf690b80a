// A measured machine, as far as its supervisor is concerned (see machine.h): the measuring process (measure.h), a fork
// that is told what happens, and the file in memory in which the disk's reads are noted. Nothing waits for it but the
// machine's end.
#include "base/cleanup.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/text.h"
#include "client/machine.h"
#include "client/measure.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/banned.h"

int machine_measure_start(struct machine *m, struct error *error)
{
    struct supervisor_options *o = m->options;
    if (o->recording)
        m->reads = o->recording->reads;
    if (!o->measure)
        return 0;
    CLEANUP_CLOSE int theirs = -1;
    m->own_reads = m->reads = memfd_create("reads", MFD_CLOEXEC);
    if (m->reads < 0)
        return error_set(error, errno, "cannot make a file for the reads: %s", strerror(errno));
    int r = socket_pair(SOCK_SEQPACKET, &m->measure, &theirs, error);
    if (r < 0)
        return r;
    pid_t pid = fork();
    if (pid < 0)
        return error_set(error, errno, "cannot start a process: %s", strerror(errno));
    if (pid == 0) {
        spawn_close_all_but((const int[]){theirs, m->reads, o->measure->fd}, 3);
        _exit(measure_run(&(struct measure_job){.log = o->measure,
                                                .connection = theirs,
                                                .reads = m->reads,
                                                .manifest = &m->instance->settings.manifest,
                                                .sources = (const char *const *)o->sources,
                                                .source_count = o->source_count}));
    }
    m->measure_pid = pid;
    close(TAKE_FD(o->measure->fd)); // and with it our hold on its lock
    return 0;
}

void machine_measure_given(struct machine *m)
{
    if (m->measure >= 0)
        socket_send(m->measure, "given", NULL, 0);
}

void machine_measure_ended(struct machine *m, int status)
{
    const bool whole = WIFEXITED(status) && WEXITSTATUS(status) == 0 && m->state == MACHINE_ENDED;
    char text[SOCKET_LINE_MAXIMUM], escaped[ERROR_TEXT_SIZE];
    m->measure_pid = 0;
    if (whole)
        return;
    const bool told = socket_receive(m->measure, 0, text, NULL, NULL) > 0;
    machine_say(m, "the log of what %s is given is not complete: %.500s", m->instance->name,
                told ? text_escape(slice_of(text), escaped, sizeof(escaped)) : "its process ended");
}

void machine_measure_end(struct machine *m)
{
    char text[ERROR_TEXT_SIZE + 32];
    int status = 0;
    if (m->measure_pid > 0) {
        const char *why = m->result < 0 ? m->why.text : m->exit_text;
        snprintf(text, sizeof(text), "end %d %s", m->exit_code, why[0] ? why : "it ended");
        socket_send(m->measure, text, NULL, 0);
        struct pollfd gone = {.fd = m->measure}; // its end of the connection, with the process
        if (poll(&gone, 1, MEASURE_END_SECONDS * 1000) <= 0) {
            log_error("the last lines of the log of --measure were not written within %d seconds", MEASURE_END_SECONDS);
            kill(m->measure_pid, SIGKILL);
        }
        while (waitpid(m->measure_pid, &status, 0) < 0 && errno == EINTR)
            ;
        machine_measure_ended(m, status);
    }
    if (m->measure >= 0)
        close(TAKE_FD(m->measure));
    if (m->own_reads >= 0)
        close(TAKE_FD(m->own_reads));
}
