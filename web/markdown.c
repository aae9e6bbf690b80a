// See markdown.h. Two levels, as in every Markdown: lines make blocks, and the text of a block has marks inside.
//
// 1. Every tag that is opened is closed in the same function, in all cases: the output nests properly.
// 2. A mark that does not find its other half is text. For each kind, it is noted that none was found, so that no part
//    is searched twice in vain, and marks nest NESTING_MAXIMUM deep: the time is linear.
// 3. A block that does not fit is taken back as a whole.
#include "web/markdown.h"

#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define NESTING_MAXIMUM 4u
#define LINK_TEXT_MAXIMUM 512u

struct lines {
    struct slice rest;
    struct slice line; // the one to look at now
    bool have;
};

static void next_line(struct lines *l)
{
    l->have = l->rest.length > 0;
    if (!l->have)
        return;
    const char *end = memchr(l->rest.at, '\n', l->rest.length);
    size_t n = end ? (size_t)(end - l->rest.at) : l->rest.length;
    l->line = (struct slice){.at = l->rest.at, .length = n};
    n += end != NULL;
    l->rest = (struct slice){.at = l->rest.at + n, .length = l->rest.length - n};
}

static struct slice behind(struct slice s, size_t n)
{
    return (struct slice){.at = s.at + n, .length = s.length - n};
}

static struct slice trim(struct slice s)
{
    while (s.length > 0 && (s.at[0] == ' ' || s.at[0] == '\t'))
        s = behind(s, 1);
    while (s.length > 0 && (s.at[s.length - 1] == ' ' || s.at[s.length - 1] == '\t'))
        s.length--;
    return s;
}

// --- inside of a block ---

enum mark { MARK_CODE, MARK_BOLD, MARK_EMPHASIS, MARK_COUNT };
static const char *const mark_texts[MARK_COUNT] = {"`", "**", "*"};

// Whether the mark at the start of s can open: something other than a space follows.
static bool opens(struct slice s, enum mark mark)
{
    const size_t n = strlen(mark_texts[mark]);
    return s.length > n && (mark == MARK_CODE || (s.at[n] != ' ' && s.at[n] != '\n'));
}

// Where the mark that opens s closes: an offset, or 0 for nowhere. The text in between is not empty.
static size_t find_close(struct slice s, enum mark mark)
{
    const size_t n = strlen(mark_texts[mark]);
    for (size_t i = n + 1; i + n <= s.length; i++) {
        if (s.at[i] == '\\' && mark != MARK_CODE) {
            i++;
            continue;
        }
        if (memcmp(s.at + i, mark_texts[mark], n) != 0)
            continue;
        if (mark == MARK_EMPHASIS && i + 1 < s.length && s.at[i + 1] == '*') {
            i++; // of a bold part inside
            continue;
        }
        if (mark == MARK_CODE || s.at[i - 1] != ' ')
            return i;
    }
    return 0;
}

// "[text](url)" at the start of s: its length, or 0.
static size_t find_link(struct slice s, struct slice *ret_text, struct slice *ret_url)
{
    size_t most = s.length < LINK_TEXT_MAXIMUM ? s.length : LINK_TEXT_MAXIMUM;
    const char *middle = memchr(s.at, ']', most);
    if (!middle || middle == s.at + 1 || middle + 1 == s.at + s.length || middle[1] != '(')
        return 0;
    struct slice rest = behind(s, (size_t)(middle + 2 - s.at));
    const char *end = memchr(rest.at, ')', rest.length < HTML_LINK_MAXIMUM + 1 ? rest.length : HTML_LINK_MAXIMUM + 1);
    if (!end)
        return 0;
    struct slice url = {.at = rest.at, .length = (size_t)(end - rest.at)};
    if (!html_is_link(url))
        return 0;
    *ret_text = (struct slice){.at = s.at + 1, .length = (size_t)(middle - s.at) - 1};
    *ret_url = url;
    return (size_t)(end + 1 - s.at);
}

static bool is_escapable(char c)
{
    return c && strchr("\\`*_{}[]()#+-.!<>", c);
}

static void render_inside(struct html *h, struct slice s, unsigned depth, bool in_link);

static void render_marked(struct html *h, enum mark mark, struct slice inside, unsigned depth, bool in_link)
{
    switch (mark) {
    case MARK_CODE:
        HTML(h, "<code>");
        html_escape(h, inside);
        HTML(h, "</code>");
        break;
    case MARK_BOLD:
        HTML(h, "<strong>");
        render_inside(h, inside, depth + 1, in_link);
        HTML(h, "</strong>");
        break;
    default:
        HTML(h, "<em>");
        render_inside(h, inside, depth + 1, in_link);
        HTML(h, "</em>");
        break;
    }
}

static void render_link(struct html *h, struct slice text, struct slice url, unsigned depth)
{
    HTML(h, "<a rel=\"nofollow noopener noreferrer\" href=\"");
    html_escape(h, url);
    HTML(h, "\">");
    render_inside(h, text, depth + 1, true);
    HTML(h, "</a>");
}

// The bytes of s that were rendered as one mark or link; 0: its first byte is text.
static size_t render_mark(struct html *h, struct slice s, unsigned depth, bool in_link, bool missing[MARK_COUNT])
{
    struct slice text, url;
    size_t n;
    if (s.at[0] == '[' && !in_link && depth < NESTING_MAXIMUM && (n = find_link(s, &text, &url)) > 0) {
        render_link(h, text, url, depth);
        return n;
    }
    for (enum mark mark = MARK_CODE; mark < MARK_COUNT; mark++) {
        const size_t length = strlen(mark_texts[mark]);
        if (s.length < length || memcmp(s.at, mark_texts[mark], length) != 0)
            continue;
        if (missing[mark] || !opens(s, mark) || (mark != MARK_CODE && depth >= NESTING_MAXIMUM))
            return 0;
        n = find_close(s, mark);
        if (n == 0) {
            missing[mark] = true;
            return 0;
        }
        render_marked(h, mark, (struct slice){.at = s.at + length, .length = n - length}, depth, in_link);
        return n + length;
    }
    return 0;
}

static void render_inside(struct html *h, struct slice s, unsigned depth, bool in_link)
{
    bool missing[MARK_COUNT] = {false};
    size_t plain = 0; // bytes of s that are text, and not yet appended
    while (plain < s.length && h->result == 0) {
        struct slice here = behind(s, plain);
        if (!strchr("\\[`*", here.at[0]) || here.at[0] == '\0') {
            plain++;
            continue;
        }
        html_escape(h, (struct slice){.at = s.at, .length = plain});
        s = here;
        plain = 0;
        size_t n = 0;
        if (s.at[0] == '\\' && s.length > 1 && is_escapable(s.at[1])) {
            s = behind(s, 1);
        } else {
            n = render_mark(h, s, depth, in_link, missing);
            s = behind(s, n);
        }
        if (n == 0) // the byte is text, and so is the other half of a mark that was not found
            plain = s.length > 1 && s.at[0] == '*' && s.at[1] == '*' ? 2 : 1;
    }
    html_escape(h, s);
}

// --- blocks ---

static bool is_fence(struct slice line)
{
    return slice_starts(line, "```");
}

// The level of a heading, 1 to 3, or 0.
static unsigned heading_level(struct slice line)
{
    unsigned level = 0;
    while (level < line.length && line.at[level] == '#')
        level++;
    return level >= 1 && level <= 3 && level < line.length && line.at[level] == ' ' ? level : 0;
}

// The bytes before an item's text: "- ", "* " or "12. "; 0: no item. *ret_numbered tells which.
static size_t item_mark(struct slice line, bool *ret_numbered)
{
    size_t digits = 0;
    if (slice_starts(line, "- ") || slice_starts(line, "* ")) {
        *ret_numbered = false;
        return 2;
    }
    while (digits < line.length && digits < 4 && line.at[digits] >= '0' && line.at[digits] <= '9')
        digits++;
    if (digits == 0 || !slice_starts(behind(line, digits), ". "))
        return 0;
    *ret_numbered = true;
    return digits + 2;
}

static bool begins_block(struct slice line)
{
    bool numbered;
    return trim(line).length == 0 || is_fence(line) || heading_level(line) > 0 || item_mark(line, &numbered) > 0;
}

static void render_code(struct html *h, struct lines *l)
{
    HTML(h, "<pre><code>");
    for (next_line(l); l->have && !is_fence(l->line); next_line(l)) {
        html_escape(h, l->line);
        HTML(h, "\n");
    }
    HTML(h, "</code></pre>\n");
    next_line(l);
}

// The lines from the current one, whose first `skip` bytes are left out, to the next block.
static void render_text(struct html *h, struct lines *l, size_t skip)
{
    struct slice text = behind(l->line, skip);
    next_line(l);
    while (l->have && !begins_block(l->line)) {
        text.length = (size_t)(l->line.at + l->line.length - text.at);
        next_line(l);
    }
    render_inside(h, trim(text), 0, false);
}

static void render_heading(struct html *h, struct lines *l, unsigned level)
{
    struct slice text = trim(behind(l->line, level));
    static const char *const names[] = {"h3", "h4", "h5"};
    HTML(h, "<%>", names[level - 1]);
    render_inside(h, text, 0, false);
    HTML(h, "</%>\n", names[level - 1]);
    next_line(l);
}

// Empty lines between items do not end a list.
static void skip_to_item(struct lines *l, bool numbered)
{
    struct lines ahead = *l;
    bool same;
    while (ahead.have && trim(ahead.line).length == 0)
        next_line(&ahead);
    if (ahead.have && item_mark(ahead.line, &same) > 0 && same == numbered)
        *l = ahead;
}

static void render_list(struct html *h, struct lines *l, bool numbered)
{
    bool same;
    size_t mark;
    HTML(h, "<%>\n", numbered ? "ol" : "ul");
    while (l->have && (mark = item_mark(l->line, &same)) > 0 && same == numbered) {
        HTML(h, "<li>");
        render_text(h, l, mark);
        HTML(h, "</li>\n");
        skip_to_item(l, numbered);
    }
    HTML(h, "</%>\n", numbered ? "ol" : "ul");
}

static void render_block(struct html *h, struct lines *l)
{
    bool numbered = false;
    unsigned level = heading_level(l->line);
    if (is_fence(l->line)) {
        render_code(h, l);
    } else if (level > 0) {
        render_heading(h, l, level);
    } else if (item_mark(l->line, &numbered) > 0) {
        render_list(h, l, numbered);
    } else {
        HTML(h, "<p>");
        render_text(h, l, 0);
        HTML(h, "</p>\n");
    }
}

int markdown_render(struct html *h, struct slice text, size_t room)
{
    struct lines l = {.rest = text};
    const size_t start = h->to->size;
    for (next_line(&l); l.have && h->result == 0;) {
        size_t before = h->to->size;
        if (trim(l.line).length == 0) {
            next_line(&l);
            continue;
        }
        render_block(h, &l);
        const bool full = h->result == -E2BIG && h->to->maximum - start >= room; // the buffer ended within this block
        if (full)
            h->result = 0;
        if (full || h->to->size - start > room) {
            h->to->size = before;
            h->to->data[before] = '\0';
            return 1;
        }
    }
    return 0;
}
