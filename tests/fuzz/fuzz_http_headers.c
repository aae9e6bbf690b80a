// What a server's header lines can do to us: every line of the input is split and read as each field that is parsed
// by hand, and as an address to go to. Checks what the callers rely on: ranges that are ranges, waits below the cap,
// tags that cannot break out of a header line, redirects that stay with http and https.

#include "blockstore/http_address.h"
#include "blockstore/http_header.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define CAP_MS 10000u

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_value(struct slice value)
{
    struct http_content_range range;
    if (http_header_parse_content_range(value, &range))
        require(range.first <= range.last && range.last < range.total && range.last <= INT64_MAX);
    unsigned ms = 0;
    if (http_header_parse_retry_after(value, 1700000000, CAP_MS, &ms))
        require(ms >= 1 && ms <= CAP_MS);
    char etag[40];
    if (http_header_copy_etag(value, etag, sizeof(etag))) {
        require(strlen(etag) == value.length);
        for (const char *c = etag; *c; c++)
            require(*c > ' ' && *c <= '~');
    }
}

static void check_address(struct slice text)
{
    char copy[300], address[HTTP_ADDRESS_SIZE], again[HTTP_ADDRESS_SIZE];
    if (text.length >= sizeof(copy))
        return;
    memcpy(copy, text.at, text.length);
    copy[text.length] = '\0';
    if (http_address_redirect("https://site.test/", copy, address, NULL) == 0)
        require(strncmp(address, "https://", 8) == 0);
    if (http_address_normalize(copy, address, NULL) == 0) {
        require(strncmp(address, "http://", 7) == 0 || strncmp(address, "https://", 8) == 0);
        const char *host = strchr(address, ':') + 3;
        require(!memchr(host, '@', strcspn(host, "/")));
        for (const char *c = address; *c; c++)
            require(*c > ' ' && *c <= '~');
        require(address[strlen(address) - 1] == '/' && !strpbrk(address, " ?#\r\n"));
        require(http_address_normalize(address, again, NULL) == 0 && strcmp(address, again) == 0);
    }
    http_address_names_private_host(copy);
    http_address_text_is_private(copy);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct slice rest = {.at = (const char *)data, .length = size};
    while (rest.length) {
        const char *newline = memchr(rest.at, '\n', rest.length);
        struct slice line = {.at = rest.at, .length = newline ? (size_t)(newline - rest.at) + 1 : rest.length};
        rest.at += line.length;
        rest.length -= line.length;
        struct slice name, value;
        if (http_header_split(line, &name, &value)) {
            require(name.length > 0 && name.length + value.length < line.length);
            http_header_is(name, "content-range");
            check_value(value);
        }
        line.length -= newline ? 1 : 0;
        check_value(line);
        check_address(line);
    }
    return 0;
}
