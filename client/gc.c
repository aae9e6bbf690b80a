// rondo gc: makes the cache as small as it shall be, and takes away what dead commands have left; with a site's folder,
// see gc_site.c.
//
// What a machine needs stays, whether it runs (its version is leased by rondo-cloop, and its settings name it) or not
// (its settings name it): it may be the only copy at hand when there is no network. So does what was pulled.
#include "client/gc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "client/cli.h"
#include "client/images.h"
#include "client/instance.h"
#include "client/json.h"
#include "client/publish_work.h"
#include "client/publisher.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

// --- machines ------------------------------------------------------------------------------------------------------

struct machines {
    struct cache *cache;      // NULL: nothing is changed in it
    struct sha256 *manifests; // malloc'ed
    size_t count, capacity;
};

static int note_machine(void *context, struct instance *i, const struct error *damage)
{
    struct machines *m = context;
    if (damage)
        return 0; // it cannot be started
    if (m->count == m->capacity) {
        size_t capacity = m->capacity ? 2 * m->capacity : 16;
        struct sha256 *grown = realloc(m->manifests, capacity * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        m->manifests = grown;
        m->capacity = capacity;
    }
    m->manifests[m->count++] = i->settings.manifest;
    if (m->cache)
        cache_unpin_others(m->cache, &i->settings.manifest, i->folder);
    return 0;
}

static void free_machines(struct machines *m)
{
    free(m->manifests);
}

// --- the cache -----------------------------------------------------------------------------------------------------

struct listing {
    const struct gc_options *options;
    unsigned count;
    int result;
};

static void list_file(void *context, const struct sha256 *name, uint64_t bytes)
{
    struct listing *l = context;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1024);
    char hex[SHA256_HEX_SIZE], size[32];
    sha256_to_hex(name, hex);
    if (!l->options->json) {
        if (l->options->dry_run)
            printf("%s  %s  would be evicted\n", hex, text_format_size(bytes, size));
        return;
    }
    int r = buf_append_format(&b, "%s\n    {", l->count++ ? "," : "");
    if (r == 0)
        r = json_append_text(&b, "object", hex);
    if (r == 0)
        r = json_append_number(&b, "bytes", bytes);
    if (r == 0)
        printf("%s}", buf_text(&b));
    l->result = r < 0 ? r : l->result;
}

static void print_sum(const struct gc_options *o, const struct cache_collected *sum, uint64_t limit, unsigned leftovers,
                      unsigned publications)
{
    char freed[32], left[32], most[32], kept[32];
    if (o->json) {
        printf("\n  ],\n  \"dry_run\": %s, \"freed\": %llu, \"files\": %llu, \"bytes\": %llu, \"kept\": %llu,\n"
               "  \"limit\": %llu, \"leftovers\": %u, \"publications\": %u\n}\n",
               o->dry_run ? "true" : "false", (unsigned long long)sum->freed, (unsigned long long)sum->files,
               (unsigned long long)sum->left, (unsigned long long)sum->kept, (unsigned long long)limit, leftovers,
               publications);
    } else {
        printf("%s %s in %s; the cache then has %s of at most %s, and %s of that are kept for machines and "
               "pulled versions\n",
               o->dry_run ? "would free" : "freed", text_format_size(sum->freed, freed), TEXT_COUNT(sum->files, "file"),
               text_format_size(sum->left, left), text_format_size(limit, most), text_format_size(sum->kept, kept));
        if (leftovers)
            printf("removed what %s that ended without a word had left\n", TEXT_COUNT(leftovers, "machine"));
        if (publications)
            printf("%s what %s over HTTP had left that nobody went on with for a week\n",
                   o->dry_run ? "would remove" : "removed", TEXT_COUNT(publications, "publication"));
    }
    if (sum->left > limit)
        fprintf(stderr,
                "rondo: the cache stays larger than that; rondo ps and rondo ls say what is kept, rondo rm and rondo "
                "rmi let it go\n");
}

static int gc_cache(const struct gc_options *options, struct error *error)
{
    struct machines machines CLEANUP(free_machines) = {.count = 0};
    struct images images = {.store = NULL};
    struct cache_collected sum;
    struct listing l = {.options = options};
    unsigned leftovers = 0, publications = 0;
    int r = images_open(&images, error);
    struct cache *cache = r == 0 ? store_cache(images.store) : NULL;
    if (r == 0 && !options->dry_run)
        r = instance_sweep(&leftovers, error);
    if (r == 0)
        r = publish_work_sweep(io_realtime_seconds(), options->dry_run, &publications, error);
    machines.cache = options->dry_run ? NULL : cache;
    if (r == 0)
        r = instance_list(note_machine, &machines, error);
    if (r == -ENOMEM)
        error_set(error, ENOMEM, "out of memory");
    if (r == 0) {
        struct cache_collect o = {.limit = options->limit == GC_LIMIT_CONFIGURED ? cache_limit(cache) : options->limit,
                                  .dry_run = options->dry_run,
                                  .manifests = machines.manifests,
                                  .manifest_count = machines.count,
                                  .each = list_file,
                                  .context = &l};
        if (options->json)
            fputs("{\n  \"evicted\": [", stdout);
        r = cache_collect(cache, &o, &sum, error);
        if (r == 0 && l.result < 0)
            r = error_set(error, -l.result, "out of memory");
        if (r == 0)
            print_sum(options, &sum, o.limit, leftovers, publications);
        else if (options->json)
            fputs("\n  ]\n}\n", stdout);
    }
    images_close(&images);
    return r;
}

int verb_gc(int argc, char **argv)
{
    struct gc_options o = {.limit = GC_LIMIT_CONFIGURED, .grace = SITE_GRACE_DEFAULT};
    const char *grace = NULL;
    const struct option options[] = {{"max-size", OPTION_LIMIT, &o.limit},
                                     {"grace", OPTION_TEXT, &grace},
                                     {"dry-run", OPTION_FLAG, &o.dry_run},
                                     {"json", OPTION_FLAG, &o.json},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 0, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (operands && o.limit != GC_LIMIT_CONFIGURED)
        return cli_usage("gc", "--max-size is the cache's: a site keeps what its versions need");
    if (!operands && grace)
        return cli_usage("gc", "--grace belongs to a site: rondo gc SITE --grace %s", grace);
    if (grace && strcmp(grace, "0") == 0)
        o.grace = 0;
    else if (grace && !publisher_parse_duration(grace, &o.grace))
        return cli_usage("gc", "--grace takes a time like 7d or 12h, or 0, not \"%s\"", grace);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = operands ? gc_site(argv[1], &o, &error) : gc_cache(&o, &error);
    return cli_end(r, &error);
}
