// What the files of clone_check.h share. clone_check.c is the parent: it makes the child, which clone_message.c
// hears, and puts what it says into words. clone_reader.c is the child, clone_search.c what it looks for.
//
// They talk over one SOCK_SEQPACKET pair. The child sends struct clone_message; only CLONE_READ is answered, by an
// int32_t (0 or -errno) and the bytes behind it. CLONE_SEARCHED, _NOTHING or _FAILED is the last.
#pragma once

#include "base/confine.h"
#include "client/clone_check.h"
#include <ext2fs/ext2fs.h>

#define CLONE_READ_MAXIMUM (64u << 10) // bytes of one CLONE_READ
#define CLONE_WORD_SIZE 256u           // of a path, a user's name, or libext2fs's words

enum clone_message_type {
    CLONE_READ,        // `value` bytes at `offset`
    CLONE_FOUND,       // a thing of kind `value`; `text` is its path, or its name
    CLONE_UNCLEAN,     // the journal wants to be replayed
    CLONE_GENERALIZES, // the system has GENERALIZE_PROGRAM
    CLONE_SEARCHED,    // all was looked at
    CLONE_NOTHING,     // there is no file system that we know
    CLONE_FAILED,      // `text` says why
};

struct clone_message {
    uint32_t type, value;
    uint64_t offset;
    char text[CLONE_WORD_SIZE]; // ends with NUL
};

enum clone_kind {
    CLONE_HOST_KEYS,
    CLONE_MACHINE_ID,
    CLONE_SEEDS,
    CLONE_MACHINE_SECRETS,
    CLONE_AUTHORIZED_KEYS,
    CLONE_PRIVATE_KEYS,
    CLONE_PASSWORDS,
    CLONE_NETWORK_SECRETS,
    CLONE_HISTORIES,
    CLONE_LEASES,
    CLONE_NETWORK_NAMES,
    CLONE_INSTANCES,
    CLONE_LOGS,
    CLONE_KINDS
};

// What was heard of a child so far; clone_message.c.
struct clone_hearing {
    const struct clone_disk *disk;
    int fd; // to the child
    uint64_t bytes;
    unsigned reads;
    struct {
        unsigned count;
        char text[CLONE_TEXT_SIZE];
    } found[CLONE_KINDS];
    bool unclean, generalizes;
};
int clone_broken(struct error *error, const char *what); // -EPROTO, in words
// A message, whose text ends with NUL: 0; 1 if it was the last; -ENODATA or -EPROTO.
int clone_hear(struct clone_hearing *c, const struct clone_message *m, struct error *error);
void clone_heard(const struct clone_hearing *c, struct clone_findings *ret);

// The child: takes everything from itself but `fd`, reads the disk of `size` bytes through it, says what is there.
_Noreturn void clone_reader(int fd, uint64_t size);

// The system calls that it may make (tests/hostile/reader.calls).
extern const struct confine_call clone_reader_calls[];
extern const size_t clone_reader_call_count;

// Called for each thing that is found.
typedef void clone_found(enum clone_message_type type, enum clone_kind kind, const char *text);
void clone_search(ext2_filsys fs, clone_found *found);
