// See json.h.
#include "base/json.h"

#include <string.h>

#include "base/banned.h"

static int append_special(struct buf *b, unsigned char c)
{
    static const char names[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                    {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (c == (unsigned char)names[i][0])
            return buf_append_format(b, "\\%c", names[i][1]);
    return buf_append_format(b, "\\u%04x", c);
}

int json_append_string(struct buf *b, const char *text)
{
    int r = buf_append(b, "\"", 1);
    while (r == 0 && *text) {
        size_t n = 0; // bytes that stand for themselves
        while ((unsigned char)text[n] >= 0x20 && text[n] != '"' && text[n] != '\\')
            n++;
        r = n > 0 ? buf_append(b, text, n) : append_special(b, (unsigned char)*text);
        text += n > 0 ? n : 1;
    }
    return r == 0 ? buf_append(b, "\"", 1) : r;
}

int json_append_key(struct buf *b, const char *key)
{
    const bool first = b->size && b->data[b->size - 1] == '{';
    int r = buf_append_format(b, "%s", first ? "" : ", ");
    if (r == 0)
        r = json_append_string(b, key);
    return r == 0 ? buf_append_format(b, ": ") : r;
}

int json_append_text(struct buf *b, const char *key, const char *text)
{
    int r = json_append_key(b, key);
    return r == 0 ? json_append_string(b, text) : r;
}

int json_append_number(struct buf *b, const char *key, unsigned long long number)
{
    int r = json_append_key(b, key);
    return r == 0 ? buf_append_format(b, "%llu", number) : r;
}

int json_append_bool(struct buf *b, const char *key, bool value)
{
    int r = json_append_key(b, key);
    return r == 0 ? buf_append_format(b, "%s", value ? "true" : "false") : r;
}
