// HTTP addresses: checked once with libcurl's own parser, so that checker and user cannot disagree about what is
// the host. See http_address.h.

#include "blockstore/http_address.h"

#include "base/cleanup.h"
#include "base/text.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define HOST_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789.-_"
#define SHOWN 160 // bytes of a bad address that a message repeats

static void cleanup_url(CURLU **u)
{
    curl_url_cleanup(*u);
}

static void cleanup_part(char **part)
{
    curl_free(*part);
}

static const char *shown(const char *text, char out[static SHOWN])
{
    return text_escape(slice_of(text), out, SHOWN);
}

bool http_address_has_scheme(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    return n > 0 && strncmp(text + n, "://", 3) == 0;
}

static bool is_printable_ascii(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

// Parses, and checks what sources and redirects have in common. The reason is a literal for a message.
static int parse(const char *text, CURLU **ret, const char **ret_reason)
{
    CURLU *u CLEANUP(cleanup_url) = curl_url();
    if (!u)
        return -ENOMEM;
    int r = -EINVAL;
    if (strlen(text) >= HTTP_ADDRESS_SIZE - 1)
        *ret_reason = "it is too long";
    else if (!is_printable_ascii(text))
        *ret_reason = "it has spaces, control characters or letters beyond ASCII (write them as %XX)";
    else {
        CURLUcode code = curl_url_set(u, CURLUPART_URL, text, CURLU_DISALLOW_USER);
        if (code == CURLUE_OK)
            r = 0;
        else if (code == CURLUE_USER_NOT_ALLOWED)
            *ret_reason = "it has a user name in it";
        else if (code == CURLUE_UNSUPPORTED_SCHEME)
            *ret_reason = "only http and https are supported";
        else if (code == CURLUE_OUT_OF_MEMORY)
            r = -ENOMEM;
        else
            *ret_reason = curl_url_strerror(code);
    }
    if (r < 0)
        return r;
    char *scheme CLEANUP(cleanup_part) = NULL;
    if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        return -ENOMEM;
    if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        *ret_reason = "only http and https are supported";
        return -EINVAL;
    }
    char *host CLEANUP(cleanup_part) = NULL;
    if (curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        return -ENOMEM;
    for (char *c = host; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c | 32);
    // The parser decodes %XX in a host, which could hide anything. Brackets enclose a literal IPv6 address, which the
    // parser has checked; there, % begins the zone.
    const char *authority = strstr(text, "://");
    bool is_literal6 = host[0] == '[';
    const char *allowed = is_literal6 ? "[]:%" HOST_CHARACTERS : HOST_CHARACTERS;
    if (!authority || authority[3] == '/' || host[strspn(host, allowed)] != '\0' ||
        (!is_literal6 && memchr(authority, '%', 3 + strcspn(authority + 3, "/?#")))) {
        *ret_reason = "its host is not written as hosts are";
        return -EINVAL;
    }
    if (curl_url_set(u, CURLUPART_HOST, host, 0) != CURLUE_OK)
        return -ENOMEM;
    *ret = TAKE_PTR(u);
    return 0;
}

static bool has_part(CURLU *u, CURLUPart part)
{
    char *text CLEANUP(cleanup_part) = NULL;
    return curl_url_get(u, part, &text, 0) == CURLUE_OK;
}

int http_address_normalize(const char *text, char ret_address[static HTTP_ADDRESS_SIZE], struct error *error)
{
    CURLU *u CLEANUP(cleanup_url) = NULL;
    const char *reason = NULL;
    char out[SHOWN];
    int r = parse(text, &u, &reason);
    if (r == -EINVAL)
        return error_set(error, EINVAL, "the address %s cannot be used: %s", shown(text, out), reason);
    if (r < 0)
        return error_set(error, -r, "no memory to read an address");
    if (has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT) || strpbrk(text, "?#"))
        return error_set(error, EINVAL, "the address %s cannot be used: a site's address has no ? and no # part",
                         shown(text, out));
    char *url CLEANUP(cleanup_part) = NULL;
    if (curl_url_get(u, CURLUPART_URL, &url, CURLU_NO_DEFAULT_PORT) != CURLUE_OK)
        return error_set(error, ENOMEM, "no memory to read an address");
    size_t n = strlen(url);
    if (n + 2 > HTTP_ADDRESS_SIZE)
        return error_set(error, EINVAL, "the address %s cannot be used: it is too long", shown(text, out));
    memcpy(ret_address, url, n + 1);
    if (url[n - 1] != '/')
        memcpy(ret_address + n, "/", 2);
    return 0;
}

int http_address_redirect(const char *from, const char *to, char ret_address[static HTTP_ADDRESS_SIZE],
                          struct error *error)
{
    CURLU *u CLEANUP(cleanup_url) = NULL;
    const char *reason = NULL;
    char out[SHOWN];
    int r = parse(to, &u, &reason);
    if (r == -EINVAL)
        return error_set(error, EBADMSG, "a redirect to %s was refused: %s", shown(to, out), reason);
    if (r < 0)
        return error_set(error, -r, "no memory to read an address");
    char *url CLEANUP(cleanup_part) = NULL;
    if (curl_url_get(u, CURLUPART_URL, &url, 0) != CURLUE_OK)
        return error_set(error, ENOMEM, "no memory to read an address");
    if (strncmp(from, "https://", 8) == 0 && strncmp(url, "https://", 8) != 0)
        return error_set(error, EBADMSG, "a redirect to %s was refused: it would leave https", shown(to, out));
    size_t n = strlen(url);
    if (n >= HTTP_ADDRESS_SIZE)
        return error_set(error, EBADMSG, "a redirect to %s was refused: it is too long", shown(to, out));
    memcpy(ret_address, url, n + 1);
    return 0;
}

struct network {
    uint32_t prefix;
    unsigned bits;
};

static bool is_private4(uint32_t a)
{
    static const struct network networks[] = {
        {0x00000000, 8},  // this network, RFC 791
        {0x0a000000, 8},  // private, RFC 1918
        {0x64400000, 10}, // shared behind carriers' NAT, RFC 6598
        {0x7f000000, 8},  // loopback
        {0xa9fe0000, 16}, // link-local, RFC 3927; clouds keep their metadata here
        {0xac100000, 12}, // private, RFC 1918
        {0xc0000000, 24}, // protocol assignments, RFC 6890
        {0xc0a80000, 16}, // private, RFC 1918
        {0xc6120000, 15}, // benchmarks, RFC 2544
        {0xe0000000, 3},  // multicast, reserved, broadcast
    };
    for (size_t i = 0; i < ARRAY_SIZE(networks); i++)
        if ((a ^ networks[i].prefix) >> (32 - networks[i].bits) == 0)
            return true;
    return false;
}

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static bool is_private6(const unsigned char a[static 16])
{
    static const unsigned char zeros[12];
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};               // RFC 4291, 2.5.5.2
    static const unsigned char translated[12] = {0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0}; // RFC 6052
    if (memcmp(a, zeros, 12) == 0) // unspecified, loopback, IPv4-compatible
        return true;
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, translated, 12) == 0)
        return is_private4(be32(a + 12));
    if (a[0] == 0x20 && a[1] == 0x02) // 6to4, RFC 3056
        return is_private4(be32(a + 2));
    return (a[0] & 0xe0) != 0x20; // all global unicast is in 2000::/3 (RFC 4291, 2.4)
}

bool http_address_is_private(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        return is_private4(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof(in6));
        return is_private6(in6.sin6_addr.s6_addr);
    }
    return true;
}

// Literal addresses only; *ret_is_literal tells.
static bool literal_is_private(const char *ip, bool *ret_is_literal)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    *ret_is_literal = true;
    if (inet_pton(AF_INET, ip, &in.sin_addr) == 1)
        return http_address_is_private((const struct sockaddr *)&in);
    if (inet_pton(AF_INET6, ip, &in6.sin6_addr) == 1)
        return http_address_is_private((const struct sockaddr *)&in6);
    *ret_is_literal = false;
    return true;
}

bool http_address_text_is_private(const char *ip)
{
    bool is_literal;
    return literal_is_private(ip, &is_literal);
}

// The host that the address names, malloc'ed by libcurl; NULL if there is none. *ret_host is within it: "[fe80::1]" as
// "fe80::1" (the parser has seen to its end), "localhost." as "localhost".
static char *find_host(const char *address, const char **ret_host)
{
    CURLU *u CLEANUP(cleanup_url) = NULL;
    const char *reason = NULL;
    char *part = NULL;
    if (parse(address, &u, &reason) < 0 || curl_url_get(u, CURLUPART_HOST, &part, 0) != CURLUE_OK)
        return NULL;
    size_t n = strlen(part);
    bool is_bracketed = n > 2 && part[0] == '[';
    if (is_bracketed || (n > 1 && part[n - 1] == '.'))
        part[n - 1] = '\0';
    *ret_host = part + is_bracketed;
    return part;
}

static bool is_localhost(const char *host)
{
    size_t n = strlen(host);
    return strcmp(host, "localhost") == 0 || (n > 10 && strcmp(host + n - 10, ".localhost") == 0);
}

bool http_address_names_private_host(const char *address)
{
    const char *host;
    char *part CLEANUP(cleanup_part) = find_host(address, &host);
    bool is_literal;
    if (!part)
        return true;
    bool private = literal_is_private(host, &is_literal);
    return is_literal ? private : is_localhost(host);
}

bool http_address_names_loopback(const char *address)
{
    const char *host;
    char *part CLEANUP(cleanup_part) = find_host(address, &host);
    struct in_addr in;
    struct in6_addr in6;
    if (!part)
        return false;
    if (inet_pton(AF_INET, host, &in) == 1)
        return ntohl(in.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &in6) == 1 ? IN6_IS_ADDR_LOOPBACK(&in6) : is_localhost(host);
}
