// Waiting for a text on a console (rondo run --until): the bytes of a terminal in, "it has been seen" out.
//
// 1. The pattern, a POSIX extended regular expression, is tried on every line that ends and, at the end of every
//    until_feed, on the line as far as it has come, for a prompt has no end. So what matches does not depend on how the
//    bytes were cut into pieces, unless the pattern looks at what follows ("$", "\\>").
// 2. A line ends at a line feed. A carriage return ends it too, in so far as what follows takes its place, as on a
//    terminal: "10 %\r20 %" is two lines.
// 3. Control sequences (ECMA-48: escape sequences, CSI, and the strings OSC, DCS, SOS, PM, APC) and other control
//    characters are no part of a line. A line feed ends an unfinished one, so that nothing hides what follows.
// 4. Memory is fixed: a line is looked at up to UNTIL_LINE_MAXIMUM bytes.
#pragma once

#include "client/sequence.h"
#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

#define UNTIL_LINE_MAXIMUM 4095u

struct until {
    regex_t pattern;
    enum sequence state;
    bool returned; // to the beginning of the line: the next character starts it anew
    bool seen;
    size_t length;
    char line[UNTIL_LINE_MAXIMUM + 1];
};

// 0, or -EINVAL and the library's word on what is wrong with the pattern in ret_why. until_close when done.
int until_open(struct until *u, const char *pattern, char *ret_why, size_t capacity);
void until_close(struct until *u);

// True as soon as the pattern has been seen, and from then on.
bool until_feed(struct until *u, const void *bytes, size_t n);
