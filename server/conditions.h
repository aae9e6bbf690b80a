// Conditional requests of HTTP (RFC 9110, section 13): If-None-Match, If-Modified-Since, If-Range.
#pragma once

#include "base/text.h"
#include <stdbool.h>
#include <stdint.h>

#define CONDITIONS_DATE_SIZE 30 // "Mon, 23 Nov 2026 10:00:00 GMT" and a NUL byte

// Entity tags here are strong and come with their quotes. The list is the value of If-None-Match, "*" or tags,
// compared weakly (13.1.2): W/"x" matches "x". Anything malformed ends the list, so the answer is a whole file.
bool conditions_tag_in_list(struct slice list, const char *tag);

// Whether a Range header counts, given the value of If-Range: it must be our tag, without W/, or exactly our
// Last-Modified text ("" if none was sent).
bool conditions_if_range(struct slice value, const char *tag, const char *last_modified);

// An HTTP date (5.6.7). "" for times outside of years 1970 to 9999.
const char *conditions_format_date(int64_t seconds, char text[static CONDITIONS_DATE_SIZE]);
