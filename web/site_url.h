// The URL of a site, as pages show it in commands and links: it was typed by an operator or came in a Host header, and
// visitors paste it into a shell.
#pragma once

#include "base/buf.h"
#include "catalog/catalog.h"
#include <stdbool.h>

// True if `url` is http:// or https://, a host (a name, or IPv6 in brackets) with or without a port, and ends in "/";
// of letters, digits and -._~/:[] alone.
bool site_url_is_right(struct slice url);

// From a Host header: "http://HOST/", or https where `secure`. False if the host is not one.
bool site_url_from_host(const char *host, bool secure, char ret_url[static CATALOG_URL_SIZE]);

// Appends the beginning of a rondo:// link to an image of the site, up to the image's name: the scheme that `rondo
// open` takes, https for rondo://, or http where the host is this very computer; rondo+http:// for plain HTTP from
// elsewhere. `url` must be right. 0, -E2BIG or -ENOMEM.
int site_url_append_link(const char *url, struct buf *to);
