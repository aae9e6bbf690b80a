// See plain.h. Text is gathered up to a line, a tab or the buffer's end (never within a character), and written
// escaped.
#include "client/plain.h"
#include "base/text.h"

#include "base/banned.h"

#define CHARACTER_MAXIMUM 4u // bytes of one in UTF-8
#define DELETE 0x7f

static void write_text(struct plain *p)
{
    char escaped[4 * PLAIN_LINE_MAXIMUM + 1];
    if (p->length)
        fputs(text_escape((struct slice){.at = p->line, .length = p->length}, escaped, sizeof(escaped)), p->to);
    p->length = 0;
}

static void end_text(struct plain *p, char with)
{
    write_text(p);
    fputc(with, p->to);
}

static void take_byte(struct plain *p, unsigned char byte)
{
    if (sequence_take(&p->state, byte))
        return;
    if (p->returned && byte != '\n' && byte != '\r')
        end_text(p, '\n');
    p->returned = byte == '\r';
    if (byte == '\n' || byte == '\t') {
        end_text(p, (char)byte);
    } else if (byte >= 0x20 && byte != DELETE) {
        bool begins = (byte & 0xc0) != 0x80; // a character
        if (p->length == PLAIN_LINE_MAXIMUM || (begins && p->length > PLAIN_LINE_MAXIMUM - CHARACTER_MAXIMUM))
            write_text(p);
        p->line[p->length++] = (char)byte;
    }
}

void plain_feed(struct plain *p, const void *bytes, size_t n)
{
    const unsigned char *from = bytes;
    for (size_t i = 0; i < n; i++)
        take_byte(p, from[i]);
}

void plain_flush(struct plain *p)
{
    write_text(p);
}
