// The process beside the server that starts machines for visitors (rondo-server --try): the only one that starts
// programs. It is made before the server meets anybody, and takes from it one thing alone, the name of an image; what
// it starts is `rondo run SITE/NAME`, of the site that it was made with, which verifies like any user's. So whoever
// takes the web process over can start machines of this site, within these limits, and nothing else.
//
//   web process ──"start NUMBER NAME"──▶ host ──fork, exec──▶ rondo run … --input
//               ◀──"ok NUMBER" and a stream── : the console of that machine
//
// Questions are answered in any time, and the server waits for none: the number says whose answer it is. Neither
// process waits for room in the socket: the server asks again later, and a server that takes no answers is gone for the
// host.
//
// A machine ends when the other end of its stream is closed, when nothing was typed for too long, when it is too old,
// when it has written too much; and with the host, which ends when its socket's other end is closed.
#pragma once

#include "base/error.h"
#include <stdint.h>
#include <sys/types.h>

#define TRY_MACHINES_MAXIMUM 64u
#define TRY_MEMORY_MINIMUM (UINT64_C(64) << 20) // of rondo run (client/instance.h)
#define TRY_MEMORY_DEFAULT (UINT64_C(512) << 20)
#define TRY_DISK_MINIMUM (UINT64_C(1) << 20) // its logs
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

// "N[,idle=SECONDS][,life=SECONDS][,memory=SIZE][,disk=SIZE]"; what is not there has its default. -EINVAL, with what is
// wrong of the option --try.
int try_limits_parse(const char *text, struct try_limits *ret, struct error *error);

// Whether a computer with so many bytes of memory and swap can hold all of them at once: visitors decide when there are
// as many as may be, and the kernel would end some process, which might be the server. -EINVAL if not.
int try_limits_check_memory(const struct try_limits *limits, uint64_t there, struct error *error);

struct try_host {
    int fd; // SOCK_SEQPACKET; readable when there is an answer, or the host is gone
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

// Asks for a machine of the newest version of that image; `number` comes back with the answer. 0; -EAGAIN if the host
// takes no more questions now; -EPIPE if it is gone.
int try_host_ask(const struct try_host *h, uint64_t number, const char *name);

struct try_answer {
    uint64_t number;
    int stream; // of the machine's console, the caller's; or -EBUSY if as many machines run as may, or another -errno.
                // That there is no such image is told in the stream
};
// The next answer: 1; 0 if none is there now; -EPIPE if the host is gone. For one thread at a time.
int try_host_hear(const struct try_host *h, struct try_answer *ret);

// Returns when the host and all of its machines have ended. For CLEANUP too; one that was not started is fine.
void try_host_end(struct try_host *h);
