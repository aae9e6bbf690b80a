// What the reader of a file system says, who may have been taken over by it: nothing of it is believed.
//
// 1. A read lies within the disk, a kind is one of ours, text is escaped.
// 2. It may ask for READ_BYTES_MAXIMUM in READS_MAXIMUM reads.
#include "client/clone_private.h"

#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/banned.h"

#define READ_BYTES_MAXIMUM (UINT64_C(256) << 20) // Debian's disk: 1 MiB; the descriptors of 16 TiB: 8 MiB
#define READS_MAXIMUM 100000u
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

int clone_broken(struct error *error, const char *what)
{
    return error_set(error, EPROTO, "the disk's file system could not be read: %s", what);
}

static int serve_read(struct clone_hearing *c, const struct clone_message *m, struct error *error)
{
    unsigned char answer[sizeof(int32_t) + CLONE_READ_MAXIMUM];
    if (m->value == 0 || m->value > CLONE_READ_MAXIMUM)
        return clone_broken(error, "its reader asks for nonsense");
    c->bytes += m->value;
    if (++c->reads > READS_MAXIMUM || c->bytes > READ_BYTES_MAXIMUM)
        return clone_broken(error, "it is too large, or damaged");
    int32_t code = -EIO; // beyond the disk's end
    if (m->offset <= c->disk->size && m->value <= c->disk->size - m->offset)
        code = c->disk->read(c->disk->context, m->offset, answer + sizeof code, m->value);
    memcpy(answer, &code, sizeof code);
    ssize_t size = (ssize_t)(sizeof code + (code < 0 ? 0 : m->value));
    // It has nothing else to read: an answer that would have to wait is one that was not waited for.
    if (send(c->fd, answer, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) != size)
        return clone_broken(error, "its reader has ended, or does not listen");
    return 0;
}

static int note_found(struct clone_hearing *c, const struct clone_message *m, struct error *error)
{
    char text[CLONE_TEXT_SIZE / SHOWN - 32];
    if (m->value >= CLONE_KINDS)
        return clone_broken(error, "its reader found nonsense");
    char *to = c->found[m->value].text;
    size_t used = strlen(to);
    if (c->found[m->value].count++ < SHOWN)
        snprintf(to + used, CLONE_TEXT_SIZE - used, "%s%s", used > 0 ? ", " : "",
                 text_escape(slice_of(m->text), text, sizeof text));
    return 0;
}

int clone_hear(struct clone_hearing *c, const struct clone_message *m, struct error *error)
{
    char text[CLONE_WORD_SIZE];
    switch (m->type) {
    case CLONE_READ:
        return serve_read(c, m, error);
    case CLONE_FOUND:
        return note_found(c, m, error);
    case CLONE_UNCLEAN:
        c->unclean = true;
        return 0;
    case CLONE_GENERALIZES:
        c->generalizes = true;
        return 0;
    case CLONE_SEARCHED:
        return 1;
    case CLONE_NOTHING:
        return error_set(error, ENODATA, "the disk has no ext2, ext3 or ext4 file system with a folder /etc");
    default: // CLONE_FAILED, or nothing that we know
        return clone_broken(error, text_escape(slice_of(m->text), text, sizeof text));
    }
}

void clone_heard(const struct clone_hearing *c, struct clone_findings *ret)
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
