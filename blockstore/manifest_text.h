// What manifest.c and manifest_format.c share.
#pragma once

#include "blockstore/manifest.h"

#define MANIFEST_FIRST_LINE "rondo-manifest 1"

// Parses a manifest's text: with `is_signed`, a whole file, of which what follows the line `---` is left alone;
// without, the text that is to be signed.
int manifest_parse_text(const void *bytes, size_t n, bool is_signed, struct manifest *ret, struct error *error);

// Of a line whose key begins with opt-: NULL, or what is wrong with its value. One that is none of the above is fine.
const char *manifest_parse_optional(struct manifest *m, struct slice key, struct slice value);
int manifest_format_optional(struct buf *b, const struct manifest *m, struct error *error);
