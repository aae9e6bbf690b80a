// The process beside the server that starts machines for visitors (rondo-server --try): the only one that starts
// programs. It is made before the server meets anybody, and takes from it one thing alone, the name of an image; what
// it starts is `rondo run SITE/NAME`, of the site that it was made with, which verifies like any user's. So whoever
// takes the web process over can start machines of this site, within these limits, and nothing else.
//
//   web process ──"start NAME"──▶ host ──fork, exec──▶ rondo run … --input
//               ◀──"ok" and a stream── : the console of that machine
//
// A machine ends when the other end of its stream is closed, when nothing was typed for too long, when it is too old,
// when it has written too much; and with the host, which ends when its socket's other end is closed.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TRY_MACHINES_MAXIMUM 64u
#define TRY_MEMORY_DEFAULT (UINT64_C(512) << 20)
#define TRY_DISK_DEFAULT (UINT64_C(1) << 30)
#define TRY_IDLE_SECONDS 300u
#define TRY_LIFE_SECONDS 1800u
#define TRY_SECONDS_MAXIMUM 604800u

struct try_limits {
    unsigned machines; // at once; at most TRY_MACHINES_MAXIMUM
    unsigned idle;     // seconds in which nothing is typed
    unsigned life;     // seconds from the start
    uint64_t memory;   // bytes of each machine
    uint64_t disk;     // bytes that each may have written
};

// "N[,idle=SECONDS][,life=SECONDS][,memory=SIZE][,disk=SIZE]"; what is not there has its default. False if malformed.
bool try_limits_parse(const char *text, struct try_limits *ret);

struct try_host {
    int fd; // SOCK_SEQPACKET
    pid_t pid;
};
#define TRY_HOST_NONE                                                                                                  \
    {                                                                                                                  \
        .fd = -1                                                                                                       \
    }

// While there is one thread. `site`: the site's folder, absolute. `folder`: one of its own for what machines need
// (made, with 0700). `program`: rondo.
int try_host_start(const char *site, const char *folder, const char *program, const struct try_limits *limits,
                   struct try_host *ret, struct error *error);

// Starts a machine of the newest version of that image: the stream of its console, the caller's; or -EBUSY if as many
// machines run as may, -EPIPE if the host is gone, or another -errno. That there is no such image is told in the
// stream. For one thread at a time.
int try_host_ask(const struct try_host *h, const char *name);

// Returns when the host and all of its machines have ended. For CLEANUP too; one that was not started is fine.
void try_host_end(struct try_host *h);
