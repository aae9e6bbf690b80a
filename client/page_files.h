// The files of a site's static pages, in the site's folder: written whole or not at all, and told from files that
// somebody else put there.
//
// 1. A page begins with LAYOUT_MARK, the script with LAYOUT_SCRIPT_MARK, the icon with LAYOUT_ICON_MARK, a logo's name
//    holds its own hash. A file that is otherwise stays as it is, and is counted.
// 2. A file is replaced by rename, and only if its bytes are others.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include <stdbool.h>
#include <stddef.h>

struct page_files {
    int folder; // of the site; the caller's
    const char *path;
    unsigned written, same, removed, foreign;
};

// A page, the script or the icon; `name` is below the folder, whose parts are made.
int page_files_put(struct page_files *f, const char *name, const void *bytes, size_t n, struct error *error);
// A logo, whose name in `name` ends in what layout_logo_name gave. One that is there is not read again.
int page_files_put_logo(struct page_files *f, const char *name, const void *bytes, size_t n, struct error *error);

// Removes what is ours in the folder `name` but "index.html" (where `keep_page`) and the entry `keep_logo` ("": none);
// then the folder, if it is empty. Fine if there is none.
int page_files_remove(struct page_files *f, const char *name, bool keep_page, const char *keep_logo,
                      struct error *error);
