// rondo update: what a machine can do about a newer version of its image: keep the version that it has, give up what it
// wrote and begin again with the new one, or be committed first. Without an option it only says so. Nothing ever puts
// what a machine wrote over another version than it was written over (TRUST T43).
//
//   the machine's site and tag ─▶ resolve (as for a new machine; the site is asked, an expired catalog is refused)
//   ─▶ the same version? it is up to date        ─▶ --keep: the mark of client/newer.h
//   ─▶ --discard, locked: instance_replace
#include "base/cleanup.h"
#include "base/text.h"
#include "blockstore/overlay_snapshot.h"
#include "client/cli.h"
#include "client/images.h"
#include "client/newer.h"
#include "client/report.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

struct request {
    const char *name, *to; // to: another tag or version than the machine was made from; NULL
    bool discard, keep;
    struct report report; // of what can be done, where neither is asked for
};

struct update {
    struct images images;
    struct instance instance;
    struct resolved newer;
    struct overlay_history history;
};

static int resolve(const struct request *q, struct update *u, struct error *error)
{
    const struct instance_settings *s = &u->instance.settings;
    char address[CATALOG_URL_SIZE + 2 * CATALOG_NAME_SIZE + 2];
    if (q->to && !text_is_version_name(slice_of(q->to)))
        return error_set(error, EINVAL, "--to takes a tag or a version of %s, not \"%s\"", s->image, q->to);
    u->images.resolve.for_update = !u->images.resolve.offline;
    int r = images_open(&u->images, error);
    if (r == 0)
        r = path_format(address, sizeof(address), "%s%s:%s", s->site, s->image, q->to ? q->to : s->asked);
    return r < 0 ? r : images_resolve(&u->images, address, &u->newer, error);
}

static uint64_t disk_of(const struct manifest *m)
{
    int disk = manifest_find_member(m, "disk");
    return disk < 0 ? 0 : (m->members[disk].size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
}

static uint64_t memory_of(const struct manifest *m)
{
    return m->memory ? m->memory : INSTANCE_MEMORY_DEFAULT;
}

// The settings of the machine over its new version. Memory and disk that were the old image's own become the new
// image's; what the user chose stays, and no disk is smaller than its image.
static int make_settings(struct update *u, struct instance_settings *ret, struct error *error)
{
    const struct manifest *new = u->newer.description;
    const uint64_t size = disk_of(new);
    struct instance_settings s = u->instance.settings;
    struct version *old;
    if (size == 0)
        return error_set(error, EINVAL, "%s %s has no disk, so it cannot be run", new->name, new->version);
    if (version_open(u->images.store, &s.manifest, NULL, 0, &old, NULL) == 0) {
        const struct manifest *m = version_manifest(old);
        if (s.disk_size == disk_of(m))
            s.disk_size = size;
        if (s.memory == memory_of(m))
            s.memory = memory_of(new);
        version_close(old);
    }
    if (s.disk_size < size)
        s.disk_size = size;
    instance_set_version(&s, &u->newer);
    *ret = s;
    return 0;
}

// What the machine had kept of another version is needed no more.
static void release_pins(const struct update *u)
{
    cache_unpin_others(store_cache(u->images.store), &u->instance.settings.manifest, u->instance.folder);
}

static int discard(struct update *u, struct error *error)
{
    struct instance_settings settings;
    char size[32];
    int r = make_settings(u, &settings, error);
    if (r == 0)
        r = instance_replace(&u->instance, &settings, error);
    if (r < 0)
        return r;
    release_pins(u);
    fprintf(stderr, "rondo: machine %s is %s %s now; what it wrote (%s) is gone", u->instance.name, settings.image,
            settings.version, text_format_size(u->history.bytes, size));
    if (u->history.count)
        fprintf(stderr, ", with %s", TEXT_COUNT(u->history.count, "snapshot"));
    fputs("\n", stderr);
    return 0;
}

static int keep(struct update *u, struct error *error)
{
    const struct instance_settings *s = &u->instance.settings;
    int r = newer_keep(&u->instance, &u->newer.manifest, error);
    if (r == 0)
        fprintf(stderr, "rondo: machine %s stays with %s %s, and %s is not mentioned again\n", u->instance.name,
                s->image, s->version, u->newer.description->version);
    return r;
}

static void say_choices(const struct request *q, const struct update *u)
{
    const struct instance_settings *s = &u->instance.settings;
    const struct manifest *new = u->newer.description;
    const char *selector = q->to ? q->to : s->asked, *name = u->instance.name;
    char date[32], size[32], to[CATALOG_NAME_SIZE + 8] = "";
    if (q->to)
        snprintf(to, sizeof(to), " --to %s", q->to);
    printf("machine %s is %s %s; %s:%s is %s, published %s\n", name, s->image, s->version, s->image, selector,
           new->version, text_format_time(new->created, date));
    printf("  rondo update %s%s --keep     stays with %s, and does not mention %s again\n", name, to, s->version,
           new->version);
    printf("  rondo update %s%s --discard  gives up what the machine wrote (%s, %s), and begins with %s\n", name, to,
           text_format_size(u->history.bytes, size), TEXT_COUNT(u->history.count, "snapshot"), new->version);
    printf("  rondo commit %s --name NAME --version V --key K --to SITE  publishes what it wrote first, over %s\n",
           name, s->version);
}

static void report(struct request *q, const struct update *u, bool current)
{
    const struct instance_settings *s = &u->instance.settings;
    char hex[SHA256_HEX_SIZE];
    report_text(&q->report, "machine", u->instance.name);
    report_text(&q->report, "image", s->image);
    report_text(&q->report, "version", s->version);
    report_text(&q->report, "asked", q->to ? q->to : s->asked);
    report_text(&q->report, "newer_version", current ? "" : u->newer.description->version);
    report_text(&q->report, "newer_manifest", current ? "" : sha256_to_hex(&u->newer.manifest, hex));
    report_number(&q->report, "written", u->history.bytes);
    report_number(&q->report, "snapshots", u->history.count);
}

static int carry_out(struct request *q, struct update *u, struct error *error)
{
    const struct instance_settings *s = &u->instance.settings;
    int r = instance_open(q->name, &u->instance, error);
    if (r == 0 && q->discard)
        r = instance_lock_stopped(&u->instance, error);
    if (r == 0)
        r = overlay_history_read(u->instance.folder_fd, &u->history, error);
    if (r == -EBADMSG && q->discard)
        r = 0; // what is damaged is given up, too
    if (r == 0)
        r = resolve(q, u, error);
    if (r < 0)
        return r;
    const bool current = sha256_equal(&u->newer.manifest, &s->manifest);
    if (q->report.json)
        report(q, u, current);
    else if (current)
        printf("machine %s is up to date: %s:%s is %s\n", q->name, s->image, q->to ? q->to : s->asked, s->version);
    else if (!q->discard && !q->keep)
        say_choices(q, u);
    if (current && q->discard)
        release_pins(u); // one that was cut short has not
    if (current || q->report.json)
        return 0;
    return q->discard ? discard(u, error) : q->keep ? keep(u, error) : 0;
}

int verb_update(int argc, char **argv)
{
    struct request q = {.report = REPORT_EMPTY};
    struct update u = {.instance = INSTANCE_NONE};
    const struct option options[] = {{"discard", OPTION_FLAG, &q.discard},
                                     {"keep", OPTION_FLAG, &q.keep},
                                     {"to", OPTION_TEXT, &q.to},
                                     {"offline", OPTION_FLAG, &u.images.resolve.offline},
                                     {"source", OPTION_LIST, &u.images.named},
                                     {"json", OPTION_FLAG, &q.report.json},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (q.discard && q.keep)
        return cli_usage("update", "--discard and --keep exclude each other");
    if (q.report.json && (q.discard || q.keep))
        return cli_usage("update", "--json says what can be done; it goes without --discard and --keep");
    q.name = argv[1];
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = carry_out(&q, &u, &error);
    resolve_free(&u.newer);
    images_close(&u.images);
    instance_close(&u.instance);
    r = report_end(&q.report, r, &error);
    return cli_end(r, &error);
}
