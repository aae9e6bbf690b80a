// rondo gc SITE: in the folder of a site, removes what no version that its catalog lists needs (site_collect.h). It
// signs nothing, so it wants no key.
//
// Every manifest, and every page of every map, is read and verified before anything is removed: what cannot be read
// could need anything. Data is not read: that is rondo fsck's.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/site_collect.h"
#include "client/cli.h"
#include "client/gc.h"
#include "client/json.h"
#include "client/publisher.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

int gc_open_site(const char *path, struct site **ret, struct catalog *ret_catalog, struct error *error)
{
    char catalog[PATH_TEXT_SIZE];
    struct site *s;
    if (strncmp(path, "http://", 7) == 0 || strncmp(path, "https://", 8) == 0)
        return error_set(error, EINVAL, "%s: name the folder of the site, on the machine that holds it", path);
    int r = path_format(catalog, sizeof(catalog), "%s/catalog.rondo", path);
    if (r < 0)
        return error_set(error, -r, "the path %.64s… is too long", path);
    if (access(catalog, F_OK) < 0)
        return error_set(error, ENOENT, "%s is no site: it has no catalog.rondo", path);
    r = site_open(path, &s, error);
    if (r < 0)
        return r;
    r = site_catalog_read(s, ret_catalog, error);
    if (r < 0)
        site_close(s);
    else
        *ret = s;
    return r;
}

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    struct site *s = context;
    return cli_interrupted() ? error_set(error, ECANCELED, "cancelled; nothing was removed")
                             : site_read_page(s, ref, to, error);
}

static int add_version(struct site *s, const struct catalog_image *image, struct needs *needs, struct error *error)
{
    CLEANUP_FREE struct manifest *m = malloc(sizeof(*m));
    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    int r = site_catalog_read_manifest(s, image, m, error);
    return r < 0 ? r : needs_add_version(needs, &image->manifest, m, read_page, s, NULL, error);
}

static int add_all(struct site *s, const struct catalog *c, struct needs *needs, struct error *error)
{
    int r = 0;
    for (unsigned i = 0; i < c->shard_count && r == 0; i++)
        r = needs_add(needs, &c->shards[i].object, c->shards[i].size, error);
    for (unsigned i = 0; i < c->image_count && r == 0; i++) {
        const struct catalog_image *image = &c->images[i];
        cli_progress("version %u of %u: %s %s", i + 1, c->image_count, image->name, image->version);
        r = add_version(s, image, needs, error);
        if (r == -EBADMSG || r == -EKEYREJECTED || r == -ENOENT)
            return error_prefix(error, -EBADMSG,
                                "nothing was removed from %s, for %s %s cannot be read whole (rondo fsck %s says more)",
                                site_path(s), image->name, image->version, site_path(s));
        if (r < 0 && r != -ECANCELED)
            return error_prefix(error, r, "nothing was removed from %s: %s %s", site_path(s), image->name,
                                image->version);
    }
    return r;
}

int gc_renew_grace(struct site *s, const struct catalog_image *image, struct error *error)
{
    struct needs *needs;
    int r = needs_new(&needs, error);
    if (r < 0)
        return r;
    r = add_version(s, image, needs, NULL);
    r = site_renew_grace(s, r < 0 ? NULL : needs, error);
    needs_free(needs);
    return r;
}

struct listing {
    const struct gc_options *options;
    unsigned count;
    int result;
};

static void list_object(void *context, const struct sha256 *name, uint64_t bytes, bool removed, int64_t until)
{
    struct listing *l = context;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1024);
    char hex[SHA256_HEX_SIZE], time[32], size[32];
    sha256_to_hex(name, hex);
    text_format_time(until, time);
    if (!l->options->json) {
        if (l->options->dry_run && removed)
            printf("%s  %s  would be removed\n", hex, text_format_size(bytes, size));
        else if (l->options->dry_run)
            printf("%s  %s  not before %s\n", hex, text_format_size(bytes, size), time);
        return;
    }
    int r = buf_append_format(&b, "%s\n    {", l->count++ ? "," : "");
    if (r == 0)
        r = json_append_text(&b, "object", hex);
    if (r == 0)
        r = json_append_number(&b, "bytes", bytes);
    if (r == 0)
        r = json_append_bool(&b, "removed", removed && !l->options->dry_run);
    if (r == 0)
        r = json_append_text(&b, "until", time);
    if (r == 0)
        printf("%s}", buf_text(&b));
    l->result = r < 0 ? r : l->result;
}

static void print_sum(const char *path, const struct gc_options *o, const struct site_collected *sum)
{
    char removed[32], waiting[32], all[32];
    if (o->json) {
        printf("\n  ],\n  \"dry_run\": %s, \"objects\": %llu, \"bytes\": %llu, \"removed\": %llu, \"removed_bytes\": "
               "%llu,\n"
               "  \"waiting\": %llu, \"waiting_bytes\": %llu, \"foreign\": %llu\n}\n",
               o->dry_run ? "true" : "false", (unsigned long long)sum->objects, (unsigned long long)sum->bytes,
               (unsigned long long)sum->removed, (unsigned long long)sum->removed_bytes,
               (unsigned long long)sum->waiting, (unsigned long long)sum->waiting_bytes,
               (unsigned long long)sum->foreign);
        return;
    }
    printf("%s: %s %llu of %s, %s of %s\n", path, o->dry_run ? "would remove" : "removed",
           (unsigned long long)sum->removed, TEXT_COUNT(sum->objects, "object"),
           text_format_size(sum->removed_bytes, removed), text_format_size(sum->bytes, all));
    if (sum->waiting)
        printf("%llu more, %s, not needed by any listed version: until their grace time has passed\n",
               (unsigned long long)sum->waiting, text_format_size(sum->waiting_bytes, waiting));
    if (sum->foreign)
        fprintf(stderr, "rondo: left %s among the objects that are none; rondo fsck %s tells more\n",
                TEXT_COUNT(sum->foreign, "file"), path);
}

int gc_site(const char *path, const struct gc_options *options, struct error *error)
{
    struct site *s = NULL;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct needs *needs = NULL;
    struct site_collected sum;
    struct listing l = {.options = options};
    struct site_collect o = {.now = io_realtime_seconds(),
                             .grace = options->grace,
                             .dry_run = options->dry_run,
                             .each = list_object,
                             .context = &l};
    cli_catch_signals();
    int r = gc_open_site(path, &s, &c, error);
    if (r < 0)
        return r;
    r = needs_new(&needs, error);
    if (r == 0)
        r = add_all(s, &c, needs, error);
    cli_progress_end();
    if (r == 0) {
        if (options->json)
            fputs("{\n  \"unneeded\": [", stdout);
        r = site_collect(s, needs, &o, &sum, error);
        if (r == 0 && l.result < 0)
            r = error_set(error, -l.result, "out of memory");
        if (r == 0)
            print_sum(path, options, &sum);
        else if (options->json)
            fputs("\n  ]\n}\n", stdout);
    }
    needs_free(needs);
    site_close(s);
    return r;
}
