// What a site answers to a search: by its read API (docs/api.md), or, where it has none, what its signed catalog tells
// of names.
//
// 1. Nothing that the API says is signed, and nothing of it is remembered or decides anything: it is shown, and whoever
//    runs what was shown verifies it as ever, from the catalog on.
// 2. An answer is bounded: SITE_SEARCH_ANSWER_MAXIMUM bytes, SITE_SEARCH_ROWS rows, each of which is right in its
// names,
//    hash and key, or the answer is -EBADMSG and none of its rows is shown. Texts are bytes of anybody's: whoever shows
//    them escapes them.
// 3. It ends: each page brings a row at least, and no more pages are asked for than `limit` rows need. The next page's
//    query is the server's word, and leads to the same path of the same site.
#pragma once

#include "base/text.h"
#include "client/images.h"

#define SITE_SEARCH_ANSWER_MAXIMUM (1u << 20)
#define SITE_SEARCH_ROWS 50u
#define SITE_SEARCH_WORDS_MAXIMUM 256u // bytes (docs/api.md)

struct site_search {
    const char *words;                 // all must occur; "": every image
    const char *os, *arch, *publisher; // NULL: any; text that is printable, and a key
    uint64_t limit;                    // rows
};

struct site_hit { // one image, as the version that it is shown by
    const char *site;
    bool is_signed; // it is from the signed catalog; then only name, version, serial, manifest and tags are known
    char name[CATALOG_NAME_SIZE], version[CATALOG_NAME_SIZE];
    uint64_t serial;
    struct sha256 manifest;
    char publisher[KEY_TEXT_SIZE];
    struct slice tags, title, summary, os, arch, licence, homepage; // valid during the call
    uint64_t memory, disk_bytes, boot_bytes, stored_bytes, versions;
    bool revoked;
};

// `site` is one that address_parse_site gave. *ret_all is how many there are, as the site says. -ENOENT: there is
// neither an API nor a catalog, or the catalog cannot answer this. A negative return of `each` ends it and is returned.
int site_search(struct images *images, const char *site, const struct site_search *search,
                int (*each)(void *context, const struct site_hit *hit), void *context, uint64_t *ret_all,
                struct error *error);
