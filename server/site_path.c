// Request targets are parsed by one strict walk: decode a byte, judge it, append it; judge each part (what stands
// between two "/") when it ends. There is no second decoding and no normalisation, so there is nothing that an
// encoding can hide from a check.
//
// Invariants (tests cite the numbers):
//  1. A name has no empty part, and none that begins with "." (so no "..", no dot-files, no temporary files, which
//     are written under dot-names).
//  2. "%" decodes only to bytes that a file name may hold and that change nothing: never to "/", "\", ".", "%", a
//     control character or NUL. Whoever encodes those has no honest reason to.
//  3. A decoded name is printable UTF-8.
//  4. Below objects/ exists only ab/<64 lower-case hex digits that begin with ab>; partial/ does not exist.

#include "server/site_path.h"

#include "base/text.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define PART_MAXIMUM 255 // NAME_MAX of Linux

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

// Bytes that may stand unencoded. RFC 3986 would also have "<>^`{|} encoded; they do no harm.
static bool is_plain(unsigned char c)
{
    return c > 0x20 && c < 0x7f && c != '\\' && c != '#' && c != '%';
}

// Decodes the byte at *at and moves behind it; -1 for what invariant 2 forbids. "/" is handled by the caller.
static int decode_byte(const char **at, const char *end)
{
    unsigned char c = (unsigned char)**at;

    if (c != '%') {
        *at += 1;
        return is_plain(c) ? c : -1;
    }
    if (end - *at < 3)
        return -1;
    int high = hex_value((*at)[1]), low = hex_value((*at)[2]);
    if (high < 0 || low < 0)
        return -1;
    int value = high << 4 | low;
    if (value < 0x20 || value == 0x7f || value == '/' || value == '\\' || value == '.' || value == '%')
        return -1;
    *at += 3;
    return value;
}

// RFC 9112, 3.2.2: a server accepts "http://host/path" too. The host is not looked at: there is one site.
static void skip_authority(const char **at, const char *end)
{
    size_t length = (size_t)(end - *at), scheme;

    if (length >= 7 && strncasecmp(*at, "http://", 7) == 0)
        scheme = 7;
    else if (length >= 8 && strncasecmp(*at, "https://", 8) == 0)
        scheme = 8;
    else
        return;
    const char *slash = memchr(*at + scheme, '/', length - scheme);
    if (slash)
        *at = slash;
}

// Checks the part that begins at `start` in `name` and ends at `size`. Invariant 1.
static int check_part(const char *name, size_t start, size_t size)
{
    size_t length = size - start;

    if (length == 0 || (length <= 2 && memcmp(name + start, "..", length) == 0))
        return -EINVAL;
    if (length > PART_MAXIMUM || name[start] == '.')
        return -ENOENT;
    return 0;
}

// Invariant 4.
static bool is_object_name(const char *name, size_t size)
{
    const char *digits = name + strlen("objects/ab/");

    if (size != strlen("objects/ab/") + 64 || digits[-1] != '/' || memcmp(digits - 3, digits, 2) != 0)
        return false;
    for (size_t i = 0; i < 64; i++)
        if (!((digits[i] >= '0' && digits[i] <= '9') || (digits[i] >= 'a' && digits[i] <= 'f')))
            return false;
    return true;
}

static int classify(struct site_path *path, size_t size)
{
    struct slice name = {.at = path->name, .length = size};

    if (slice_starts(name, "partial/") || slice_equal(name, "partial") || slice_equal(name, "objects"))
        return -ENOENT;
    if (slice_starts(name, "objects/")) {
        path->kind = SITE_PATH_OBJECT;
        return is_object_name(path->name, size) ? 0 : -ENOENT;
    }
    path->kind = slice_equal(name, SITE_PATH_CATALOG) ? SITE_PATH_CATALOG_FILE : SITE_PATH_PAGE;
    return 0;
}

int site_path_parse(const char *target, size_t length, struct site_path *ret)
{
    const char *query = memchr(target, '?', length);
    const char *at = target, *end = query ? query : target + length;
    struct site_path path = {.kind = SITE_PATH_PAGE};
    size_t size = 0, part = 0;
    int r;

    skip_authority(&at, end);
    if (end - at > SITE_PATH_MAXIMUM)
        return -ENAMETOOLONG;
    if (at == end || *at++ != '/')
        return -EINVAL;

    // The verdict "not found" waits for the end, so that a malformed target is 400 whatever comes first in it.
    int verdict = 0;
    while (at < end) {
        if (*at == '/') {
            at++;
            r = check_part(path.name, part, size);
            if (r == -EINVAL)
                return r;
            verdict = verdict ? verdict : r;
            path.name[size++] = '/';
            part = size;
            continue;
        }
        int byte = decode_byte(&at, end);
        if (byte < 0)
            return -EINVAL;
        path.name[size++] = (char)byte;
    }
    if (size == part) {
        memcpy(path.name + size, "index.html", strlen("index.html"));
        size += strlen("index.html");
    }
    r = check_part(path.name, part, size);
    if (r == -EINVAL)
        return r;
    verdict = verdict ? verdict : r;
    path.name[size] = '\0';

    if (!text_is_printable((struct slice){.at = path.name, .length = size})) // invariant 3
        return -EINVAL;
    if (verdict == 0)
        verdict = classify(&path, size);
    if (verdict == 0)
        *ret = path;
    return verdict;
}
