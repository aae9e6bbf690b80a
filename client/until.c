// See until.h.
#include "client/until.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define DELETE 0x7f

int until_open(struct until *u, const char *pattern, char *ret_why, size_t capacity)
{
    *u = (struct until){.state = SEQUENCE_NONE};
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

static void take_byte(struct until *u, unsigned char byte)
{
    if (byte == '\n' || byte == '\r') {
        try_line(u);
        u->returned = true;
        if (byte == '\n') {
            u->length = 0;
            u->state = SEQUENCE_NONE;
        }
    } else if (!sequence_take(&u->state, byte) && byte >= 0x20 && byte != DELETE) {
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
