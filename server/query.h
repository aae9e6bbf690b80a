// The part of a target behind "?": parameters of a search, decoded once, each known, and none twice.
#pragma once

#include "base/buf.h"
#include "catalog/index.h"
#include <microhttpd.h>

#define QUERY_TEXT_SIZE 257 // of one value with its NUL byte

struct query {
    struct index_query search; // its texts are those below
    char words[QUERY_TEXT_SIZE], os[QUERY_TEXT_SIZE], arch[QUERY_TEXT_SIZE], publisher[QUERY_TEXT_SIZE];
    char version[QUERY_TEXT_SIZE]; // a version or tag
};

enum query_kind {
    QUERY_NONE = 0,    // no parameters
    QUERY_PAGE = 1,    // limit, offset
    QUERY_FILTER = 2,  // os, arch, publisher, max_size (4096, 512M, 2G), sort (relevance, name, age)
    QUERY_WORDS = 4,   // q
    QUERY_VERSION = 8, // version
};
// What may be there is the sum of `kinds`; a limit that is not there is `limit`. -EINVAL with a message for whoever
// asked: a parameter that is not known here, is there twice, or makes no sense. *ret must stay where it is.
int query_parse(struct MHD_Connection *connection, unsigned kinds, unsigned limit, struct query *ret,
                struct error *error);
// Appends the same question with another offset: "?q=…&offset=20".
int query_append_page(struct buf *b, const struct query *q, unsigned offset);
