// Where a version of the cache can be had again (see fsck.h).
#include "base/cleanup.h"
#include "base/log.h"
#include "catalog/trust.h"
#include "client/fsck.h"
#include "client/instance.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

struct search {
    struct store *store;
    struct trust *trust;
    const struct sha256 *manifest;
    struct fsck_sources *sources;
};

static void add_source(struct fsck_sources *s, const char *address)
{
    if (s->count == MIRRORS_MAXIMUM)
        return;
    snprintf(s->list[s->count], sizeof(s->list[0]), "%s", address);
    s->addresses[s->count] = s->list[s->count];
    s->count++;
}

static int look_at_machine(void *context, struct instance *i, const struct error *damage)
{
    struct search *s = context;
    if (damage || s->sources->count > 0 || !sha256_equal(&i->settings.manifest, s->manifest))
        return 0;
    for (unsigned k = 0; k < i->settings.source_count; k++)
        add_source(s->sources, i->settings.sources[k]);
    return 0;
}

static bool lists_manifest(const struct catalog *c, const struct sha256 *manifest)
{
    for (unsigned i = 0; i < c->image_count; i++)
        if (sha256_equal(&c->images[i].manifest, manifest))
            return true;
    return false;
}

// Shards as far as the cache has them.
static void load_shards(struct store *store, struct catalog *c)
{
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct catalog_shard shard = c->shards[i]; // parsing may move the arrays
        CLEANUP_FREE void *bytes = NULL;
        size_t n;
        if (cache_get_object(store_cache(store), &shard.object, CATALOG_SHARD_MAXIMUM, &bytes, &n) == 0)
            (void)catalog_parse_shard(c, &shard, bytes, n, NULL); // without it, this site is not found
    }
}

static int look_at_site(void *context, const struct trust_site *known)
{
    const char *site = known->address;
    struct search *s = context;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    CLEANUP_FREE void *bytes = NULL;
    char etag[128];
    int64_t checked;
    size_t n;
    if (s->sources->count > 0 || trust_load_catalog(s->trust, site, &bytes, &n, etag, &checked, NULL) < 0 ||
        catalog_open(bytes, n, &c, NULL) < 0)
        return 0;
    load_shards(s->store, &c);
    if (!lists_manifest(&c, s->manifest))
        return 0;
    add_source(s->sources, site);
    for (unsigned i = 0; i < c.mirror_count; i++)
        add_source(s->sources, c.mirrors[i]);
    return 0;
}

int fsck_find_sources(struct store *store, const struct sha256 *manifest, struct fsck_sources *ret, struct error *error)
{
    char home[PATH_TEXT_SIZE];
    struct search s = {.store = store, .manifest = manifest, .sources = ret};
    ret->count = 0;
    int r = instance_list(look_at_machine, &s, error);
    if (r == 0 && ret->count == 0)
        r = path_find(PATH_HOME, home, error);
    if (r < 0 || ret->count > 0)
        return r;
    r = trust_open(home, &s.trust, error);
    if (r < 0)
        return r;
    r = trust_list(s.trust, look_at_site, &s, error);
    trust_close(s.trust);
    return r < 0 ? r : 0;
}
