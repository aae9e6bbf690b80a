// rondo history IMAGE: the versions that a site offers of one name, newest first, and what each adds to the one before.
//
// Only the catalog, manifests and map pages are fetched, all of it verified and kept in the cache: no data. At most two
// versions are open at a time, and --limit bounds how many are asked for, however many the catalog lists. A version
// whose manifest or pages cannot be had, or are not right, has its line all the same, and the line says why; after the
// first failure of the network the rest comes from the cache alone, so that no more than one wait is added.
#include "base/cleanup.h"
#include "catalog/signer.h"
#include "client/cli.h"
#include "client/images.h"
#include "client/report.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define LIMIT_DEFAULT 50u
#define KEY_SHORT 8 // characters of a publisher's key that a line shows

struct history {
    struct images images;
    struct resolved resolved;
    struct catalog_image *list;   // all that are offered, newest first
    size_t count, shown, offered; // count: shown, and the one before the last of them
    unsigned sources;             // 0 from the first failure of the network on
    struct report report;
};

// One line.
struct entry {
    const struct catalog_image *image;
    struct version *version; // NULL: it cannot be had
    bool has_size, has_new;
    uint64_t size, new; // stored bytes, data and pages: of all of it; of what the version before has not
    struct error error; // why anything of this is missing
};

static int by_newest(const void *a, const void *b)
{
    const struct catalog_image *x = a, *y = b;
    return x->serial < y->serial ? 1 : -1; // no two of one name are equal
}

// An address that names a version begins there; otherwise the newest does, whatever latest names.
static int list_images(struct history *h, uint64_t limit, struct error *error)
{
    const struct catalog *c = &h->resolved.versions;
    const struct address *a = &h->resolved.address;
    uint64_t newest = UINT64_MAX;
    h->list = calloc(c->image_count + (size_t)1, sizeof(*h->list));
    if (!h->list)
        return error_set(error, ENOMEM, "out of memory");
    for (unsigned i = 0; i < c->image_count; i++)
        if (strcmp(c->images[i].name, a->name) == 0 && sha256_equal(&c->images[i].manifest, &h->resolved.manifest) &&
            (a->selector[0] || a->has_manifest))
            newest = c->images[i].serial;
    for (unsigned i = 0; i < c->image_count; i++)
        if (strcmp(c->images[i].name, a->name) == 0 && c->images[i].serial <= newest)
            h->list[h->offered++] = c->images[i];
    qsort(h->list, h->offered, sizeof(*h->list), by_newest);
    h->shown = limit < h->offered ? (size_t)limit : h->offered;
    h->count = h->shown < h->offered ? h->shown + 1 : h->shown;
    return 0;
}

static void note(struct history *h, int r)
{
    if (error_is_network(r))
        h->sources = 0;
}

static void open_entry(struct history *h, size_t i, struct entry *ret)
{
    *ret = (struct entry){.image = &h->list[i]};
    cli_progress("reading %s %s (%zu of %zu)", ret->image->name, ret->image->version, i + 1, h->count);
    note(h, resolve_open_version(h->images.store, &h->resolved, &h->resolved.versions, ret->image, h->sources,
                                 &ret->version, &ret->error));
}

// `before` is NULL for the first version: all of it is new.
static void measure(struct history *h, struct entry *e, const struct entry *before)
{
    struct version_difference all, new;
    if (!e->version)
        return;
    int r = version_compare(NULL, e->version, &all, &e->error);
    note(h, r);
    e->has_size = r == 0;
    e->size = r == 0 ? all.data_bytes + all.page_bytes : 0;
    if (r < 0)
        error_prefix(&e->error, r, "its map");
    if (r < 0)
        return;
    if (before && !before->version) {
        error_set(&e->error, ENOENT, "what is new cannot be told without %s", before->image->version);
        return;
    }
    if (!before) {
        e->has_new = true;
        e->new = e->size;
        return;
    }
    r = version_compare(before->version, e->version, &new, &e->error);
    note(h, r);
    e->has_new = r == 0;
    e->new = r == 0 ? new.data_bytes + new.page_bytes : 0;
    if (r < 0)
        error_prefix(&e->error, r, "the map of the version before");
}

static const char *publisher_of(const struct manifest *m, char ret[static KEY_TEXT_SIZE])
{
    const struct key_public publisher = signer_of(m);
    return key_to_text(&publisher, ret);
}

static int report_entry(struct report *p, const struct entry *e, const char *tags, bool pulled)
{
    const struct manifest *m = e->version ? version_manifest(e->version) : NULL;
    char hex[SHA256_HEX_SIZE], key[KEY_TEXT_SIZE], date[32];
    report_text(p, "name", e->image->name);
    report_text(p, "version", e->image->version);
    report_number(p, "serial", e->image->serial);
    report_text(p, "manifest", sha256_to_hex(&e->image->manifest, hex));
    report_text(p, "tags", tags);
    report_bool(p, "pulled", pulled);
    if (m) {
        report_text(p, "created", text_format_time(m->created, date));
        report_text(p, "publisher", publisher_of(m, key));
        report_text(p, "title", m->title);
    }
    if (e->has_size)
        report_number(p, "stored_bytes", e->size);
    if (e->has_new)
        report_number(p, "new_bytes", e->new);
    if (e->error.text[0])
        report_text(p, "error", e->error.text);
    return report_end_row(p);
}

static int print(struct history *h, const struct entry *e, bool first)
{
    char tags[1024], key[KEY_TEXT_SIZE] = "-", date[32] = "-", size[32] = "-", new[32] = "-";
    const bool pulled = cache_is_pinned(store_cache(h->images.store), &e->image->manifest, CACHE_OWNER_PULL);
    catalog_list_tags(&h->resolved.versions, e->image, tags, sizeof(tags));
    cli_progress_end();
    if (h->report.json)
        return report_entry(&h->report, e, tags, pulled);
    if (first)
        printf("%-16s %-7s %-20s %-9s %-10s %-10s %-6s %-16s %s\n", "VERSION", "SERIAL", "CREATED", "PUBLISHER", "SIZE",
               "NEW", "PULLED", "TAGS", "TITLE");
    if (e->version) {
        text_format_time(version_manifest(e->version)->created, date);
        publisher_of(version_manifest(e->version), key);
    }
    if (e->has_size)
        text_format_size(e->size, size);
    if (e->has_new)
        text_format_size(e->new, new);
    printf("%-16s %-7llu %-20s %-9.*s %-10s %-10s %-6s %-16s %s\n", e->image->version,
           (unsigned long long)e->image->serial, date, KEY_SHORT, key, size, new, pulled ? "yes" : "no", tags,
           e->error.text[0] || !e->version ? e->error.text : version_manifest(e->version)->title);
    return 0;
}

static int print_all(struct history *h)
{
    struct entry now, before;
    int r = 0;
    open_entry(h, 0, &now);
    for (size_t i = 0; i < h->shown && now.image && r == 0; i++) {
        const bool has_before = i + 1 < h->count;
        if (has_before)
            open_entry(h, i + 1, &before);
        measure(h, &now, has_before ? &before : NULL);
        r = print(h, &now, i == 0);
        if (now.version)
            version_close(now.version);
        now = has_before ? before : (struct entry){.version = NULL};
    }
    if (now.version)
        version_close(now.version);
    return r;
}

static int history(struct history *h, const char *address, uint64_t limit, struct error *error)
{
    int r = images_open(&h->images, error);
    if (r == 0)
        r = images_resolve(&h->images, address, &h->resolved, error);
    if (r == 0) {
        h->sources = h->resolved.source_count;
        r = list_images(h, limit, error);
    }
    if (r == 0) {
        report_begin_list(&h->report);
        r = print_all(h);
        cli_progress_end();
        r = report_end_list(&h->report, r, error);
        if (r == 0 && h->shown < h->offered)
            fprintf(stderr, "rondo: %zu of %zu versions are shown, the newest; --limit %zu shows all\n", h->shown,
                    h->offered, h->offered);
    }
    free(h->list);
    resolve_free(&h->resolved);
    images_close(&h->images);
    return r;
}

int verb_history(int argc, char **argv)
{
    struct history h = {.report = REPORT_EMPTY, .images = {.resolve = {.all_versions = true}}};
    uint64_t limit = LIMIT_DEFAULT;
    const struct option options[] = {{"json", OPTION_FLAG, &h.report.json},
                                     {"limit", OPTION_NUMBER, &limit},
                                     IMAGES_OPTIONS(h.images),
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = history(&h, argv[1], limit, &error);
    return cli_end(r, &error);
}
