// See publisher.h.
#include "client/publisher.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "catalog/address.h"
#include "catalog/signed.h"
#include "catalog/signer.h"
#include "catalog/trust.h"
#include "client/passphrase.h"
#include "client/site_pages.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

int publisher_read_keys(const char *path, const char *site_path, struct key_secret **ret_key,
                        struct key_secret **ret_site_key, struct error *error)
{
    struct key_secret *key CLEANUP(key_free) = NULL;
    struct key_secret *site_key = NULL;
    int r = passphrase_read_key(path, &key, error);
    if (r == 0 && site_path)
        r = passphrase_read_key(site_path, &site_key, error);
    if (r < 0)
        return r;
    *ret_site_key = site_path ? site_key : key;
    *ret_key = TAKE_PTR(key);
    return 0;
}

int publisher_begin(const char *site, const char *key_path, const char *site_key_path, struct publisher_change *ret,
                    struct error *error)
{
    char catalog[PATH_TEXT_SIZE], text[KEY_TEXT_SIZE];
    struct key_public site_public;
    *ret = (struct publisher_change){.site = NULL};
    int r = path_format(catalog, sizeof(catalog), "%s/catalog.rondo", site);
    if (r < 0)
        return error_set(error, -r, "the path %s is too long", site);
    if (access(catalog, F_OK) < 0) // site_open would make one
        return error_set(error, ENOENT, "%s is no site in a directory here: it has no catalog.rondo", site);
    if (key_path)
        r = publisher_read_keys(key_path, site_key_path, &ret->key, &ret->site_key, error);
    if (r == 0)
        r = site_open(site, &ret->site, error);
    if (r == 0)
        r = site_catalog_read(ret->site, &ret->catalog, error);
    if (r < 0 || !key_path)
        return r;
    key_public_of(ret->site_key, &site_public);
    if (!key_equal(&site_public, &ret->catalog.site_key))
        return error_set(error, EKEYREJECTED, "the key of the site %s is %s, which must sign this; another was given",
                         site, key_to_text(&ret->catalog.site_key, text));
    return 0;
}

void publisher_end(struct publisher_change *p)
{
    catalog_free(&p->catalog);
    site_close(p->site);
    if (p->site_key != p->key)
        key_free(&p->site_key);
    key_free(&p->key);
}

int publisher_check_key(const struct publisher_change *p, const char *name, struct error *error)
{
    struct key_public public;
    char text[KEY_TEXT_SIZE];
    key_public_of(p->key, &public);
    return catalog_allows(&p->catalog, &public, name)
               ? 0
               : error_set(error, EKEYREJECTED, "the key %s may not publish %s in %s; give the key of who published it",
                           key_to_text(&public, text), name, site_path(p->site));
}

int publisher_sign_manifest(const struct manifest *m, const struct key_secret *key, struct buf *ret_file,
                            struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    int r = manifest_format(m, &text, error);
    return r < 0 ? r : signed_write(key, text.data, text.size, "rondo manifest", ret_file, error);
}

int publisher_new_catalog(const char *path, const struct key_public *site_key, struct catalog *ret, struct error *error)
{
    char name[CATALOG_NAME_SIZE];
    size_t end = strlen(path), n = 0;
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    for (size_t i = start; i < end && n < sizeof(name) - 1; i++) {
        unsigned char byte = (unsigned char)path[i];
        if (byte >= 'A' && byte <= 'Z')
            byte = (unsigned char)(byte - 'A' + 'a');
        if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
            (n > 0 && (byte == '.' || byte == '-' || byte == '_')))
            name[n++] = (char)byte;
    }
    name[n] = '\0';
    return catalog_start(ret, n ? name : "site", site_key, error);
}

int publisher_set_mirrors(struct catalog *c, const struct option_list *urls, struct error *error)
{
    if (urls->count == 0)
        return 0;
    bool none = urls->count == 1 && strcmp(urls->values[0], "none") == 0;
    unsigned count = none ? 0 : urls->count;
    if (count > CATALOG_MIRRORS_MAXIMUM)
        return error_set(error, EINVAL, "a site has at most %u mirrors", CATALOG_MIRRORS_MAXIMUM);
    CLEANUP_FREE char(*mirrors)[CATALOG_URL_SIZE] = calloc(count ? count : 1, sizeof(*mirrors));
    if (!mirrors)
        return error_set(error, ENOMEM, "out of memory");
    for (unsigned i = 0; i < count; i++) {
        int r = address_parse_url(slice_of(urls->values[i]), mirrors[i], error);
        if (r < 0)
            return error_prefix(error, r, "--mirror");
        for (unsigned earlier = 0; earlier < i; earlier++)
            if (strcmp(mirrors[earlier], mirrors[i]) == 0)
                return error_set(error, EINVAL, "--mirror: %s is there twice", mirrors[i]);
    }
    free(c->mirrors);
    c->mirrors = TAKE_PTR(mirrors);
    c->mirror_count = count;
    return 0;
}

// Whoever published wants to see it at once, whatever their client knows of the site's catalog from a moment ago. It is
// only a convenience, so that no failure matters; and a publisher who is no client gets no trust database from it.
void publisher_expect_change(const struct key_public *site_key)
{
    char home[PATH_TEXT_SIZE], path[PATH_TEXT_SIZE];
    struct trust *trust;
    if (path_find(PATH_HOME, home, NULL) < 0 || path_format(path, sizeof(path), "%s/trust.db", home) < 0 ||
        access(path, F_OK) < 0 || trust_open(home, &trust, NULL) < 0)
        return;
    trust_forget_checks(trust, site_key, NULL);
    trust_close(trust);
}

int publisher_put_catalog(struct site *s, const void *bytes, size_t n, const struct key_public *site_key,
                          struct error *error)
{
    int r = site_put_catalog(s, bytes, n, error);
    if (r < 0)
        return r;
    publisher_expect_change(site_key);
    site_pages_refresh(s);
    return 0;
}

int publisher_sign_catalog(struct site *s, struct catalog *c, const struct key_secret *site_key,
                           int64_t expires_seconds, struct error *error)
{
    int r = site_catalog_sign(s, c, site_key, expires_seconds, error);
    if (r < 0)
        return r;
    publisher_expect_change(&c->site_key);
    site_pages_refresh(s);
    return 0;
}

bool publisher_parse_duration(const char *text, int64_t *ret_seconds)
{
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};
    const uint64_t ten_years = 3650ull * 86400;
    size_t n = strlen(text);
    uint64_t value;
    for (size_t i = 0; n > 1 && i < ARRAY_SIZE(units); i++)
        if (text[n - 1] == units[i].unit &&
            text_parse_u64((struct slice){.at = text, .length = n - 1}, ten_years / units[i].seconds, &value) &&
            value) {
            *ret_seconds = (int64_t)(value * units[i].seconds);
            return true;
        }
    return false;
}
