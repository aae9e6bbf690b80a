// rondo pull: everything of a version into the cache, kept there (pinned), so that it runs without a network.
#include "base/cleanup.h"
#include "client/cli.h"
#include "client/images.h"
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

static int pull(struct images *images, const char *image, struct error *error)
{
    struct resolved resolved = {.source_count = 0};
    struct version *v;
    CLEANUP_FREE struct sha256 *objects = NULL;
    size_t count;
    char hex[SHA256_HEX_SIZE], size[32];
    struct store_counts counts; // since the store was opened: with catalog and manifest
    int r = images_resolve(images, image, &resolved, error);
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: %s %s from %s\n", resolved.description->name, resolved.description->version,
            resolved.address.site);
    r = images_open_version(images, &resolved, &v, error);
    cli_catch_signals(); // from here on there are temporaries to take away
    if (r == 0) {
        r = version_pull(v, report_progress, NULL, &objects, &count, error);
        cli_progress_end();
        store_count(images->store, &counts);
        if (r == 0)
            r = resolve_pin_pulled(store_cache(images->store), &resolved.manifest, &resolved.shard.object, &objects,
                                   count, error);
        version_close(v);
    }
    if (r == 0) {
        fprintf(stderr, "rondo: fetched %s in %s; it runs offline now\n", text_format_size(counts.network.bytes, size),
                TEXT_COUNT(counts.network.requests, "request"));
        printf("%s\n", sha256_to_hex(&resolved.manifest, hex));
    }
    resolve_free(&resolved);
    return r;
}

int verb_pull(int argc, char **argv)
{
    struct images images = {.resolve = {.for_update = true}};
    const struct option options[] = {{"require-pin", OPTION_FLAG, &images.resolve.require_pin},
                                     {"source", OPTION_LIST, &images.named},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = images_open(&images, &error);
    if (r == 0)
        r = pull(&images, argv[1], &error);
    images_close(&images);
    return cli_end(r, &error);
}
