// See until.h.
//
//   TEXT ──ESC──▶ ESCAPE ──[──▶ CSI ──final byte──▶ TEXT
//                   │  │ └─] P X ^ _──▶ STRING ──BEL──▶ TEXT; ──ESC──▶ ESCAPE (with "\": its end)
//                   │  └─intermediate──▶ ESCAPE_MORE ──final byte──▶ TEXT
//                   └─final byte──▶ TEXT                      anywhere: ──CAN, SUB, line feed──▶ TEXT
#include "client/until.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define BELL 0x07
#define CANCEL 0x18
#define SUBSTITUTE 0x1a
#define ESCAPE 0x1b
#define DELETE 0x7f

int until_open(struct until *u, const char *pattern, char *ret_why, size_t capacity)
{
    *u = (struct until){.state = UNTIL_TEXT};
    int code = regcomp(&u->pattern, pattern, REG_EXTENDED | REG_NOSUB);
    if (code == 0)
        return 0;
    regerror(code, &u->pattern, ret_why, capacity);
    return -EINVAL;
}

void until_close(struct until *u)
{
    regfree(&u->pattern);
}

static void try_line(struct until *u)
{
    u->line[u->length] = '\0';
    if (regexec(&u->pattern, u->line, 0, NULL, 0) == 0)
        u->seen = true;
}

static bool is_final(unsigned char byte, unsigned char first)
{
    return byte >= first && byte < DELETE;
}

// One byte within a control sequence (ECMA-48, 5.3 and 5.4; strings: 5.6).
static enum until_state next_state(enum until_state state, unsigned char byte)
{
    if (byte == CANCEL || byte == SUBSTITUTE)
        return UNTIL_TEXT;
    if (byte == ESCAPE)
        return UNTIL_ESCAPE;
    switch (state) {
    case UNTIL_ESCAPE:
        if (byte == '[')
            return UNTIL_CSI;
        if (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_')
            return UNTIL_STRING;
        return byte >= 0x20 && byte < 0x30 ? UNTIL_ESCAPE_MORE : is_final(byte, 0x30) ? UNTIL_TEXT : state;
    case UNTIL_ESCAPE_MORE:
        return is_final(byte, 0x30) ? UNTIL_TEXT : state;
    case UNTIL_CSI:
        return is_final(byte, 0x40) ? UNTIL_TEXT : state;
    case UNTIL_STRING:
        return byte == BELL ? UNTIL_TEXT : state;
    case UNTIL_TEXT:
        break;
    }
    return UNTIL_TEXT;
}

static void take_byte(struct until *u, unsigned char byte)
{
    if (byte == '\n' || byte == '\r') {
        try_line(u);
        u->returned = true;
        if (byte == '\n') {
            u->length = 0;
            u->state = UNTIL_TEXT;
        }
    } else if (u->state != UNTIL_TEXT || byte == ESCAPE) {
        u->state = next_state(u->state, byte);
    } else if (byte >= 0x20 && byte != DELETE) {
        if (u->returned)
            u->length = 0;
        u->returned = false;
        if (u->length < UNTIL_LINE_MAXIMUM)
            u->line[u->length++] = (char)byte;
    }
}

bool until_feed(struct until *u, const void *bytes, size_t n)
{
    const unsigned char *from = bytes;
    for (size_t i = 0; i < n && !u->seen; i++)
        take_byte(u, from[i]);
    if (!u->seen && u->length)
        try_line(u);
    return u->seen;
}
