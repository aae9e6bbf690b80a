// Lists of images: the front page, and what a search found (pages.h).
#include "web/layout.h"
#include "web/pages.h"
#include "web/site_url.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define QUERY_SHOWN 256u // bytes of HTML

static const uint64_t sizes[] = {64u << 20, 256u << 20, 1u << 30, 4ull << 30};

// Without a value of its own an option stands for its text.
static void put_option(struct html *h, const char *value, const char *shown, bool selected)
{
    if (value)
        HTML(h, "<option value=\"%\"", value);
    else
        HTML(h, "<option");
    if (selected)
        HTML(h, " selected");
    HTML(h, ">");
    html_escape_cut(h, slice_of(shown), QUERY_SHOWN);
    HTML(h, "</option>");
}

// A value that is asked for stays to be seen, even if no image has it.
static void put_select(struct html *h, const char *name, const char *label, const char *any,
                       const char (*values)[PAGES_CHOICE_SIZE], unsigned n, const char *asked)
{
    bool there = asked[0] == '\0';
    if (n < 2 && there)
        return;
    HTML(h, "<label>%<select name=\"%\"><option value=\"\">%</option>", label, name, any);
    for (unsigned i = 0; i < n; i++) {
        bool selected = strcmp(values[i], asked) == 0;
        there = there || selected;
        put_option(h, NULL, values[i], selected);
    }
    if (!there)
        put_option(h, NULL, asked, true);
    HTML(h, "</select></label>\n");
}

static void put_size(struct html *h, uint64_t size, bool selected)
{
    char shown[64];
    snprintf(shown, sizeof(shown), "up to %s", LAYOUT_BYTES(size));
    put_option(h, HTML_NUMBER(size), shown, selected);
}

static void put_sizes(struct html *h, uint64_t asked)
{
    bool there = asked == 0;
    HTML(h, "<label>Size<select name=\"max_size\"><option value=\"\">Any size</option>");
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        there = there || sizes[i] == asked;
        put_size(h, sizes[i], sizes[i] == asked);
    }
    if (!there)
        put_size(h, asked, true);
    HTML(h, "</select></label>\n");
}

static void put_form(struct html *h, const struct pages_choices *c, const struct pages_query *q, const char *root)
{
    HTML(h,
         "<form class=\"find\" role=\"search\" action=\"%search\" method=\"get\">\n<div class=\"row\">"
         "<input type=\"search\" id=\"q\" name=\"q\" maxlength=\"200\" autocomplete=\"off\" "
         "placeholder=\"Search images\" aria-label=\"Search images\" value=\"",
         root);
    html_escape_cut(h, slice_of(q->words), QUERY_SHOWN);
    HTML(h, "\"><button class=\"primary\" type=\"submit\">Search</button></div>\n<div class=\"filters\">\n");
    put_select(h, "os", "System", "Any system", c->os, c->os_count, q->os);
    put_select(h, "arch", "Architecture", "Any architecture", c->arch, c->arch_count, q->arch);
    put_sizes(h, q->max_size);
    put_select(h, "publisher", "Publisher", "Any publisher", c->publisher, c->publisher_count, q->publisher);
    HTML(h, "</div>\n</form>\n");
}

static void put_card(struct html *h, const struct index_version *v, const char *root)
{
    struct buf folder CLEANUP(buf_free) = BUF_WITH_MAXIMUM(256);
    int r = buf_append_format(&folder, "%simages/%s/", root, v->name);
    if (r < 0)
        h->result = r;
    HTML(h, "<li><a class=\"card\" href=\"%\">", buf_text(&folder));
    layout_logo(h, v, buf_text(&folder), false);
    HTML(h, "<div><h2>");
    html_escape_cut(h, slice_of(layout_title(v)), 160);
    HTML(h, "</h2><span class=\"name mono\">%:%</span><p>", v->name, v->version);
    html_escape_cut(h, slice_of(v->summary), 320);
    HTML(h, "</p><span class=\"sizes\">");
    if (v->boot_bytes)
        HTML(h, "<b>%</b> to boot · ", LAYOUT_BYTES(v->boot_bytes));
    HTML(h, "<b>%</b> in all<span>", LAYOUT_BYTES(v->stored_bytes));
    if (v->os[0]) {
        html_escape_cut(h, slice_of(v->os), 80);
        HTML(h, " · ");
    }
    html_escape_cut(h, slice_of(v->arch), 16);
    if (v->revoked)
        HTML(h, " <span class=\"chip bad\">revoked</span>");
    HTML(h, "</span></span></div></a></li>\n");
}

static void put_cards(struct html *h, const struct index_list *l, const char *root, bool first)
{
    HTML(h, "<ul class=\"cards%\">\n", first ? " first" : "");
    for (unsigned i = 0; i < l->count && i < PAGES_ROWS; i++)
        put_card(h, &l->versions[i], root);
    HTML(h, "</ul>\n");
}

static void put_pager(struct html *h, uint64_t all, unsigned page, const char *previous, const char *next)
{
    uint64_t pages = (all + PAGES_ROWS - 1) / PAGES_ROWS;
    if (pages < 2)
        return;
    HTML(h, "<nav class=\"pages\" aria-label=\"Pages\"><span>");
    if (previous)
        HTML(h, "<a rel=\"prev\" href=\"%\">← Previous</a>", previous);
    HTML(h, "</span><span>Page % of %</span><span>", HTML_NUMBER(page), HTML_NUMBER(pages));
    if (next)
        HTML(h, "<a rel=\"next\" href=\"%\">Next →</a>", next);
    HTML(h, "</span></nav>\n");
}

int pages_list(const struct pages_site *s, const struct index_list *l, unsigned page, struct buf *ret)
{
    static const struct pages_query nothing = {.words = "", .os = "", .arch = "", .publisher = ""};
    struct html h = {.to = ret, .result = site_url_is_right(slice_of(s->url)) ? 0 : -EINVAL};
    const char *root = page > 1 ? "../../" : "";
    char previous[32], next[32];

    layout_begin(&h, s->about, s->about->name, root);
    HTML(&h, "<h1>Boot a machine from its URL</h1>\n<p class=\"lead\">");
    if (s->about->images == 0)
        HTML(&h, "Nothing was published here yet.</p>\n");
    else
        HTML(&h,
             "%. Nothing is downloaded first: what a machine touches arrives as it touches it, and is "
             "verified.</p>\n",
             TEXT_COUNT(s->about->images, "image"));
    if (s->choices)
        put_form(&h, s->choices, &nothing, root);
    put_cards(&h, l, root, true);
    if (page > 2)
        snprintf(previous, sizeof(previous), "../%u/", page - 1);
    else
        snprintf(previous, sizeof(previous), "../../");
    snprintf(next, sizeof(next), "%s%u/", page > 1 ? "../" : "page/", page + 1);
    put_pager(&h, l->all, page, page > 1 ? previous : NULL, page * (uint64_t)PAGES_ROWS < l->all ? next : NULL);
    layout_end(&h, s->about, page == 1);
    return h.result;
}

int pages_search(const struct pages_site *s, const struct pages_query *q, const struct index_list *l, unsigned page,
                 struct buf *ret)
{
    struct html h = {.to = ret, .result = site_url_is_right(slice_of(s->url)) && s->choices ? 0 : -EINVAL};

    layout_begin(&h, s->about, "Search", "");
    HTML(&h, "<h1>Search</h1>\n");
    if (s->choices)
        put_form(&h, s->choices, q, "");
    if (l->all == 0)
        HTML(&h, "<div class=\"panel empty\" role=\"status\"><h2>No image fits</h2>\n<p class=\"lead\">Every word must "
                 "occur, the last one at least as a beginning. Fewer words or filters find more.</p>\n"
                 "<p><a class=\"button\" href=\"./\">See all images</a></p></div>\n");
    else
        HTML(&h, "<p class=\"result\" role=\"status\">% found</p>\n", TEXT_COUNT(l->all, "image"));
    put_cards(&h, l, "", false);
    put_pager(&h, l->all, page, q->previous, q->next);
    layout_end(&h, s->about, false);
    return h.result;
}

// What stands at any address begins its links at the site's root.
static const char *path_of(const char *url)
{
    return strchr(strstr(url, "://") + 3, '/');
}

int pages_nothing(const char *url, struct buf *ret)
{
    static const struct index_site none = {.name = "Rondo"};
    struct html h = {.to = ret, .result = site_url_is_right(slice_of(url)) ? 0 : -EINVAL};
    if (h.result < 0)
        return h.result;

    layout_begin(&h, &none, "Nothing here yet", path_of(url));
    HTML(&h,
         "<div class=\"panel empty\"><h1>Nothing was published here yet</h1>\n<p class=\"lead\">This is a place for "
         "machines that boot from their URL. The first one is on this page as soon as it is "
         "published.</p></div>\n");
    layout_end(&h, &none, false);
    return h.result;
}

int pages_missing(const struct pages_site *s, struct buf *ret)
{
    struct html h = {.to = ret, .result = site_url_is_right(slice_of(s->url)) ? 0 : -EINVAL};
    if (h.result < 0)
        return h.result;
    const char *path = path_of(s->url);

    layout_begin(&h, s->about, "Not found", path);
    HTML(&h,
         "<div class=\"panel empty\"><h1>There is no such page</h1>\n<p class=\"lead\">An image may have been "
         "withdrawn, "
         "or its name is another one.</p>\n<p><a class=\"button primary\" href=\"%\">See all images</a></p></div>\n",
         path);
    layout_end(&h, s->about, false);
    return h.result;
}
