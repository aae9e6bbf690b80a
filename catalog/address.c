// Image addresses and site addresses (address.h). They are typed, pasted, put into pages and handed on by URL handlers,
// so this is a table of what is allowed, and all else is refused.
//
//   [site/]name[:selector][@sha256:hex][#key]         site = http(s)://host[:port]/segments/ or a directory
//
// 1. No part behind the last "/" can hold a "/", so the last "/" ends the site.
// 2. Nothing begins with "-": no part can be taken for an option by whatever it is handed to.
// 3. A part that is announced by its sign (":", "@", "#") is not empty.
// 4. What is given back parses again to itself.
#include "catalog/address_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#include "base/banned.h"

#define ADDRESS_FORM "[URL/]name[:version][@sha256:…][#key]"
#define LABEL_MAXIMUM 63

struct url {
    bool tls;
    char host[ADDRESS_HOST_SIZE + 2]; // an IPv6 address with its brackets
    unsigned port;                    // 0: the scheme's own
    struct slice path;                // with its first "/"; empty if there is none
};

static struct slice slice_from(struct slice s, size_t skip)
{
    return (struct slice){.at = s.at + skip, .length = s.length - skip};
}

// Splits at the first `sign`. Without one the tail is empty and false is returned.
static bool cut_at(struct slice s, char sign, struct slice *ret_head, struct slice *ret_tail)
{
    const char *at = s.length > 0 ? memchr(s.at, sign, s.length) : NULL;
    const size_t n = at ? (size_t)(at - s.at) : s.length;
    *ret_head = (struct slice){.at = s.at, .length = n};
    *ret_tail = slice_from(s, at ? n + 1 : n);
    return at != NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static int hex_value(char c)
{
    c = lower(c);
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// URLs.

static bool is_host_name(struct slice s)
{
    if (s.length == 0 || s.length >= ADDRESS_HOST_SIZE)
        return false;
    while (s.length > 0) {
        struct slice label;
        struct slice rest;
        bool more = cut_at(s, '.', &label, &rest);
        if (label.length == 0 || label.length > LABEL_MAXIMUM || label.at[0] == '-' || (more && rest.length == 0))
            return false;
        for (size_t i = 0; i < label.length; i++)
            if (!is_letter(label.at[i]) && !is_digit(label.at[i]) && label.at[i] != '-' && label.at[i] != '_')
                return false;
        s = rest;
    }
    return true;
}

// The text between the brackets, to the one form that inet_ntop gives.
static bool parse_ipv6(struct slice s, char ret_host[static ADDRESS_HOST_SIZE])
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (s.length >= sizeof text || memchr(s.at, '\0', s.length))
        return false;
    memcpy(text, s.at, s.length);
    text[s.length] = '\0';
    if (inet_pton(AF_INET6, text, &address) != 1 || !inet_ntop(AF_INET6, &address, text, sizeof text))
        return false;
    snprintf(ret_host, ADDRESS_HOST_SIZE, "[%s]", text);
    return true;
}

static int parse_authority(struct slice authority, struct url *url, struct error *error)
{
    struct slice host;
    struct slice port;
    bool has_port;
    if (authority.length > 0 && memchr(authority.at, '@', authority.length))
        return error_set(error, EINVAL, "a URL may not hold a user or password");
    if (authority.length > 0 && authority.at[0] == '[') {
        struct slice behind;
        if (!cut_at(slice_from(authority, 1), ']', &host, &behind) || !parse_ipv6(host, url->host))
            return error_set(error, EINVAL, "malformed IPv6 address");
        has_port = behind.length > 0;
        if (has_port && behind.at[0] != ':')
            return error_set(error, EINVAL, "only :port may follow an IPv6 address");
        port = has_port ? slice_from(behind, 1) : behind;
    } else {
        has_port = cut_at(authority, ':', &host, &port);
        if (!is_host_name(host))
            return error_set(error, EINVAL, host.length == 0 ? "it has no host" : "malformed host name");
        for (size_t i = 0; i < host.length; i++)
            url->host[i] = lower(host.at[i]);
        url->host[host.length] = '\0';
    }
    uint64_t number = 0;
    if (has_port && (!text_parse_u64(port, 65535, &number) || number == 0))
        return error_set(error, EINVAL, "a port is a number from 1 to 65535");
    url->port = number == (url->tls ? 443 : 80) ? 0 : (unsigned)number;
    return 0;
}

// One segment between two "/": RFC 3986's pchar without the quote.
static int check_segment(struct slice s, struct error *error)
{
    if (s.length == 0)
        return error_set(error, EINVAL, "it has an empty path segment (//)");
    if (slice_equal(s, ".") || slice_equal(s, ".."))
        return error_set(error, EINVAL, "its path may not hold . or ..");
    if (s.at[0] == '-')
        return error_set(error, EINVAL, "a path segment may not begin with -");
    for (size_t i = 0; i < s.length; i++) {
        const char c = s.at[i];
        if (c == '%') {
            const int high = i + 2 < s.length ? hex_value(s.at[i + 1]) : -1;
            const int low = i + 2 < s.length ? hex_value(s.at[i + 2]) : -1;
            const int byte = high < 0 || low < 0 ? 0 : high << 4 | low;
            if (byte < 0x20 || byte == 0x7f || strchr("./\\%", byte))
                return error_set(error, EINVAL, "its path holds a percent encoding that is malformed or not allowed");
            i += 2;
        } else if (c == '?') {
            return error_set(error, EINVAL, "it may not hold a query (?)");
        } else if (!is_letter(c) && !is_digit(c) && (c == '\0' || !strchr("-._~!$&()*+,;=:@", c))) {
            return error_set(error, EINVAL, "its path holds a character that is not allowed in URLs");
        }
    }
    return 0;
}

static int check_path(struct slice path, struct error *error)
{
    while (path.length > 1) {
        struct slice segment;
        struct slice rest;
        bool more = cut_at(slice_from(path, 1), '/', &segment, &rest);
        int r = check_segment(segment, error);
        if (r < 0)
            return r;
        path = more ? (struct slice){.at = rest.at - 1, .length = rest.length + 1} : rest;
    }
    return 0;
}

// Cuts "http://" or "https://" off; false if it is neither.
static bool cut_scheme(struct slice s, bool *ret_tls, struct slice *ret_rest)
{
    static const struct {
        const char *text;
        size_t length;
    } schemes[] = {{"http://", 7}, {"https://", 8}};
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        if (s.length >= schemes[i].length && strncasecmp(s.at, schemes[i].text, schemes[i].length) == 0) {
            *ret_tls = i == 1;
            *ret_rest = slice_from(s, schemes[i].length);
            return true;
        }
    }
    return false;
}

int address_parse_url(struct slice text, char ret_url[static CATALOG_URL_SIZE], struct error *error)
{
    struct url url = {.tls = false};
    struct slice rest;
    struct slice authority;
    if (!cut_scheme(text, &url.tls, &rest))
        return error_set(error, EINVAL, "a URL begins with http:// or https://");
    if (cut_at(rest, '/', &authority, &url.path))
        url.path = (struct slice){.at = url.path.at - 1, .length = url.path.length + 1};
    int r = parse_authority(authority, &url, error);
    if (r == 0)
        r = check_path(url.path, error);
    if (r < 0)
        return r;
    char port[16] = "";
    if (url.port != 0)
        snprintf(port, sizeof port, ":%u", url.port);
    const bool ends = url.path.length > 0 && url.path.at[url.path.length - 1] == '/';
    char site[CATALOG_URL_SIZE];
    int n = -1;
    if (url.path.length < sizeof site)
        n = snprintf(site, sizeof site, "http%s://%s%s%.*s%s", url.tls ? "s" : "", url.host, port,
                     SLICE_ARGUMENTS(url.path), ends ? "" : "/");
    if (n < 0 || (size_t)n >= sizeof site)
        return error_set(error, EINVAL, "a site's address has at most %u bytes", CATALOG_URL_SIZE - 1);
    memcpy(ret_url, site, sizeof site);
    return 0;
}

// Directories.

// Appends the segments of `path` to *length bytes of `site`, which end in "/".
static int append_segments(struct slice path, char site[static CATALOG_URL_SIZE], size_t *length)
{
    while (path.length > 0) {
        struct slice segment;
        struct slice rest;
        cut_at(path, '/', &segment, &rest);
        path = rest;
        if (segment.length == 0 || slice_equal(segment, "."))
            continue;
        if (slice_equal(segment, "..")) {
            while (*length > 1 && site[*length - 2] != '/')
                --*length;
            *length -= *length > 1 ? 1 : 0;
            continue;
        }
        if (segment.length >= CATALOG_URL_SIZE - 1 - *length)
            return -EINVAL;
        memcpy(site + *length, segment.at, segment.length);
        *length += segment.length;
        site[(*length)++] = '/';
    }
    return 0;
}

// Without one of these beginnings, what looks like host:port or like options in a name is not taken for a directory.
static bool is_plainly_directory(struct slice s)
{
    return s.at[0] == '/' || slice_starts(s, "./") || slice_starts(s, "../");
}

static bool has_any(struct slice s, const char *signs)
{
    for (; *signs; signs++)
        if (memchr(s.at, *signs, s.length))
            return true;
    return false;
}

static int parse_directory(struct slice text, const char *base_folder, char ret_site[static CATALOG_URL_SIZE],
                           struct error *error)
{
    char site[CATALOG_URL_SIZE] = "/";
    size_t length = 1;
    if (text.length == 0)
        return error_set(error, EINVAL, "it is empty");
    if (text.at[0] == '-')
        return error_set(error, EINVAL, "a directory that begins with - is written ./-…");
    if (!text_is_printable(text))
        return error_set(error, EINVAL, "it holds control, invisible or malformed characters");
    if (memmem(text.at, text.length, "://", 3))
        return error_set(error, EINVAL, "a site is http://…, https://… or a directory, and nothing else");
    if (!is_plainly_directory(text) && has_any(text, ":#?@ "))
        return error_set(error, EINVAL, "write http:// before a host, or ./ before a directory");
    int r = 0;
    if (text.at[0] != '/')
        r = append_segments(slice_of(base_folder), site, &length);
    if (r == 0)
        r = append_segments(text, site, &length);
    if (r < 0)
        return error_set(error, EINVAL, "a site's address has at most %u bytes", CATALOG_URL_SIZE - 1);
    site[length] = '\0';
    memcpy(ret_site, site, length + 1);
    return 0;
}

// Sites and images.

static int parse_site(struct slice text, const char *base_folder, char ret_site[static CATALOG_URL_SIZE],
                      struct error *error)
{
    bool tls;
    struct slice rest;
    if (cut_scheme(text, &tls, &rest))
        return address_parse_url(text, ret_site, error);
    return parse_directory(text, base_folder, ret_site, error);
}

int address_complain(struct error *error, int result, const char *text, const char *what)
{
    char shown[160];
    text_escape((struct slice){.at = text, .length = strnlen(text, sizeof shown)}, shown, sizeof shown);
    return error_prefix(error, result, "\"%s\" is not %s", shown, what);
}

int address_parse_site(const char *text, const char *base_folder, char ret_site[static CATALOG_URL_SIZE],
                       struct error *error)
{
    static const char what[] = "the address of a site (http://…, https://… or a directory)";
    int r = parse_site(slice_of(text), base_folder, ret_site, error);
    return r < 0 ? address_complain(error, r, text, what) : 0;
}

// What stands behind the site.
static int parse_image(struct slice text, struct address *a, struct error *error)
{
    struct slice rest;
    struct slice key;
    struct slice hash;
    struct slice selector;
    a->has_key = cut_at(text, '#', &rest, &key);
    if (a->has_key && !key_from_text(key.at, key.length, &a->key))
        return error_set(error, EINVAL, "what follows # is not a key (%d characters of base64url)", KEY_TEXT_SIZE - 1);
    a->has_manifest = cut_at(rest, '@', &rest, &hash);
    if (a->has_manifest &&
        (!slice_starts(hash, "sha256:") ||
         !sha256_from_hex(hash.at + strlen("sha256:"), hash.length - strlen("sha256:"), &a->manifest)))
        return error_set(error, EINVAL, "what follows @ is not sha256: and 64 hex digits in lower case");
    const bool has_selector = cut_at(rest, ':', &rest, &selector);
    if (has_selector && !text_is_version_name(selector))
        return error_set(error, EINVAL, "what follows : is not a tag or version");
    if (rest.length == 0)
        return error_set(error, EINVAL, "it has no image name");
    if (!text_is_image_name(rest))
        return error_set(error, EINVAL, "a name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit");
    memcpy(a->name, rest.at, rest.length);
    if (has_selector)
        memcpy(a->selector, selector.at, selector.length);
    return 0;
}

int address_parse_text(const char *text, const char *default_site, const char *base_folder, struct address *a,
                       struct error *error)
{
    const size_t length = strnlen(text, ADDRESS_MAXIMUM);
    if (length == ADDRESS_MAXIMUM)
        return error_set(error, EINVAL, "it is longer than %d bytes", ADDRESS_MAXIMUM - 1);
    const char *slash = memrchr(text, '/', length);
    const size_t site = slash ? (size_t)(slash - text) + 1 : 0;
    if (site > 2 && memcmp(text + site - 3, "://", 3) == 0)
        return error_set(error, EINVAL, "it has no image name behind the host");
    int r = parse_image((struct slice){.at = text + site, .length = length - site}, a, error);
    if (r < 0)
        return r;
    if (slash)
        return parse_site((struct slice){.at = text, .length = site}, base_folder, a->site, error);
    if (!default_site)
        return error_set(error, EINVAL,
                         "it names no site, and none is configured; write one before the name, or set "
                         "RONDO_SITE");
    return address_parse_site(default_site, base_folder, a->site, error);
}

int address_parse(const char *text, const char *default_site, const char *base_folder, struct address *ret,
                  struct error *error)
{
    struct address a = {.site = ""};
    int r = address_parse_text(text, default_site, base_folder, &a, error);
    if (r < 0)
        return address_complain(error, r, text, "an image address (" ADDRESS_FORM ")");
    *ret = a;
    return 0;
}

int address_append_word(struct buf *to, const char *site, const char *name, const char *version)
{
    char text[CATALOG_URL_SIZE + 2 * CATALOG_NAME_SIZE];
    snprintf(text, sizeof(text), "%s%s%s%s", site, name, version[0] ? ":" : "", version);
    return text_append_shell_word(to, text);
}
