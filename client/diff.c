// rondo diff IMAGE IMAGE: what whoever holds the first must fetch to hold the second, and how many blocks of each
// member stand elsewhere. Only pages of the maps are fetched for that. Two versions that are the same differ in
// nothing: that is no failure either.
#include "client/cli.h"
#include "client/images.h"
#include "client/report.h"
#include <stdio.h>

#include "base/banned.h"

struct side {
    struct resolved resolved;
    struct version *version; // NULL until it is opened
};

static int open_side(struct side *side, struct images *images, const char *address, struct error *error)
{
    int r = images_resolve(images, address, &side->resolved, error);
    if (r < 0)
        return r;
    r = images_open_version(images, &side->resolved, &side->version, error);
    return images_explain(r, &side->resolved, error);
}

static void close_side(struct side *side)
{
    version_close(side->version);
    resolve_free(&side->resolved);
}

static int report_members(struct report *p, const struct side *from, const struct side *to, struct error *error)
{
    const struct manifest *m = version_manifest(to->version);
    char key[64];

    for (unsigned i = 0; i < m->member_count; i++) {
        uint64_t changed = 0;
        int r = version_count_changed(from->version, to->version, i, &changed, error);
        if (r < 0)
            return r;
        snprintf(key, sizeof(key), "%s_changed_blocks", m->members[i].name);
        report_number(p, key, changed);
    }
    return 0;
}

static int compare(struct report *p, const struct side *from, const struct side *to, struct error *error)
{
    struct version_difference d;
    char hex[SHA256_HEX_SIZE];
    int r = version_compare(from->version, to->version, &d, error);

    if (r < 0)
        return r;
    report_text(p, "from", sha256_to_hex(version_name(from->version), hex));
    report_text(p, "to", sha256_to_hex(version_name(to->version), hex));
    report_number(p, "fetch_bytes", d.data_bytes + d.page_bytes);
    report_number(p, "data_bytes", d.data_bytes);
    report_number(p, "data_chunks", d.data_chunks);
    report_number(p, "page_bytes", d.page_bytes);
    report_number(p, "pages", d.pages);
    report_number(p, "packs", d.packs);
    report_number(p, "boot_stored_bytes", d.boot_bytes);
    report_number(p, "boot_packs", d.boot_packs);
    return report_members(p, from, to, error);
}

static int diff(struct report *p, struct images *images, const char *const *addresses, struct error *error)
{
    struct side from = {.version = NULL}, to = {.version = NULL};
    int r = images_open(images, error);

    if (r == 0)
        r = open_side(&from, images, addresses[0], error);
    if (r == 0)
        r = open_side(&to, images, addresses[1], error);
    if (r == 0)
        r = images_explain(compare(p, &from, &to, error), &to.resolved, error);
    close_side(&from);
    close_side(&to);
    images_close(images);
    return r;
}

int verb_diff(int argc, char **argv)
{
    struct report report = REPORT_EMPTY;
    struct images images = {.store = NULL};
    const struct option options[] = {
        {"json", OPTION_FLAG, &report.json}, IMAGES_OPTIONS(images), {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 2, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = diff(&report, &images, (const char *const *)argv + 1, &error);
    r = report_end(&report, r, &error);
    return cli_end(r, &error);
}
