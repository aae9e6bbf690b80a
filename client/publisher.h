// What the verbs that change a site share: its catalog read from the directory itself, and signed and replaced.
#pragma once

#include "blockstore/manifest.h"
#include "blockstore/site.h"
#include "catalog/catalog.h"
#include "client/cli.h"

// Reads and verifies the catalog of an opened site, shards included. -ENOENT only if the site is new; -EBADMSG if
// anything of a catalog that is there is damaged or missing.
int publisher_read_catalog(struct site *s, struct catalog *ret, struct error *error);

// The manifest of a version that the site's own catalog lists, checked as whoever runs it checks it: its hash, that its
// publisher signed it, and that it is of the name, version and serial of the line.
int publisher_read_manifest(struct site *s, const struct catalog_image *image, struct manifest *ret,
                            struct error *error);

// A new catalog for a site at `path`, named after its last folder.
int publisher_new_catalog(const char *path, const struct key_public *site_key, struct catalog *ret,
                          struct error *error);

// --mirror: these URLs are the catalog's mirrors from now on; "none" alone: it has none; an empty list changes nothing.
int publisher_set_mirrors(struct catalog *c, const struct option_list *urls, struct error *error);

// Counts the number up, dates it from now for `expires_seconds`, signs it with the site's key and replaces the file.
int publisher_sign_catalog(struct site *s, struct catalog *c, const struct key_secret *site_key,
                           int64_t expires_seconds, struct error *error);

// "90d", "12h", "3600s": seconds; false if it is none of these, or over ten years.
bool publisher_parse_duration(const char *text, int64_t *ret_seconds);
