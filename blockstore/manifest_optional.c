// Manifests: the lines that begin with opt-…, which say what a page about the version shows. Readers from before these
// lines pass over them; so they may never decide what is booted.
//
//   1. A line of one of the three known keys is whole or the manifest is refused: what is signed is either what pages
//      show, and what a site keeps for them, or nothing. Another meaning gets another key.
//   2. The description is kept as it came, line by line; whoever shows it renders a safe subset of Markdown.
//   3. The logo is named by its hash and has a type that holds neither scripts nor references (manifest.h).
#include "blockstore/manifest.h"
#include "blockstore/manifest_text.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

static const char *const logo_names[] = {
    [MANIFEST_LOGO_NONE] = "none", [MANIFEST_LOGO_PNG] = "png", [MANIFEST_LOGO_JPEG] = "jpeg"};

const char *manifest_logo_type_name(enum manifest_logo_type type)
{
    return logo_names[type];
}

// PNG, section 5.2 (the signature); JPEG, ITU-T T.81, B.1.1.3 (SOI, and the 0xff with which the next marker begins).
enum manifest_logo_type manifest_detect_logo(const void *bytes, size_t n)
{
    static const unsigned char png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const unsigned char jpeg[] = {0xff, 0xd8, 0xff};

    if (n >= sizeof(png) && memcmp(bytes, png, sizeof(png)) == 0)
        return MANIFEST_LOGO_PNG;
    return n >= sizeof(jpeg) && memcmp(bytes, jpeg, sizeof(jpeg)) == 0 ? MANIFEST_LOGO_JPEG : MANIFEST_LOGO_NONE;
}

static unsigned count_lines(const char *text)
{
    unsigned n = 0;

    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

static const char *parse_description(struct manifest *m, struct slice value)
{
    const size_t length = strlen(m->description);

    if (value.length + 1 > MANIFEST_DESCRIPTION_MAXIMUM - length)
        return "makes the description longer than 16384 bytes";
    if (count_lines(m->description) >= MANIFEST_DESCRIPTION_LINES_MAXIMUM)
        return "is one too many";
    if (value.length > 0)
        memcpy(m->description + length, value.at, value.length);
    m->description[length + value.length] = '\n';
    m->description[length + value.length + 1] = '\0';
    return NULL;
}

static const char *parse_logo(struct manifest *m, struct slice value)
{
    struct manifest_logo logo = {.type = MANIFEST_LOGO_NONE};
    struct slice hash = slice_cut_word(&value), size = slice_cut_word(&value);
    uint64_t bytes;

    if (m->logo.type != MANIFEST_LOGO_NONE)
        return "is given twice";
    if (!sha256_from_hex(hash.at, hash.length, &logo.object))
        return "has no SHA-256 in lower-case hex";
    if (!text_parse_u64(size, MANIFEST_LOGO_MAXIMUM, &bytes) || bytes == 0)
        return "has no size from 1 to 524288";
    if (slice_equal(value, "png"))
        logo.type = MANIFEST_LOGO_PNG;
    else if (slice_equal(value, "jpeg"))
        logo.type = MANIFEST_LOGO_JPEG;
    else
        return "is neither png nor jpeg";
    logo.size = (uint32_t)bytes;
    m->logo = logo;
    return NULL;
}

static const char *parse_port(struct manifest *m, struct slice value)
{
    struct manifest_port port = {.number = 0};
    struct slice number = slice_cut_word(&value);
    uint64_t n;

    if (!text_parse_u64(number, UINT16_MAX, &n) || n == 0)
        return "has no number from 1 to 65535";
    if (value.length == 0 || value.at[0] == ' ' || value.length >= sizeof(port.name))
        return "has no name of 1 to 32 bytes";
    for (unsigned i = 0; i < m->port_count; i++)
        if (m->ports[i].number == n)
            return "is there twice";
    if (m->port_count >= MANIFEST_PORTS_MAXIMUM)
        return "is one too many";
    port.number = (uint16_t)n;
    memcpy(port.name, value.at, value.length);
    m->ports[m->port_count++] = port;
    return NULL;
}

const char *manifest_parse_optional(struct manifest *m, struct slice key, struct slice value)
{
    if (slice_equal(key, "opt-description"))
        return parse_description(m, value);
    if (slice_equal(key, "opt-logo"))
        return parse_logo(m, value);
    return slice_equal(key, "opt-port") ? parse_port(m, value) : NULL;
}

static int add_description(struct buf *b, const char *text, struct error *error)
{
    const char *end;
    int r = 0;

    for (; r == 0 && (end = strchr(text, '\n')); text = end + 1) {
        const struct slice line = {text, (size_t)(end - text)};
        if (!text_is_printable(line))
            return error_set(error, EINVAL, "the description holds control characters or is not UTF-8");
        r = buf_append_format(b, "opt-description%s%.*s\n", line.length ? " " : "", SLICE_ARGUMENTS(line));
    }
    return r == 0 && *text ? error_set(error, EINVAL, "the description's last line has no newline") : r;
}

int manifest_format_optional(struct buf *b, const struct manifest *m, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    int r = add_description(b, m->description, error);

    if (r == 0 && m->logo.type != MANIFEST_LOGO_NONE)
        r = buf_append_format(b, "opt-logo %s %u %s\n", sha256_to_hex(&m->logo.object, hex), m->logo.size,
                              manifest_logo_type_name(m->logo.type));
    for (unsigned i = 0; r == 0 && i < m->port_count; i++) {
        if (!text_is_printable(slice_of(m->ports[i].name)))
            return error_set(error, EINVAL, "the name of port %u holds control characters or is not UTF-8",
                             m->ports[i].number);
        r = buf_append_format(b, "opt-port %u %s\n", m->ports[i].number, m->ports[i].name);
    }
    return r;
}
