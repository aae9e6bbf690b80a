// Range headers. A server may ignore any Range header (RFC 9110, 14.2), and a client must understand the 200 that
// follows; so everything unusual (several ranges, other units, malformed ones) gets the whole file, and the only
// forms that are understood are "bytes=A-B", "bytes=A-" and "bytes=-N". Several ranges in one request are also an
// old way to make a server work hard for a short request.

#include "server/range.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

// Cuts decimal digits off *rest. A number over 2^64-1 stays at that, which is beyond every file's end.
static bool cut_number(struct slice *rest, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i;

    for (i = 0; i < rest->length && rest->at[i] >= '0' && rest->at[i] <= '9'; i++) {
        unsigned digit = (unsigned)(rest->at[i] - '0');
        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
    }
    if (i == 0)
        return false;
    rest->at += i;
    rest->length -= i;
    *ret = value;
    return true;
}

static bool cut_dash(struct slice *rest)
{
    if (rest->length == 0 || rest->at[0] != '-')
        return false;
    rest->at++;
    rest->length--;
    return true;
}

static enum range_kind last_bytes(uint64_t count, uint64_t size, struct byte_range *ret)
{
    if (count == 0)
        return RANGE_UNSATISFIABLE;
    if (size == 0) // satisfiable (14.1.2), but a 206 cannot say "no bytes"
        return RANGE_WHOLE;
    if (count > size)
        count = size;
    *ret = (struct byte_range){.first = size - count, .length = count};
    return RANGE_PART;
}

enum range_kind range_parse(struct slice header, uint64_t size, struct byte_range *ret)
{
    static const char unit[] = "bytes="; // units are compared without case (14.1)
    const size_t unit_length = sizeof unit - 1;
    uint64_t first, last = UINT64_MAX;

    while (header.length && (header.at[header.length - 1] == ' ' || header.at[header.length - 1] == '\t'))
        header.length--;
    if (header.length < unit_length || strncasecmp(header.at, unit, unit_length) != 0)
        return RANGE_WHOLE;
    header.at += unit_length;
    header.length -= unit_length;

    if (cut_dash(&header)) {
        if (!cut_number(&header, &last) || header.length)
            return RANGE_WHOLE;
        return last_bytes(last, size, ret);
    }
    if (!cut_number(&header, &first) || !cut_dash(&header))
        return RANGE_WHOLE;
    if (header.length && (!cut_number(&header, &last) || header.length))
        return RANGE_WHOLE;
    if (last < first)
        return RANGE_WHOLE;
    if (first >= size)
        return RANGE_UNSATISFIABLE;
    if (last > size - 1)
        last = size - 1;
    *ret = (struct byte_range){.first = first, .length = last - first + 1};
    return RANGE_PART;
}
