// The parent: makes the child (clone_reader.c), reads the disk for it, and believes nothing of what it says.
//
// 1. Every message has exactly the right size; a read lies within the disk; a kind is one of ours; text is escaped.
// 2. The child may ask for READ_BYTES_MAXIMUM in READS_MAXIMUM reads, may keep us waiting for WAIT_SECONDS in all (the
//    time that reading the disk takes is not its own), and is killed and reaped however this ends.
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

#define READ_BYTES_MAXIMUM (UINT64_C(256) << 20) // Debian's disk: 1 MiB; the descriptors of 16 TiB: 8 MiB
#define READS_MAXIMUM 100000u
#define WAIT_SECONDS 60u
#define SHOWN 4u // things of each kind that are named

static const char *const kinds[CLONE_KINDS] = {
    [CLONE_HOST_KEYS] = "ssh host keys",
    [CLONE_MACHINE_ID] = "machine-id",
    [CLONE_SEEDS] = "random seeds",
    [CLONE_MACHINE_SECRETS] = "secrets of this one machine",
    [CLONE_AUTHORIZED_KEYS] = "authorised ssh keys",
    [CLONE_PRIVATE_KEYS] = "private keys",
    [CLONE_PASSWORDS] = "passwords (/etc/shadow) of",
    [CLONE_NETWORK_SECRETS] = "secrets of networks",
    [CLONE_HISTORIES] = "histories",
    [CLONE_LEASES] = "DHCP leases",
    [CLONE_NETWORK_NAMES] = "names of this machine's network cards",
    [CLONE_INSTANCES] = "cloud-init's instances",
    [CLONE_LOGS] = "logs",
};
_Static_assert(CLONE_KINDS <= CLONE_FINDINGS_MAXIMUM, "a text for each kind");

struct check {
    const struct clone_disk *disk;
    int fd;
    uint64_t bytes, waited_ns;
    unsigned reads;
    struct {
        unsigned count;
        char text[CLONE_TEXT_SIZE];
    } found[CLONE_KINDS];
    bool unclean, generalizes;
};

static int broken(struct error *error, const char *what)
{
    return error_set(error, EPROTO, "the disk's file system could not be read: %s", what);
}

static int serve_read(struct check *c, const struct clone_message *m, struct error *error)
{
    unsigned char answer[sizeof(int32_t) + CLONE_READ_MAXIMUM];
    if (m->value == 0 || m->value > CLONE_READ_MAXIMUM)
        return broken(error, "its reader asks for nonsense");
    c->bytes += m->value;
    if (++c->reads > READS_MAXIMUM || c->bytes > READ_BYTES_MAXIMUM)
        return broken(error, "it is too large, or damaged");
    int32_t code = -EIO; // beyond the disk's end
    if (m->offset <= c->disk->size && m->value <= c->disk->size - m->offset)
        code = c->disk->read(c->disk->context, m->offset, answer + sizeof code, m->value);
    memcpy(answer, &code, sizeof code);
    ssize_t size = (ssize_t)(sizeof code + (code < 0 ? 0 : m->value));
    // It has nothing else to read: an answer that would have to wait is one that was not waited for.
    if (send(c->fd, answer, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) != size)
        return broken(error, "its reader has ended, or does not listen");
    return 0;
}

static int note_found(struct check *c, const struct clone_message *m, struct error *error)
{
    char text[CLONE_TEXT_SIZE / SHOWN - 32];
    if (m->value >= CLONE_KINDS)
        return broken(error, "its reader found nonsense");
    char *to = c->found[m->value].text;
    size_t used = strlen(to);
    if (c->found[m->value].count++ < SHOWN)
        snprintf(to + used, CLONE_TEXT_SIZE - used, "%s%s", used > 0 ? ", " : "",
                 text_escape(slice_of(m->text), text, sizeof text));
    return 0;
}

static int receive(struct check *c, struct clone_message *ret, struct error *error)
{
    struct pollfd poll = {.fd = c->fd, .events = POLLIN};
    const uint64_t start = io_monotonic_ns(), all = WAIT_SECONDS * UINT64_C(1000000000);
    if (c->waited_ns >= all)
        return broken(error, "it takes too long");
    int r = cli_poll(&poll, 1, (int)((all - c->waited_ns) / 1000000) + 1);
    int code = errno;
    c->waited_ns += io_monotonic_ns() - start;
    if (r < 0 && code == EINTR)
        return cli_interrupted() ? error_set(error, ECANCELED, "cancelled") : -EAGAIN;
    if (r < 0)
        return broken(error, strerror(code));
    if (r == 0)
        return broken(error, "it takes too long");
    ssize_t got = recv(c->fd, ret, sizeof *ret, MSG_TRUNC);
    if (got != (ssize_t)sizeof *ret)
        return broken(error, "its reader failed");
    ret->text[sizeof ret->text - 1] = '\0';
    return 0;
}

// Until the last message.
static int serve(struct check *c, struct error *error)
{
    for (;;) {
        struct clone_message m = {.type = CLONE_READ};
        char text[CLONE_WORD_SIZE];
        cli_progress("searching the disk's file system for what a clone must not carry");
        int r = receive(c, &m, error);
        if (r == -EAGAIN)
            continue;
        if (r == 0 && m.type == CLONE_READ)
            r = serve_read(c, &m, error);
        else if (r == 0 && m.type == CLONE_FOUND)
            r = note_found(c, &m, error);
        if (r < 0)
            return r;
        c->unclean |= m.type == CLONE_UNCLEAN;
        c->generalizes |= m.type == CLONE_GENERALIZES;
        if (m.type == CLONE_SEARCHED)
            return 0;
        if (m.type == CLONE_NOTHING)
            return error_set(error, ENODATA, "the disk has no ext2, ext3 or ext4 file system with a folder /etc");
        if (m.type >= CLONE_FAILED)
            return broken(error, text_escape(slice_of(m.text), text, sizeof text));
    }
}

static void fill_findings(const struct check *c, struct clone_findings *ret)
{
    *ret = (struct clone_findings){.unclean = c->unclean, .generalizes = c->generalizes};
    for (unsigned i = 0; i < CLONE_KINDS; i++) {
        unsigned more = c->found[i].count > SHOWN ? c->found[i].count - SHOWN : 0;
        char rest[32] = "";
        if (c->found[i].count == 0)
            continue;
        if (more > 0)
            snprintf(rest, sizeof rest, " and %u more", more);
        snprintf(ret->texts[ret->count++], CLONE_TEXT_SIZE, "%s: %.*s%s", kinds[i],
                 (int)(CLONE_TEXT_SIZE - sizeof rest - 48), c->found[i].text, rest);
    }
}

int clone_check(const struct clone_disk *disk, struct clone_findings *ret, struct error *error)
{
    int ours, theirs;
    struct check c = {.disk = disk};
    int r = socket_pair(SOCK_SEQPACKET, &ours, &theirs, error);
    if (r < 0)
        return r;
    pid_t child = fork();
    if (child == 0)
        clone_reader(theirs, disk->size);
    int code = errno;
    close(theirs);
    c.fd = ours;
    r = child < 0 ? broken(error, strerror(code)) : serve(&c, error);
    cli_progress_end();
    close(ours);
    if (child > 0) {
        kill(child, SIGKILL); // it has said its last word, or is not to
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (r == 0)
        fill_findings(&c, ret);
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
