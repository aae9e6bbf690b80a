// Text that came from outside: the `key value` lines of everything signed, strict numbers, times, and escaping
// for a terminal.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A piece of somebody else's memory; not NUL-terminated.
struct slice {
    const char *at;
    size_t length;
};

#define SLICE_ARGUMENTS(s) (int)(s).length, (s).at // for "%.*s"
struct slice slice_of(const char *text);
bool slice_equal(struct slice a, const char *b);
bool slice_starts(struct slice a, const char *prefix);

// Cuts the first word (up to a single space) off *rest and returns it; an empty slice when nothing is left. Two
// spaces in a row give an empty word in between, which callers reject. A space at the very end stays in *rest, so
// that a caller who expects nothing more finds it, and one who cuts on gets an empty word.
struct slice slice_cut_word(struct slice *rest);

// Lines. text_next_line returns 1 and the line (without its newline), 0 at the end, or -EBADMSG if the last line
// lacks its newline, is longer than `maximum_line`, or holds anything that a signed text may not: control
// characters, bytes that are not UTF-8, or bidirectional and other invisible formatting characters.
struct text_reader {
    const char *at;
    size_t left;
    unsigned line; // number of the line last returned, or found bad; from 1
    size_t maximum_line;
};
struct text_reader text_reader_over(const void *bytes, size_t length, size_t maximum_line);
int text_next_line(struct text_reader *r, struct slice *ret_line);

// Splits a line at its first space. A line without one has an empty value.
void text_split_line(struct slice line, struct slice *ret_key, struct slice *ret_value);

// True if it is well-formed UTF-8 (RFC 3629) without control and invisible formatting characters.
bool text_is_printable(struct slice s);
// The bytes of the character at the start of the slice if it is such a one, else 0.
size_t text_shown_length(struct slice s);

// Decimal, digits only, no leading zero (but "0"), at most `maximum`: false otherwise.
bool text_parse_u64(struct slice s, uint64_t maximum, uint64_t *ret);

// A size as people type it: 512M, 2G, 4096, 1T (powers of 1024; K M G T). False if malformed or over 2^63-1.
bool text_parse_size(const char *s, uint64_t *ret);
// "12.3 MiB", for people.
const char *text_format_size(uint64_t bytes, char text[static 32]);

// "1 request", "2 requests": of nouns that take an s. TEXT_COUNT's lasts to the end of the block.
#define TEXT_COUNT_SIZE 64
const char *text_format_count(uint64_t n, const char *noun, char text[static TEXT_COUNT_SIZE]);
#define TEXT_COUNT(n, noun) text_format_count((n), (noun), (char[TEXT_COUNT_SIZE]){0})

// RFC 3339 in UTC to the second, as in "2026-11-23T10:00:00Z"; years 1970 to 9999.
bool text_parse_time(struct slice s, int64_t *ret_seconds);
const char *text_format_time(int64_t seconds, char text[static 32]);

// For messages: at most `capacity`-1 bytes, control characters, invalid UTF-8 and invisible formatting as \xNN,
// cut with "…". Returns `text`.
const char *text_escape(struct slice s, char *text, size_t capacity);

// As one word of a command line for people to paste: as it is, or in single quotes where a shell, zsh with its extended
// patterns too, could take any of it for more than text. 0, -E2BIG or -ENOMEM.
int text_append_shell_word(struct buf *b, const char *word);

// An image name: [a-z0-9][a-z0-9._-]{0,63} (FORMATS, "Names and keys"). A version or tag: the same with upper
// case letters and + allowed.
bool text_is_image_name(struct slice s);
bool text_is_version_name(struct slice s);
// For messages about names of images, and of machines, which follow the same rule.
#define TEXT_IMAGE_NAME_RULE "use 1 to 64 of a-z, 0-9, dot, dash and underscore, a letter or digit first"
