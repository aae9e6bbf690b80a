// Attached to a machine's console, from the outside: the terminal in raw mode with Ctrl-] to leave, or plain output
// where there is no terminal.
#pragma once

#include "base/error.h"
#include "client/instance.h"
#include <stdbool.h>
#include <stdint.h>

struct console_options {
    bool owner; // the connection is an owner's (rondo run): the machine ends with us, unless we leave with Ctrl-]
    bool input; // forward standard input though it is no terminal (rondo console, rondo run --input)
    const char
        *until; // POSIX extended regular expression, or NULL: leave when the console shows it, and stop the machine
    uint64_t deadline_ns; // io_monotonic_ns, 0: none. Then, after `timeout` seconds in all, the machine is stopped
    unsigned timeout;
};

// True if `pattern` can be used as --until; otherwise says why on stderr.
bool console_check_pattern(const char *pattern);

// Over a connection to the machine's control socket, and the stream of its console (-1: attaches first); both are
// closed in the end. Returns when the machine has ended, was left, or a condition of the options came true: the exit
// code for the verb. What the user should know was printed.
int console_attach(const struct instance *i, int connection, int console, const struct console_options *options);
