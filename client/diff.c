// rondo diff IMAGE IMAGE: what whoever holds the first must fetch to hold the second, and how many blocks of each
// member stand elsewhere. Only pages of the maps are fetched for that. Two versions that are the same differ in
// nothing: that is no failure either.
#include "client/cli.h"
#include "client/report.h"
#include "client/resolve.h"
#include <stdio.h>

#include "base/banned.h"

struct side {
    struct resolved resolved;
    struct version *version; // NULL until it is opened
};

static int open_side(struct side *side, struct store *store, const struct configuration *configuration,
                     const char *address, const struct resolve_options *options, struct error *error)
{
    struct resolved *r = &side->resolved;
    int result = resolve_image(store, configuration, address, options, r, error);
    if (result < 0)
        return result;
    result = version_open(store, &r->manifest, (const char *const *)r->sources, r->source_count, &side->version, error);
    if (result < 0) {
        result = resolve_explain_offline(result, r->offline, r->address.site, r->description->name,
                                         r->description->version, error);
        side->version = NULL;
        resolve_free(r);
    }
    return result;
}

static void close_side(struct side *side)
{
    if (!side->version)
        return;
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

static int diff(struct report *p, const char *const *addresses, const struct resolve_options *options,
                struct error *error)
{
    struct configuration configuration;
    struct store *store = NULL;
    struct side from = {.version = NULL}, to = {.version = NULL};
    int r = configuration_read(&configuration, error);

    if (r == 0)
        r = resolve_open_store(&configuration, &store, error);
    if (r < 0)
        return r;
    r = open_side(&from, store, &configuration, addresses[0], options, error);
    if (r == 0)
        r = open_side(&to, store, &configuration, addresses[1], options, error);
    if (r == 0)
        r = compare(p, &from, &to, error);
    r = from.version && to.version
            ? resolve_explain_offline(r, to.resolved.offline, to.resolved.address.site, to.resolved.description->name,
                                      to.resolved.description->version, error)
            : r;
    close_side(&from);
    close_side(&to);
    store_free(store);
    return r;
}

int verb_diff(int argc, char **argv)
{
    struct report report = REPORT_EMPTY;
    struct resolve_options resolve = {.offline = false};
    const struct option options[] = {{"json", OPTION_FLAG, &report.json},
                                     {"offline", OPTION_FLAG, &resolve.offline},
                                     {"require-fresh", OPTION_FLAG, &resolve.require_fresh},
                                     {"require-pin", OPTION_FLAG, &resolve.require_pin},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 2, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = diff(&report, (const char *const *)argv + 1, &resolve, &error);
    r = report_end(&report, r, &error);
    return r < 0 ? cli_fail(r, &error) : cli_finish_output(EXIT_CODE_OK);
}
