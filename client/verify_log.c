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
#include "base/cleanup.h"
#include "base/io.h"
#include "catalog/signed.h"
#include "client/hash_set.h"
#include "client/measure_log.h"
#include "client/report.h"
#include "client/resolve.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/banned.h"

#define READ_SIZE (64u << 10)

struct given {
    char member[16];
    enum chunk_kind kind;
    unsigned line;
    bool found;
};

struct verification {
    struct measure_reader reader;
    bool cut, running;
    struct sha256 first, manifest, catalog_hash; // first: the hash of the first line
    bool has_catalog, has_cmdline;
    struct key_public catalog_key;
    uint64_t catalog_number, exit_code;
    unsigned disks;
    char began[32], machine[65], engine[8], image[65], version[65], network[8], overlay[8], lost[ERROR_TEXT_SIZE],
        end[ERROR_TEXT_SIZE];
    char cmdline[MEASURE_LINE_MAXIMUM];
    uint64_t memory, cpus;
    struct hash_set chunks;
    struct given *given; // by number in `chunks`
    size_t capacity;
    const char *member; // being walked
    uint64_t there[MANIFEST_MEMBERS_MAXIMUM];
};

// --- 1. the lines ----------------------------------------------------------------------------------------------------

static int note_chunk(struct verification *v, const struct measure_line *l, struct error *error)
{
    const size_t before = v->chunks.count;
    long number = hash_set_add(&v->chunks, &l->hash);
    if (number < 0)
        return error_set(error, (int)-number, "out of memory");
    if (v->chunks.count == before)
        return error_set(error, EBADMSG, "line %u names a chunk again that line %u has named", v->reader.line,
                         v->given[number].line);
    if ((size_t)number == v->capacity) {
        const size_t capacity = v->capacity ? v->capacity * 2 : 1024;
        struct given *list = realloc(v->given, capacity * sizeof(*list));
        if (!list)
            return error_set(error, ENOMEM, "out of memory");
        v->given = list;
        v->capacity = capacity;
    }
    struct given *g = &v->given[number];
    *g = (struct given){.kind = l->kind, .line = v->reader.line};
    snprintf(g->member, sizeof(g->member), "%.*s", SLICE_ARGUMENTS(l->words[0]));
    return 0;
}

static void put(char *to, size_t capacity, struct slice s)
{
    snprintf(to, capacity, "%.*s", SLICE_ARGUMENTS(s));
}

static int note_line(struct verification *v, const struct measure_line *l, struct error *error)
{
    switch (l->key) {
    case MEASURE_VERSION:
        v->first = v->reader.last;
        break;
    case MEASURE_BEGAN:
        put(v->began, sizeof(v->began), l->value);
        break;
    case MEASURE_MACHINE:
        put(v->machine, sizeof(v->machine), l->value);
        break;
    case MEASURE_ENGINE:
        put(v->engine, sizeof(v->engine), l->value);
        break;
    case MEASURE_MEMORY:
        v->memory = l->number;
        break;
    case MEASURE_CPUS:
        v->cpus = l->number;
        break;
    case MEASURE_NETWORK:
        put(v->network, sizeof(v->network), l->value);
        break;
    case MEASURE_OVERLAY:
        put(v->overlay, sizeof(v->overlay), l->value);
        break;
    case MEASURE_DISK:
        v->disks++;
        break;
    case MEASURE_IMAGE:
        put(v->image, sizeof(v->image), l->words[0]);
        put(v->version, sizeof(v->version), l->words[1]);
        break;
    case MEASURE_CATALOG:
        v->has_catalog = true;
        v->catalog_key = l->signer;
        v->catalog_number = l->number;
        v->catalog_hash = l->hash;
        break;
    case MEASURE_MANIFEST:
        v->manifest = l->hash;
        break;
    case MEASURE_CMDLINE:
        v->has_cmdline = true;
        put(v->cmdline, sizeof(v->cmdline), l->value);
        break;
    case MEASURE_CHUNK:
        return note_chunk(v, l, error);
    case MEASURE_LOST:
        text_escape(l->value, v->lost, sizeof(v->lost));
        break;
    default:
        v->exit_code = l->number;
        text_escape(l->words[2], v->end, sizeof(v->end));
    }
    return 0;
}

// Takes the whole lines off the buffer's beginning.
static int read_lines(struct verification *v, char *bytes, size_t *n, struct error *error)
{
    size_t at = 0;
    for (char *end; (end = memchr(bytes + at, '\n', *n - at)) != NULL;) {
        struct measure_line line;
        int r = measure_read_line(&v->reader, bytes + at, (size_t)(end - bytes) - at, &line, error);
        if (r == 0)
            r = note_line(v, &line, error);
        if (r < 0)
            return r;
        at = (size_t)(end - bytes) + 1;
    }
    *n -= at;
    memmove(bytes, bytes + at, *n);
    return 0;
}

static int read_log(struct verification *v, int fd, struct error *error)
{
    CLEANUP_FREE char *bytes = malloc(READ_SIZE);
    struct stat st;
    size_t n = 0;
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > MEASURE_FILE_MAXIMUM)
        return error_set(error, EBADMSG, "this is no log of a measured machine: it is %s",
                         S_ISREG(st.st_mode) ? "too long" : "no file");
    v->running = flock(fd, LOCK_SH | LOCK_NB) < 0;
    for (uint64_t offset = 0;;) {
        ssize_t got = io_read_some(fd, bytes + n, READ_SIZE - n, offset);
        if (got < 0)
            return error_set(error, (int)-got, "it cannot be read: %s", strerror((int)-got));
        if (got == 0)
            break;
        offset += (uint64_t)got;
        n += (size_t)got;
        int r = read_lines(v, bytes, &n, error);
        if (r == 0 && n > MEASURE_LINE_MAXIMUM)
            r = error_set(error, EBADMSG, "line %u is too long", v->reader.line + 1);
        if (r < 0)
            return r;
    }
    v->cut = n > 0;
    if (v->cut && v->reader.ended)
        return error_set(error, EBADMSG, "line %u: something stands behind the end", v->reader.line + 1);
    return measure_read_end(&v->reader, error);
}

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
    struct key_public signer = {.id = {0}};
    struct slice text;
    size_t n;
    const void *bytes = version_manifest_bytes(version, &n);
    memcpy(signer.bytes, version_manifest(version)->publisher, sizeof(signer.bytes));
    int r = signed_verify(bytes, n, &signer, &text, error);
    return r < 0 ? error_prefix(error, r, "the manifest") : 0;
}

static int open_version(const struct verification *v, struct store *store, const struct configuration *configuration,
                        const char *address, const struct resolve_options *options, const char **ret_catalog,
                        struct version **ret, struct error *error)
{
    struct resolved r = {.source_count = 0};
    char hex[SHA256_HEX_SIZE];
    if (!address) {
        *ret_catalog = v->has_catalog ? "not checked" : "not in the log";
        int code = version_open(store, &v->manifest, NULL, 0, ret, error);
        if (code == -ENOENT)
            return error_set(error, ENETUNREACH,
                             "the lines hang together, but the manifest of %s %s is not in the cache to check them "
                             "against: name its IMAGE",
                             v->image, v->version);
        return code < 0 ? code : check_signature(*ret, error);
    }
    int code = resolve_image(store, configuration, address, options, &r, error);
    if (code < 0)
        return code;
    if (!sha256_equal(&r.manifest, &v->manifest))
        code = error_set(error, EBADMSG, "the log is not of %s %s: it says manifest %s (as %s %s; name that version)",
                         r.description->name, r.description->version, sha256_to_hex(&v->manifest, hex), v->image,
                         v->version);
    if (code == 0)
        code = check_catalog(v, &r, ret_catalog, error);
    if (code == 0)
        code = version_open(store, &r.manifest, (const char *const *)r.sources, r.source_count, ret, error);
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

static int find_chunk(void *context, enum chunk_kind kind, const struct sha256 *name, struct error *error)
{
    struct verification *v = context;
    (void)error;
    long number = hash_set_find(&v->chunks, name);
    if (number >= 0 && v->given[number].kind == kind && strcmp(v->given[number].member, v->member) == 0)
        v->given[number].found = true;
    return 0;
}

static int check_chunks(struct verification *v, struct version *version, struct error *error)
{
    const struct manifest *m = version_manifest(version);
    char hex[SHA256_HEX_SIZE];
    for (unsigned i = 0; i < m->member_count; i++) {
        v->member = m->members[i].name;
        int r = version_visit_blocks(version, i, 0, UINT64_MAX, find_chunk, v, error);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < v->chunks.count; i++) {
        const struct given *g = &v->given[i];
        if (!g->found)
            return error_set(error, EBADMSG, "line %u: the %s of the manifest has no such %s: %s", g->line, g->member,
                             g->kind == CHUNK_DATA ? "chunk" : "page", sha256_to_hex(&v->chunks.list[i], hex));
        for (unsigned member = 0; member < m->member_count; member++)
            v->there[member] += strcmp(m->members[member].name, g->member) == 0;
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
                          const struct version_difference *all)
{
    char key[64];
    report_number(p, "chunks", v->chunks.count);
    report_number(p, "chunks_of_version", all->data_chunks + all->pages);
    for (unsigned i = 0; i < m->member_count; i++) {
        snprintf(key, sizeof(key), "chunks_%s", m->members[i].name);
        report_number(p, key, v->there[i]);
    }
}

static int verify(struct verification *v, struct report *p, const char *address, const struct resolve_options *options,
                  struct error *error)
{
    struct configuration configuration;
    struct store *store;
    struct version *version = NULL;
    struct version_difference all;
    struct key_public publisher = {.id = {0}};
    const char *catalog = "", *appended = "";
    char hex[SHA256_HEX_SIZE], key[KEY_TEXT_SIZE];
    int r = configuration_read(&configuration, error);
    if (r == 0)
        r = resolve_open_store(&configuration, &store, error);
    if (r < 0)
        return r;
    r = open_version(v, store, &configuration, address, options, &catalog, &version, error);
    if (r == 0)
        r = check_head(v, version_manifest(version), &appended, error);
    if (r == 0)
        r = check_chunks(v, version, error);
    if (r == 0)
        r = version_compare(NULL, version, &all, error);
    if (r == 0) {
        report_log(p, v);
        report_text(p, "catalog", catalog);
        memcpy(publisher.bytes, version_manifest(version)->publisher, sizeof(publisher.bytes));
        report_text(p, "publisher", key_to_text(&publisher, key));
        report_text(p, "publisher_is", address ? "allowed by the site" : "not checked: no IMAGE was named");
        report_text(p, "cmdline", v->cmdline);
        report_text(p, "appended", appended);
        report_chunks(p, v, version_manifest(version), &all);
        report_text(p, "first_hash", sha256_to_hex(&v->first, hex));
        report_text(p, "last_hash", sha256_to_hex(&v->reader.last, hex));
        report_number(p, "lines", v->reader.line);
        report_bool(p, "complete", v->reader.ended && !v->reader.lost);
        report_text(p, "end", v->end);
        report_number(p, "exit_code", v->exit_code);
    }
    if (version)
        version_close(version);
    store_free(store);
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

int verb_verify_log(int argc, char **argv)
{
    struct report report = REPORT_EMPTY;
    struct resolve_options resolve = {.offline = false};
    const struct option options[] = {{"json", OPTION_FLAG, &report.json},
                                     {"offline", OPTION_FLAG, &resolve.offline},
                                     {"require-fresh", OPTION_FLAG, &resolve.require_fresh},
                                     {"require-pin", OPTION_FLAG, &resolve.require_pin},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    CLEANUP_FREE struct verification *v = calloc(1, sizeof(*v));
    CLEANUP_CLOSE int fd = io_open(AT_FDCWD, argv[1], O_RDONLY | O_NONBLOCK, 0);
    if (!v)
        return cli_fail(error_set(&error, ENOMEM, "out of memory"), &error);
    if (fd < 0)
        return cli_fail(error_set(&error, -fd, "cannot open %s: %s", argv[1], strerror(-fd)), &error);
    v->reader = (struct measure_reader)MEASURE_READER_START;
    v->chunks.maximum = MEASURE_CHUNKS_MAXIMUM;
    r = read_log(v, fd, &error);
    if (r == 0)
        r = verify(v, &report, operands > 1 ? argv[2] : NULL, &resolve, &error);
    if (r < 0)
        error_prefix(&error, r, "%.200s", argv[1]);
    r = report_end(&report, r, &error);
    if (r == 0)
        r = check_whole(v, argv[1], &error);
    hash_set_free(&v->chunks);
    free(v->given);
    return r < 0 ? cli_fail(r, &error) : cli_finish_output(EXIT_CODE_OK);
}
