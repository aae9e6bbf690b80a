// What a clone must not carry. Everybody who runs a published version gets the same disk, so what makes one machine
// itself (host keys, machine-id, random seeds) and what is private (histories, authorised keys) does not belong there.
// Before a version is signed its disk's file system is searched for that, where it can be read: ext2, ext3 or ext4,
// directly on the disk or in a partition of a GPT or MBR table: the first that has a folder /etc.
//
// A guest wrote that file system, so it is hostile. libext2fs reads it in a child of ours that can do nothing but
// compute and ask us for bytes (clone_reader.c); a fault in it costs a sentence.
//
// The journal is not replayed: what a machine that was cut off (or still runs) wrote last may not be seen.
// clone_findings.unclean says so.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The disk is read in this process, by the thread that called clone_check.
struct clone_disk {
    int (*read)(void *context, uint64_t offset, void *to, size_t n); // all n bytes, which lie below size: 0 or -errno
    void *context;
    uint64_t size; // bytes
};

#define CLONE_FINDINGS_MAXIMUM 16u // one for each kind of thing
#define CLONE_TEXT_SIZE 640u

struct clone_findings {
    unsigned count;
    char texts[CLONE_FINDINGS_MAXIMUM]
              [CLONE_TEXT_SIZE]; // "ssh host keys: /etc/ssh/ssh_host_rsa_key"; fit for a terminal
    bool unclean;                // the journal has not been replayed
    bool generalizes;            // the system has GENERALIZE_PROGRAM (client/generalize.h)
};

// 0: searched, and *ret says what was found. -ENODATA: there is no such file system on the disk; -ECANCELED: a
// remembered signal (client/cli.h) came; anything else: it could not be read. Call it before secret keys are read:
// the child is a copy of this process.
int clone_check(const struct clone_disk *disk, struct clone_findings *ret, struct error *error);

// What `rondo publish` and `rondo commit` do: searches, and warns on stderr of what was found, or says why nothing
// could be searched. 0 then; -EINVAL if `generalize`, but the system on the disk cannot; -ECANCELED.
int clone_check_warn(const struct clone_disk *disk, bool generalize, struct error *error);
