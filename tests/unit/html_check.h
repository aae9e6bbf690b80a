// A strict reader of the HTML that web/ writes: what it accepts, every browser reads in one way. Tags of a short list,
// each closed, with attributes of a short list in double quotes; in text and attributes neither < > nor quotes, and &
// only of known references; addresses that cannot be scripts. (The texts of pages of ours hold no quotes of their own.)
#pragma once

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define HTML_CHECK_DEPTH 32

struct html_check {
    struct slice rest;
    struct slice open[HTML_CHECK_DEPTH];
    unsigned depth;
};

static inline bool html_check_is_one_of(struct slice s, const char *const list[])
{
    for (; *list; list++)
        if (slice_equal(s, *list))
            return true;
    return false;
}

static inline struct slice html_check_take(struct html_check *c, size_t n)
{
    struct slice taken = {.at = c->rest.at, .length = n};
    c->rest = (struct slice){.at = c->rest.at + n, .length = c->rest.length - n};
    return taken;
}

static inline size_t html_check_span(struct slice s, const char *accepted)
{
    size_t n = 0;
    while (n < s.length && s.at[n] && strchr(accepted, s.at[n]))
        n++;
    return n;
}

// Text up to the next tag, or an attribute's value.
static inline bool html_check_text(struct slice s)
{
    static const char *const references[] = {"&lt;", "&gt;", "&amp;", "&#34;", "&#39;", NULL};
    for (size_t i = 0; i < s.length; i++) {
        bool known = s.at[i] != '&';
        for (const char *const *r = references; !known && *r; r++)
            known = slice_starts((struct slice){.at = s.at + i, .length = s.length - i}, *r);
        if (!known || strchr("<>\"'", s.at[i]))
            return false;
    }
    for (size_t n; s.length > 0; s = (struct slice){.at = s.at + n, .length = s.length - n}) {
        n = s.at[0] == '\n' ? 1 : text_shown_length(s);
        if (n == 0)
            return false;
    }
    return true;
}

// Relative, or of a scheme that runs nothing here.
static inline bool html_check_address(struct slice url)
{
    size_t n = 0;
    while (n < url.length && !strchr(":/?#", url.at[n]))
        n++;
    if (n == url.length || url.at[n] != ':')
        return !slice_starts(url, "//");
    return slice_starts(url, "http://") || slice_starts(url, "https://") || slice_starts(url, "rondo://") ||
           slice_starts(url, "rondo+http://");
}

static inline bool html_check_attribute(struct html_check *c)
{
    static const char *const known[] = {
        "alt",          "aria-current", "aria-hidden", "aria-label", "aria-live",  "charset",  "class", "colspan",
        "content",      "datetime",     "defer",       "for",        "height",     "hidden",   "href",  "http-equiv",
        "id",           "inputmode",    "lang",        "method",     "name",       "rel",      "role",  "scope",
        "selected",     "src",          "title",       "translate",  "type",       "value",    "width", "action",
        "autocomplete", "maxlength",    "placeholder", "readonly",   "spellcheck", "tabindex", NULL};
    static const char *const addresses[] = {"href", "src", "action", NULL};
    struct slice name = html_check_take(c, html_check_span(c->rest, "abcdefghijklmnopqrstuvwxyz-"));
    if (!html_check_is_one_of(name, known))
        return false;
    if (!slice_starts(c->rest, "=\""))
        return true;
    html_check_take(c, 2);
    const char *end = memchr(c->rest.at, '"', c->rest.length);
    if (!end)
        return false;
    struct slice value = html_check_take(c, (size_t)(end - c->rest.at));
    html_check_take(c, 1);
    return html_check_text(value) && (!html_check_is_one_of(name, addresses) || html_check_address(value));
}

static inline bool html_check_tag(struct html_check *c)
{
    static const char *const known[] = {
        "a",    "aside",  "b",       "br",     "body", "button", "code",  "dd",      "details", "div",    "dl",
        "dt",   "em",     "footer",  "form",   "h1",   "h2",     "h3",    "h4",      "h5",      "head",   "header",
        "html", "input",  "label",   "li",     "link", "main",   "meta",  "nav",     "ol",      "option", "p",
        "pre",  "script", "section", "select", "span", "strong", "style", "summary", "table",   "tbody",  "td",
        "th",   "thead",  "time",    "title",  "tr",   "ul",     "img",   NULL};
    static const char *const empty[] = {"br", "input", "link", "meta", "img", NULL};
    bool closes = slice_starts(c->rest, "</");
    html_check_take(c, closes ? 2 : 1);
    struct slice name = html_check_take(c, html_check_span(c->rest, "abcdefghijklmnopqrstuvwxyz12345"));
    if (!html_check_is_one_of(name, known))
        return false;
    while (!closes && slice_starts(c->rest, " ")) {
        html_check_take(c, 1);
        if (!html_check_attribute(c))
            return false;
    }
    if (!slice_starts(c->rest, ">"))
        return false;
    html_check_take(c, 1);
    if (closes)
        return c->depth > 0 && name.length == c->open[c->depth - 1].length &&
               memcmp(name.at, c->open[--c->depth].at, name.length) == 0;
    if (html_check_is_one_of(name, empty))
        return true;
    if (c->depth == HTML_CHECK_DEPTH)
        return false;
    c->open[c->depth++] = name;
    if (slice_equal(name, "style")) { // of our own; ends at the next tag
        const char *end = memchr(c->rest.at, '<', c->rest.length);
        html_check_take(c, end ? (size_t)(end - c->rest.at) : 0);
    }
    return true;
}

// Whether all of it is as said above, and every tag is closed in the end. On failure *ret_at is how far it got.
static inline bool html_check(const void *bytes, size_t n, size_t *ret_at)
{
    struct html_check c = {.rest = {.at = bytes, .length = n}};
    bool right = true;
    while (right && c.rest.length > 0) {
        const char *tag = memchr(c.rest.at, '<', c.rest.length);
        size_t text = tag ? (size_t)(tag - c.rest.at) : c.rest.length;
        right = html_check_text((struct slice){.at = c.rest.at, .length = text});
        *ret_at = n - c.rest.length;
        if (!right)
            return false;
        html_check_take(&c, text);
        *ret_at = n - c.rest.length;
        if (tag)
            right = html_check_tag(&c);
    }
    return right && c.depth == 0;
}
