// See measure.h.
#include "client/measure.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "blockstore/overlay_record.h"
#include "client/hash_set.h"
#include "client/resolve.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/banned.h"

#define TICK_MS 1000
#define WAIT_SECONDS 3 // for a map page that is not in the cache; it is asked for again
#define BATCH 256u     // records

// --- the file, and its head ------------------------------------------------------------------------------------------

int measure_open(const char *path, struct measure_log *ret, struct error *error)
{
    int fd = io_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd == -EEXIST)
        return error_set(error, EINVAL, "--measure: %s exists, and a log is never written over; choose another name",
                         path);
    if (fd < 0)
        return error_set(error, -fd, "--measure: cannot make %s: %s", path, strerror(-fd));
    flock(fd, LOCK_EX | LOCK_NB); // only for readers to see; nobody else knows the file yet
    ret->fd = fd;
    return 0;
}

void measure_close(struct measure_log *l, const char *path)
{
    if (l->fd < 0)
        return;
    if (l->size == 0 && unlink(path) < 0)
        fprintf(stderr, "rondo: cannot remove %s: %s\n", path, strerror(errno));
    close(TAKE_FD(l->fd));
    buf_free(&l->pending);
}

// The line of the catalog, if one is known.
static int add_catalog(struct measure_log *l, const void *bytes, size_t n)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    char key[KEY_TEXT_SIZE], hex[SHA256_HEX_SIZE];
    if (n == 0 || catalog_open(bytes, n, &c, NULL) < 0)
        return 0;
    const struct sha256 hash = sha256_of(bytes, n);
    return measure_log_add(l, MEASURE_CATALOG, "%s %llu %s", key_to_text(&c.site_key, key),
                           (unsigned long long)c.number, sha256_to_hex(&hash, hex));
}

static int add_remembered_catalog(struct measure_log *l, const char *site)
{
    CLEANUP_FREE void *bytes = NULL;
    char home[PATH_TEXT_SIZE], etag[128];
    size_t n = 0;
    int64_t checked;
    struct trust *t;
    if (path_make(PATH_HOME, home, NULL) < 0 || trust_open(home, &t, NULL) < 0)
        return 0;
    int r = trust_load_catalog(t, site, &bytes, &n, etag, &checked, NULL);
    trust_close(t);
    return r < 0 ? 0 : add_catalog(l, bytes, n);
}

static int add_head(struct measure_log *l, const struct supervisor_options *o, const struct buf *catalog, bool is_new)
{
    const struct instance_settings *s = &o->instance->settings;
    char date[32], hex[SHA256_HEX_SIZE];
    int r = measure_log_add(l, MEASURE_VERSION, "1");
    if (r == 0)
        r = measure_log_add(l, MEASURE_BEGAN, "%s", text_format_time(io_realtime_seconds(), date));
    if (r == 0)
        r = measure_log_add(l, MEASURE_MACHINE, "%s", o->instance->name);
    if (r == 0)
        r = measure_log_add(l, MEASURE_ENGINE, "%s", o->engine->name);
    if (r == 0)
        r = measure_log_add(l, MEASURE_MEMORY, "%llu", (unsigned long long)s->memory);
    if (r == 0)
        r = measure_log_add(l, MEASURE_CPUS, "%llu", (unsigned long long)s->cpus);
    if (r == 0)
        r = measure_log_add(l, MEASURE_NETWORK, "%s", o->network ? "user" : "none");
    if (r == 0)
        r = measure_log_add(l, MEASURE_OVERLAY, "%s", is_new ? "new" : "used");
    for (unsigned d = 0; d < o->disk_count && r == 0; d++)
        r = measure_log_add(l, MEASURE_DISK, "%s", o->disks[d].serial);
    if (r == 0)
        r = measure_log_add(l, MEASURE_IMAGE, "%s %s", s->image, s->version);
    if (r == 0)
        r = catalog->size ? add_catalog(l, catalog->data, catalog->size) : add_remembered_catalog(l, s->site);
    if (r == 0)
        r = measure_log_add(l, MEASURE_MANIFEST, "%s", sha256_to_hex(&s->manifest, hex));
    if (r == 0 && manifest_find_member(o->description, "kernel") >= 0)
        r = measure_log_add(l, MEASURE_CMDLINE, "%s%s%s", o->description->cmdline, o->append ? " " : "",
                            o->append ? o->append : "");
    return r;
}

int measure_begin(struct measure_log *l, const struct supervisor_options *o, const struct buf *catalog, bool is_new,
                  struct error *error)
{
    int r = add_head(l, o, catalog, is_new);
    if (r == -EINVAL)
        return error_set(error, EINVAL, "--append has characters that cannot stand in the log of --measure");
    if (r == 0)
        r = measure_log_flush(l);
    return r < 0 ? error_set(error, -r, "--measure: cannot write the log: %s", strerror(-r)) : 0;
}

// --- the measuring process -------------------------------------------------------------------------------------------

struct measuring {
    const struct measure_job *job;
    struct store *store;
    struct version *version;
    struct hash_set seen;
    unsigned member;         // of which chunks are being added
    bool given, whole;       // kernel and initrd: the engine has them; their lines are there
    uint64_t next, doubtful; // records: the next one to be looked at; one that was still empty a moment ago, + 1
    int failed;              // of the log: final
    char lost[ERROR_TEXT_SIZE];
};

static void lose(struct measuring *m, const char *why)
{
    if (m->lost[0])
        return;
    snprintf(m->lost, sizeof(m->lost), "%s", why);
    log_error("the machine is not measured completely: %s", why);
}

static int add_chunk(void *context, enum chunk_kind kind, const struct sha256 *name, struct error *error)
{
    struct measuring *m = context;
    char hex[SHA256_HEX_SIZE];
    const size_t before = m->seen.count;
    long r = hash_set_add(&m->seen, name);
    if (r == -E2BIG) {
        lose(m, "it was given more chunks than a log can have");
        return 0;
    }
    if (r < 0 || m->seen.count == before)
        return r < 0 ? error_set(error, (int)-r, "out of memory") : 0;
    m->failed =
        measure_log_add(m->job->log, MEASURE_CHUNK, "%s %s %s", version_manifest(m->version)->members[m->member].name,
                        kind == CHUNK_DATA ? "data" : "page", sha256_to_hex(name, hex));
    return m->failed < 0 ? error_set(error, -m->failed, "cannot write the log: %s", strerror(-m->failed)) : 0;
}

static int add_blocks(struct measuring *m, const char *member, uint64_t first, uint64_t blocks, struct error *error)
{
    int number = manifest_find_member(version_manifest(m->version), member);
    if (number < 0)
        return 0;
    m->member = (unsigned)number;
    return version_visit_blocks(m->version, m->member, first, blocks, add_chunk, m, error);
}

static int open_version(struct measuring *m, struct error *error)
{
    const struct measure_job *job = m->job;
    struct configuration configuration;
    int r = m->store ? 0 : configuration_read(&configuration, error);
    if (r == 0 && !m->store) {
        r = resolve_open_store(&configuration, &m->store, error);
        if (r == 0)
            store_set_wait(m->store, WAIT_SECONDS);
    }
    if (r == 0 && !m->version)
        r = version_open(m->store, job->manifest, job->sources, job->source_count, &m->version, error);
    return r;
}

static int add_read(struct measuring *m, const struct overlay_read *read, struct error *error)
{
    if (read->length > UINT64_MAX - read->offset) {
        lose(m, "the engine noted a read that cannot be");
        return 0;
    }
    const uint64_t first = read->offset / BLOCK_SIZE, last = (read->offset + read->length - 1) / BLOCK_SIZE;
    return add_blocks(m, "disk", first, last - first + 1, error);
}

// Of records that an engine in a hurry writes out of order, one may be empty for a moment; one that stays empty is of
// an engine that ended before it read.
static bool must_wait_for(struct measuring *m)
{
    const bool waited = m->doubtful == m->next + 1;
    m->doubtful = m->next + 1;
    return !waited;
}

static int add_reads(struct measuring *m, bool final, struct error *error)
{
    struct overlay_read reads[BATCH];
    for (;;) {
        ssize_t n = io_read_some(m->job->reads, reads, sizeof(reads), m->next * sizeof(*reads));
        if (n < 0)
            return error_set(error, (int)-n, "cannot read what the guest read: %s", strerror((int)-n));
        const size_t count = (size_t)n / sizeof(*reads);
        for (size_t i = 0; i < count; i++, m->next++) {
            if (reads[i].length == 0 && !final && must_wait_for(m))
                return 0;
            int r = reads[i].length ? add_read(m, &reads[i], error) : 0;
            if (r < 0)
                return r;
        }
        if (m->next >= OVERLAY_READS_MAXIMUM)
            lose(m, "it read more than can be noted");
        if (count < BATCH)
            return 0;
    }
}

// What was given since the last time. What cannot be told now is tried again the next time, unless this is the last.
static void go_on(struct measuring *m, bool final)
{
    struct error error = {.text = ""};
    if (m->failed < 0 || !m->given)
        return;
    int r = open_version(m, &error);
    if (r == 0 && !m->whole) {
        r = add_blocks(m, "kernel", 0, UINT64_MAX, &error);
        if (r == 0)
            r = add_blocks(m, "initrd", 0, UINT64_MAX, &error);
        m->whole = r == 0;
    }
    if (r == 0)
        r = add_reads(m, final, &error);
    if (m->failed == 0)
        m->failed = measure_log_flush(m->job->log);
    if (m->failed < 0)
        log_error("the log of --measure cannot be written, and ends here: %s", strerror(-m->failed));
    else if (r < 0 && final)
        lose(m, error.text);
}

static void end(struct measuring *m, struct slice said)
{
    char text[ERROR_TEXT_SIZE], date[32];
    uint64_t code = 0;
    go_on(m, true);
    if (m->failed < 0)
        return;
    if (m->lost[0])
        m->failed =
            measure_log_add(m->job->log, MEASURE_LOST, "%s", text_escape(slice_of(m->lost), text, sizeof(text)));
    const bool understood = text_parse_u64(slice_cut_word(&said), 255, &code) && said.length > 0;
    if (m->failed == 0 && understood)
        m->failed =
            measure_log_add(m->job->log, MEASURE_END, "%s %llu %s", text_format_time(io_realtime_seconds(), date),
                            (unsigned long long)code, text_escape(said, text, sizeof(text)));
    if (m->failed == 0)
        m->failed = measure_log_flush(m->job->log);
}

int measure_run(const struct measure_job *job)
{
    struct measuring m = {.job = job, .seen = {.maximum = MEASURE_CHUNKS_MAXIMUM}};
    char text[SOCKET_LINE_MAXIMUM];
    for (bool ended = false; !ended && m.failed == 0;) {
        int r = socket_receive(job->connection, TICK_MS, text, NULL, NULL);
        struct slice rest = slice_of(r > 0 ? text : ""), word = slice_cut_word(&rest);
        ended = slice_equal(word, "end") || (r <= 0 && r != -EAGAIN && r != -EINTR);
        m.given |= slice_equal(word, "given");
        if (slice_equal(word, "end"))
            end(&m, rest);
        else
            go_on(&m, ended);
    }
    hash_set_free(&m.seen);
    if (m.version)
        version_close(m.version);
    if (m.store)
        store_free(m.store);
    if (m.failed < 0)
        snprintf(m.lost, sizeof(m.lost), "it cannot be written: %s", strerror(-m.failed));
    if (m.lost[0])
        socket_send(job->connection, m.lost, NULL, 0);
    return m.lost[0] ? EXIT_CODE_OTHER : EXIT_CODE_OK;
}
