// Control sequences in what a terminal is sent (ECMA-48: escape sequences, CSI, and the strings OSC, DCS, SOS, PM,
// APC), told from text byte by byte.
#pragma once

#include <stdbool.h>

enum sequence { SEQUENCE_NONE, SEQUENCE_ESCAPE, SEQUENCE_ESCAPE_MORE, SEQUENCE_CSI, SEQUENCE_STRING };

// True if the byte is a part of a sequence, or begins one; *state (SEQUENCE_NONE at first) follows. A line feed is
// never one: it ends what is unfinished.
bool sequence_take(enum sequence *state, unsigned char byte);
