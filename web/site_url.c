// See site_url.h.
#include "web/site_url.h"

#include "blockstore/http_address.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static size_t scheme_length(struct slice url)
{
    return slice_starts(url, "https://") ? 8 : slice_starts(url, "http://") ? 7 : 0;
}

bool site_url_is_right(struct slice url)
{
    size_t at = scheme_length(url);
    if (at == 0 || url.length <= at + 1 || url.length >= CATALOG_URL_SIZE || url.at[at] == '/' ||
        url.at[url.length - 1] != '/')
        return false;
    for (size_t i = at; i < url.length; i++) {
        char c = url.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr("-._~/:[]", c))))
            return false;
        if (c == '/' && url.at[i - 1] == '/')
            return false;
    }
    return true;
}

bool site_url_from_host(const char *host, bool secure, char ret_url[static CATALOG_URL_SIZE])
{
    char url[CATALOG_URL_SIZE];
    int n = snprintf(url, sizeof(url), "%s://%s/", secure ? "https" : "http", host);
    if (n < 0 || n >= (int)sizeof(url) || strchr(host, '/') || !site_url_is_right(slice_of(url)))
        return false;
    memcpy(ret_url, url, (size_t)n + 1);
    return true;
}

int site_url_append_link(const char *url, struct buf *to)
{
    size_t scheme = scheme_length(slice_of(url));
    bool plain = scheme == 7 && !http_address_names_loopback(url);
    return buf_append_format(to, "%s%s", plain ? "rondo+http://" : "rondo://", url + scheme);
}
