// Starting other programs.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

#define SPAWN_KEPT_MAXIMUM 16

struct spawn {
    const char *path;             // absolute, or a name to look up in PATH
    char *const *arguments;       // argv, ending in NULL
    int input, output, errors;    // become 0, 1, 2; -1: /dev/null
    int kept[SPAWN_KEPT_MAXIMUM]; // descriptors that the program inherits under their own numbers
    unsigned kept_count;
    bool new_session; // leaves our terminal and process group (a daemon)
    bool die_with_us; // gets SIGTERM when the thread that spawned it ends (prctl PR_SET_PDEATHSIG)
};

// Everything else is closed, also what our own caller left open for us to inherit. Returns the process id, or -errno
// (the failure of exec included). A daemon (new_session) is not our child: 0 is returned for it.
pid_t spawn_program(const struct spawn *s, struct error *error);

// Whether spawn_program would find a program of this name in PATH.
bool spawn_finds_program(const char *name);

// The arguments of a program, which are made one by one; the list ends in NULL at any time.
//
//   struct spawn_arguments a CLEANUP(spawn_arguments_free) = SPAWN_ARGUMENTS_NONE;
//   spawn_argument(&a, "--cpus=%u", n); …
//   a.result < 0: one of them did not fit, -E2BIG or -ENOMEM
#define SPAWN_ARGUMENTS_MAXIMUM 96u
#define SPAWN_TEXTS_MAXIMUM 32768u
struct spawn_arguments {
    char *list[SPAWN_ARGUMENTS_MAXIMUM + 1];
    unsigned count;
    struct buf texts; // does not move: reserved at once
    int result;
};
#define SPAWN_ARGUMENTS_NONE                                                                                           \
    {                                                                                                                  \
        .texts = BUF_WITH_MAXIMUM(SPAWN_TEXTS_MAXIMUM)                                                                 \
    }
void spawn_argument(struct spawn_arguments *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void spawn_arguments_free(struct spawn_arguments *a);

// For a fork that stays a Rondo program: closes every descriptor from 3 on, but these (-1 is passed over).
void spawn_close_all_but(const int *kept, unsigned count);
