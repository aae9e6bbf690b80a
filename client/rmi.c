// rondo rmi IMAGE: a pulled version is not kept any more. Nothing is deleted: what no other pulled version and no
// machine needs may leave the cache when room is wanted.
//
//   address ─▶ its @sha256, or the one pulled version of that name and version (if a site was named: which that is not
//              known not to have), or, of several or for a tag, the one that the remembered catalog of its site means
//
// No site is asked, so that it works when the site is gone.
#include "base/cleanup.h"
#include "base/text.h"
#include "client/cli.h"
#include "client/images.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

struct search {
    struct store *store;
    const struct address *address;
    struct sha256 found;
    unsigned count;   // of the pulled versions that the address may mean
    struct buf names; // of all pulled versions of the image, for the message
};

static int look_at(void *context, const struct sha256 *manifest)
{
    struct search *s = context;
    const struct address *a = s->address;
    struct version *v;
    int r = version_open(s->store, manifest, NULL, 0, &v, NULL);
    if (r < 0) // a damaged one: its hash still names it
        return 0;
    const struct manifest *m = version_manifest(v);
    if (strcmp(m->name, a->name) == 0) {
        buf_append_format(&s->names, "%s%s:%s", s->names.size ? ", " : "", m->name, m->version); // as many as fit
        if (!a->selector[0] || strcmp(a->selector, m->version) == 0) {
            s->found = *manifest;
            s->count++;
        }
    }
    version_close(v);
    return 0;
}

// Whether a site that was named has that version, as far as is known here. A pin does not say where it came from.
static bool may_be_of(const struct images *images, const char *text, const struct sha256 *manifest)
{
    struct resolved resolved;
    bool listed = false;
    if (!strchr(text, '/'))
        return true;
    int r = resolve_image(images->store, &images->configuration, text,
                          &(struct resolve_options){.offline = true, .all_versions = true}, &resolved, NULL);
    if (r < 0)
        return r != -ENOENT;
    for (unsigned i = 0; i < resolved.versions.image_count && !listed; i++)
        listed = sha256_equal(&resolved.versions.images[i].manifest, manifest);
    resolve_free(&resolved);
    return listed;
}

// The version that the address means, by what was pulled.
static int find_pulled(struct images *images, const char *text, const struct address *a, struct sha256 *ret,
                       struct error *error)
{
    struct search s = {.store = images->store, .address = a, .names = BUF_WITH_MAXIMUM(400)};
    struct resolved resolved;
    char hex[SHA256_HEX_SIZE];
    int r = cache_walk_pins(store_cache(images->store), CACHE_OWNER_PULL, look_at, &s);
    if (r < 0)
        r = error_set(error, -r, "cannot list what was pulled: %s", strerror(-r));
    else if (s.names.size == 0)
        r = error_set(error, ENOENT, "%s was not pulled; rondo ls lists what was", a->name);
    else if (s.count == 1 && may_be_of(images, text, &s.found))
        *ret = s.found;
    else if (s.count == 1)
        r = error_set(error, ENOENT, "%s is not known to offer what was pulled of that name: rondo rmi %s@sha256:%s",
                      a->site, a->name, sha256_to_hex(&s.found, hex));
    else if (images_resolve(images, text, &resolved, NULL) == 0) {
        *ret = resolved.manifest;
        resolve_free(&resolved);
    } else {
        r = error_set(error, ENOENT, "which pulled version is meant by %s is not known here: name one of %s", text,
                      buf_text(&s.names));
    }
    buf_free(&s.names);
    return r;
}

static int parse(const struct configuration *configuration, const char *text, struct address *ret, struct error *error)
{
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    const char *site = getenv("RONDO_SITE");
    if (!site || !*site)
        site = configuration->site[0] ? configuration->site : "/"; // a bare name is enough here
    return address_parse(text, site, folder ? folder : "/", ret, error);
}

static int remove_pin(struct images *images, const char *text, struct error *error)
{
    struct address address;
    struct sha256 manifest;
    struct cache_usage before, after;
    struct cache *cache = store_cache(images->store);
    char hex[SHA256_HEX_SIZE], size[32];
    int r = parse(&images->configuration, text, &address, error);
    if (r < 0)
        return r;
    if (address.has_manifest)
        manifest = address.manifest;
    else if ((r = find_pulled(images, text, &address, &manifest, error)) < 0)
        return r;
    if (!cache_is_pinned(cache, &manifest, CACHE_OWNER_PULL))
        return error_set(error, ENOENT, "%s (%.12s…) was not pulled; rondo ls lists what was", text,
                         sha256_to_hex(&manifest, hex));
    const bool measured = cache_measure(cache, &before) == 0;
    r = cache_unpin(cache, &manifest, CACHE_OWNER_PULL, error);
    if (r < 0)
        return r;
    if (cache_is_pinned(cache, &manifest, NULL))
        fprintf(stderr, "rondo: %s is not kept for you any more, but for a machine that was made from it (rondo ps)\n",
                text);
    else if (measured && cache_measure(cache, &after) == 0)
        fprintf(stderr, "rondo: %s is not kept any more; %s may leave the cache now (rondo gc)\n", text,
                text_format_size(
                    before.pinned_bytes > after.pinned_bytes ? before.pinned_bytes - after.pinned_bytes : 0, size));
    printf("%s\n", sha256_to_hex(&manifest, hex));
    return 0;
}

int verb_rmi(int argc, char **argv)
{
    int r = cli_parse_operand(argc, argv);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    struct images images = {.resolve = {.offline = true}};
    cli_cancel_on_signals();
    r = images_open(&images, &error);
    if (r == 0)
        r = remove_pin(&images, argv[1], &error);
    images_close(&images);
    return cli_end(r, &error);
}
