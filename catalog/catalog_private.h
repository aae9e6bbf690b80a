// The catalog's order, its shards and its parser, for the catalog….c files and root.c, whose lines are read alike.
#pragma once

#include "catalog/catalog.h"

// For qsort and bsearch: images by (name, version), tags by (name, tag), keys by (prefix, key).
int catalog_compare_images(const void *a, const void *b);
int catalog_compare_tags(const void *a, const void *b);
int catalog_compare_keys(const void *a, const void *b);

// The number of the shard that lines of this name (or prefix) belong to.
unsigned char catalog_shard_of(const char *name);

// NULL if there is none.
struct catalog_image *catalog_image_at(const struct catalog *c, const char *name, const char *version);
struct catalog_tag *catalog_tag_at(const struct catalog *c, const char *name, const char *tag);

struct catalog_parser {
    struct text_reader reader;
    struct catalog *c; // being filled
    bool have;         // a line stands in key and value; it was not used yet
    struct slice key, value;
    const struct catalog_shard *shard; // NULL in a head
    struct error *error;
};
// Reads the next line that is not opt-….
int catalog_parser_advance(struct catalog_parser *p);
// -EBADMSG unless the line that must come now has this key; the caller reads p->value and advances.
int catalog_parser_expect(struct catalog_parser *p, const char *key);
// A site's id: 32 hex digits.
bool catalog_parser_take_id(struct slice s, unsigned char ret[static CATALOG_ID_SIZE]);
// -EBADMSG, naming the current line.
int catalog_parser_complain(const struct catalog_parser *p, const char *what);
// Cuts a value into exactly `n` words, none of them empty; false if it does not hold as many.
bool catalog_parser_cut_words(struct slice value, struct slice words[], size_t n);
void catalog_parser_copy_name(char to[static CATALOG_NAME_SIZE], struct slice name); // that text_is_…_name accepted
// Allocates the arrays for `text` and reads all lines from the current one on.
int catalog_parser_read_lists(struct catalog_parser *p, struct slice text);
