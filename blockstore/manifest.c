// Manifests: the parser (manifest_format.c writes them; manifest_optional.c knows the opt-… lines).
//
// The grammar is the table `fields`, in the order in which lines must come. Invariants:
//   1. Every line is known, in its place, and there as often as its field allows; only opt-… lines, which a version 1
//      reader may ignore, may stand anywhere behind the first line. Those that are known are checked as any other.
//   2. Nothing is kept that was not checked: numbers are within the limits of what they count, texts are printable
//      (text_next_line saw to it) and fit, and a reference lies inside its pack.
//   3. Allocation: none that a manifest decides.
#include "blockstore/manifest.h"
#include "base/cleanup.h"
#include "base/cursor.h"
#include "blockstore/manifest_text.h"
#include "blockstore/pack.h"
#include <errno.h>
#include <stdlib.h>

#include "base/banned.h"

// --- values: each returns NULL, or what is wrong with the value -----------------------------------------------------

static const char *copy_text(struct slice value, char to[static MANIFEST_TEXT_MAXIMUM])
{
    if (value.length == 0)
        return "is empty";
    if (value.length >= MANIFEST_TEXT_MAXIMUM)
        return "is too long";
    memcpy(to, value.at, value.length);
    to[value.length] = '\0';
    return NULL;
}

static const char *parse_name(struct manifest *m, struct slice value)
{
    if (!text_is_image_name(value))
        return "is not an image name: use [a-z0-9][a-z0-9._-]{0,63}";
    memcpy(m->name, value.at, value.length);
    return NULL;
}

static const char *parse_version(struct manifest *m, struct slice value)
{
    if (!text_is_version_name(value))
        return "is not a version name";
    memcpy(m->version, value.at, value.length);
    return NULL;
}

static const char *parse_serial(struct manifest *m, struct slice value)
{
    if (!text_parse_u64(value, INT64_MAX, &m->serial) || m->serial == 0)
        return "is not a number from 1 to 2^63-1";
    return NULL;
}

static const char *parse_parent(struct manifest *m, struct slice value)
{
    m->has_parent = true;
    return sha256_from_hex(value.at, value.length, &m->parent) ? NULL : "is not a SHA-256 in lower-case hex";
}

static const char *parse_created(struct manifest *m, struct slice value)
{
    return text_parse_time(value, &m->created) ? NULL : "is not a time like 2026-11-23T10:00:00Z";
}

static const char *parse_publisher(struct manifest *m, struct slice value)
{
    if (base64url_decode(value.at, value.length, m->publisher, sizeof(m->publisher)) != PUBLIC_KEY_SIZE)
        return "is not a public key";
    return NULL;
}

static const char *parse_arch(struct manifest *m, struct slice value)
{
    if (value.length == 0 || value.length >= sizeof(m->arch))
        return "is not an architecture";
    for (size_t i = 0; i < value.length; i++)
        if (!((value.at[i] >= 'a' && value.at[i] <= 'z') || (value.at[i] >= '0' && value.at[i] <= '9') ||
              value.at[i] == '_'))
            return "is not an architecture";
    memcpy(m->arch, value.at, value.length);
    return NULL;
}

// Member names become file names in a folder that also holds the file `manifest`.
bool manifest_is_member_name(struct slice s)
{
    if (s.length == 0 || s.length >= sizeof(((struct manifest_member *)0)->name) || slice_equal(s, "manifest"))
        return false;
    for (size_t i = 0; i < s.length; i++)
        if (!((s.at[i] >= 'a' && s.at[i] <= 'z') || (i > 0 && s.at[i] >= '0' && s.at[i] <= '9')))
            return false;
    return true;
}

static struct slice cut_part(struct slice *rest)
{
    const char *comma = rest->length > 0 ? memchr(rest->at, ',', rest->length) : NULL;
    struct slice part = {rest->at, comma ? (size_t)(comma - rest->at) : rest->length};
    size_t cut = part.length + (comma ? 1 : 0);
    *rest = (struct slice){rest->at + cut, rest->length - cut};
    return part;
}

static bool parse_top(struct slice text, struct chunk_reference *ret)
{
    struct slice page = cut_part(&text), pack = cut_part(&text), size = cut_part(&text), table = cut_part(&text),
                 offset = cut_part(&text);
    uint64_t pack_size, at, length;

    if (!sha256_from_hex(page.at, page.length, &ret->name) || !sha256_from_hex(pack.at, pack.length, &ret->pack.name) ||
        !text_parse_u64(size, PACK_SIZE_MAXIMUM, &pack_size) ||
        !sha256_from_hex(table.at, table.length, &ret->pack.table) || !text_parse_u64(offset, PACK_SIZE_MAXIMUM, &at) ||
        !text_parse_u64(text, PAGE_STORED_MAXIMUM, &length))
        return false;
    if (at < PACK_MAGIC_SIZE || length <= CHUNK_HEADER_SIZE ||
        at + length + PACK_TABLE_ENTRY_SIZE + PACK_TRAILER_SIZE > pack_size)
        return false;
    ret->pack.size = (uint32_t)pack_size;
    ret->offset = (uint32_t)at;
    ret->length = (uint32_t)length;
    return true;
}

static const char *parse_member(struct manifest *m, struct slice value)
{
    struct slice name = slice_cut_word(&value), size = slice_cut_word(&value);

    if (m->member_count >= MANIFEST_MEMBERS_MAXIMUM)
        return "is one too many";
    struct manifest_member *member = &m->members[m->member_count];
    if (!manifest_is_member_name(name))
        return "has a name that no member may have";
    memcpy(member->name, name.at, name.length);
    for (unsigned i = 0; i < m->member_count; i++)
        if (slice_equal(name, m->members[i].name))
            return "is there twice";
    if (!text_parse_u64(size, MEMBER_SIZE_MAXIMUM, &member->size))
        return "has no size of at most 16 TiB";
    member->zero = slice_equal(value, "-");
    if (!member->zero && (member->size == 0 || !parse_top(value, &member->top)))
        return "has no sound top page";
    m->member_count++;
    return NULL;
}

static const char *parse_boot(struct manifest *m, struct slice value)
{
    struct slice hash = slice_cut_word(&value);
    uint64_t size;

    if (m->boot_count >= MANIFEST_BOOT_MAXIMUM)
        return "is one too many";
    struct manifest_boot *boot = &m->boot[m->boot_count];
    if (!sha256_from_hex(hash.at, hash.length, &boot->pack))
        return "has no SHA-256 in lower-case hex";
    if (!text_parse_u64(value, PACK_SIZE_MAXIMUM, &size) || size < PACK_MAGIC_SIZE + PACK_TRAILER_SIZE)
        return "has no size that a pack can have";
    boot->size = (uint32_t)size;
    for (unsigned i = 0; i < m->boot_count; i++)
        if (sha256_equal(&m->boot[i].pack, &boot->pack))
            return "is there twice";
    m->boot_count++;
    return NULL;
}

static const char *parse_memory(struct manifest *m, struct slice value)
{
    char text[24];

    if (value.length >= sizeof(text))
        return "is not a size";
    memcpy(text, value.at, value.length);
    text[value.length] = '\0';
    if (!text_parse_size(text, &m->memory) || m->memory == 0 || m->memory > MANIFEST_MEMORY_MAXIMUM)
        return "is not a size like 512M, of at most 16T";
    return NULL;
}

// Shown as a link: no other scheme may hide there (TRUST T32).
static const char *parse_homepage(struct manifest *m, struct slice value)
{
    if (!slice_starts(value, "http://") && !slice_starts(value, "https://"))
        return "is not an http:// or https:// address";
    return copy_text(value, m->homepage);
}

static const char *parse_cmdline(struct manifest *m, struct slice value)
{
    return copy_text(value, m->cmdline);
}
static const char *parse_ready(struct manifest *m, struct slice value)
{
    return copy_text(value, m->ready);
}
static const char *parse_title(struct manifest *m, struct slice value)
{
    return copy_text(value, m->title);
}
static const char *parse_summary(struct manifest *m, struct slice value)
{
    return copy_text(value, m->summary);
}
static const char *parse_licence(struct manifest *m, struct slice value)
{
    return copy_text(value, m->licence);
}
static const char *parse_os(struct manifest *m, struct slice value)
{
    return copy_text(value, m->os);
}

// --- lines ---------------------------------------------------------------------------------------------------------

static const struct field {
    const char *key;
    bool required, repeats;
    const char *(*parse)(struct manifest *m, struct slice value);
} fields[] = {
    {"name", true, false, parse_name},
    {"version", true, false, parse_version},
    {"serial", true, false, parse_serial},
    {"parent", false, false, parse_parent},
    {"created", true, false, parse_created},
    {"publisher", true, false, parse_publisher},
    {"arch", true, false, parse_arch},
    {"member", true, true, parse_member},
    {"cmdline", false, false, parse_cmdline},
    {"memory", false, false, parse_memory},
    {"boot", false, true, parse_boot},
    {"ready", false, false, parse_ready},
    {"title", false, false, parse_title},
    {"summary", false, false, parse_summary},
    {"homepage", false, false, parse_homepage},
    {"licence", false, false, parse_licence},
    {"os", false, false, parse_os},
};

static unsigned find_field(struct slice key)
{
    unsigned i = 0;

    while (i < ARRAY_SIZE(fields) && !slice_equal(key, fields[i].key))
        i++;
    return i;
}

// The first required field in [from, to), or NULL.
static const struct field *first_required(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        if (fields[i].required)
            return &fields[i];
    return NULL;
}

// One line behind the first; *next is the first field that may still come.
static int parse_line(struct manifest *m, struct slice line, unsigned number, unsigned *next, struct error *error)
{
    struct slice key, value;
    char shown[80];

    text_split_line(line, &key, &value);
    if (slice_starts(key, "opt-") && text_is_image_name(key)) {
        const char *wrong = manifest_parse_optional(m, key, value);
        return wrong ? error_set(error, EBADMSG, "line %u: '%s' %s", number, text_escape(key, shown, sizeof(shown)),
                                 wrong)
                     : 0;
    }
    unsigned i = find_field(key);
    if (i == ARRAY_SIZE(fields))
        return error_set(error, EBADMSG, "line %u: unknown key '%s'", number, text_escape(key, shown, sizeof(shown)));
    if (i + 1 < *next || (i + 1 == *next && !fields[i].repeats))
        return error_set(error, EBADMSG, "line %u: '%s' is given twice or out of order", number, fields[i].key);
    const struct field *missing = first_required(*next, i);
    if (missing)
        return error_set(error, EBADMSG, "line %u: '%s' stands where '%s' is missing", number, fields[i].key,
                         missing->key);
    const char *wrong = fields[i].parse(m, value);
    if (wrong)
        return error_set(error, EBADMSG, "line %u: '%s' %s", number, fields[i].key, wrong);
    *next = i + 1;
    return 0;
}

static int parse_lines(const void *bytes, size_t n, bool is_signed, struct manifest *m, struct error *error)
{
    struct text_reader reader = text_reader_over(bytes, n, MANIFEST_LINE_MAXIMUM);
    struct slice line;
    unsigned next = 0;
    int r;

    if (text_next_line(&reader, &line) != 1 || !slice_equal(line, MANIFEST_FIRST_LINE))
        return error_set(error, EBADMSG, "line 1: not a manifest of version 1; a newer Rondo may know it");
    while ((r = text_next_line(&reader, &line)) > 0) {
        if (is_signed && slice_equal(line, "---"))
            break;
        r = parse_line(m, line, reader.line, &next, error);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return error_set(error, EBADMSG, "line %u: too long, cut off, or with characters that a manifest may not have",
                         reader.line);
    const struct field *missing = first_required(next, ARRAY_SIZE(fields));
    if (missing)
        return error_set(error, EBADMSG, "'%s' is missing", missing->key);
    if (is_signed && r == 0)
        return error_set(error, EBADMSG, "the signature is missing");
    return 0;
}

int manifest_parse_text(const void *bytes, size_t n, bool is_signed, struct manifest *ret, struct error *error)
{
    if (n > MANIFEST_SIZE_MAXIMUM)
        return error_set(error, EBADMSG, "a manifest of %zu bytes is larger than any may be", n);
    struct manifest *m = calloc(1, sizeof(*m));
    if (!m)
        return error_set(error, ENOMEM, "no memory for a manifest");
    int r = parse_lines(bytes, n, is_signed, m, error);
    if (r == 0)
        *ret = *m;
    free(m);
    return r;
}

int manifest_parse(const void *bytes, size_t n, struct manifest *ret, struct error *error)
{
    int r = manifest_parse_text(bytes, n, true, ret, error);
    return r < 0 ? error_prefix(error, r, "manifest") : 0;
}

int manifest_find_member(const struct manifest *m, const char *name)
{
    for (unsigned i = 0; i < m->member_count; i++)
        if (slice_equal(slice_of(name), m->members[i].name))
            return (int)i;
    return -ENOENT;
}
