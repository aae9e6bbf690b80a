// See layout.h.
#include "web/layout.h"

#include "base/cleanup.h"
#include "web/assets.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define HUES 6u
#define FRAME_ANCESTORS "; frame-ancestors 'none'"

// Without frame-ancestors, which browsers take from a header alone.
static const char *policy_of_page(char text[static LAYOUT_POLICY_SIZE])
{
    struct sha256 style = sha256_of(assets_style, strlen(assets_style));
    char hash[64];
    if (base64_encode(style.bytes, sizeof(style.bytes), hash, sizeof(hash)) < 0)
        hash[0] = '\0';
    (void)snprintf(text, LAYOUT_POLICY_SIZE,
                   "default-src 'none'; style-src 'sha256-%s'; img-src 'self'; script-src 'self'; form-action 'self'; "
                   "base-uri 'none'",
                   hash);
    return text;
}

const char *layout_policy(char text[static LAYOUT_POLICY_SIZE])
{
    char page[LAYOUT_POLICY_SIZE];
    (void)snprintf(text, LAYOUT_POLICY_SIZE, "%s" FRAME_ANCESTORS, policy_of_page(page));
    return text;
}

void layout_begin(struct html *h, const struct index_site *site, const char *title, const char *root)
{
    char policy[LAYOUT_POLICY_SIZE];
    HTML(h,
         LAYOUT_MARK "<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"%\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                     "<meta name=\"color-scheme\" content=\"light dark\">\n"
                     "<meta name=\"referrer\" content=\"no-referrer\">\n<title>",
         policy_of_page(policy));
    html_escape_cut(h, slice_of(title), 200);
    if (strcmp(title, site->name) != 0)
        HTML(h, " · %", site->name);
    HTML(h, "</title>\n<style>");
    if (h->result == 0)
        h->result = buf_append(h->to, assets_style, strlen(assets_style));
    HTML(h,
         "</style>\n<link rel=\"icon\" href=\"%icon.svg\" type=\"image/svg+xml\">\n"
         "<script defer src=\"%rondo.js\"></script>\n</head>\n<body>\n"
         "<a class=\"skip\" href=\"#content\">To the content</a>\n"
         "<header class=\"top\"><div class=\"wrap\"><a class=\"brand\" href=\"%\">"
         "<span class=\"ring\" aria-hidden=\"true\"></span>%</a></div></header>\n"
         "<main class=\"wrap\" id=\"content\">\n",
         root, root, root[0] ? root : "./", site->name);
}

void layout_end(struct html *h, const struct index_site *site, bool with_catalog)
{
    HTML(h, "</main>\n");
    if (site->number == 0) { // there is nothing yet to tell of
        HTML(h, "</body>\n</html>\n");
        return;
    }
    HTML(h, "<footer class=\"foot\"><div class=\"wrap\">\n");
    if (with_catalog) {
        HTML(h, "<p>Catalog % of <span class=\"mono\">%</span>, signed ", HTML_NUMBER(site->number), site->name);
        layout_date(h, site->issued);
        HTML(h, ", valid until ");
        layout_date(h, site->expires);
        HTML(h, ".</p>\n");
    }
    HTML(h,
         "<p>Site key <code translate=\"no\">%</code></p>\n"
         "<p>This page was made from signed files. Whoever runs an image checks their signatures again, and trusts "
         "no page.</p>\n</div></footer>\n</body>\n</html>\n",
         LAYOUT_KEY(&site->key));
}

const char *layout_logo_name(const struct index_version *v, char text[static LAYOUT_LOGO_SIZE])
{
    (void)snprintf(text, LAYOUT_LOGO_SIZE, "logo-%s.%s", LAYOUT_HASH(&v->logo),
                   strcmp(v->logo_type, "png") == 0 ? "png" : "jpg");
    return text;
}

void layout_logo(struct html *h, const struct index_version *v, const char *folder, bool big)
{
    char name[LAYOUT_LOGO_SIZE];
    unsigned hue = 0;
    if (v->has_logo) {
        const char *size = big ? "80" : "48";
        HTML(h, "<img class=\"tile%\" src=\"%%\"", big ? " big" : "", folder, layout_logo_name(v, name));
        HTML(h, " alt=\"\" width=\"%\" height=\"%\">", size, size);
        return;
    }
    for (const char *c = v->name; *c; c++)
        hue = (hue * 31 + (unsigned char)*c) % 65521;
    const char first = layout_title(v)[0], letter = (char)(first | 32);
    const bool plain = (first >= '0' && first <= '9') || (letter >= 'a' && letter <= 'z');
    HTML(h, "<span class=\"tile% hue%\" aria-hidden=\"true\">%</span>", big ? " big" : "", HTML_NUMBER(hue % HUES),
         (char[]){plain ? first : v->name[0], '\0'});
}

const char *layout_title(const struct index_version *v)
{
    return v->title[0] ? v->title : v->name;
}

void layout_date(struct html *h, int64_t seconds)
{
    char text[32];
    text_format_time(seconds, text);
    HTML(h, "<time datetime=\"%\">", text);
    html_escape_cut(h, (struct slice){.at = text, .length = strcspn(text, "T")}, 16);
    HTML(h, "</time>");
}
