// See sequence.h.
//
//   NONE ──ESC──▶ ESCAPE ──[──▶ CSI ──final byte──▶ NONE
//                   │  │ └─] P X ^ _──▶ STRING ──BEL──▶ NONE; ──ESC──▶ ESCAPE (with "\": its end)
//                   │  └─intermediate──▶ ESCAPE_MORE ──final byte──▶ NONE
//                   └─final byte──▶ NONE                      anywhere: ──CAN, SUB, line feed──▶ NONE
#include "client/sequence.h"

#include "base/banned.h"

#define BELL 0x07
#define CANCEL 0x18
#define SUBSTITUTE 0x1a
#define ESCAPE 0x1b
#define DELETE 0x7f

static bool is_final(unsigned char byte, unsigned char first)
{
    return byte >= first && byte < DELETE;
}

// One byte within a control sequence (ECMA-48, 5.3 and 5.4; strings: 5.6).
static enum sequence next_state(enum sequence state, unsigned char byte)
{
    if (byte == CANCEL || byte == SUBSTITUTE)
        return SEQUENCE_NONE;
    if (byte == ESCAPE)
        return SEQUENCE_ESCAPE;
    switch (state) {
    case SEQUENCE_ESCAPE:
        if (byte == '[')
            return SEQUENCE_CSI;
        if (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_')
            return SEQUENCE_STRING;
        return byte >= 0x20 && byte < 0x30 ? SEQUENCE_ESCAPE_MORE : is_final(byte, 0x30) ? SEQUENCE_NONE : state;
    case SEQUENCE_ESCAPE_MORE:
        return is_final(byte, 0x30) ? SEQUENCE_NONE : state;
    case SEQUENCE_CSI:
        return is_final(byte, 0x40) ? SEQUENCE_NONE : state;
    default: // a string; outside of all there is only ESC
        return byte == BELL ? SEQUENCE_NONE : state;
    }
}

bool sequence_take(enum sequence *state, unsigned char byte)
{
    if (byte == '\n')
        *state = SEQUENCE_NONE;
    if (byte == '\n' || (*state == SEQUENCE_NONE && byte != ESCAPE))
        return false;
    *state = next_state(*state, byte);
    return true;
}
