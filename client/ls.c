// rondo ls [SITE]: the images that a site offers, each version a line, newest first; without a site, the versions that
// were pulled.
#include "base/cleanup.h"
#include "base/log.h"
#include "client/cli.h"
#include "client/images.h"
#include "client/json.h"
#include "client/newer.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static int by_name_then_newest(const void *a, const void *b)
{
    const struct catalog_image *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : x->serial < y->serial ? 1 : -1;
}

static int print_json(const struct catalog_image *image, const char *tags, bool pinned, const bool *revoked, bool first)
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(16384);
    char hex[SHA256_HEX_SIZE];
    int r = buf_append_format(&b, "%s\n  {", first ? "" : ",");
    if (r == 0)
        r = json_append_text(&b, "name", image->name);
    if (r == 0)
        r = json_append_text(&b, "version", image->version);
    if (r == 0)
        r = json_append_number(&b, "serial", image->serial);
    if (r == 0)
        r = json_append_text(&b, "tags", tags);
    if (r == 0)
        r = json_append_text(&b, "manifest", sha256_to_hex(&image->manifest, hex));
    if (r == 0)
        r = buf_append_format(&b, ", \"pulled\": %s", pinned ? "true" : "false");
    if (r == 0 && revoked)
        r = buf_append_format(&b, ", \"revoked\": %s", *revoked ? "true" : "false");
    if (r == 0)
        r = buf_append(&b, "}", 1);
    if (r == 0)
        fputs(buf_text(&b), stdout);
    return r;
}

static int list(const struct images *images, const char *site, bool json, struct error *error)
{
    struct catalog c = {.number = 0};
    bool fresh;
    int r = resolve_catalog(images->store, &images->configuration, site, &images->resolve, &c, &fresh, error);
    if (r < 0)
        return r;
    if (c.image_count)
        qsort(c.images, c.image_count, sizeof(*c.images), by_name_then_newest);
    if (json)
        fputs("[", stdout);
    else
        printf("%-24s %-16s %-8s %-8s %s\n", "NAME", "VERSION", "SERIAL", "PULLED", "TAGS");
    for (unsigned i = 0; i < c.image_count && r == 0; i++) {
        char tags[1024];
        const struct catalog_image *image = &c.images[i];
        bool pinned = cache_is_pinned(store_cache(images->store), &image->manifest, CACHE_OWNER_PULL);
        const char *state = pinned ? "yes" : "no";
        bool revoked = c.revoked_count > 0 && newer_is_revoked(store_cache(images->store), &c, &image->manifest);
        catalog_list_tags(&c, image, tags, sizeof(tags));
        if (json)
            r = print_json(image, tags, pinned, &revoked, i == 0);
        else
            printf("%-24s %-16s %-8llu %-8s %s\n", image->name, image->version, (unsigned long long)image->serial,
                   revoked ? "revoked" : state, tags);
    }
    if (json)
        fputs(c.image_count ? "\n]\n" : "]\n", stdout);
    catalog_free(&c);
    return r < 0 ? error_set(error, -r, "out of memory") : 0;
}

struct pulled {
    struct store *store;
    bool json;
    unsigned count;
};

static int list_pulled(void *context, const struct sha256 *manifest)
{
    struct pulled *p = context;
    struct version *v;
    struct error error = {.text = ""};
    char hex[SHA256_HEX_SIZE];
    struct catalog_image image = {.manifest = *manifest};
    int r = version_open(p->store, manifest, NULL, 0, &v, &error);
    if (r < 0) {
        log_warning("pulled version %.12s…: %s", sha256_to_hex(manifest, hex), error.text);
        return 0;
    }
    const struct manifest *m = version_manifest(v);
    snprintf(image.name, sizeof(image.name), "%s", m->name);
    snprintf(image.version, sizeof(image.version), "%s", m->version);
    image.serial = m->serial;
    if (p->json)
        r = print_json(&image, "", true, NULL, p->count == 0);
    else
        printf("%-24s %-16s %-8llu %s\n", image.name, image.version, (unsigned long long)image.serial,
               sha256_to_hex(manifest, hex));
    p->count++;
    version_close(v);
    return r;
}

static int list_all_pulled(struct store *store, bool json, struct error *error)
{
    struct pulled p = {.store = store, .json = json};
    if (json)
        fputs("[", stdout);
    else
        printf("%-24s %-16s %-8s %s\n", "NAME", "VERSION", "SERIAL", "MANIFEST");
    int r = cache_walk_pins(store_cache(store), CACHE_OWNER_PULL, list_pulled, &p);
    if (json)
        fputs(p.count ? "\n]\n" : "]\n", stdout);
    else if (r == 0 && p.count == 0)
        fputs("rondo: nothing was pulled; rondo pull IMAGE does\n", stderr);
    return r < 0 ? error_set(error, -r, "cannot list what was pulled: %s", strerror(-r)) : 0;
}

int verb_ls(int argc, char **argv)
{
    bool json = false;
    struct images images = {.store = NULL};
    const struct option options[] = {{"json", OPTION_FLAG, &json}, IMAGES_CHECKS(images), {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 0, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    char site[CATALOG_URL_SIZE];
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    cli_cancel_on_signals();
    if (operands)
        r = address_parse_site(argv[1], folder ? folder : "/", site, &error);
    if (r == 0)
        r = images_open(&images, &error);
    if (r == 0)
        r = operands ? list(&images, site, json, &error) : list_all_pulled(images.store, json, &error);
    images_close(&images);
    return cli_end(r, &error);
}
