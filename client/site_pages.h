// The pages of a site as plain files in its folder (web/pages.h makes them), for web space without rondo-server:
//
//   pages.rondo              that the folder has pages, and the URL where visitors find it
//   rondo.js, icon.svg       the pages' script, and their icon
//   images/NAME/index.html   one image, with logo-<hash>.png or .jpg beside it
//   page/N/index.html        the list of images from its second page on
//   index.html               its first page
//
// In this order, so that no page leads to one that is not there yet; what a withdrawn image had goes last. Interrupted
// at any moment, every file is whole, and the same command goes on. The site's lock is held by the caller.
#pragma once

#include "blockstore/site.h"
#include "catalog/catalog.h"
#include <stdbool.h>

struct site_pages_counts {
    unsigned written, same, removed;
    unsigned foreign; // files in the way that are not ours: they stay, and each was named on stderr
};

// `url` NULL: the one of pages.rondo, or else the catalog's first mirror; -EINVAL if there is none.
int site_pages_write(struct site *s, const struct catalog *c, const char *url, char ret_url[static CATALOG_URL_SIZE],
                     struct site_pages_counts *ret, struct error *error);

// After a change of the catalog: the same, if the site has pages. They are only a view of what was signed, so a failure
// is a warning.
void site_pages_refresh(struct site *s);
