// What a machine's console showed, made harmless for a terminal: its bytes in, plain text out.
//
// 1. Nothing but printable UTF-8, tabs and line feeds comes out: no control sequence, so that a log neither asks the
//    terminal anything nor changes it.
// 2. A carriage return that no line feed follows becomes one: what was written over is shown, too.
// 3. Control sequences and other control characters are left out; what else is not printable (base/text.h) stands there
//    as \xNN.
#pragma once

#include "client/sequence.h"
#include <stddef.h>
#include <stdio.h>

#define PLAIN_LINE_MAXIMUM 1024u

struct plain {
    FILE *to;
    enum sequence state;
    bool returned; // the last byte was a carriage return
    size_t length;
    char line[PLAIN_LINE_MAXIMUM]; // not yet written
};
#define PLAIN_TO(file)                                                                                                 \
    {                                                                                                                  \
        .to = (file), .state = SEQUENCE_NONE                                                                           \
    }

void plain_feed(struct plain *p, const void *bytes, size_t n);
void plain_flush(struct plain *p); // writes what came of the last line; whether `to` took all is told by ferror
