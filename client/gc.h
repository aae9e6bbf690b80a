// rondo gc: what its two files share.
#pragma once

#include "blockstore/site_collect.h"
#include "catalog/catalog.h"

#define GC_LIMIT_CONFIGURED UINT64_MAX
struct gc_options {
    uint64_t limit; // of the cache; GC_LIMIT_CONFIGURED: the configured one
    int64_t grace;  // seconds, for sites
    bool dry_run, json;
};

// The site in the folder `path`: removes what no listed version needs. Prints what it did.
int gc_site(const char *path, const struct gc_options *options, struct error *error);

// Before that version is taken out of the catalog: the grace time of what it needs begins with the next collection. If
// that cannot be told, it does so for everything.
int gc_renew_grace(struct site *s, const struct catalog_image *image, struct error *error);

// Opens the site in a folder, which must be one (-ENOENT; site_open would make it), and its catalog with all shards.
int gc_open_site(const char *path, struct site **ret, struct catalog *ret_catalog, struct error *error);
