// HTML that is put together here. Only literals of our own sources get into a page as they stand; everything else
// passes html_escape, the one function that escapes (TRUST T32).
//
//   HTML(&h, "<a href=\"images/%/\">%</a>", row->name, row->title);
//
// 1. Each % of the literal takes the next argument, a C string, escaped. HTML() accepts nothing but a literal.
// 2. Escaped text has no < > & " ' of its own, so that it is text in an element, and in a quoted attribute.
// 3. What is not UTF-8, control characters (a newline stays) and invisible characters become U+FFFD.
// 4. An attribute that a browser follows gets names of the site, html_append_url's output, or what html_is_link
//    accepted.
// 5. The first failure stays: nothing is appended behind it, and `result` tells.
#pragma once

#include "base/buf.h"
#include "base/text.h"

struct html {
    struct buf *to;
    int result; // 0, -E2BIG or -ENOMEM; -EINVAL if arguments and % differ in number
};

#define HTML(h, ...)                                                                                                   \
    html_fill((h), (const char *const[]){"" __VA_ARGS__},                                                              \
              sizeof((const char *const[]){"" __VA_ARGS__}) / sizeof(char *))
// Through HTML(): parts[0] is the literal, which "" before it keeps from being anything else.
void html_fill(struct html *h, const char *const parts[], size_t n);

void html_escape(struct html *h, struct slice text);
// At most `bytes` of HTML of it, cut between characters, with "…" behind where something is missing.
void html_escape_cut(struct html *h, struct slice text, size_t bytes);

// "12" and the like, for HTML()'s arguments; it lasts to the end of the block.
#define HTML_NUMBER_SIZE 24
#define HTML_NUMBER(n) html_format_number((n), (char[HTML_NUMBER_SIZE]){0})
const char *html_format_number(uint64_t n, char text[static HTML_NUMBER_SIZE]);

// Percent-encodes all but letters, digits and -._~ (RFC 3986, 2.3). 0, -E2BIG or -ENOMEM.
int html_append_url(struct buf *to, struct slice text);

// Whether a browser may be sent there: http:// or https://, a host without user@ before it, printable ASCII without
// quotes, brackets and backslashes, at most HTML_LINK_MAXIMUM bytes.
#define HTML_LINK_MAXIMUM 1023u
bool html_is_link(struct slice url);
