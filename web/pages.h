// The pages of a site, from the rows of its index (catalog/index.h): text in, HTML out, nothing is opened or asked.
//
//   /  and  /page/N/     the list of images; with a form to search where a server answers it
//   /search?q=…&os=…     what was found
//   /images/NAME/        one image, with all that one needs to decide, and to boot it with one click
//   anything else        a page that says so
//
// The same functions make the live pages (server/live_pages.h) and the static ones (client/site_pages.h).
//
// 1. A page without pictures has at most PAGES_SIZE_MAXIMUM bytes, whatever the rows say: long texts are cut.
// 2. It needs nothing but itself to be seen, and asks nobody but its own site for anything.
// 3. It works without JavaScript, and from any folder: its links are relative, but those of the page for a missing one,
//    which is shown at any address.
#pragma once

#include "base/buf.h"
#include "catalog/index.h"

#define PAGES_SIZE_MAXIMUM (50u << 10)
#define PAGES_ROWS 20u     // images in a list
#define PAGES_VERSIONS 30u // of one image

struct pages_site {
    const struct index_site *about;
    const char *url; // where the site is, ends in "/"; -EINVAL unless site_url_is_right (web/site_url.h)
    // NULL: no search (static pages). Else what images can be filtered by.
    const struct pages_choices *choices;
    uint64_t try_memory; // bytes of a machine in which visitors may try images (server/try_api.h); 0: they may not
};

#define PAGES_CHOICES 12u
#define PAGES_CHOICE_SIZE 65
struct pages_choices {
    char os[PAGES_CHOICES][PAGES_CHOICE_SIZE], arch[PAGES_CHOICES][PAGES_CHOICE_SIZE],
        publisher[PAGES_CHOICES][PAGES_CHOICE_SIZE];
    unsigned os_count, arch_count, publisher_count;
};

// What a visitor asked for; texts as they were typed, never NULL.
struct pages_query {
    const char *words, *os, *arch, *publisher;
    uint64_t max_size; // 0: any
    // Addresses of the same search, other pages: NULL where there is none.
    const char *previous, *next;
};

// Each appends a whole page to *ret (which needs a maximum of PAGES_SIZE_MAXIMUM) and returns 0, -E2BIG, -ENOMEM or
// -EINVAL. `page` is from 1; `l` has the rows of it, at most PAGES_ROWS.
int pages_list(const struct pages_site *s, const struct index_list *l, unsigned page, struct buf *ret);
int pages_search(const struct pages_site *s, const struct pages_query *q, const struct index_list *l, unsigned page,
                 struct buf *ret);
// `v` with its description; `versions` newest first, the first PAGES_VERSIONS of them.
int pages_image(const struct pages_site *s, const struct index_version *v, const struct index_list *versions,
                struct buf *ret);
// For an address that names nothing.
int pages_missing(const struct pages_site *s, struct buf *ret);
// For a site at `url` where nothing was published yet.
int pages_nothing(const char *url, struct buf *ret);
