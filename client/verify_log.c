// rondo verify-log FILE [IMAGE]: whether the log of a measured machine (measure_log.h) hangs together, and whether what
// it says fits the signed manifest that it names.
//
//   1. the chain: every line follows from those before it                      a line that does not: exit code 5
//   2. the manifest: by its hash, its signature; with IMAGE, that this is the image's manifest, that its publisher may
//      publish it there, and the catalog, if it is the one that is known now
//   3. what the log says of it: name, version, command line; every chunk is one of that member's map
//   4. whether the log is whole: without its end, or with something lost, exit code 1
//
// Without IMAGE no site is asked and no key is known: the manifest comes from the cache, and that its publisher is the
// right one is for the reader to see. Memory: the chunks of the log, once.
#include "client/verify_log.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "catalog/signer.h"
#include "client/images.h"
#include "client/report.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

// --- 2. the manifest -------------------------------------------------------------------------------------------------

static int check_catalog(const struct verification *v, const struct resolved *r, const char **ret_verdict,
                         struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    *ret_verdict = "not in the log";
    if (!v->has_catalog)
        return 0;
    int code = catalog_open(r->catalog.data, r->catalog.size, &c, error);
    if (code < 0)
        return code;
    if (!key_equal(&c.site_key, &v->catalog_key))
        return error_set(error, EKEYREJECTED, "the log names another site's catalog than that of %s", r->address.site);
    const struct sha256 hash = sha256_of(r->catalog.data, r->catalog.size);
    if (c.number == v->catalog_number && !sha256_equal(&hash, &v->catalog_hash))
        return error_set(error, EBADMSG,
                         "the log names another catalog number %llu of %s than the site's: the log is wrong, or the "
                         "site showed two",
                         (unsigned long long)c.number, r->address.site);
    *ret_verdict = c.number == v->catalog_number ? "the site's" : "not the site's present one";
    return 0;
}

// Without an image: whoever signed it is the publisher that it names itself, and that is all that is known.
static int check_signature(const struct version *version, struct error *error)
{
    size_t n;
    const void *bytes = version_manifest_bytes(version, &n);
    int r = signer_check(version_manifest(version), bytes, n, error);
    return r < 0 ? error_prefix(error, r, "the manifest") : 0;
}

static int open_version(const struct verification *v, struct images *images, const char *address,
                        const char **ret_catalog, struct version **ret, struct error *error)
{
    struct resolved r = {.source_count = 0};
    char hex[SHA256_HEX_SIZE];
    if (!address) {
        *ret_catalog = v->has_catalog ? "not checked" : "not in the log";
        int code = version_open(images->store, &v->manifest, NULL, 0, ret, error);
        if (code == -ENOENT)
            return error_set(error, ENONET,
                             "the lines hang together, but the manifest of %s %s is not in the cache to check them "
                             "against: name its IMAGE",
                             v->image, v->version);
        return code < 0 ? code : check_signature(*ret, error);
    }
    int code = images_resolve(images, address, &r, error);
    if (code < 0)
        return code;
    if (!sha256_equal(&r.manifest, &v->manifest))
        code = error_set(error, EBADMSG, "the log is not of %s %s: it says manifest %s (as %s %s; name that version)",
                         r.description->name, r.description->version, sha256_to_hex(&v->manifest, hex), v->image,
                         v->version);
    if (code == 0)
        code = check_catalog(v, &r, ret_catalog, error);
    if (code == 0)
        code = images_open_version(images, &r, ret, error);
    resolve_free(&r);
    return code;
}

// --- 3. what the log says of it --------------------------------------------------------------------------------------

static int check_head(const struct verification *v, const struct manifest *m, const char **ret_appended,
                      struct error *error)
{
    const size_t length = strlen(m->cmdline);
    if (strcmp(v->image, m->name) != 0 || strcmp(v->version, m->version) != 0)
        return error_set(error, EBADMSG, "the log says %s %s, but its manifest is of %s %s", v->image, v->version,
                         m->name, m->version);
    *ret_appended = "";
    if (v->has_cmdline != (manifest_find_member(m, "kernel") >= 0))
        return error_set(error, EBADMSG, "the log has %s command line, and the manifest %s kernel",
                         v->has_cmdline ? "a" : "no", v->has_cmdline ? "no" : "a");
    if (!v->has_cmdline)
        return 0;
    if (strncmp(v->cmdline, m->cmdline, length) != 0 || (v->cmdline[length] && v->cmdline[length] != ' '))
        return error_set(error, EBADMSG, "the command line does not begin with the manifest's, \"%.300s\"", m->cmdline);
    *ret_appended = v->cmdline[length] ? v->cmdline + length + 1 : "";
    return 0;
}

struct search {
    struct verification *v;
    const char *member;
};

static int find_chunk(void *context, enum chunk_kind kind, const struct sha256 *name, struct error *error)
{
    const struct search *s = context;
    struct verification *v = s->v;
    (void)error;
    long number = hash_set_find(&v->chunks, name);
    if (number >= 0 && v->given[number].kind == kind && strcmp(v->given[number].member, s->member) == 0)
        v->given[number].found = true;
    return 0;
}

// *ret_there: how many of each member's are in the log.
static int check_chunks(struct verification *v, struct version *version,
                        uint64_t ret_there[static MANIFEST_MEMBERS_MAXIMUM], struct error *error)
{
    const struct manifest *m = version_manifest(version);
    char hex[SHA256_HEX_SIZE];
    for (unsigned i = 0; i < m->member_count; i++) {
        struct search s = {.v = v, .member = m->members[i].name};
        int r = version_visit_blocks(version, i, 0, UINT64_MAX, find_chunk, &s, error);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < v->chunks.count; i++) {
        const struct given *g = &v->given[i];
        if (!g->found)
            return error_set(error, EBADMSG, "line %u: the %s of the manifest has no such %s: %s", g->line, g->member,
                             g->kind == CHUNK_DATA ? "chunk" : "page", sha256_to_hex(&v->chunks.list[i], hex));
        for (unsigned member = 0; member < m->member_count; member++)
            ret_there[member] += strcmp(m->members[member].name, g->member) == 0;
    }
    return 0;
}

// --- the report ------------------------------------------------------------------------------------------------------

static void report_log(struct report *p, const struct verification *v)
{
    char hex[SHA256_HEX_SIZE], key[KEY_TEXT_SIZE];
    report_text(p, "machine", v->machine);
    report_text(p, "image", v->image);
    report_text(p, "version", v->version);
    report_text(p, "manifest", sha256_to_hex(&v->manifest, hex));
    report_text(p, "began", v->began);
    report_text(p, "engine", v->engine);
    report_number(p, "memory", v->memory);
    report_number(p, "cpus", v->cpus);
    report_text(p, "network", v->network);
    report_text(p, "overlay", v->overlay);
    report_number(p, "other_disks", v->disks);
    report_text(p, "site_key", v->has_catalog ? key_to_text(&v->catalog_key, key) : "");
    report_number(p, "catalog_number", v->catalog_number);
}

static void report_chunks(struct report *p, const struct verification *v, const struct manifest *m,
                          const struct version_difference *all, const uint64_t *there)
{
    char key[64];
    report_number(p, "chunks", v->chunks.count);
    report_number(p, "chunks_of_version", all->data_chunks + all->pages);
    for (unsigned i = 0; i < m->member_count; i++) {
        snprintf(key, sizeof(key), "chunks_%s", m->members[i].name);
        report_number(p, key, there[i]);
    }
}

static int verify(struct verification *v, struct report *p, struct images *images, const char *address,
                  struct error *error)
{
    struct version *version = NULL;
    struct version_difference all;
    uint64_t there[MANIFEST_MEMBERS_MAXIMUM] = {0};
    const char *catalog = "", *appended = "";
    char hex[SHA256_HEX_SIZE], key[KEY_TEXT_SIZE];
    int r = images_open(images, error);
    if (r == 0)
        r = open_version(v, images, address, &catalog, &version, error);
    if (r == 0)
        r = check_head(v, version_manifest(version), &appended, error);
    if (r == 0)
        r = check_chunks(v, version, there, error);
    if (r == 0)
        r = version_compare(NULL, version, &all, error);
    if (r == 0) {
        report_log(p, v);
        report_text(p, "catalog", catalog);
        const struct key_public publisher = signer_of(version_manifest(version));
        report_text(p, "publisher", key_to_text(&publisher, key));
        report_text(p, "publisher_is", address ? "allowed by the site" : "not checked: no IMAGE was named");
        report_text(p, "cmdline", v->cmdline);
        report_text(p, "appended", appended);
        report_chunks(p, v, version_manifest(version), &all, there);
        report_text(p, "first_hash", sha256_to_hex(&v->first, hex));
        report_text(p, "last_hash", sha256_to_hex(&v->reader.last, hex));
        report_number(p, "lines", v->reader.line);
        report_bool(p, "complete", v->reader.ended && !v->reader.lost);
        report_text(p, "end", v->end);
        report_number(p, "exit_code", v->exit_code);
    }
    version_close(version);
    images_close(images);
    return r;
}

// What was cut off looks like what was not written yet: neither may pass for a whole log.
static int check_whole(const struct verification *v, const char *path, struct error *error)
{
    if (v->reader.lost)
        return error_set(error, EIO, "%s is incomplete, and says so: %s", path, v->lost);
    if (!v->reader.ended)
        return error_set(error, EIO, "%s is incomplete: it has no end behind line %u%s; %s", path, v->reader.line,
                         v->cut ? ", and its last line is cut off" : "",
                         v->running ? "its machine still runs" : "its machine was killed, or its end was taken away");
    return 0;
}

static int verify_file(struct verification *v, const char *path, int fd, struct report *p, struct images *images,
                       const char *address, struct error *error)
{
    v->reader = (struct measure_reader)MEASURE_READER_START;
    v->chunks.maximum = MEASURE_CHUNKS_MAXIMUM;
    int r = verify_log_read(v, fd, error);
    if (r == 0)
        r = verify(v, p, images, address, error);
    if (r < 0)
        error_prefix(error, r, "%.200s", path);
    r = report_end(p, r, error);
    if (r == 0)
        r = check_whole(v, path, error);
    hash_set_free(&v->chunks);
    free(v->given);
    return r;
}

int verb_verify_log(int argc, char **argv)
{
    struct report report = REPORT_EMPTY;
    struct images images = {.store = NULL};
    const struct option options[] = {
        {"json", OPTION_FLAG, &report.json}, IMAGES_OPTIONS(images), {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    CLEANUP_CLOSE int fd = io_open(AT_FDCWD, argv[1], O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return cli_fail(error_set(&error, -fd, "cannot open %s: %s", argv[1], strerror(-fd)), &error);
    struct verification *v = calloc(1, sizeof(*v));
    r = v ? verify_file(v, argv[1], fd, &report, &images, operands > 1 ? argv[2] : NULL, &error)
          : error_set(&error, ENOMEM, "out of memory");
    free(v);
    return cli_end(r, &error);
}
