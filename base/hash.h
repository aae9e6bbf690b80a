// SHA-256 (FIPS 180-4, through libcrypto) and the text forms of hashes and keys: lower-case hex for hashes,
// base64url without padding (RFC 4648, section 5) for keys, base64 (section 4) for minisign's lines.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SHA256_SIZE 32
#define SHA256_HEX_SIZE 65 // 64 digits and a NUL byte

struct sha256 {
    unsigned char bytes[SHA256_SIZE];
};

// The hash of one piece of memory. Any thread; cannot fail.
struct sha256 sha256_of(const void *bytes, size_t n);

// A hash over pieces. hash_stream_new() returns NULL when memory is short.
struct hash_stream;
struct hash_stream *hash_stream_new(void);
void hash_stream_add(struct hash_stream *s, const void *bytes, size_t n);
struct sha256 hash_stream_end(struct hash_stream *s); // the stream then starts anew
void hash_stream_free(struct hash_stream **s);        // for CLEANUP too; NULL is fine

// The hash of a whole file from offset 0 to its end; 0 or -errno. *ret_size (may be NULL) gets its length.
int sha256_of_file(int fd, struct sha256 *ret, unsigned long long *ret_size);

static inline bool sha256_equal(const struct sha256 *a, const struct sha256 *b)
{
    return memcmp(a->bytes, b->bytes, SHA256_SIZE) == 0;
}
bool sha256_is_zero(const struct sha256 *a);

// For hash tables over hashes that somebody else chose, who could make their bytes collide: multilinear hashing with
// random odd keys, universal in its high bits. sha256_make_keys: 0, or -EIO if there are no random numbers.
struct sha256_keys {
    uint64_t odd[4];
};
int sha256_make_keys(struct sha256_keys *ret);
uint64_t sha256_mix(const struct sha256 *h, const struct sha256_keys *keys);

const char *sha256_to_hex(const struct sha256 *h, char text[static SHA256_HEX_SIZE]); // returns text
bool sha256_from_hex(const char *text, size_t length, struct sha256 *ret);            // exactly 64 of [0-9a-f]

// Both alphabets are strict: no white space, no stray bits in the last digit; padding as the form demands.
// Encoding writes a NUL byte; `capacity` counts it. Returns the text's length, or -1 if it does not fit.
// Decoding returns the number of bytes, or -1.
long base64_encode(const void *bytes, size_t n, char *text, size_t capacity);
long base64_decode(const char *text, size_t length, void *bytes, size_t capacity);
long base64url_encode(const void *bytes, size_t n, char *text, size_t capacity);
long base64url_decode(const char *text, size_t length, void *bytes, size_t capacity);
