// Image addresses: [URL/]name[:tag or version][@sha256:…][#key] (CLI). "http://host:8080/os/debian:12#KEY" is image
// debian:12 of the site http://host:8080/os/, pinned to KEY; a site may also be a directory: "./site/debian".
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include "catalog/catalog.h"

struct address {
    char site[CATALOG_URL_SIZE]; // ends in "/"; absolute for a directory; the default site where none was written
    char name[CATALOG_NAME_SIZE];
    char selector[CATALOG_NAME_SIZE]; // tag or version; empty: latest
    bool has_manifest;
    struct sha256 manifest;
    bool has_key;
    struct key_public key;
};

// `default_site` (may be NULL) completes a bare name. -EINVAL with a message that shows the form; never lets control
// characters, spaces or user:password@ through. `base_folder` makes relative directories absolute.
int address_parse(const char *text, const char *default_site, const char *base_folder, struct address *ret,
                  struct error *error);
// A site alone: a URL or a directory.
int address_parse_site(const char *text, const char *base_folder, char ret_site[static CATALOG_URL_SIZE],
                       struct error *error);
