// One machine of a visitor, as the host sees it (try_host.h): a process `rondo run`, and two streams between which
// bytes are handed on.
//
//   free ──start──▶ running ──a limit, the visitor leaves, its console ends──▶ ending ──the process has ended──▶ free
//
// 1. From a stream nothing is read while what came before is not handed on: neither side can make us hold more than a
//    buffer.
// 2. Ending is SIGTERM, which has rondo run switch its machine off, and SIGKILL if that takes too long: the supervisor
//    then switches it off by itself, since nobody has told it to go on (docs/protocol.md).
#pragma once

#include "base/error.h"
#include "base/path.h"
#include "server/try_host.h"
#include <poll.h>
#include <stdbool.h>

struct try_pipe {
    unsigned char bytes[4096];
    size_t begin, end; // what is to be handed on
};

struct try_machine {
    char name[32];        // of the machine, in the host's RONDO_HOME
    char image[72];       // for messages
    pid_t pid;            // 0: its process has ended
    int process;          // a pidfd; -1
    int visitor, console; // our ends of the streams; -1
    bool ending;
    int status;                    // of waitpid
    uint64_t started, typed, told; // io_monotonic_ns(): the start, what was last typed, SIGTERM or SIGKILL
    struct try_pipe in, out;       // from the visitor to the console, and back
};
#define TRY_MACHINE_NONE                                                                                               \
    {                                                                                                                  \
        .process = -1, .visitor = -1, .console = -1                                                                    \
    }
bool try_machine_is_free(const struct try_machine *m);

// What all machines have in common.
struct try_place {
    const char *site, *program;
    char home[PATH_TEXT_SIZE]; // RONDO_HOME
    struct try_limits limits;
};

// In a free one. The visitor's stream is returned.
int try_machine_start(struct try_machine *m, const struct try_place *place, const char *image, struct error *error);

// What to wait for, and what to do then; the latter also when nothing has happened, once a second.
#define TRY_MACHINE_POLLS 3
void try_machine_prepare(const struct try_machine *m, struct pollfd polls[static TRY_MACHINE_POLLS]);
void try_machine_handle(struct try_machine *m, const struct try_place *place,
                        const struct pollfd polls[static TRY_MACHINE_POLLS]);

// Tells it to end, if it does not already; `why` is shown to the visitor.
void try_machine_end(struct try_machine *m, const char *why);
