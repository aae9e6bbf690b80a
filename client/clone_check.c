// The parent: makes the child (clone_reader.c), reads the disk for it, and believes nothing of what it says
// (clone_message.c).
//
// 1. Every message has exactly the right size.
// 2. The child may keep us waiting for WAIT_SECONDS in all (the time that reading the disk takes is not its own), and
//    is killed and reaped however this ends.
#include "client/clone_private.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "base/text.h"
#include "client/cli.h"
#include "client/generalize.h"
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/banned.h"

#define WAIT_SECONDS 60u

struct check {
    struct clone_hearing hearing;
    uint64_t waited_ns;
};

static int receive(struct check *c, struct clone_message *ret, struct error *error)
{
    struct pollfd poll = {.fd = c->hearing.fd, .events = POLLIN};
    const uint64_t start = io_monotonic_ns(), all = WAIT_SECONDS * UINT64_C(1000000000);
    if (c->waited_ns >= all)
        return clone_broken(error, "it takes too long");
    int r = cli_poll(&poll, 1, (int)((all - c->waited_ns) / 1000000) + 1);
    int code = errno;
    c->waited_ns += io_monotonic_ns() - start;
    if (r < 0 && code == EINTR)
        return cli_interrupted() ? error_set(error, ECANCELED, "cancelled") : -EAGAIN;
    if (r < 0)
        return clone_broken(error, strerror(code));
    if (r == 0)
        return clone_broken(error, "it takes too long");
    ssize_t got = recv(c->hearing.fd, ret, sizeof *ret, MSG_TRUNC);
    if (got != (ssize_t)sizeof *ret)
        return clone_broken(error, "its reader failed");
    ret->text[sizeof ret->text - 1] = '\0';
    return 0;
}

// Until the last message.
static int serve(struct check *c, struct error *error)
{
    for (;;) {
        struct clone_message m = {.type = CLONE_READ};
        cli_progress("searching the disk's file system for what a clone must not carry");
        int r = receive(c, &m, error);
        if (r == -EAGAIN)
            continue;
        if (r == 0)
            r = clone_hear(&c->hearing, &m, error);
        if (r != 0)
            return r < 0 ? r : 0;
    }
}

int clone_check(const struct clone_disk *disk, struct clone_findings *ret, struct error *error)
{
    int ours, theirs;
    struct check c = {.hearing = {.disk = disk}};
    int r = socket_pair(SOCK_SEQPACKET, &ours, &theirs, error);
    if (r < 0)
        return r;
    pid_t child = fork();
    if (child == 0)
        clone_reader(theirs, disk->size);
    int code = errno;
    close(theirs);
    c.hearing.fd = ours;
    r = child < 0 ? clone_broken(error, strerror(code)) : serve(&c, error);
    cli_progress_end();
    close(ours);
    if (child > 0) {
        kill(child, SIGKILL); // it has said its last word, or is not to
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (r == 0)
        clone_heard(&c.hearing, ret);
    return r;
}

// --- words ---------------------------------------------------------------------------------------------------------

static void warn(const struct clone_findings *f, bool generalize)
{
    if (f->count > 0)
        fprintf(stderr, "rondo: warning: everybody who runs this version gets, and can read, what makes one machine "
                        "itself:\n");
    for (unsigned i = 0; i < f->count; i++)
        fprintf(stderr, "rondo: warning:   %s\n", f->texts[i]);
    if (f->unclean)
        fprintf(stderr,
                "rondo: warning: the disk was not unmounted, so what was written last was not looked at; switch "
                "the machine off from inside, or with rondo stop\n");
    if (f->count == 0)
        return;
    if (generalize)
        fprintf(stderr, "rondo: each machine makes itself anew when it first starts, but this can still be read\n");
    else if (f->generalizes)
        fprintf(stderr,
                "rondo: to be rid of it, type in the machine: rondo-generalize clean (it switches the machine off); "
                "with --generalize each new machine makes itself anew when it first starts\n");
    else
        fprintf(stderr, "rondo: to be rid of it, remove it in the machine before it is published\n");
}

int clone_check_warn(const struct clone_disk *disk, bool generalize, struct error *error)
{
    struct clone_findings f = {.count = 0};
    struct error why = {.text = ""};
    int r = clone_check(disk, &f, &why);
    if (r == 0)
        warn(&f, generalize);
    else if (r == -ECANCELED)
        return error_set(error, ECANCELED, "%s", why.text);
    else
        fprintf(stderr, "rondo: %s%s; it was not searched for host keys, histories and the like\n",
                r == -ENODATA ? "" : "warning: ", why.text);
    if (generalize && (r < 0 || !f.generalizes))
        return error_set(error, EINVAL,
                         "--generalize: the system on the disk has no " GENERALIZE_PROGRAM
                         ", which would do it; appliances/README.md says how an image takes part%s",
                         r < 0 ? " (nor could it be looked for)" : "");
    return 0;
}
