// Fuzz target: text from outside. The first byte chooses what the rest is taken for; besides the sanitizers, each
// part checks what base/text.h and base/hash.h promise: one value has one text, and outputs stay in their bounds.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/text.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void fuzz_lines(struct slice s)
{
    struct text_reader r = text_reader_over(s.at, s.length, 4096);
    struct slice line;
    size_t total = 0;
    int result;
    while ((result = text_next_line(&r, &line)) == 1) {
        struct slice key;
        struct slice value;
        check(line.length <= 4096 && text_is_printable(line));
        total += line.length + 1;
        text_split_line(line, &key, &value);
        check(key.length + value.length <= line.length);
        size_t words = 0;
        while (line.length > 0) {
            slice_cut_word(&line);
            check(++words <= 4097);
        }
    }
    check(result < 0 || total == s.length);
}

static void fuzz_times(struct slice s)
{
    int64_t seconds;
    char text[32];
    if (text_parse_time(s, &seconds))
        check(slice_equal(s, text_format_time(seconds, text)));
}

static void fuzz_numbers(struct slice s)
{
    uint64_t value;
    char text[32];
    if (text_parse_u64(s, UINT64_MAX, &value)) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)value);
        check(slice_equal(s, text));
        text_format_size(value, text);
        check(strlen(text) < sizeof text);
    }
    char *copy CLEANUP_FREE = strndup(s.at, s.length);
    if (copy && text_parse_size(copy, &value))
        check(value <= INT64_MAX);
}

static void fuzz_escape(struct slice s)
{
    for (size_t capacity = 1; capacity < 80; capacity += 13) {
        char *text CLEANUP_FREE = malloc(capacity); // exact, so that one byte too many is seen
        char again[80];
        if (!text)
            return;
        text_escape(s, text, capacity);
        check(strlen(text) < capacity && text_is_printable(slice_of(text)));
        check(strcmp(text_escape(slice_of(text), again, capacity), text) == 0);
    }
}

static void fuzz_base64(struct slice s, long (*decode)(const char *, size_t, void *, size_t),
                        long (*encode)(const void *, size_t, char *, size_t))
{
    size_t capacity = s.length / 4 * 3 + 2;
    unsigned char *bytes CLEANUP_FREE = malloc(capacity);
    char *text CLEANUP_FREE = malloc(s.length + 1);
    if (!bytes || !text)
        return;
    long n = decode(s.at, s.length, bytes, capacity);
    if (n >= 0)
        check(encode(bytes, (size_t)n, text, s.length + 1) == (long)s.length && slice_equal(s, text));
}

static void fuzz_names(struct slice s)
{
    struct sha256 hash;
    char hex[SHA256_HEX_SIZE];
    check(!text_is_image_name(s) || text_is_version_name(s));
    check(!text_is_version_name(s) || (s.length <= 64 && text_is_printable(s)));
    if (sha256_from_hex(s.at, s.length, &hash))
        check(slice_equal(s, sha256_to_hex(&hash, hex)));
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice s = {.at = (const char *)data + 1, .length = size - 1};
    switch (data[0]) {
    case 'l':
        fuzz_lines(s);
        break;
    case 't':
        fuzz_times(s);
        break;
    case 'n':
        fuzz_numbers(s);
        break;
    case 'e':
        fuzz_escape(s);
        break;
    case 'b':
        fuzz_base64(s, base64_decode, base64_encode);
        break;
    case 'u':
        fuzz_base64(s, base64url_decode, base64url_encode);
        break;
    case 'i':
        fuzz_names(s);
        break;
    default:
        break;
    }
    return 0;
}
