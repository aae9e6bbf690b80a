// rondo fsck SITE: the folder of a site, from its catalog down to every chunk (site_check.h). With --repair, objects
// that are damaged or missing are fetched again from the mirrors that the catalog names, and damaged ones that nothing
// needs are removed; then all is looked at once more, for what came may lead to more that is missing. What no mirror
// has, only the publisher can give: by publishing it again.
#include "base/cleanup.h"
#include "blockstore/object_copy.h"
#include "blockstore/site_check.h"
#include "blockstore/site_collect.h"
#include "catalog/signer.h"
#include "client/cli.h"
#include "client/fsck.h"
#include "client/gc.h"
#include "client/publisher.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define FETCH_SECONDS 10u // while nothing at all comes

struct site_fsck {
    struct fsck *f;
    struct site *site;
    const struct catalog *catalog;
};

static void tell_object(const struct site_fsck *s, const struct sha256 *object, const char *what, bool mended)
{
    char hex[SHA256_HEX_SIZE], path[96];
    sha256_to_hex(object, hex);
    snprintf(path, sizeof(path), "objects/%.2s/%s", hex, hex);
    fsck_tell(s->f, path, what, NULL, mended);
}

static void tell(void *context, const struct sha256 *object, const char *what)
{
    const struct site_fsck *s = context;
    if (object)
        tell_object(s, object, what, false);
    else
        fsck_tell(s->f, site_path(s->site), what, NULL, false);
}

static int report(void *context, uint64_t done, uint64_t all)
{
    (void)context;
    return fsck_progress("checking the site", done, all);
}

static int check_version(struct site_fsck *s, struct site_check *k, const struct catalog_image *image,
                         struct error *error)
{
    char label[2 * CATALOG_NAME_SIZE];
    struct error why = {.text = ""};
    snprintf(label, sizeof(label), "%s %s", image->name, image->version);
    if (!site_check_object(k, &image->manifest, 0, label))
        return 0;
    CLEANUP_FREE struct manifest *m = malloc(sizeof(*m));
    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    int r = site_catalog_read_manifest(s->site, image, m, &why);
    const struct key_public publisher = r == 0 ? signer_of(m) : (struct key_public){.id = {0}};
    if (r == 0 && !catalog_allows(s->catalog, &publisher, image->name))
        r = error_set(&why, EKEYREJECTED, "its publisher may not publish %s: the catalog's key lines do not allow it",
                      image->name);
    if (r == -EBADMSG || r == -EKEYREJECTED) {
        fsck_tell(s->f, label, why.text, "publish that version again", false);
        return 0;
    }
    if (r < 0)
        return error_set(error, -r, "%s: %s", label, why.text);
    return site_check_version(k, label, m, error);
}

static int check_once(struct site_fsck *s, struct site_check **ret, struct error *error)
{
    const struct site_check_options o = {.problem = tell, .progress = report, .context = s};
    struct site_check *k;
    int r = site_check_new(s->site, &o, &k, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < s->catalog->shard_count; i++)
        site_check_object(k, &s->catalog->shards[i].object, s->catalog->shards[i].size, "a part of the catalog");
    for (unsigned i = 0; i < s->catalog->image_count && r == 0; i++)
        r = check_version(s, k, &s->catalog->images[i], error);
    if (r < 0) {
        site_check_free(k);
        return r;
    }
    fsck_check_roots(s->f, s->site, s->catalog);
    *ret = k;
    return 0;
}

static void print_sum(const struct site_fsck *s, const char *path, const struct site_check *k)
{
    struct site_check_counts sum;
    char size[32];
    site_check_count(k, &sum);
    if (s->f->json)
        fsck_end_list(s->f, true);
    if (s->f->json)
        printf("  \"versions\": %u, \"objects\": %llu, \"bytes\": %llu, \"needed\": %llu\n}\n", s->catalog->image_count,
               (unsigned long long)sum.objects, (unsigned long long)sum.bytes, (unsigned long long)sum.needed);
    else
        printf("%s: looked at %s and %s (%s), needed of these: %llu\n", path,
               TEXT_COUNT(s->catalog->image_count, "version"), TEXT_COUNT(sum.objects, "object"),
               text_format_size(sum.bytes, size), (unsigned long long)sum.needed);
}

// --- mending -------------------------------------------------------------------------------------------------------

struct mending {
    struct site_fsck *s;
    struct object_copy copy;
    struct pack_set *wanted;
    uint64_t done;
    int failure; // of the list
};

static void tell_mended(struct mending *m, const struct sha256 *name, const char *what)
{
    m->done++;
    m->s->f->quiet = false;
    tell_object(m->s, name, what, true);
    m->s->f->quiet = true;
}

static void look_at_wrong(void *context, const struct sha256 *name, uint32_t size, bool needed)
{
    struct mending *m = context;
    const struct whole_object object = {.name = *name, .size = size};
    if (!needed) {
        if (site_remove_object(m->s->site, name) == 0)
            tell_mended(m, name, "it was damaged, and nothing needs it: it is removed");
    } else if (pack_set_put(m->wanted, &object, NULL) < 0) {
        m->failure = -ENOMEM;
    }
}

// One by one, so that one that no mirror has keeps no other from coming.
static int fetch_wanted(struct mending *m, struct error *error)
{
    struct error why = {.text = ""};
    int r = 0;
    for (size_t i = 0; i < pack_set_count(m->wanted) && r == 0; i++) {
        struct sha256 name = pack_set_get(m->wanted, i).name;
        r = fsck_progress("fetching", i, pack_set_count(m->wanted));
        if (r < 0)
            return error_set(error, ECANCELED, "cancelled");
        r = object_copy_run(&m->copy, m->wanted, i, i + 1, &why);
        if (r == 0)
            tell_mended(m, &name, "it was damaged or missing, and is fetched");
        r = r == -ENOSPC || r == -ENOMEM ? error_set(error, -r, "%s", why.text) : 0;
    }
    return r;
}

static int fetch_from_mirrors(struct mending *m, struct error *error)
{
    const struct catalog *c = m->s->catalog;
    const struct store_options options = {.wait_seconds = FETCH_SECONDS};
    const char *addresses[CATALOG_MIRRORS_MAXIMUM];
    struct store *store;
    if (c->mirror_count == 0 || pack_set_count(m->wanted) == 0 || m->s->f->offline)
        return 0;
    int r = store_new(&options, &store, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < c->mirror_count; i++)
        addresses[i] = c->mirrors[i];
    m->copy = (struct object_copy){.target = object_copy_to_site(m->s->site), .wait_seconds = FETCH_SECONDS};
    r = mirrors_new(store_transport(store), addresses, c->mirror_count, &m->copy.mirrors, error);
    if (r == 0) {
        r = fetch_wanted(m, error);
        mirrors_free(m->copy.mirrors);
    }
    store_free(store);
    return r;
}

// *ret_done: how many objects are no longer wrong.
static int mend(struct site_fsck *s, const struct site_check *k, uint64_t *ret_done, struct error *error)
{
    struct mending m = {.s = s};
    int r = pack_set_new(&m.wanted, error);
    if (r < 0)
        return r;
    site_check_walk_wrong(k, look_at_wrong, &m);
    r = m.failure < 0 ? error_set(error, -m.failure, "out of memory") : fetch_from_mirrors(&m, error);
    pack_set_free(&m.wanted);
    if (r == 0)
        r = fsck_mend_roots(s->f, s->site, s->catalog, &m.done, error);
    *ret_done = m.done;
    return r;
}

// --- the whole -----------------------------------------------------------------------------------------------------

// Looks quietly as long as something can be mended, and aloud at the end.
static int check_and_mend(struct site_fsck *s, struct site_check **ret, struct error *error)
{
    struct site_check *k = NULL;
    uint64_t done = 1;
    int r = 0;
    s->f->quiet = s->f->repair;
    while (s->f->quiet && done > 0 && r == 0) {
        done = s->f->untold = 0;
        r = check_once(s, &k, error);
        if (r == 0)
            r = mend(s, k, &done, error);
        site_check_free(k);
        k = NULL;
    }
    s->f->quiet = false;
    return r < 0 ? r : check_once(s, ret, error);
}

int fsck_site(struct fsck *f, const char *path, struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct site_fsck s = {.f = f, .catalog = &c};
    struct site_check *k = NULL;
    int r = gc_open_site(path, &s.site, &c, error);
    if (r < 0)
        return r;
    r = check_and_mend(&s, &k, error);
    if (r == 0)
        print_sum(&s, path, k);
    if (r == 0 && f->repair && f->problems > f->mended)
        fprintf(stderr, "rondo: what no mirror has only its publisher can give: publish those versions again\n");
    site_check_free(k);
    site_close(s.site);
    return r;
}
