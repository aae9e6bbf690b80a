// Conditional requests. Dates are never parsed: a client that holds our Last-Modified sends it back as it was, and
// any other date is a guess, to which the honest answer is the file itself.

#include "server/conditions.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

static struct slice skip(struct slice s, size_t n)
{
    return (struct slice){.at = s.at + n, .length = s.length - n};
}

static struct slice skip_separators(struct slice s)
{
    while (s.length && (s.at[0] == ' ' || s.at[0] == '\t' || s.at[0] == ','))
        s = skip(s, 1);
    return s;
}

bool conditions_tag_in_list(struct slice list, const char *tag)
{
    list = skip_separators(list);
    if (list.length && list.at[0] == '*')
        return skip_separators(skip(list, 1)).length == 0;

    for (; list.length; list = skip_separators(list)) {
        if (slice_starts(list, "W/"))
            list = skip(list, 2);
        if (list.length < 2 || list.at[0] != '"')
            return false;
        const char *quote = memchr(list.at + 1, '"', list.length - 1);
        if (!quote)
            return false;
        struct slice found = {.at = list.at, .length = (size_t)(quote + 1 - list.at)};
        if (slice_equal(found, tag))
            return true;
        list = skip(list, found.length);
        if (list.length && list.at[0] != ',' && list.at[0] != ' ' && list.at[0] != '\t')
            return false;
    }
    return false;
}

bool conditions_if_range(struct slice value, const char *tag, const char *last_modified)
{
    return slice_equal(value, tag) || (last_modified[0] && slice_equal(value, last_modified));
}

const char *conditions_format_date(int64_t seconds, char text[static CONDITIONS_DATE_SIZE])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)seconds;
    struct tm tm;

    text[0] = '\0';
    if (seconds < 0 || !gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900)
        return text;
    // Not strftime: its names of days follow the locale. The % keep the compiler's bounds; they change nothing.
    int n = snprintf(text, CONDITIONS_DATE_SIZE, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday % 7],
                     tm.tm_mday % 100, months[tm.tm_mon % 12], (tm.tm_year + 1900) % 10000, tm.tm_hour % 100,
                     tm.tm_min % 100, tm.tm_sec % 100);
    if (n != CONDITIONS_DATE_SIZE - 1)
        text[0] = '\0';
    return text;
}
