// What every page has around its content, and how pages write sizes, dates and keys.
#pragma once

#include "catalog/index.h"
#include "web/html.h"

// A page is served with this as its Content-Security-Policy: nothing from elsewhere, no script and no style in the
// page but the one style that the hash names, nobody may frame it. Pages carry it themselves, too, without
// frame-ancestors, for web space that sends no header.
#define LAYOUT_POLICY_SIZE 512
const char *layout_policy(char text[static LAYOUT_POLICY_SIZE]);

// The first line of every page, and the beginning of rondo.js and icon.svg: files of a folder that begin otherwise are
// not ours.
#define LAYOUT_MARK "<!doctype html><!-- rondo site page -->\n"
#define LAYOUT_SCRIPT_MARK "/* rondo site page"
#define LAYOUT_ICON_MARK "<!-- rondo site page"

// `root` is the way from the page to the site's front page: "", "../", "../../".
void layout_begin(struct html *h, const struct index_site *site, const char *title, const char *root);
// Ends the content. `with_catalog`: with the state of the catalog, which changes with every publication.
void layout_end(struct html *h, const struct index_site *site, bool with_catalog);

// The picture of an image, or, where it has none, a tile with its first letter. `big` for its own page.
void layout_logo(struct html *h, const struct index_version *v, const char *folder, bool big);
// The logo's name within the image's folder: "logo-<64 digits>.png".
#define LAYOUT_LOGO_SIZE 80
const char *layout_logo_name(const struct index_version *v, char text[static LAYOUT_LOGO_SIZE]);
// Its title, or its name where it has none.
const char *layout_title(const struct index_version *v);

// "2026-11-23" in a <time>.
void layout_date(struct html *h, int64_t seconds);

// For HTML()'s arguments; they last to the end of the block.
#define LAYOUT_BYTES(n) text_format_size((n), (char[32]){0})
#define LAYOUT_KEY(k) key_to_text((k), (char[KEY_TEXT_SIZE]){0})
#define LAYOUT_HASH(x) sha256_to_hex((x), (char[SHA256_HEX_SIZE]){0})
