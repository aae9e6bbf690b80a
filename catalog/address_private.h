// What address.c (addresses that people type) and address_link.c (links that others make) share.
#pragma once

#include "catalog/address.h"

#define ADDRESS_HOST_SIZE 254                    // RFC 1035, section 2.3.4: 253 characters of a name as text
#define ADDRESS_MAXIMUM (CATALOG_URL_SIZE + 512) // a site and all that can follow it

// address_parse, with a message that does not say yet what it is about; *a is empty before, and of no use after a
// failure.
int address_parse_text(const char *text, const char *default_site, const char *base_folder, struct address *a,
                       struct error *error);
// Says it: "TEXT" is not `what`. Returns `result`.
int address_complain(struct error *error, int result, const char *text, const char *what);
