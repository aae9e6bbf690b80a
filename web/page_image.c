// The page of one image (pages.h). Commands on it are pasted into shells, so all that is in them comes from names,
// hashes, keys, and a URL of few characters: nothing that a shell would take for more than a word.
#include "web/layout.h"
#include "web/markdown.h"
#include "web/pages.h"
#include "web/site_url.h"

#include "base/cleanup.h"

#include <string.h>

#include "base/banned.h"

#define DESCRIPTION_MAXIMUM (14u << 10) // bytes of HTML
#define DESCRIPTION_FRAME 256u          // bytes of HTML around it
#define PORTS_MAXIMUM 16u

static void put_heading(struct html *h, const struct index_version *v)
{
    HTML(h, "<p class=\"crumb\"><a href=\"../../\">← All images</a></p>\n<div class=\"hero\">");
    layout_logo(h, v, "", true);
    HTML(h, "<div><h1>");
    html_escape_cut(h, slice_of(layout_title(v)), 320);
    HTML(h, "</h1>\n<span class=\"name mono\">%:%</span><br>\n", v->name, v->version);
    if (v->revoked) {
        HTML(h, "<span class=\"chip bad\">Revoked: the key that signed it is trusted no longer</span>");
    } else {
        HTML(h, "<a class=\"chip good\" href=\"#signature\">✓ Signed by ");
        html_escape(h, (struct slice){.at = LAYOUT_KEY(&v->publisher), .length = 8});
        HTML(h, "…</a>");
    }
    HTML(h, "</div></div>\n");
    if (v->summary[0]) {
        HTML(h, "<p class=\"lead\">");
        html_escape_cut(h, slice_of(v->summary), 1200);
        HTML(h, "</p>\n");
    }
}

// What `rondo run` and `rondo open` take: the version pinned by its hash, the site by its key.
static int append_address(const struct pages_site *s, const struct index_version *v, struct buf *to)
{
    return buf_append_format(to, "%s:%s@sha256:%s#%s", v->name, v->version, LAYOUT_HASH(&v->manifest),
                             LAYOUT_KEY(&s->about->key));
}

// One word of a command for a shell: an IPv6 address has signs that mean something there, and zsh may take "#" for a
// pattern.
static void put_word(struct html *h, const char *url, const char *name, const char *end)
{
    struct buf plain CLEANUP(buf_free) = BUF_WITH_MAXIMUM(2048), word CLEANUP(buf_free) = BUF_WITH_MAXIMUM(2048);
    int r = buf_append_format(&plain, "%s%s%s", url, name, end);
    if (r == 0)
        r = text_append_shell_word(&word, buf_text(&plain));
    if (h->result == 0)
        h->result = r;
    html_escape(h, slice_of(buf_text(&word)));
}

// A machine to try has the server's processor, and no more memory than the operator gives.
static bool can_be_tried(const struct pages_site *s, const struct index_version *v)
{
    return s->try_memory > 0 && v->memory <= s->try_memory && strcmp(v->arch, "x86_64") == 0;
}

static void put_actions(struct html *h, const struct pages_site *s, const struct index_version *v)
{
    struct buf link CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096), address CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1024);
    int r = append_address(s, v, &address);
    if (r == 0)
        r = site_url_append_link(s->url, &link);
    if (h->result == 0)
        h->result = r;
    if (v->revoked)
        return; // nobody would accept it
    HTML(h,
         "<section class=\"panel\" aria-label=\"Run it\">\n<div class=\"go\"><a class=\"button primary\" "
         "href=\"%%\">Open in Rondo</a>\n",
         buf_text(&link), buf_text(&address));
    if (can_be_tried(s, v))
        HTML(h, "<a class=\"button\" href=\"../../try/%\">Try it in the browser</a>\n", v->name);
    HTML(h, "<p>");
    if (v->boot_bytes)
        HTML(h, "Starts after about %; the rest arrives as it is used. ", LAYOUT_BYTES(v->boot_bytes));
    else
        HTML(h, "Starts at once; its blocks arrive as they are used. ");
    HTML(h,
         "Rondo asks before it starts anything.</p></div>\n<div class=\"command\"><code translate=\"no\">rondo run ");
    put_word(h, s->url, buf_text(&address), "");
    HTML(h, "</code><button class=\"copy\" type=\"button\" aria-live=\"polite\" hidden>Copy</button></div>\n"
            "<p class=\"hint\">The command names this very version and the key of the site: it runs that, or "
            "nothing.</p>\n</section>\n");
}

static void put_fact(struct html *h, const char *label, const char *value, size_t most)
{
    if (value[0] == '\0')
        return;
    HTML(h, "<dt>%</dt><dd>", label);
    html_escape_cut(h, slice_of(value), most);
    HTML(h, "</dd>\n");
}

// "example.org", to be shown in place of the whole address.
static struct slice host_of(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    return (struct slice){.at = host, .length = strcspn(host, "/?#")};
}

static void put_ports(struct html *h, const char *ports)
{
    struct text_reader lines = text_reader_over(ports, strlen(ports), 512);
    struct slice line;
    unsigned n = 0;
    for (; n < PORTS_MAXIMUM && text_next_line(&lines, &line) == 1; n++) {
        if (n == 0)
            HTML(h, "<dt>Ports</dt><dd>");
        else
            HTML(h, "<br>");
        html_escape_cut(h, slice_cut_word(&line), 8);
        HTML(h, " <span class=\"name\">");
        html_escape_cut(h, line, 96);
        HTML(h, "</span>");
    }
    if (n > 0)
        HTML(h, "</dd>\n");
}

static void put_facts(struct html *h, const struct index_version *v)
{
    HTML(h, "<aside class=\"panel\"><h2>At a glance</h2>\n<dl class=\"facts\">\n");
    put_fact(h, "Size to boot", v->boot_bytes ? LAYOUT_BYTES(v->boot_bytes) : "", 32);
    put_fact(h, "Size in all", LAYOUT_BYTES(v->stored_bytes), 32);
    put_fact(h, "Disk", v->disk_size ? LAYOUT_BYTES(v->disk_size) : "", 32);
    put_fact(h, "Memory", v->memory ? LAYOUT_BYTES(v->memory) : "", 32);
    put_fact(h, "System", v->os, 200);
    put_fact(h, "Architecture", v->arch, 32);
    put_ports(h, v->ports);
    put_fact(h, "Licence", v->licence, 200);
    if (html_is_link(slice_of(v->homepage))) {
        HTML(h, "<dt>Homepage</dt><dd><a rel=\"nofollow noopener noreferrer\" href=\"%\">", v->homepage);
        html_escape_cut(h, host_of(v->homepage), 120);
        HTML(h, "</a></dd>\n");
    } else {
        put_fact(h, "Homepage", v->homepage, 200);
    }
    HTML(h, "<dt>Published</dt><dd>");
    layout_date(h, v->created);
    HTML(h, "</dd>\n</dl></aside>\n");
}

// In the room that all else leaves, whose texts have a maximum each (pages.h, 1).
static void put_description(struct html *h, const struct index_version *v, size_t rest)
{
    const size_t used = h->to->size + rest + DESCRIPTION_FRAME;
    const size_t left = used < PAGES_SIZE_MAXIMUM ? PAGES_SIZE_MAXIMUM - used : 0;
    if (v->description[0] == '\0')
        return;
    HTML(h, "<section class=\"panel text\" aria-label=\"Description\">\n");
    if (markdown_render(h, slice_of(v->description), left < DESCRIPTION_MAXIMUM ? left : DESCRIPTION_MAXIMUM) == 1)
        HTML(h, "<p class=\"hint\">… The rest is too long for a page.</p>\n");
    HTML(h, "</section>\n");
}

static void put_version(struct html *h, const struct index_version *v, const struct index_version *shown)
{
    HTML(h, "<tr><td><span class=\"mono\">%</span> ", v->version);
    if (v->serial == shown->serial)
        HTML(h, "<span class=\"chip good\">this page</span>");
    if (v->tags[0]) {
        HTML(h, "<span class=\"chip\">");
        html_escape_cut(h, slice_of(v->tags), 64);
        HTML(h, "</span>");
    }
    if (v->revoked)
        HTML(h, "<span class=\"chip bad\">revoked</span>");
    HTML(h, "</td><td class=\"wide\">");
    layout_date(h, v->created);
    HTML(h, "</td><td>%</td><td>%</td></tr>\n", LAYOUT_BYTES(v->new_bytes), LAYOUT_BYTES(v->stored_bytes));
}

static void put_versions(struct html *h, const struct pages_site *s, const struct index_version *v,
                         const struct index_list *versions)
{
    HTML(h, "<section class=\"panel\"><h2>Versions</h2>\n<table><thead><tr><th scope=\"col\">Version</th>"
            "<th class=\"wide\" scope=\"col\">Published</th><th scope=\"col\">New bytes</th>"
            "<th scope=\"col\">In all</th></tr></thead><tbody>\n");
    for (unsigned i = 0; i < versions->count && i < PAGES_VERSIONS; i++)
        put_version(h, &versions->versions[i], v);
    HTML(h, "</tbody></table>\n<p class=\"hint\">");
    if (versions->all > PAGES_VERSIONS) {
        HTML(h, "% are older: <code>rondo history ", TEXT_COUNT(versions->all - PAGES_VERSIONS, "version"));
        put_word(h, s->url, v->name, "");
        HTML(h, "</code> lists all of them. ");
    }
    HTML(h, "New bytes are those that the version before does not have. Another version runs with <code>rondo run ");
    put_word(h, s->url, v->name, ":VERSION");
    HTML(h, "</code>.</p>\n</section>\n");
}

// The commands of docs/security.md, with this version's own values: minisign and usual tools, nothing of Rondo.
static void put_signature(struct html *h, const struct pages_site *s, const struct index_version *v)
{
    const char *hash = LAYOUT_HASH(&v->manifest), *key = LAYOUT_KEY(&v->publisher);
    char folder[sizeof("objects/00/")];
    snprintf(folder, sizeof(folder), "objects/%.2s/", hash);
    HTML(h,
         "<section class=\"panel\" id=\"signature\"><h2>Signature</h2>\n<dl class=\"facts\">\n"
         "<dt>Publisher’s key</dt><dd><code translate=\"no\">%</code></dd>\n"
         "<dt>Manifest</dt><dd><code translate=\"no\">sha256:%</code></dd>\n</dl>\n"
         "<details><summary>Check it with minisign</summary>\n"
         "<p class=\"hint\">The manifest names every byte of the version by hash, and is signed with the publisher’s "
         "key. Get that key from the publisher, not from here.</p>\n<pre><code translate=\"no\">"
         "curl -s ",
         key, hash);
    put_word(h, s->url, folder, hash);
    HTML(h,
         " &gt;signed\n"
         "echo &#34;%  signed&#34; | sha256sum -c\n"
         "sed &#39;/^---$/,$d&#39; signed &gt;manifest\n"
         "sed &#39;1,/^---$/d&#39; signed &gt;manifest.minisig\n"
         "{ printf Ed; sed -n 2p manifest.minisig | base64 -d | tail -c +3 | head -c 8\n"
         "  echo %= | tr _- /+ | base64 -d; } | base64 -w0 &gt;line\n"
         "minisign -Vm manifest -P &#34;$(cat line)&#34;\n</code></pre></details>\n</section>\n",
         hash, key);
}

int pages_image(const struct pages_site *s, const struct index_version *v, const struct index_list *versions,
                struct buf *ret)
{
    struct html h = {.to = ret, .result = site_url_is_right(slice_of(s->url)) ? 0 : -EINVAL};
    if (h.result < 0)
        return h.result;
    struct buf behind CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PAGES_SIZE_MAXIMUM);
    struct html rest = {.to = &behind};
    put_versions(&rest, s, v, versions);
    put_signature(&rest, s, v);
    HTML(&rest, "</div></div>\n");
    layout_end(&rest, s->about, false);

    layout_begin(&h, s->about, layout_title(v), "../../");
    put_heading(&h, v);
    put_actions(&h, s, v);
    HTML(&h, "<div class=\"cols\">\n");
    put_facts(&h, v);
    HTML(&h, "<div>\n");
    put_description(&h, v, behind.size);
    if (h.result == 0)
        h.result = rest.result < 0 ? rest.result : buf_append(ret, behind.data, behind.size);
    return h.result;
}
