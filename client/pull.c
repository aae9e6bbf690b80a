// rondo pull: everything of a version into the cache, kept there (pinned), so that it runs without a network.
#include "base/cleanup.h"
#include "client/cli.h"
#include "client/resolve.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static int report_progress(void *context, uint64_t have, uint64_t all)
{
    char have_text[32], all_text[32];
    (void)context;
    if (all == 0)
        cli_progress("reading the map");
    else
        cli_progress("%s of %s", text_format_size(have, have_text), text_format_size(all, all_text));
    return cli_interrupted() ? -ECANCELED : 0;
}

static int pull(const struct configuration *configuration, struct store *store, const char *image,
                const struct resolve_options *options, struct error *error)
{
    struct resolved resolved;
    struct version *v;
    CLEANUP_FREE struct sha256 *objects = NULL;
    size_t count;
    char hex[SHA256_HEX_SIZE], size[32];
    struct store_counts counts; // since the store was opened: with catalog and manifest
    int r = resolve_image(store, configuration, image, options, &resolved, error);
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: %s %s from %s\n", resolved.description->name, resolved.description->version,
            resolved.address.site);
    r = version_open(store, &resolved.manifest, (const char *const *)resolved.sources, resolved.source_count, &v,
                     error);
    cli_catch_signals(); // from here on there are temporaries to take away
    if (r == 0) {
        r = version_pull(v, report_progress, NULL, &objects, &count, error);
        cli_progress_end();
        store_count(store, &counts);
        if (r == 0)
            r = resolve_pin_pulled(store_cache(store), &resolved.manifest, &resolved.shard.object, &objects, count,
                                   error);
        version_close(v);
    }
    if (r == 0) {
        fprintf(stderr, "rondo: fetched %s in %llu requests; it runs offline now\n",
                text_format_size(counts.network.bytes, size), (unsigned long long)counts.network.requests);
        printf("%s\n", sha256_to_hex(&resolved.manifest, hex));
    }
    resolve_free(&resolved);
    return r;
}

int verb_pull(int argc, char **argv)
{
    struct resolve_others others;
    struct resolve_options resolve = {.for_update = true, .others = &others};
    struct option_list named = {.count = 0};
    const struct option options[] = {
        {"require-pin", OPTION_FLAG, &resolve.require_pin}, {"source", OPTION_LIST, &named}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    struct configuration configuration;
    struct store *store = NULL;
    cli_cancel_on_signals();
    r = configuration_read(&configuration, &error);
    if (r == 0)
        r = resolve_list_others(&configuration, &named, false, &others, &error);
    if (r == 0)
        r = resolve_open_store(&configuration, &store, &error);
    if (r < 0)
        return cli_fail(r, &error);
    r = pull(&configuration, store, argv[1], &resolve, &error);
    store_free(store);
    return r < 0 ? cli_fail(r, &error) : cli_finish_output(EXIT_CODE_OK);
}
