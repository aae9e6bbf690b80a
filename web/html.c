// See html.h.
#include "web/html.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static void append(struct html *h, const char *bytes, size_t n)
{
    h->result = buf_append(h->to, bytes, n);
}

// The HTML of the character at the start of `text`, and in *ret_taken its bytes there.
static struct slice escape_one(struct slice text, size_t *ret_taken)
{
    size_t n = text_shown_length(text);
    *ret_taken = n ? n : 1;
    switch (text.at[0]) {
    case '<':
        return slice_of("&lt;");
    case '>':
        return slice_of("&gt;");
    case '&':
        return slice_of("&amp;");
    case '"':
        return slice_of("&#34;");
    case '\'':
        return slice_of("&#39;");
    case '\n':
        return slice_of("\n");
    default:
        return n ? (struct slice){.at = text.at, .length = n} : slice_of("\xEF\xBF\xBD");
    }
}

void html_escape_cut(struct html *h, struct slice text, size_t bytes)
{
    for (size_t n; text.length > 0 && h->result == 0;
         text = (struct slice){.at = text.at + n, .length = text.length - n}) {
        struct slice one = escape_one(text, &n);
        if (one.length > bytes) {
            append(h, "…", sizeof "…" - 1);
            return;
        }
        append(h, one.at, one.length);
        bytes -= one.length;
    }
}

void html_escape(struct html *h, struct slice text)
{
    html_escape_cut(h, text, SIZE_MAX);
}

void html_fill(struct html *h, const char *const parts[], size_t n)
{
    size_t used = 1;
    for (const char *at = parts[0]; h->result == 0;) {
        size_t plain = strcspn(at, "%");
        append(h, at, plain);
        at += plain;
        if (*at == '\0')
            break;
        if (used == n) {
            h->result = -EINVAL;
            return;
        }
        html_escape(h, slice_of(parts[used++]));
        at++;
    }
    if (h->result == 0 && used != n)
        h->result = -EINVAL;
}

const char *html_format_number(uint64_t n, char text[static HTML_NUMBER_SIZE])
{
    (void)snprintf(text, HTML_NUMBER_SIZE, "%llu", (unsigned long long)n);
    return text;
}

static bool is_alphanumeric(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int html_append_url(struct buf *to, struct slice text)
{
    int r = 0;
    for (size_t i = 0; i < text.length && r == 0; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (is_alphanumeric(c) || (c && strchr("-._~", c)))
            r = buf_append(to, &c, 1);
        else
            r = buf_append_format(to, "%%%02X", c);
    }
    return r;
}

bool html_is_link(struct slice url)
{
    size_t scheme = slice_starts(url, "https://") ? 8 : slice_starts(url, "http://") ? 7 : 0;
    if (scheme == 0 || url.length <= scheme || url.length > HTML_LINK_MAXIMUM ||
        !is_alphanumeric((unsigned char)url.at[scheme]))
        return false;
    bool in_host = true;
    for (size_t i = scheme; i < url.length; i++) {
        unsigned char c = (unsigned char)url.at[i];
        if (c <= 0x20 || c >= 0x7F || strchr("\"'<>\\^`{|}", c))
            return false;
        in_host = in_host && !strchr("/?#", c);
        if (in_host && c == '@')
            return false;
    }
    return true;
}
