// rondo inspect IMAGE|NAME: what a version consists of, or what a machine is doing. A name without a URL that is a
// machine's is that machine; otherwise it is an image's.
#include "base/cleanup.h"
#include "blockstore/overlay_snapshot.h"
#include "catalog/signer.h"
#include "client/ask.h"
#include "client/cli.h"
#include "client/images.h"
#include "client/newer.h"
#include "client/report.h"
#include "client/seed.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define ANSWER_MS 10000

// The packs that are fetched whole when the version is opened; each member's boot_bytes are those of its blocks that
// lie in them.
static void report_boot(struct report *p, const struct manifest *m)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < m->boot_count; i++)
        bytes += m->boot[i].size;
    report_number(p, "boot_packs", m->boot_count);
    report_number(p, "boot_stored_bytes", bytes);
}

static void report_description(struct report *p, const char *text)
{
    char line[MANIFEST_LINE_MAXIMUM];

    if (p->json || text[0] == '\0')
        report_text(p, "description", text);
    for (const char *end; !p->json && (end = strchr(text, '\n')); text = end + 1) {
        snprintf(line, sizeof(line), "%.*s", (int)(end - text), text);
        report_text(p, "description", line);
    }
}

static void report_pages(struct report *p, const struct manifest *m)
{
    char ports[MANIFEST_PORTS_MAXIMUM * (MANIFEST_PORT_NAME_SIZE + 8)] = "", hex[SHA256_HEX_SIZE];
    size_t at = 0;

    for (unsigned i = 0; i < m->port_count; i++)
        at += (size_t)snprintf(ports + at, sizeof(ports) - at, "%s%u %s", i ? ", " : "", m->ports[i].number,
                               m->ports[i].name);
    report_text(p, "ports", ports);
    report_text(p, "logo", m->logo.type == MANIFEST_LOGO_NONE ? "" : sha256_to_hex(&m->logo.object, hex));
    report_description(p, m->description);
}

static int report_members(struct report *p, struct version *v, struct error *error)
{
    const struct manifest *m = version_manifest(v);
    for (unsigned i = 0; i < m->member_count; i++) {
        struct version_extent e;
        char key[64];
        int r = version_measure(v, i, &e, error);
        if (r < 0)
            return r;
        const struct {
            const char *name;
            uint64_t value;
        } fields[] = {{"bytes", m->members[i].size},
                      {"mapped_bytes", e.mapped_blocks * BLOCK_SIZE},
                      {"stored_bytes", e.stored_bytes},
                      {"boot_bytes", e.boot_blocks * BLOCK_SIZE},
                      {"chunks", e.chunks},
                      {"packs", e.packs}};
        for (size_t f = 0; f < ARRAY_SIZE(fields); f++) {
            snprintf(key, sizeof(key), "%s_%s", m->members[i].name, fields[f].name);
            report_number(p, key, fields[f].value);
        }
    }
    return 0;
}

static int inspect_image(struct report *p, struct images *images, const char *address, struct error *error)
{
    struct resolved resolved = {.source_count = 0};
    struct version *v;
    char hex[SHA256_HEX_SIZE], key[KEY_TEXT_SIZE], date[32];
    int r = images_resolve(images, address, &resolved, error);
    if (r < 0)
        return r;
    const struct manifest *m = resolved.description;
    const struct key_public publisher = signer_of(m);
    report_text(p, "name", m->name);
    report_text(p, "version", m->version);
    report_number(p, "serial", m->serial);
    report_text(p, "manifest", sha256_to_hex(&resolved.manifest, hex));
    report_text(p, "parent", m->has_parent ? sha256_to_hex(&m->parent, hex) : "");
    report_text(p, "created", text_format_time(m->created, date));
    report_text(p, "publisher", key_to_text(&publisher, key));
    report_text(p, "site", resolved.address.site);
    report_bool(p, "fresh", resolved.fresh);
    report_bool(p, "pulled", cache_is_pinned(store_cache(images->store), &resolved.manifest, CACHE_OWNER_PULL));
    report_text(p, "title", m->title);
    report_text(p, "summary", m->summary);
    report_text(p, "homepage", m->homepage);
    report_text(p, "licence", m->licence);
    report_text(p, "os", m->os);
    report_text(p, "arch", m->arch);
    report_text(p, "cmdline", m->cmdline);
    report_text(p, "ready", m->ready);
    report_number(p, "memory", m->memory);
    report_pages(p, m);
    report_boot(p, m);
    r = images_open_version(images, &resolved, &v, error);
    if (r == 0) {
        r = report_members(p, v, error);
        version_close(v);
    }
    r = images_explain(r, &resolved, error);
    resolve_free(&resolved);
    return r;
}

// Lines of "key value" of the engine's, where it has any.
static void put_statistics(struct report *p, const char *lines)
{
    char key[64], value[64];
    for (struct slice rest = slice_of(lines); rest.length;) {
        const char *end = memchr(rest.at, '\n', rest.length);
        struct slice line = {.at = rest.at, .length = end ? (size_t)(end - rest.at) : rest.length};
        rest.at += line.length + (end ? 1 : 0);
        rest.length -= line.length + (end ? 1 : 0);
        struct slice word = slice_cut_word(&line);
        uint64_t number;
        text_escape(word, key, sizeof(key));
        if (text_parse_u64(line, UINT64_MAX, &number))
            report_number(p, key, number);
        else if (line.length)
            report_text(p, key, text_escape(line, value, sizeof(value)));
    }
}

// As the guest sees them: behind vda, the system disk.
static void report_disks(struct report *p, const struct instance *i)
{
    char device = 'b', key[32], text[VOLUME_SERIAL_SIZE];
    for (unsigned v = 0; v < i->settings.volume_count; v++, device++) {
        const struct volume *volume = &i->settings.volumes[v];
        snprintf(key, sizeof(key), "volume_vd%c", device);
        report_text(p, key, volume->path);
        snprintf(key, sizeof(key), "volume_vd%c_bytes", device);
        report_number(p, key, volume->size);
        snprintf(key, sizeof(key), "volume_vd%c_serial", device);
        volume_serial(volume, text);
        report_text(p, key, text);
    }
    snprintf(text, sizeof(text), "vd%c", device);
    report_text(p, "first_boot_settings", faccessat(i->folder_fd, SEED_NAME, F_OK, 0) == 0 ? text : "");
}

// Whether it runs without its site; if not, how much is missing, where its whole map is in the cache.
static void report_base(struct report *p, struct store *store, const struct sha256 *manifest)
{
    struct version *v;
    uint64_t missing, all;
    bool complete = cache_is_pinned(store_cache(store), manifest, NULL);
    report_text(p, "base", complete ? "complete" : "needs site");
    if (complete || version_open(store, manifest, NULL, 0, &v, NULL) < 0)
        return;
    if (version_count_missing(v, &missing, &all, NULL) == 0) {
        report_number(p, "base_stored", all);
        report_number(p, "base_missing", missing);
    }
    version_close(v);
}

// What its tag names by now, as far as is known.
static void report_newer(struct report *p, const struct instance *i)
{
    struct newer_source source;
    struct newer newer;
    newer_open(&source);
    newer_find(&source, i, &newer);
    newer_close(&source);
    report_text(p, "asked", i->settings.asked);
    report_text(p, "newer_version", newer.version);
    report_bool(p, "newer_kept", newer.kept);
    report_bool(p, "revoked", newer.revoked);
}

static int inspect_machine(struct report *p, struct store *store, const struct instance *i, struct error *error)
{
    static const char *const asked[] = {"state", "reason", "engine", "pid", "since"};
    const struct instance_settings *s = &i->settings;
    char answer[SOCKET_LINE_MAXIMUM], value[ERROR_TEXT_SIZE], hex[SHA256_HEX_SIZE];
    bool running = instance_is_running(i);
    struct overlay_history history;
    int r = running ? ask_machine(i, "status", ANSWER_MS, answer, error) : -ENOENT;
    const char *silent = r == -ENOENT ? "stopped" : r == -EBUSY ? "busy" : NULL; // as rondo ps has it
    if (r == 0 || silent)
        r = overlay_history_read(i->folder_fd, &history, error);
    if (r < 0)
        return r;
    report_text(p, "machine", i->name);
    for (size_t a = 0; !silent && a < ARRAY_SIZE(asked); a++) {
        uint64_t number;
        ask_find(answer, asked[a], value, sizeof(value));
        if (strcmp(asked[a], "pid") == 0 && text_parse_u64(slice_of(value), INT32_MAX, &number))
            report_number(p, asked[a], number);
        else
            report_text(p, asked[a], value);
    }
    if (silent)
        report_text(p, "state", silent);
    report_text(p, "image", s->image);
    report_text(p, "version", s->version);
    report_text(p, "manifest", sha256_to_hex(&s->manifest, hex));
    report_text(p, "site", s->site);
    report_base(p, store, &s->manifest);
    report_newer(p, i);
    report_text(p, "folder", i->folder);
    report_number(p, "disk_bytes", s->disk_size);
    report_disks(p, i);
    report_number(p, "written", history.bytes);
    report_number(p, "snapshots", history.count);
    report_number(p, "memory", s->memory);
    report_number(p, "cpus", s->cpus);
    if (!silent && ask_machine(i, "counts", ANSWER_MS, answer, error) == 0) {
        struct slice rest = slice_of(answer);
        while (rest.length) {
            struct slice word = slice_cut_word(&rest);
            const char *equal = memchr(word.at, '=', word.length);
            uint64_t number;
            if (!equal || !text_parse_u64((struct slice){equal + 1, (size_t)(word.at + word.length - equal - 1)},
                                          UINT64_MAX, &number))
                continue;
            snprintf(value, sizeof(value), "%.*s", (int)(equal - word.at), word.at);
            report_number(p, value, number);
        }
    }
    if (!silent && ask_machine(i, "statistics", ANSWER_MS, answer, NULL) == 0)
        put_statistics(p, answer);
    return 0;
}

static int inspect(struct report *p, struct images *images, const char *what, struct error *error)
{
    struct instance i = INSTANCE_NONE;
    int r = images_open(images, error);
    if (r < 0)
        return r;
    r = text_is_image_name(slice_of(what)) ? instance_open(what, &i, error) : -ENOENT;
    if (r == 0)
        r = inspect_machine(p, images->store, &i, error);
    else if (r == -ENOENT) {
        r = inspect_image(p, images, what, error);
        if (r == -EINVAL && !images->configuration.site[0] && text_is_image_name(slice_of(what)))
            error_set(
                error, EINVAL,
                "there is no machine %s (rondo ps lists them); an image of that name needs its site before it, or "
                "a default site (RONDO_SITE)",
                what);
    }
    instance_close(&i);
    images_close(images);
    return r;
}

int verb_inspect(int argc, char **argv)
{
    struct report report = REPORT_EMPTY;
    struct images images = {.store = NULL};
    const struct option options[] = {
        {"json", OPTION_FLAG, &report.json}, IMAGES_OPTIONS(images), {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = inspect(&report, &images, argv[1], &error);
    r = report_end(&report, r, &error);
    return cli_end(r, &error);
}
