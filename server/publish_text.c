// See publish_text.h.
#include "server/publish_text.h"

#include "base/cleanup.h"

#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define LINE_MAXIMUM 128u

static bool cut_number(struct slice *rest, char end, uint64_t *ret)
{
    const char *at = memchr(rest->at, end, rest->length);

    if (!at)
        return false;
    const struct slice digits = {.at = rest->at, .length = (size_t)(at - rest->at)};
    rest->length -= digits.length + 1;
    rest->at = at + 1;
    return text_parse_u64(digits, INT64_MAX, ret);
}

bool publish_text_parse_part(struct slice header, struct publish_part *ret)
{
    static const char unit[] = "bytes ";
    uint64_t first, last, total;

    // Units have no case (RFC 9110, 14.1).
    if (header.length < strlen(unit) || strncasecmp(header.at, unit, strlen(unit)) != 0)
        return false;
    header.at += strlen(unit);
    header.length -= strlen(unit);
    if (!cut_number(&header, '-', &first) || !cut_number(&header, '/', &last) ||
        !text_parse_u64(header, INT64_MAX, &total) || last < first || last >= total)
        return false;
    *ret = (struct publish_part){.first = first, .length = last - first + 1, .total = total};
    return true;
}

// The value of a line that must have this key; an empty slice, which no value is, if it is another line or none.
static struct slice next_value(struct text_reader *lines, const char *wanted)
{
    const struct slice none = {.at = "", .length = 0};
    struct slice line, key, value;

    if (text_next_line(lines, &line) <= 0)
        return none;
    text_split_line(line, &key, &value);
    return slice_equal(key, wanted) ? value : none;
}

static bool parse_key(struct slice value, struct key_public *ret)
{
    return key_from_text(value.at, value.length, ret);
}

int publish_text_parse_key(const void *bytes, size_t n, struct key_public *ret, struct error *error)
{
    struct text_reader lines = text_reader_over(bytes, n, LINE_MAXIMUM);

    if (!parse_key(next_value(&lines, "key"), ret) || lines.left > 0)
        return error_set(error, EBADMSG, "the body is not one line: key, a space, and a public key's 43 characters");
    return 0;
}

int publish_text_next_object(struct text_reader *lines, struct publish_object *ret, struct error *error)
{
    struct slice line, hex;
    struct publish_object object;

    int r = text_next_line(lines, &line);
    if (r == 0)
        return 0;
    if (r > 0 && lines->line > PUBLISH_MISSING_LINES)
        return error_set(error, EBADMSG, "there are more than %u lines; ask in several questions",
                         PUBLISH_MISSING_LINES);
    if (r > 0) {
        hex = slice_cut_word(&line);
        r = sha256_from_hex(hex.at, hex.length, &object.name) && text_parse_u64(line, UINT32_MAX, &object.size);
    }
    if (r <= 0)
        return error_set(error, EBADMSG, "line %u is not an object's SHA-256, a space, and its bytes", lines->line);
    *ret = object;
    return 1;
}

static bool parse_id(struct slice value, unsigned char ret[static CATALOG_ID_SIZE])
{
    char padded[SHA256_HEX_SIZE];
    struct sha256 bytes;

    if (value.length != 2 * CATALOG_ID_SIZE)
        return false;
    (void)snprintf(padded, sizeof padded, "%.*s%032d", SLICE_ARGUMENTS(value), 0);
    if (!sha256_from_hex(padded, SHA256_HEX_SIZE - 1, &bytes))
        return false;
    memcpy(ret, bytes.bytes, CATALOG_ID_SIZE);
    return true;
}

static bool parse_challenge(struct slice value, unsigned char ret[static PUBLISH_CHALLENGE_BYTES])
{
    return base64url_decode(value.at, value.length, ret, PUBLISH_CHALLENGE_BYTES) == PUBLISH_CHALLENGE_BYTES;
}

int publish_text_parse_session(struct slice text, struct publish_session_text *ret, struct error *error)
{
    struct text_reader lines = text_reader_over(text.at, text.length, LINE_MAXIMUM);
    struct publish_session_text t;

    if (!slice_equal(next_value(&lines, "rondo-publish"), "1") || !parse_key(next_value(&lines, "site"), &t.site) ||
        !parse_id(next_value(&lines, "id"), t.id) || !parse_key(next_value(&lines, "key"), &t.key) ||
        !parse_challenge(next_value(&lines, "challenge"), t.challenge) || lines.left > 0)
        return error_set(error, EBADMSG, "line %u is not what the text of a session has there", lines.line);
    *ret = t;
    return 0;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int publish_text_parse_tag(struct slice value, char ret[static CATALOG_NAME_SIZE], struct error *error)
{
    char tag[CATALOG_NAME_SIZE];
    size_t n = 0, at = 0;

    while (at < value.length && n < sizeof tag - 1) {
        int high = at + 2 < value.length ? digit_of(value.at[at + 1]) : -1;
        int low = at + 2 < value.length ? digit_of(value.at[at + 2]) : -1;
        const bool encoded = value.at[at] == '%' && high >= 0 && low >= 0;
        tag[n++] = (char)(encoded ? high << 4 | low : value.at[at]);
        at += encoded ? 3 : 1;
    }
    tag[n] = '\0';
    if (at < value.length || !text_is_version_name((struct slice){.at = tag, .length = n}))
        return error_set(error, EBADMSG, "the tag in the query is no name of a tag");
    memcpy(ret, tag, n + 1);
    return 0;
}

bool publish_text_parse_token(struct slice header, unsigned char ret[static PUBLISH_CHALLENGE_BYTES])
{
    static const char scheme[] = "Bearer ";

    if (header.length < strlen(scheme) || strncasecmp(header.at, scheme, strlen(scheme)) != 0)
        return false;
    header.at += strlen(scheme);
    header.length -= strlen(scheme);
    return parse_challenge(header, ret);
}
