// Links to images: what a web page, a mail or another program hands to `rondo open` (TRUST T38).
//
//   rondo://HOST[:PORT]/PATH/NAME…  →  https://HOST…, or http://HOST… where HOST is this machine
//   rondo+http://HOST…              →  http://HOST…
//
// What follows the scheme goes through the one parser of addresses, and nowhere else: a link can say nothing that an
// address cannot, and never names a directory.
#include "blockstore/http_address.h"
#include "catalog/address_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define LINK_FORM "rondo://HOST/PATH/NAME[:version][@sha256:…][#key]"

static int parse_behind_scheme(const char *scheme, const char *rest, struct address *a, struct error *error)
{
    char url[ADDRESS_MAXIMUM];
    if ((size_t)snprintf(url, sizeof url, "%s%s", scheme, rest) >= sizeof url) // a failure is large, too
        return error_set(error, EINVAL, "it is longer than %d bytes", ADDRESS_MAXIMUM - 1);
    *a = (struct address){.site = ""};
    return address_parse_text(url, NULL, "/", a, error);
}

static int parse_link(const char *text, struct address *a, struct error *error)
{
    static const char secure[] = "rondo://", plain[] = "rondo+http://";
    if (strncasecmp(text, plain, strlen(plain)) == 0)
        return parse_behind_scheme("http://", text + strlen(plain), a, error);
    if (strncasecmp(text, secure, strlen(secure)) != 0)
        return error_set(error, EINVAL, "it begins with neither rondo:// nor rondo+http://");
    int r = parse_behind_scheme("https://", text + strlen(secure), a, error);
    return r < 0 || !http_address_names_loopback(a->site)
               ? r
               : parse_behind_scheme("http://", text + strlen(secure), a, error);
}

int address_parse_link(const char *text, struct address *ret, struct error *error)
{
    struct address a;
    int r = parse_link(text, &a, error);
    if (r < 0)
        return address_complain(error, r, text, "a link to an image (" LINK_FORM ")");
    *ret = a;
    return 0;
}
