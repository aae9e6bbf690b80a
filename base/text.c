// Text that came from outside: slices and lines, strict numbers, sizes, times, names.
//
// 1. One value has one text: no signs, no leading zeros, no white space around, no second way to write a time.
//    What is signed is compared and hashed as text, so a second form would be a second identity.
// 2. No function reads past a slice, and none needs a NUL byte.
// 3. The locale has no say: bytes are compared as bytes.
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#include "base/banned.h"

struct slice slice_of(const char *text)
{
    return (struct slice){.at = text, .length = strlen(text)};
}

bool slice_equal(struct slice a, const char *b)
{
    size_t length = strlen(b);
    return a.length == length && (length == 0 || memcmp(a.at, b, length) == 0);
}

bool slice_starts(struct slice a, const char *prefix)
{
    size_t length = strlen(prefix);
    return a.length >= length && (length == 0 || memcmp(a.at, prefix, length) == 0);
}

// Cuts at the first space; false if there is none. An empty slice may have no memory at all.
static bool cut_at_space(struct slice s, struct slice *ret_before, struct slice *ret_after)
{
    const char *space = s.length > 0 ? memchr(s.at, ' ', s.length) : NULL;
    if (!space)
        return false;
    size_t before = (size_t)(space - s.at);
    *ret_before = (struct slice){.at = s.at, .length = before};
    *ret_after = (struct slice){.at = space + 1, .length = s.length - before - 1};
    return true;
}

struct slice slice_cut_word(struct slice *rest)
{
    struct slice word;
    struct slice after;
    if (!cut_at_space(*rest, &word, &after)) {
        word = *rest;
        if (rest->length > 0)
            *rest = (struct slice){.at = rest->at + rest->length, .length = 0};
        return word;
    }
    if (after.length == 0 && word.length > 0)
        after = (struct slice){.at = after.at - 1, .length = 1}; // a space at the end stays to be seen
    *rest = after;
    return word;
}

struct text_reader text_reader_over(const void *bytes, size_t length, size_t maximum_line)
{
    return (struct text_reader){.at = bytes, .left = length, .line = 0, .maximum_line = maximum_line};
}

int text_next_line(struct text_reader *r, struct slice *ret_line)
{
    if (r->left == 0)
        return 0;
    r->line++;
    size_t window = r->left - 1 < r->maximum_line ? r->left : r->maximum_line + 1;
    const char *newline = memchr(r->at, '\n', window);
    if (!newline)
        return -EBADMSG;
    struct slice line = {.at = r->at, .length = (size_t)(newline - r->at)};
    if (!text_is_printable(line))
        return -EBADMSG;
    r->at = newline + 1;
    r->left -= line.length + 1;
    *ret_line = line;
    return 1;
}

void text_split_line(struct slice line, struct slice *ret_key, struct slice *ret_value)
{
    if (cut_at_space(line, ret_key, ret_value))
        return;
    *ret_key = line;
    *ret_value = (struct slice){.at = line.length > 0 ? line.at + line.length : line.at, .length = 0};
}

bool text_parse_u64(struct slice s, uint64_t maximum, uint64_t *ret)
{
    if (s.length == 0 || (s.length > 1 && s.at[0] == '0'))
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.length; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.at[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (v > maximum)
        return false;
    *ret = v;
    return true;
}

bool text_parse_size(const char *s, uint64_t *ret)
{
    static const char units[] = "KMGT";
    struct slice digits = slice_of(s);
    unsigned shift = 0;
    const char *unit = digits.length > 0 ? memchr(units, s[digits.length - 1], sizeof units - 1) : NULL;
    if (unit) {
        shift = 10 * (unsigned)(unit - units + 1);
        digits.length--;
    }
    uint64_t v;
    if (!text_parse_u64(digits, (uint64_t)INT64_MAX >> shift, &v))
        return false;
    *ret = v << shift;
    return true;
}

const char *text_format_size(uint64_t bytes, char text[static 32])
{
    static const char units[] = "KMGTPE";
    if (bytes < 1024) {
        snprintf(text, 32, "%u byte%s", (unsigned)bytes, bytes == 1 ? "" : "s");
        return text;
    }
    size_t unit = 0;
    unsigned shift = 10;
    while (bytes >> shift >= 1024) {
        shift += 10;
        unit++;
    }
    // Rounded to tenths in whole numbers. 1023.96 KiB rounds to 1024.0, which is written 1.0 MiB.
    uint64_t whole = bytes >> shift;
    uint64_t rest = (bytes & ((UINT64_C(1) << shift) - 1)) >> (shift - 10);
    uint64_t tenths = whole * 10 + (rest * 10 + 512) / 1024;
    if (tenths >= 10240 && unit + 1 < sizeof units - 1) {
        tenths = 10;
        unit++;
    }
    snprintf(text, 32, "%u.%u %ciB", (unsigned)(tenths / 10), (unsigned)(tenths % 10), units[unit]);
    return text;
}

const char *text_format_count(uint64_t n, const char *noun, char text[static TEXT_COUNT_SIZE])
{
    snprintf(text, TEXT_COUNT_SIZE, "%llu %s%s", (unsigned long long)n, noun, n == 1 ? "" : "s");
    return text;
}

#define SECONDS_PER_DAY 86400
#define TIME_LENGTH 20                     // of "2026-11-23T10:00:00Z"
#define TIME_MAXIMUM INT64_C(253402300799) // 9999-12-31T23:59:59Z

static bool is_leap_year(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t days_of_month(int64_t year, int64_t month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap_year(year) ? 1 : 0);
}

// Days from 1970-01-01 to the first day of the year.
static int64_t days_before_year(int64_t year)
{
    int64_t y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 - 719162;
}

static bool parse_digits(const char *at, size_t n, int64_t minimum, int64_t maximum, int64_t *ret)
{
    int64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        v = v * 10 + (at[i] - '0');
    }
    if (v < minimum || v > maximum)
        return false;
    *ret = v;
    return true;
}

bool text_parse_time(struct slice s, int64_t *ret_seconds)
{
    int64_t year;
    int64_t month;
    int64_t day;
    int64_t hour;
    int64_t minute;
    int64_t second;
    if (s.length != TIME_LENGTH || s.at[4] != '-' || s.at[7] != '-' || s.at[10] != 'T' || s.at[13] != ':' ||
        s.at[16] != ':' || s.at[19] != 'Z')
        return false;
    if (!parse_digits(s.at, 4, 1970, 9999, &year) || !parse_digits(s.at + 5, 2, 1, 12, &month) ||
        !parse_digits(s.at + 8, 2, 1, days_of_month(year, month), &day) || !parse_digits(s.at + 11, 2, 0, 23, &hour) ||
        !parse_digits(s.at + 14, 2, 0, 59, &minute) || !parse_digits(s.at + 17, 2, 0, 59, &second))
        return false;
    int64_t days = days_before_year(year) + day - 1;
    for (int64_t m = 1; m < month; m++)
        days += days_of_month(year, m);
    *ret_seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    return true;
}

const char *text_format_time(int64_t seconds, char text[static 32])
{
    if (seconds < 0 || seconds > TIME_MAXIMUM) {
        snprintf(text, 32, "out of range");
        return text;
    }
    int64_t days = seconds / SECONDS_PER_DAY;
    int64_t rest = seconds % SECONDS_PER_DAY;
    int64_t year = 1970 + days / 366; // never too late; at most some years early
    while (days_before_year(year + 1) <= days)
        year++;
    days -= days_before_year(year);
    int64_t month = 1;
    while (days >= days_of_month(year, month)) {
        days -= days_of_month(year, month);
        month++;
    }
    snprintf(text, 32, "%04d-%02d-%02dT%02d:%02d:%02dZ", (int)year, (int)month, (int)days + 1, (int)(rest / 3600),
             (int)(rest / 60 % 60), (int)(rest % 60));
    return text;
}

static bool is_name(struct slice s, const char *further)
{
    if (s.length == 0 || s.length > 64)
        return false;
    for (size_t i = 0; i < s.length; i++) {
        char c = s.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (*further && c >= 'A' && c <= 'Z');
        bool other = c == '.' || c == '_' || c == '-' || (c != '\0' && strchr(further, c));
        if (!letter && (i == 0 || !other))
            return false;
    }
    return true;
}

bool text_is_image_name(struct slice s)
{
    return is_name(s, "");
}

bool text_is_version_name(struct slice s)
{
    return is_name(s, "+");
}

int text_append_shell_word(struct buf *b, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_@+:,./";
    const size_t n = strlen(word);
    if (n > 0 && strspn(word, plain) == n)
        return buf_append(b, word, n);
    int r = buf_append(b, "'", 1);
    for (size_t i = 0; i < n && r == 0; i++)
        r = word[i] == '\'' ? buf_append(b, "'\\''", 4) : buf_append(b, word + i, 1);
    return r == 0 ? buf_append(b, "'", 1) : r;
}
