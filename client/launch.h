// From a prepared machine to a running one: the supervisor's process, and its word on how the start went.
#pragma once

#include "client/supervisor.h"

// Forks the supervisor, which takes over o->instance's lock and o->cloop, and waits until the guest runs. What is to be
// said meanwhile appears on stderr. *ret_connection is then an owner's connection to the machine's control socket (see
// docs/protocol.md): when it ends without the message `detach`, so does the machine.
// -ECANCELED after SIGINT, SIGTERM or SIGHUP (cli_catch_signals must have been called): the machine was stopped. On
// failure the supervisor has ended, and what was made for this start is gone, if o->remove_on_failure.
int launch_machine(struct supervisor_options *o, int *ret_connection, struct error *error);
