// Fuzz target: addresses (the URL). What parses parses again to itself, and holds nothing that could be taken for
// anything else: no control characters, no dot segments, no user, no option.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "blockstore/http_address.h"
#include "catalog/address.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void check_site(const char *site)
{
    char again[CATALOG_URL_SIZE];
    const size_t length = strlen(site);
    check(length > 0 && length < CATALOG_URL_SIZE && site[length - 1] == '/' && site[0] != '-');
    check(text_is_printable(slice_of(site)));
    check(!strstr(site, "/../") && !strstr(site, "/./"));
    check(address_parse_site(site, "/base", again, NULL) == 0 && strcmp(site, again) == 0);
    if (address_is_directory(site)) {
        check(!strstr(site, "//"));
        return;
    }
    const char *host = strstr(site, "://");
    check(host && strncmp(site, "http", 4) == 0 && !strstr(host + 3, "//") && !strpbrk(site, "?#\\\"'<> "));
    check(!memchr(host + 3, '@', strcspn(host + 3, "/")));
    check(address_parse_url(slice_of(site), again, NULL) == 0 && strcmp(site, again) == 0);
}

// A link is an address with another beginning, and never a directory.
static void check_link(const char *text)
{
    struct address link, address;
    struct error error = {""};
    char url[CATALOG_URL_SIZE + 600];
    if (address_parse_link(text, &link, &error) < 0) {
        check(text_is_printable(slice_of(error.text)));
        return;
    }
    check_site(link.site);
    check(!address_is_directory(link.site));
    const bool secure = strncmp(link.site, "https://", 8) == 0;
    check(!secure || !http_address_names_loopback(link.site));
    snprintf(url, sizeof url, "%s%s", secure ? "https" : "http", strstr(text, "://"));
    check(address_parse(url, NULL, "/", &address, NULL) == 0);
    check(strcmp(address.site, link.site) == 0 && strcmp(address.name, link.name) == 0 &&
          strcmp(address.selector, link.selector) == 0);
    check(address.has_key == link.has_key && address.has_manifest == link.has_manifest);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct address a;
    struct address again;
    struct error error = {""};
    char site[CATALOG_URL_SIZE];
    char *text CLEANUP_FREE = malloc(size + 1);
    check(text);
    memcpy(text, data, size);
    text[size] = '\0';
    if (address_parse_site(text, "/base", site, &error) == 0)
        check_site(site);
    else
        check(text_is_printable(slice_of(error.text)));
    check_link(text);
    int r = address_parse(text, "http://default.example/", "/base", &a, &error);
    if (r < 0) {
        check(r == -EINVAL && text_is_printable(slice_of(error.text)));
        return 0;
    }
    check_site(a.site);
    check(text_is_image_name(slice_of(a.name)) && (!a.selector[0] || text_is_version_name(slice_of(a.selector))));
    char whole[CATALOG_URL_SIZE + 400];
    char hex[SHA256_HEX_SIZE] = "";
    char key[KEY_TEXT_SIZE] = "";
    snprintf(whole, sizeof whole, "%s%s%s%s%s%s%s%s", a.site, a.name, a.selector[0] ? ":" : "", a.selector,
             a.has_manifest ? "@sha256:" : "", a.has_manifest ? sha256_to_hex(&a.manifest, hex) : "",
             a.has_key ? "#" : "", a.has_key ? key_to_text(&a.key, key) : "");
    check(address_parse(whole, NULL, "/base", &again, NULL) == 0);
    check(strcmp(a.site, again.site) == 0 && strcmp(a.name, again.name) == 0 &&
          strcmp(a.selector, again.selector) == 0);
    check(a.has_key == again.has_key && a.has_manifest == again.has_manifest);
    check(!a.has_key || key_equal(&a.key, &again.key));
    check(!a.has_manifest || sha256_equal(&a.manifest, &again.manifest));
    return 0;
}
