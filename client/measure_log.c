// See measure_log.h. One table says which lines there are, in which order, and how often.
#include "client/measure_log.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/manifest.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define HASH_DIGITS (SHA256_HEX_SIZE - 1)
#define DISKS_MAXIMUM 64u

static const struct {
    const char *name;
    unsigned minimum, maximum; // lines of it
} keys[MEASURE_KEYS] = {
    [MEASURE_VERSION] = {"rondo-measured", 1, 1},
    [MEASURE_BEGAN] = {"began", 1, 1},
    [MEASURE_MACHINE] = {"machine", 1, 1},
    [MEASURE_ENGINE] = {"engine", 1, 1},
    [MEASURE_MEMORY] = {"memory", 1, 1},
    [MEASURE_CPUS] = {"cpus", 1, 1},
    [MEASURE_NETWORK] = {"network", 1, 1},
    [MEASURE_OVERLAY] = {"overlay", 1, 1},
    [MEASURE_DISK] = {"disk", 0, DISKS_MAXIMUM},
    [MEASURE_IMAGE] = {"image", 1, 1},
    [MEASURE_CATALOG] = {"catalog", 0, 1},
    [MEASURE_MANIFEST] = {"manifest", 1, 1},
    [MEASURE_CMDLINE] = {"cmdline", 0, 1},
    [MEASURE_CHUNK] = {"chunk", 0, MEASURE_CHUNKS_MAXIMUM},
    [MEASURE_LOST] = {"lost", 0, 1},
    [MEASURE_END] = {"end", 0, 1},
};

static struct sha256 chain(const struct sha256 *last, struct slice text)
{
    unsigned char bytes[SHA256_SIZE + MEASURE_LINE_MAXIMUM];
    memcpy(bytes, last->bytes, SHA256_SIZE);
    memcpy(bytes + SHA256_SIZE, text.at, text.length);
    return sha256_of(bytes, SHA256_SIZE + text.length);
}

// --- writing ---------------------------------------------------------------------------------------------------------

static int write_pending(struct measure_log *l)
{
    int r = io_write_full(l->fd, l->pending.data, l->pending.size, l->size);
    if (r < 0)
        return r;
    l->size += l->pending.size;
    buf_clear(&l->pending);
    return 0;
}

int measure_log_add(struct measure_log *l, enum measure_key key, const char *format, ...)
{
    char text[MEASURE_LINE_MAXIMUM - HASH_DIGITS], hex[SHA256_HEX_SIZE];
    const size_t n = strlen(keys[key].name) + 1;
    snprintf(text, sizeof(text), "%s ", keys[key].name);
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(text + n, sizeof(text) - n, format, arguments);
    va_end(arguments);
    if (more < 0 || n + (size_t)more >= sizeof(text))
        return -E2BIG;
    const struct slice line = {text, n + (size_t)more};
    if (!text_is_printable(line))
        return -EINVAL;
    const struct sha256 hash = chain(&l->last, line);
    const size_t before = l->pending.size;
    int r = before + MEASURE_LINE_MAXIMUM + 1 > l->pending.maximum ? write_pending(l) : 0;
    if (r == 0)
        r = buf_append_format(&l->pending, "%s %s\n", sha256_to_hex(&hash, hex), text);
    if (r == 0)
        l->last = hash;
    return r;
}

int measure_log_flush(struct measure_log *l)
{
    if (l->pending.size == 0)
        return 0;
    int r = write_pending(l);
    return r < 0 ? r : io->fdatasync(l->fd) < 0 ? -errno : 0;
}

// --- reading ---------------------------------------------------------------------------------------------------------

static bool is_one_of(struct slice value, const char *a, const char *b)
{
    return slice_equal(value, a) || slice_equal(value, b);
}

static bool read_words(struct measure_line *l, unsigned count)
{
    struct slice rest = l->value;
    for (unsigned i = 0; i < count; i++)
        l->words[i] = slice_cut_word(&rest);
    return rest.length == 0;
}

static bool read_hash(struct slice word, struct sha256 *ret)
{
    return sha256_from_hex(word.at, word.length, ret);
}

static bool read_chunk(struct measure_line *l)
{
    if (!read_words(l, 3) || !manifest_is_member_name(l->words[0]) || !is_one_of(l->words[1], "data", "page"))
        return false;
    l->kind = slice_equal(l->words[1], "data") ? CHUNK_DATA : CHUNK_PAGE;
    return read_hash(l->words[2], &l->hash);
}

static bool read_end(struct measure_line *l)
{
    struct slice rest = l->value;
    int64_t time;
    l->words[0] = slice_cut_word(&rest);
    l->words[1] = slice_cut_word(&rest);
    l->words[2] = rest;
    return text_parse_time(l->words[0], &time) && text_parse_u64(l->words[1], 255, &l->number) && rest.length > 0;
}

static bool read_value(struct measure_line *l)
{
    const struct slice value = l->value;
    int64_t time;
    switch (l->key) {
    case MEASURE_VERSION:
        return slice_equal(value, "1");
    case MEASURE_BEGAN:
        return text_parse_time(value, &time);
    case MEASURE_MACHINE:
        return text_is_image_name(value);
    case MEASURE_ENGINE:
        return is_one_of(value, "kvm", "qemu");
    case MEASURE_MEMORY:
    case MEASURE_CPUS:
        return text_parse_u64(value, UINT64_MAX, &l->number) && l->number > 0;
    case MEASURE_NETWORK:
        return is_one_of(value, "user", "none");
    case MEASURE_OVERLAY:
        return is_one_of(value, "new", "used");
    case MEASURE_IMAGE:
        return read_words(l, 2) && text_is_image_name(l->words[0]) && text_is_version_name(l->words[1]);
    case MEASURE_CATALOG:
        return read_words(l, 3) && key_from_text(l->words[0].at, l->words[0].length, &l->signer) &&
               text_parse_u64(l->words[1], INT64_MAX, &l->number) && read_hash(l->words[2], &l->hash);
    case MEASURE_MANIFEST:
        return read_hash(value, &l->hash);
    case MEASURE_CHUNK:
        return read_chunk(l);
    case MEASURE_END:
        return read_end(l);
    case MEASURE_DISK:
    case MEASURE_LOST:
        return value.length > 0;
    default: // a command line may be empty
        return true;
    }
}

static int misplaced(const struct measure_reader *r, unsigned line, const char *what, struct error *error)
{
    if (r->key < 0)
        return error_set(error, EBADMSG, "line %u: this is no log of a measured machine", line);
    return error_set(error, EBADMSG, "line %u: %s behind a line \"%s\"", line, what, keys[r->key].name);
}

int measure_read_text(struct measure_reader *r, struct slice text, struct measure_line *ret, struct error *error)
{
    struct measure_line l = {.key = MEASURE_KEYS};
    struct slice name;
    const unsigned line = r->line + 1;
    if (!text_is_printable(text))
        return error_set(error, EBADMSG, "line %u is not plain text", line);
    text_split_line(text, &name, &l.value);
    int key = 0;
    while (key < MEASURE_KEYS && !slice_equal(name, keys[key].name))
        key++;
    if (key == MEASURE_KEYS || key < r->key)
        return misplaced(r, line, "what may not stand", error);
    const unsigned count = key == r->key ? r->count + 1 : 1;
    if (count > keys[key].maximum)
        return misplaced(r, line, "one too many", error);
    for (int skipped = r->key + 1; skipped < key; skipped++)
        if (keys[skipped].minimum)
            return misplaced(r, line, "a line is missing", error);
    l.key = (enum measure_key)key;
    if (!read_value(&l))
        return error_set(error, EBADMSG, "line %u: malformed \"%s\"", line, keys[key].name);
    r->line = line;
    r->key = key;
    r->count = count;
    r->ended = key == MEASURE_END;
    r->lost |= key == MEASURE_LOST;
    *ret = l;
    return 0;
}

int measure_read_line(struct measure_reader *r, const char *line, size_t n, struct measure_line *ret,
                      struct error *error)
{
    struct sha256 hash;
    const unsigned number = r->line + 1;
    if (n <= HASH_DIGITS || n > MEASURE_LINE_MAXIMUM || line[HASH_DIGITS] != ' ' ||
        !sha256_from_hex(line, HASH_DIGITS, &hash))
        return error_set(error, EBADMSG, "line %u does not begin with a hash: %s", number,
                         number == 1 ? "this is no log of a measured machine" : "it was changed or put in");
    const struct slice text = {line + HASH_DIGITS + 1, n - HASH_DIGITS - 1};
    const struct sha256 right = chain(&r->last, text);
    if (!sha256_equal(&hash, &right))
        return error_set(error, EBADMSG,
                         "line %u does not follow from what stands before it: it was changed or put in, or a line "
                         "before it was left out or moved",
                         number);
    int code = measure_read_text(r, text, ret, error);
    if (code == 0)
        r->last = hash;
    return code;
}

int measure_read_end(const struct measure_reader *r, struct error *error)
{
    if (r->key < MEASURE_MANIFEST)
        return error_set(error, EBADMSG, "it ends before it says what was started, after line %u", r->line);
    return 0;
}
