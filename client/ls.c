// rondo ls [SITE]: the images that a site offers, each version a line, newest first; without a site, the versions that
// were pulled. With --remote, what the servers themselves say of their images (search.h).
#include "base/cleanup.h"
#include "base/log.h"
#include "client/cli.h"
#include "client/images.h"
#include "client/newer.h"
#include "client/report.h"
#include "client/search.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define REMOTE_LIMIT_DEFAULT 1000u

static int by_name_then_newest(const void *a, const void *b)
{
    const struct catalog_image *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : x->serial < y->serial ? 1 : -1;
}

static int report_image(struct report *p, const struct catalog_image *image, const char *tags, bool pinned,
                        const bool *revoked)
{
    char hex[SHA256_HEX_SIZE];
    report_text(p, "name", image->name);
    report_text(p, "version", image->version);
    report_number(p, "serial", image->serial);
    report_text(p, "tags", tags);
    report_text(p, "manifest", sha256_to_hex(&image->manifest, hex));
    report_bool(p, "pulled", pinned);
    if (revoked)
        report_bool(p, "revoked", *revoked);
    return report_end_row(p);
}

static int list(const struct images *images, const char *site, struct report *p, struct error *error)
{
    struct catalog c = {.number = 0};
    bool fresh;
    int r = resolve_catalog(images->store, &images->configuration, site, &images->resolve, &c, &fresh, error);
    if (r < 0)
        return r;
    if (c.image_count)
        qsort(c.images, c.image_count, sizeof(*c.images), by_name_then_newest);
    report_begin_list(p);
    if (!p->json)
        printf("%-24s %-16s %-8s %-8s %s\n", "NAME", "VERSION", "SERIAL", "PULLED", "TAGS");
    for (unsigned i = 0; i < c.image_count && r == 0; i++) {
        char tags[1024];
        const struct catalog_image *image = &c.images[i];
        bool pinned = cache_is_pinned(store_cache(images->store), &image->manifest, CACHE_OWNER_PULL);
        const char *state = pinned ? "yes" : "no";
        bool revoked = c.revoked_count > 0 && newer_is_revoked(store_cache(images->store), &c, &image->manifest);
        catalog_list_tags(&c, image, tags, sizeof(tags));
        if (p->json)
            r = report_image(p, image, tags, pinned, &revoked);
        else
            printf("%-24s %-16s %-8llu %-8s %s\n", image->name, image->version, (unsigned long long)image->serial,
                   revoked ? "revoked" : state, tags);
    }
    catalog_free(&c);
    return report_end_list(p, 0, error); // it has seen what failed
}

struct pulled {
    struct store *store;
    struct report *report;
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
    if (p->report->json)
        r = report_image(p->report, &image, "", true, NULL);
    else
        printf("%-24s %-16s %-8llu %s\n", image.name, image.version, (unsigned long long)image.serial,
               sha256_to_hex(manifest, hex));
    p->count++;
    version_close(v);
    return r;
}

static int list_all_pulled(struct store *store, struct report *report, struct error *error)
{
    struct pulled p = {.store = store, .report = report};
    report_begin_list(report);
    if (!report->json)
        printf("%-24s %-16s %-8s %s\n", "NAME", "VERSION", "SERIAL", "MANIFEST");
    int r = cache_walk_pins(store_cache(store), CACHE_OWNER_PULL, list_pulled, &p);
    if (r < 0)
        error_set(error, -r, "cannot list what was pulled: %s", strerror(-r));
    else if (!report->json && p.count == 0)
        fputs("rondo: nothing was pulled; rondo pull IMAGE does\n", stderr);
    return report_end_list(report, r, error);
}

static int list_remote(const struct images *images, const struct search_request *q)
{
    if (images->resolve.offline || images->resolve.require_fresh || images->resolve.require_pin)
        return cli_usage("ls",
                         "--remote shows what servers say, unsigned: without it a site's signed catalog is listed");
    return search_and_print(q);
}

int verb_ls(int argc, char **argv)
{
    struct report report = REPORT_EMPTY;
    struct images images = {.store = NULL};
    bool remote = false;
    uint64_t limit = 0;
    const struct option options[] = {{"json", OPTION_FLAG, &report.json},
                                     IMAGES_CHECKS(images),
                                     {"remote", OPTION_FLAG, &remote},
                                     {"limit", OPTION_NUMBER, &limit},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 0, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (remote) {
        const char *const sites[] = {argv[1]};
        const struct search_request q = {.search = {.words = "", .limit = limit ? limit : REMOTE_LIMIT_DEFAULT},
                                         .sites = sites,
                                         .site_count = operands,
                                         .json = report.json};
        return list_remote(&images, &q);
    }
    if (limit)
        return cli_usage("ls", "--limit goes with --remote");
    struct error error = {.text = ""};
    char site[CATALOG_URL_SIZE];
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    cli_cancel_on_signals();
    if (operands)
        r = address_parse_site(argv[1], folder ? folder : "/", site, &error);
    if (r == 0)
        r = images_open(&images, &error);
    if (r == 0)
        r = operands ? list(&images, site, &report, &error) : list_all_pulled(images.store, &report, &error);
    images_close(&images);
    return cli_end(r, &error);
}
