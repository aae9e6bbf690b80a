// See verify_log.h. The chain and the form of each line are measure_log.c's; here they are taken off the file, and kept
// as far as they are looked at later. Memory: the chunks, once, at most MEASURE_CHUNKS_MAXIMUM.
#include "base/cleanup.h"
#include "base/io.h"
#include "client/verify_log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/banned.h"

#define READ_SIZE (64u << 10)

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

int verify_log_read(struct verification *v, int fd, struct error *error)
{
    struct stat st;
    size_t n = 0;
    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > MEASURE_FILE_MAXIMUM)
        return error_set(error, EBADMSG, "this is no log of a measured machine: it is %s",
                         S_ISREG(st.st_mode) ? "too long" : "no file");
    CLEANUP_FREE char *bytes = malloc(READ_SIZE);
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
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
