// SHA-256 through libcrypto, and strict text forms.
//
// sha256_of() runs for every 4 KiB block that is read or published, and has no way to fail. So it is libcrypto's plain
// SHA256_…, whose state is the caller's: OpenSSL 3 prefers EVP_…, which allocates, and looks an algorithm up by name on
// every one-shot call, at more than the price of the hash (docs/decisions.md). Both run the same code over the bytes.
//
// 1. Nothing here is shared between threads.
// 2. Decoders look at the whole text before they write a byte: outputs are untouched on failure.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/hash.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/io.h"

#include "base/banned.h"

#define FILE_PIECE_SIZE (256 * 1024)

struct hash_stream {
    SHA256_CTX state;
};

// With a state and bytes in memory these cannot fail: their results are always 1.
struct sha256 sha256_of(const void *bytes, size_t n)
{
    struct sha256 h;
    SHA256_CTX state;
    SHA256_Init(&state);
    SHA256_Update(&state, bytes, n);
    SHA256_Final(h.bytes, &state);
    return h;
}

struct hash_stream *hash_stream_new(void)
{
    struct hash_stream *s = malloc(sizeof *s);
    if (s)
        SHA256_Init(&s->state);
    return s;
}

void hash_stream_add(struct hash_stream *s, const void *bytes, size_t n)
{
    SHA256_Update(&s->state, bytes, n);
}

struct sha256 hash_stream_end(struct hash_stream *s)
{
    struct sha256 h;
    SHA256_Final(h.bytes, &s->state);
    SHA256_Init(&s->state);
    return h;
}

void hash_stream_free(struct hash_stream **s)
{
    free(*s);
    *s = NULL;
}

int sha256_of_file(int fd, struct sha256 *ret, unsigned long long *ret_size)
{
    struct hash_stream *stream CLEANUP(hash_stream_free) = hash_stream_new();
    void *piece CLEANUP_FREE = io->malloc(FILE_PIECE_SIZE);
    if (!stream || !piece)
        return -ENOMEM;
    uint64_t offset = 0;
    for (;;) {
        ssize_t n = io_read_some(fd, piece, FILE_PIECE_SIZE, offset);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        hash_stream_add(stream, piece, (size_t)n);
        offset += (uint64_t)n;
    }
    *ret = hash_stream_end(stream);
    if (ret_size)
        *ret_size = offset;
    return 0;
}

bool sha256_is_zero(const struct sha256 *a)
{
    static const struct sha256 zero;
    return sha256_equal(a, &zero);
}

int sha256_make_keys(struct sha256_keys *ret)
{
    struct sha256_keys keys;
    if (getrandom(keys.odd, sizeof keys.odd, 0) != (ssize_t)sizeof keys.odd)
        return -EIO;
    for (size_t i = 0; i < ARRAY_SIZE(keys.odd); i++)
        keys.odd[i] |= 1;
    *ret = keys;
    return 0;
}

uint64_t sha256_mix(const struct sha256 *h, const struct sha256_keys *keys)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_SIZE(keys->odd); i++)
        sum += get_le64(h->bytes + 8 * i) * keys->odd[i];
    return sum;
}

const char *sha256_to_hex(const struct sha256 *h, char text[static SHA256_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        text[2 * i] = digits[h->bytes[i] >> 4];
        text[2 * i + 1] = digits[h->bytes[i] & 15];
    }
    text[SHA256_HEX_SIZE - 1] = '\0';
    return text;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool sha256_from_hex(const char *text, size_t length, struct sha256 *ret)
{
    struct sha256 h;
    if (length != 2 * SHA256_SIZE)
        return false;
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        int high = hex_value(text[2 * i]);
        int low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        h.bytes[i] = (unsigned char)(high << 4 | low);
    }
    *ret = h;
    return true;
}

// Base64. The two forms differ in their last two digits and in the padding.
struct base64_form {
    const char *digits;
    bool padded;
};

static const struct base64_form form_standard = {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                                                 true};
static const struct base64_form form_url = {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false};

static long encode(const struct base64_form *form, const unsigned char *from, size_t n, char *text, size_t capacity)
{
    static const size_t tail_digits[3] = {0, 2, 3};
    if (n > (size_t)INT32_MAX)
        return -1;
    size_t length = n / 3 * 4 + (form->padded && n % 3 ? 4 : tail_digits[n % 3]);
    if (length >= capacity)
        return -1;
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t v = (uint32_t)from[i] << 16;
        if (have > 1)
            v |= (uint32_t)from[i + 1] << 8;
        if (have > 2)
            v |= from[i + 2];
        for (size_t d = 0; d <= have; d++)
            text[at++] = form->digits[v >> (18 - 6 * d) & 63];
    }
    while (at < length)
        text[at++] = '=';
    text[at] = '\0';
    return (long)length;
}

static int base64_value(const struct base64_form *form, char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == form->digits[62])
        return 62;
    return c == form->digits[63] ? 63 : -1;
}

static long decode(const struct base64_form *form, const char *text, size_t length, unsigned char *to, size_t capacity)
{
    if (length > (size_t)INT32_MAX || (form->padded && length % 4 != 0))
        return -1;
    if (form->padded && length > 0 && text[length - 1] == '=')
        length -= text[length - 2] == '=' ? 2 : 1;
    size_t tail = length % 4; // digits after the last whole group: 2 carry one byte, 3 carry two
    if (tail == 1)
        return -1;
    size_t n = length / 4 * 3 + (tail ? tail - 1 : 0);
    if (n > capacity)
        return -1;
    for (size_t i = 0; i < length; i++)
        if (base64_value(form, text[i]) < 0)
            return -1;
    if (tail && (base64_value(form, text[length - 1]) & (tail == 2 ? 15 : 3)) != 0)
        return -1; // stray bits: another text would decode to the same bytes
    size_t at = 0;
    for (size_t i = 0; i < length; i += 4) {
        uint32_t v = 0;
        for (size_t d = 0; d < 4; d++)
            v = v << 6 | (i + d < length ? (uint32_t)base64_value(form, text[i + d]) : 0);
        for (size_t byte = 0; byte < 3 && at < n; byte++)
            to[at++] = (unsigned char)(v >> (16 - 8 * byte));
    }
    return (long)n;
}

long base64_encode(const void *bytes, size_t n, char *text, size_t capacity)
{
    return encode(&form_standard, bytes, n, text, capacity);
}

long base64_decode(const char *text, size_t length, void *bytes, size_t capacity)
{
    return decode(&form_standard, text, length, bytes, capacity);
}

long base64url_encode(const void *bytes, size_t n, char *text, size_t capacity)
{
    return encode(&form_url, bytes, n, text, capacity);
}

long base64url_decode(const char *text, size_t length, void *bytes, size_t capacity)
{
    return decode(&form_url, text, length, bytes, capacity);
}
