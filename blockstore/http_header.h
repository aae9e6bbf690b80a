// The few HTTP header fields that Rondo reads itself (RFC 9110): Content-Range, Content-Length, Retry-After, ETag.
// All of them are a server's words: every function takes a slice, accepts one exact form, and refuses the rest.
#pragma once

#include "base/text.h"

// Splits "Name: value\r\n" into name and value, without the white space around the value (RFC 9112, section 5).
// False for a line that is no field: a status line, the empty line, a name with spaces in it.
bool http_header_split(struct slice line, struct slice *ret_name, struct slice *ret_value);
bool http_header_is(struct slice name, const char *lower_case_name); // names have no case (RFC 9110, section 5.1)

// "bytes 0-4095/123456", or with "*" for an unknown total (section 14.4). first <= last < total is checked; an
// unsatisfied range ("bytes */123") is refused, since it belongs to answer 416 only.
struct http_content_range {
    uint64_t first, last; // both inclusive, in bytes
    uint64_t total;       // UINT64_MAX if unknown
};
bool http_header_parse_content_range(struct slice value, struct http_content_range *ret);

// Seconds, or a date in the preferred form "Sun, 06 Nov 1994 08:49:37 GMT" (sections 10.2.3 and 5.6.7). The result
// is at least 1 and at most `maximum_ms`.
bool http_header_parse_retry_after(struct slice value, int64_t now_seconds, unsigned maximum_ms, unsigned *ret_ms);

// Copies an entity tag (section 8.8.3) that may be sent back in If-None-Match: quoted, printable ASCII, and
// shorter than `capacity`. False, and *ret_text untouched, for any other.
bool http_header_copy_etag(struct slice value, char *ret_text, size_t capacity);
