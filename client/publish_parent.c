// rondo publish: the versions whose blocks are known. The first of --parent, else the one that the image's tag latest
// names, is the parent: the manifest names it, and its boot is inherited. Of all of them what this site holds is not
// stored again.
#include "base/cleanup.h"
#include "blockstore/parent.h"
#include "client/images.h"
#include "client/publish_private.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static int resolve_parents(struct publication *p, struct images *images, struct error *error)
{
    for (unsigned i = 0; i < p->parents.count; i++) {
        struct resolved resolved = {.source_count = 0};
        int r = images_resolve(images, p->parents.values[i], &resolved, error);
        if (r < 0)
            return r;
        p->known[p->known_count++] = resolved.description;
        resolved.description = NULL;
        if (i == 0) {
            p->manifest->has_parent = true;
            p->manifest->parent = resolved.manifest;
        }
        resolve_free(&resolved);
    }
    return 0;
}

// Any versions of any sites. The network may be slow, and nothing was made yet: a signal ends the command at once.
int publish_resolve_parents(struct publication *p, struct error *error)
{
    struct images images = {.store = NULL};

    if (p->parents.count == 0)
        return 0;
    int r = images_open(&images, error);
    if (r < 0)
        return r;
    cli_cancel_on_signals();
    r = cli_interrupted() ? error_set(error, ECANCELED, "cancelled") : resolve_parents(p, &images, error);
    cli_catch_signals();
    images_close(&images);
    return r;
}

static int read_latest(struct publication *p, const struct catalog_image *latest, struct error *error)
{
    struct manifest *m = malloc(sizeof(*m));

    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    // Its publisher decides whether what its packs' tables say is believed (blockstore/parent.h), so it must be who
    // signed.
    int r = publish_read_manifest(p, latest, m, error);
    if (r < 0) {
        free(m);
        return error_prefix(error, r, "%s %s of %s, the parent unless --parent names another", latest->name,
                            latest->version, p->site);
    }
    p->known[p->known_count++] = m;
    p->manifest->has_parent = true;
    p->manifest->parent = latest->manifest;
    return 0;
}

const struct catalog_image *publish_count_serial(struct publication *p)
{
    const struct catalog_image *newest = catalog_newest_image(&p->catalog, p->name);
    p->manifest->serial = newest ? newest->serial + 1 : 1;
    return newest;
}

int publish_learn_parents(struct publication *p, struct error *error)
{
    const struct catalog_image *latest;
    unsigned missing = 0;
    int r = 0;

    if (publish_count_serial(p) && p->known_count == 0 && catalog_find(&p->catalog, p->name, NULL, &latest, NULL) == 0)
        r = read_latest(p, latest, error);
    for (unsigned i = 0; r == 0 && i < p->known_count; i++) {
        const struct manifest *m = p->known[i];
        bool foreign = memcmp(m->publisher, p->manifest->publisher, sizeof(m->publisher)) != 0;
        struct parent_counts counts = {.known = 0};
        r = parent_know(p->writer, writer_site(p->writer), m, foreign, &counts, error);
        missing += counts.missing;
        if (i == 0)
            p->boot_chunks = counts.boot_chunks;
    }
    if (r == 0 && missing)
        fprintf(stderr, "rondo: %s lacks %s of the parent, whose blocks are stored anew\n", p->site,
                TEXT_COUNT(missing, "pack"));
    return r;
}
