// Starting the programs that make up a machine.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

#define SPAWN_KEPT_MAXIMUM 8

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

// For a fork that stays a Rondo program: closes every descriptor from 3 on, but these (-1 is passed over).
void spawn_close_all_but(const int *kept, unsigned count);
