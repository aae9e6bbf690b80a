// See newer.h. What is remembered are bytes from a disk: the catalog's signature, its key and its number are checked as
// if it had just come, and its shard is an object of the cache, found by its hash.
#include "client/newer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/manifest.h"
#include "catalog/signer.h"
#include "catalog/trust.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

void newer_open(struct newer_source *ret)
{
    char home[PATH_TEXT_SIZE], path[PATH_TEXT_SIZE];
    *ret = (struct newer_source){.known = false};
    if (path_find(PATH_HOME, home, NULL) < 0 || path_format(path, sizeof(path), "%s/trust.db", home) < 0 ||
        access(path, F_OK) < 0 || trust_open(home, &ret->trust, NULL) < 0)
        ret->trust = NULL;
}

void newer_close(struct newer_source *s)
{
    catalog_free(&s->catalog);
    if (s->trust)
        trust_close(s->trust);
    if (s->cache)
        cache_close(s->cache);
}

static bool load_catalog(struct newer_source *s, const char *site, struct catalog *ret)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    char etag[128];
    int64_t checked;
    struct trust_verdict verdict;
    const struct trust_request request = {.site = site, .now = io_realtime_seconds()};
    struct catalog c;
    if (trust_load_catalog(s->trust, site, &bytes, &size, etag, &checked, NULL) < 0 ||
        catalog_open(bytes, size, &c, NULL) < 0)
        return false;
    if (trust_look(s->trust, &request, &c, &verdict, NULL) < 0) {
        catalog_free(&c);
        return false;
    }
    *ret = c;
    return true;
}

static bool take_cache(struct newer_source *s)
{
    char folder[PATH_TEXT_SIZE];
    if (!s->cache && (path_find(PATH_CACHE, folder, NULL) < 0 || access(folder, F_OK) < 0 ||
                      cache_open(folder, 0, &s->cache, NULL) < 0)) // none is made for a look
        s->cache = NULL;
    return s->cache;
}

static bool load_shard(struct newer_source *s, const char *name)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    const struct catalog_shard *found = catalog_find_shard(&s->catalog, name);
    if (!found)
        return true;
    const struct catalog_shard shard = *found; // parsing may move the arrays
    return take_cache(s) && cache_get_object(s->cache, &shard.object, CATALOG_SHARD_MAXIMUM, &bytes, &size) == 0 &&
           catalog_parse_shard(&s->catalog, &shard, bytes, size, NULL) == 0;
}

static bool take_site(struct newer_source *s, const char *site)
{
    if (s->trust && strcmp(s->site, site) != 0) {
        catalog_free(&s->catalog);
        snprintf(s->site, sizeof(s->site), "%s", site);
        s->known = load_catalog(s, site, &s->catalog);
    }
    return s->known;
}

static bool is_kept(const struct instance *i, const struct sha256 *manifest)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    struct sha256 kept;
    return io_read_file(i->folder_fd, NEWER_KEPT_NAME, SHA256_HEX_SIZE, &bytes, &size) == 0 &&
           size == SHA256_HEX_SIZE && sha256_from_hex(bytes, size - 1, &kept) && sha256_equal(&kept, manifest);
}

bool newer_is_revoked(struct cache *cache, const struct catalog *c, const struct sha256 *manifest)
{
    CLEANUP_FREE void *bytes = NULL;
    CLEANUP_FREE struct manifest *m = malloc(sizeof(*m));
    size_t size;
    if (!m || cache_get_object(cache, manifest, MANIFEST_SIZE_MAXIMUM, &bytes, &size) < 0 ||
        manifest_parse(bytes, size, m, NULL) < 0)
        return false;
    const struct key_public signer = signer_of(m);
    return catalog_revokes(c, &signer);
}

void newer_find(struct newer_source *s, const struct instance *i, struct newer *ret)
{
    const struct instance_settings *settings = &i->settings;
    const struct catalog_image *now;
    *ret = (struct newer){.version = ""};
    if (!take_site(s, settings->site))
        return;
    ret->revoked =
        s->catalog.revoked_count > 0 && take_cache(s) && newer_is_revoked(s->cache, &s->catalog, &settings->manifest);
    if (!load_shard(s, settings->image) ||
        catalog_find(&s->catalog, settings->image, settings->asked, &now, NULL) < 0 ||
        sha256_equal(&now->manifest, &settings->manifest))
        return;
    for (unsigned n = 0; n < s->catalog.image_count; n++) {
        const struct catalog_image *own = &s->catalog.images[n];
        if (sha256_equal(&own->manifest, &settings->manifest) && own->serial > now->serial)
            return;
    }
    snprintf(ret->version, sizeof(ret->version), "%s", now->version);
    ret->manifest = now->manifest;
    ret->kept = is_kept(i, &now->manifest);
}

void newer_tell(const struct instance *i)
{
    struct newer_source source;
    struct newer newer;
    newer_open(&source);
    newer_find(&source, i, &newer);
    newer_close(&source);
    // There is a disk, which its user must get at: no reason to refuse the machine, but to tell each time.
    if (newer.revoked)
        fprintf(stderr,
                "rondo: machine %s was made from %s %s, and the site has revoked the key that signed it: what is in it "
                "may not be what its name says. rondo update %s moves it to a version that is good\n",
                i->name, i->settings.image, i->settings.version, i->name);
    if (newer.version[0] && !newer.kept)
        fprintf(stderr, "rondo: %s:%s is %s now; machine %s stays with %s (rondo update %s says what can be done)\n",
                i->settings.image, i->settings.asked, newer.version, i->name, i->settings.version, i->name);
}

int newer_keep(const struct instance *i, const struct sha256 *manifest, struct error *error)
{
    char text[SHA256_HEX_SIZE + 1];
    sha256_to_hex(manifest, text);
    text[SHA256_HEX_SIZE - 1] = '\n';
    int r = io_replace_file(i->folder_fd, NEWER_KEPT_NAME, text, SHA256_HEX_SIZE, 0600);
    return r < 0 ? error_set(error, -r, "cannot write %s/%s: %s", i->folder, NEWER_KEPT_NAME, strerror(-r)) : 0;
}
