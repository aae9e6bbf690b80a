// rondo ps: the machines of this user, running or not.
#include "base/cleanup.h"
#include "base/path.h"
#include "base/text.h"
#include "blockstore/cache.h"
#include "blockstore/overlay_snapshot.h"
#include "client/ask.h"
#include "client/cli.h"
#include "client/newer.h"
#include "client/report.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define ANSWER_MS 1000

struct listing {
    struct cache *cache; // or NULL
    struct report report;
    unsigned count;
    struct newer_source newer;
};

struct row {
    const char *base; // whether it runs without its site
    char state[32], reason[ERROR_TEXT_SIZE], engine[16], since[32];
    uint64_t written; // bytes that the overlay occupies, snapshots included
    unsigned snapshots;
    struct newer newer; // of its image; of a damaged one nothing is known
};

static void describe(const struct listing *l, const struct instance *i, const struct error *damage, struct row *row)
{
    char answer[SOCKET_LINE_MAXIMUM];
    struct overlay_history history;
    *row = (struct row){.state = "stopped", .base = "needs site"};
    if (damage)
        row->base = "";
    else if (l->cache && cache_is_pinned(l->cache, &i->settings.manifest, NULL))
        row->base = "complete";
    if (overlay_history_read(i->folder_fd, &history, NULL) == 0) {
        row->written = history.bytes;
        row->snapshots = history.count;
    }
    if (damage) {
        snprintf(row->state, sizeof(row->state), "damaged");
        snprintf(row->reason, sizeof(row->reason), "%s", damage->text);
    }
    if (instance_is_running(i)) {
        snprintf(row->state, sizeof(row->state), "busy"); // the lock is held, but nobody answers: not yet, or no more
        if (ask_machine(i, "status", ANSWER_MS, answer, NULL) == 0) {
            ask_find(answer, "state", row->state, sizeof(row->state));
            if (!damage)
                ask_find(answer, "reason", row->reason, sizeof(row->reason));
            ask_find(answer, "engine", row->engine, sizeof(row->engine));
            ask_find(answer, "since", row->since, sizeof(row->since));
        }
    }
}

static int report_row(struct report *p, const struct instance *i, const struct row *row)
{
    char hex[SHA256_HEX_SIZE];
    const struct instance_settings *s = &i->settings;
    const char *const texts[][2] = {{"name", i->name},
                                    {"state", row->state},
                                    {"reason", row->reason},
                                    {"image", s->image},
                                    {"version", s->version},
                                    {"site", s->site},
                                    {"base", row->base},
                                    {"engine", row->engine},
                                    {"since", row->since},
                                    {"folder", i->folder},
                                    {"manifest", sha256_to_hex(&s->manifest, hex)},
                                    {"newer", row->newer.version}};
    for (size_t t = 0; t < ARRAY_SIZE(texts); t++)
        report_text(p, texts[t][0], texts[t][1]);
    report_number(p, "written", row->written);
    report_number(p, "snapshots", row->snapshots);
    report_bool(p, "revoked", row->newer.revoked);
    return report_end_row(p);
}

static int each(void *context, struct instance *i, const struct error *damage)
{
    struct listing *l = context;
    struct row row;
    char size[32];
    describe(l, i, damage, &row);
    if (!damage)
        newer_find(&l->newer, i, &row.newer);
    int r = 0;
    if (l->report.json) {
        r = report_row(&l->report, i, &row);
    } else {
        if (l->count == 0)
            printf("%-20s %-9s %-24s %-10s %-10s %s\n", "NAME", "STATE", "IMAGE", "WRITTEN", "BASE", "SITE");
        char image[2 * CATALOG_NAME_SIZE] = "-";
        if (!damage)
            snprintf(image, sizeof(image), "%s:%s", i->settings.image, i->settings.version);
        printf("%-20s %-9s %-24s %-10s %-10s %s%s%s", i->name, row.state, image, text_format_size(row.written, size),
               row.base, i->settings.site, row.reason[0] ? "  " : "", row.reason);
        if (row.newer.version[0] && !row.newer.kept)
            printf("  %s is there", row.newer.version);
        if (row.newer.revoked)
            printf("  revoked: the key that signed %s", i->settings.version);
        fputs("\n", stdout);
    }
    l->count++;
    return r;
}

int verb_ps(int argc, char **argv)
{
    struct listing l = {.report = REPORT_EMPTY};
    const struct option options[] = {{"json", OPTION_FLAG, &l.report.json}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 0, 0, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    char folder[PATH_TEXT_SIZE];
    if (path_find(PATH_CACHE, folder, NULL) == 0 && access(folder, F_OK) == 0) // none is made for a look
        (void)cache_open(folder, 0, &l.cache, NULL); // without one, all of them need their sites
    report_begin_list(&l.report);
    newer_open(&l.newer);
    r = instance_list(each, &l, &error);
    newer_close(&l.newer);
    if (!l.report.json && r == 0 && l.count == 0)
        fputs("no machines; rondo run IMAGE makes one\n", stderr);
    cache_close(l.cache);
    r = report_end_list(&l.report, r, &error);
    return cli_end(r, &error);
}
