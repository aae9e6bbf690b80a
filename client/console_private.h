// An attached console, shared by console.c (attaching, the terminal, the end) and console_follow.c (what happens
// between).
#pragma once

#include "base/buf.h"
#include "client/console.h"
#include "client/until.h"
#include <termios.h>

struct attached {
    const struct instance *instance;
    const struct console_options *options;
    int control, stream;
    bool terminal;
    struct termios before;
    struct until until; // open if the options have a pattern
    struct buf output;  // from the console, not yet on standard output
    struct buf input;   // for the console, not yet taken
    bool typing;        // standard input is forwarded
    bool ended, left;
    int exit_code;
    int decided;          // exit code once it is ours to choose; -1 before
    uint64_t deadline_ns; // 0: none
};

// Until the machine has ended, was left, or does not end.
void console_follow(struct attached *a);
void console_say(const struct attached *a, const char *text);
void console_restore_terminal(struct attached *a);
