// Image addresses: [URL/]name[:tag or version][@sha256:…][#key] (CLI). "http://host:8080/os/debian:12#KEY" is image
// debian:12 of the site http://host:8080/os/, pinned to KEY; a site may also be a directory: "./site/debian".
#pragma once

#include "base/buf.h"
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
// characters, spaces or user:password@ through (only a directory may hold spaces). `base_folder`, an absolute path,
// makes relative directories absolute.
//
// One site has one text, since what is known of a site is kept under it: URLs get scheme and host in lower case and
// lose a default port; directories lose "//", "." and ".." (by their text: symbolic links are not asked). URLs have no
// query and no fragment but the key, no empty, "." or ".." segment, and no percent-encoded control character, dot,
// slash, backslash or percent sign. A directory that does not begin with /, ./ or ../ holds none of ":#?@" and spaces:
// it is more likely a URL without its scheme.
int address_parse(const char *text, const char *default_site, const char *base_folder, struct address *ret,
                  struct error *error);
// The same as a link that a web page, a mail or another program hands on: rondo://HOST[:PORT]/PATH/NAME…, for https, or
// http where HOST is this machine; rondo+http://… for http elsewhere. What else is an address is none here.
int address_parse_link(const char *text, struct address *ret, struct error *error);
// A site alone: a URL or a directory; the "/" at its end may be missing.
int address_parse_site(const char *text, const char *base_folder, char ret_site[static CATALOG_URL_SIZE],
                       struct error *error);
// A site that is a URL, for mirrors: directories are refused.
int address_parse_url(struct slice text, char ret_url[static CATALOG_URL_SIZE], struct error *error);

// What address_parse takes, as one word of a command for people to paste into a shell: the site's part may be of
// anybody's choice. `version` may be empty. 0, -E2BIG or -ENOMEM.
#define ADDRESS_WORD_MAXIMUM (4 * (CATALOG_URL_SIZE + 2 * CATALOG_NAME_SIZE) + 2) // each byte a quote
int address_append_word(struct buf *to, const char *site, const char *name, const char *version);

static inline bool address_is_directory(const char *site) // of a site that these functions gave
{
    return site[0] == '/';
}
