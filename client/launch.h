// From a prepared machine to a running one: the supervisor's process, and its word on how the start went.
#pragma once

#include "client/supervisor.h"

// A connection to a machine's control socket (docs/protocol.md), and the stream of its console: what it shows can be
// read, what is written is typed. -1: none.
struct launched {
    int connection, console;
};

// Forks the supervisor, which takes over o->instance's lock, o->disks and o->cloop, and waits until the guest runs.
// What is to be said meanwhile appears on stderr. The connection is an owner's: when it ends without the message
// `detach`, so does the machine. With `console` it is attached, too, so that not a byte is missed.
//
// -ECANCELED after SIGINT, SIGTERM or SIGHUP (cli_catch_signals must have been called), -ETIMEDOUT at `deadline_ns`
// (io_monotonic_ns, 0: none): the machine was stopped. On failure the supervisor has ended, and what was made for this
// start is gone, if o->remove_on_failure.
int launch_machine(struct supervisor_options *o, bool console, uint64_t deadline_ns, struct launched *ret,
                   struct error *error);
