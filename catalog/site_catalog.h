// The catalog of a site in a folder here, as whoever changes the site reads, checks, signs and replaces it: the verbs
// of publishers and the server's keeper. The site is opened, and so locked (blockstore/site.h), by the caller.
#pragma once

#include "blockstore/manifest.h"
#include "blockstore/site.h"
#include "catalog/catalog.h"

// Reads and verifies the catalog, shards included. -ENOENT only if the site is new; -EBADMSG if anything of a catalog
// that is there is damaged or missing.
int site_catalog_read(struct site *s, struct catalog *ret, struct error *error);

// The same of bytes that are to become its catalog; `path` is for messages.
int site_catalog_open(struct site *s, const char *path, const void *bytes, size_t size, struct catalog *ret,
                      struct error *error);

// The manifest of a version that the site's own catalog lists, checked as whoever runs it checks it: its hash, that its
// publisher signed it, and that it is of the name, version and serial of the line.
int site_catalog_read_manifest(struct site *s, const struct catalog_image *image, struct manifest *ret,
                               struct error *error);

// Would the catalog take this version and tag (NULL: none)? -EEXIST if the version is there, -EINVAL if a tag of the
// image has the version's name, or a version the tag's.
int site_catalog_check_new(const struct catalog *c, const char *name, const char *version, const char *tag,
                           struct error *error);

// The text of the next catalog, shards stored: its number counted up, dated from now for `expires_seconds`.
int site_catalog_format(struct site *s, struct catalog *c, int64_t expires_seconds, struct buf *ret_text,
                        struct error *error);

// The same, signed with the site's key (-EKEYREJECTED if the catalog names another), and put in the place of the old
// one.
int site_catalog_sign(struct site *s, struct catalog *c, const struct key_secret *site_key, int64_t expires_seconds,
                      struct error *error);
