// HTTP header fields: strict forms only. See http_header.h.

#include "blockstore/http_header.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

// RFC 9110, section 5.6.2
static bool is_token_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_header_split(struct slice line, struct slice *ret_name, struct slice *ret_value)
{
    size_t n = 0;
    while (n < line.length && is_token_character(line.at[n]))
        n++;
    if (n == 0 || n == line.length || line.at[n] != ':')
        return false;
    struct slice value = {.at = line.at + n + 1, .length = line.length - n - 1};
    if (value.length && value.at[value.length - 1] == '\n')
        value.length--;
    if (value.length && value.at[value.length - 1] == '\r')
        value.length--;
    while (value.length && is_space(value.at[value.length - 1]))
        value.length--;
    while (value.length && is_space(value.at[0])) {
        value.at++;
        value.length--;
    }
    *ret_name = (struct slice){.at = line.at, .length = n};
    *ret_value = value;
    return true;
}

bool http_header_is(struct slice name, const char *lower_case_name)
{
    return name.length == strlen(lower_case_name) && strncasecmp(name.at, lower_case_name, name.length) == 0;
}

// Cuts what stands before the first `mark` off *rest; false if there is none.
static bool cut_at(struct slice *rest, char mark, struct slice *ret_before)
{
    const char *at = rest->length ? memchr(rest->at, mark, rest->length) : NULL;
    if (!at)
        return false;
    size_t n = (size_t)(at - rest->at);
    *ret_before = (struct slice){.at = rest->at, .length = n};
    rest->at += n + 1;
    rest->length -= n + 1;
    return true;
}

bool http_header_parse_content_range(struct slice value, struct http_content_range *ret)
{
    struct http_content_range range = {.total = UINT64_MAX};
    struct slice unit, first, last;
    if (!cut_at(&value, ' ', &unit) || !http_header_is(unit, "bytes"))
        return false;
    if (!cut_at(&value, '-', &first) || !cut_at(&value, '/', &last))
        return false;
    if (!text_parse_u64(first, INT64_MAX, &range.first) || !text_parse_u64(last, INT64_MAX, &range.last))
        return false;
    if (!slice_equal(value, "*") && !text_parse_u64(value, INT64_MAX, &range.total))
        return false;
    if (range.first > range.last || range.last >= range.total)
        return false;
    *ret = range;
    return true;
}

// "Sun, 06 Nov 1994 08:49:37 GMT" as text_parse_time's "1994-11-06T08:49:37Z". The name of the day says nothing new.
static bool parse_http_date(struct slice value, int64_t *ret_seconds)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const char form[] = "aaa, 00 aaa 0000 00:00:00 GMT"; // 0: a digit, a: a letter, else: itself
    if (value.length != sizeof(form) - 1)
        return false;
    for (size_t i = 0; i < value.length; i++) {
        char c = value.at[i];
        if (form[i] == '0' ? c < '0' || c > '9' : form[i] == 'a' ? (c | 32) < 'a' || (c | 32) > 'z' : c != form[i])
            return false;
    }
    unsigned month = 0;
    while (month < 12 && memcmp(months + (size_t)month * 3, value.at + 8, 3) != 0)
        month++;
    if (month == 12)
        return false;
    month++;
    char text[20];
    memcpy(text, value.at + 12, 4);
    text[4] = '-';
    text[5] = (char)('0' + month / 10);
    text[6] = (char)('0' + month % 10);
    text[7] = '-';
    memcpy(text + 8, value.at + 5, 2);
    text[10] = 'T';
    memcpy(text + 11, value.at + 17, 8);
    text[19] = 'Z';
    return text_parse_time((struct slice){.at = text, .length = sizeof(text)}, ret_seconds);
}

bool http_header_parse_retry_after(struct slice value, int64_t now_seconds, unsigned maximum_ms, unsigned *ret_ms)
{
    uint64_t seconds;
    int64_t date;
    if (parse_http_date(value, &date))
        seconds = date > now_seconds ? (uint64_t)date - (uint64_t)now_seconds : 0;
    else if (!text_parse_u64(value, UINT32_MAX, &seconds))
        return false;
    if (seconds > maximum_ms / 1000)
        *ret_ms = maximum_ms;
    else
        *ret_ms = seconds ? (unsigned)seconds * 1000 : 1;
    return true;
}

bool http_header_copy_etag(struct slice value, char *ret_text, size_t capacity)
{
    struct slice tag = value;
    if (slice_starts(tag, "W/")) {
        tag.at += 2;
        tag.length -= 2;
    }
    if (tag.length < 2 || tag.at[0] != '"' || tag.at[tag.length - 1] != '"' || value.length >= capacity)
        return false;
    for (size_t i = 1; i + 1 < tag.length; i++)
        if (tag.at[i] <= ' ' || tag.at[i] > '~' || tag.at[i] == '"')
            return false;
    memcpy(ret_text, value.at, value.length);
    ret_text[value.length] = '\0';
    return true;
}
