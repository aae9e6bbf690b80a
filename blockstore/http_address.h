// HTTP addresses: what a person or a catalog may name as a source, and where a server may send us on to.
// Parsing is libcurl's own (curl_url_set), so that what is checked here is what is connected to later.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <sys/socket.h>

#define HTTP_ADDRESS_SIZE 4096 // with the NUL byte

// True if the text begins with a scheme ("http://", but also "ftp://"), as against the path of a directory.
bool http_address_has_scheme(const char *text);

// The normal form of a source's address: lower-case scheme and host, no default port, "/" at the end; equal forms
// are the same source. Refused (-EINVAL): schemes other than http and https, user names and passwords, queries,
// fragments, and any byte that is not printable ASCII.
int http_address_normalize(const char *text, char ret_address[static HTTP_ADDRESS_SIZE], struct error *error);

// Where the redirect from address `from` to `to` (absolute) leads, or -EBADMSG: only http and https, never from
// https to http, no user names, printable ASCII only (TRUST T09).
int http_address_redirect(const char *from, const char *to, char ret_address[static HTTP_ADDRESS_SIZE],
                          struct error *error);

// True for addresses that do not name a host of the public internet: loopback, link-local, private, shared,
// multicast, unspecified and reserved ones (IANA's special-purpose registries, RFC 6890), also inside IPv6's ways
// to embed IPv4; and for families other than the two.
bool http_address_is_private(const struct sockaddr *address);

// The same of an address in text, or of the host that an HTTP address names, as far as its text tells: a literal
// address, or localhost. A name tells nothing.
bool http_address_text_is_private(const char *ip);
bool http_address_names_private_host(const char *address);
// Whether it names this host by a loopback address, or as localhost: what is sent there leaves no wire.
bool http_address_names_loopback(const char *address);
