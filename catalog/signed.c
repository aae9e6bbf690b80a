// Signed text: cutting, signing, verifying (signed.h tells the format).
//
// 1. The text ends before the first line `---`, for us as for sed; so a text that is signed holds no such line.
// 2. What follows is exactly the four lines of a minisign signature.
// 3. Both signatures must verify with the key given: the one over the text (or its BLAKE2b-512), and the one over that
//    signature and the trusted comment. The key id in the file is not looked at.
// 4. A legacy signature is over the text itself, a prehashed one over 64 bytes. One cannot pass for the other, since a
//    text of ours is never 64 bytes of hash: signed_write refuses what is not lines of printable text.
#include "catalog/signed.h"

#include <blake2.h>
#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "base/hash.h"
#include "catalog/minisign.h"

#include "base/banned.h"

#define HASH_SIZE 64
#define SIGNATURE_LINE_SIZE (2 + KEY_ID_SIZE + KEY_SIGNATURE_SIZE)
#define BASE64_SIZE(n) (((n) + 2) / 3 * 4 + 1)
#define TRUSTED_COMMENT_MAXIMUM 256u // of those that we write
#define TEXT_LINE_MAXIMUM 4096u

static const unsigned char algorithm_prehashed[2] = {'E', 'D'};
static const unsigned char algorithm_legacy[2] = {'E', 'd'};

struct signature {
    bool prehashed;
    unsigned char bytes[KEY_SIGNATURE_SIZE];
    struct slice trusted_comment;
    unsigned char global[KEY_SIGNATURE_SIZE];
};

static void hash_text(const void *text, size_t n, unsigned char ret[static HASH_SIZE])
{
    (void)blake2b(ret, text, NULL, HASH_SIZE, n, 0); // refuses only wrong sizes and NULLs
}

// What the global signature is over.
static size_t join_global(const unsigned char signature[static KEY_SIGNATURE_SIZE], struct slice comment,
                          unsigned char joined[static KEY_SIGNATURE_SIZE + MINISIGN_TRUSTED_MAXIMUM])
{
    memcpy(joined, signature, KEY_SIGNATURE_SIZE);
    if (comment.length > 0)
        memcpy(joined + KEY_SIGNATURE_SIZE, comment.at, comment.length);
    return KEY_SIGNATURE_SIZE + comment.length;
}

// Checks the text's form too: -EINVAL for what signed_split would cut elsewhere or a parser would refuse.
static int check_text(const void *text, size_t n, struct error *error)
{
    struct text_reader reader = text_reader_over(text, n, TEXT_LINE_MAXIMUM);
    struct slice line;
    int r;
    if (n == 0)
        return error_set(error, EINVAL, "cannot sign an empty text");
    while ((r = text_next_line(&reader, &line)) > 0)
        if (slice_equal(line, "---"))
            return error_set(error, EINVAL, "cannot sign: line %u is the separator ---", reader.line);
    if (r < 0)
        return error_set(error, EINVAL, "cannot sign: line %u is not a line of printable text of at most %u bytes",
                         reader.line, TEXT_LINE_MAXIMUM);
    return 0;
}

int signed_append_signature(const struct key_secret *k, const void *text, size_t n, const char *trusted_comment,
                            struct buf *ret, struct error *error)
{
    const struct slice comment = slice_of(trusted_comment);
    unsigned char line[SIGNATURE_LINE_SIZE];
    unsigned char *const signature = line + 2 + KEY_ID_SIZE;
    unsigned char hash[HASH_SIZE];
    unsigned char joined[KEY_SIGNATURE_SIZE + MINISIGN_TRUSTED_MAXIMUM];
    unsigned char global[KEY_SIGNATURE_SIZE];
    char line_text[BASE64_SIZE(SIGNATURE_LINE_SIZE)];
    char global_text[BASE64_SIZE(KEY_SIGNATURE_SIZE)];
    char key_text[KEY_TEXT_SIZE];
    struct key_public public;
    if (comment.length > TRUSTED_COMMENT_MAXIMUM || !text_is_printable(comment))
        return error_set(error, EINVAL, "a trusted comment is printable text of at most %u bytes",
                         TRUSTED_COMMENT_MAXIMUM);
    int r = check_text(text, n, error);
    if (r < 0)
        return r;
    hash_text(text, n, hash);
    key_public_of(k, &public);
    memcpy(line, algorithm_prehashed, 2);
    memcpy(line + 2, public.id, KEY_ID_SIZE);
    r = key_sign(k, hash, sizeof hash, signature, error);
    if (r < 0)
        return r;
    r = key_sign(k, joined, join_global(signature, comment, joined), global, error);
    if (r < 0)
        return r;
    base64_encode(line, sizeof line, line_text, sizeof line_text);
    base64_encode(global, sizeof global, global_text, sizeof global_text);
    r = buf_append_format(ret, MINISIGN_COMMENT_PREFIX "rondo signature by %s\n%s\n" MINISIGN_TRUSTED_PREFIX "%s\n%s\n",
                          key_to_text(&public, key_text), line_text, trusted_comment, global_text);
    return r < 0 ? error_set(error, -r, "the signed text does not fit in %zu bytes", ret->maximum) : 0;
}

int signed_write(const struct key_secret *k, const void *text, size_t n, const char *trusted_comment, struct buf *ret,
                 struct error *error)
{
    const size_t before = ret->size;
    int r = buf_append(ret, text, n);
    if (r == 0)
        r = buf_append(ret, SIGNED_SEPARATOR, strlen(SIGNED_SEPARATOR));
    if (r < 0)
        error_set(error, -r, "the signed text does not fit in %zu bytes", ret->maximum);
    else
        r = signed_append_signature(k, text, n, trusted_comment, ret, error);
    if (r < 0)
        ret->size = before;
    return r;
}

int signed_split(const void *bytes, size_t n, struct slice *ret_text, struct slice *ret_signature, struct error *error)
{
    static const char separator[] = "\n" SIGNED_SEPARATOR;
    const char *at = n > 0 ? memmem(bytes, n, separator, sizeof separator - 1) : NULL;
    const bool at_start = slice_starts((struct slice){.at = bytes, .length = n}, SIGNED_SEPARATOR);
    if (!at || at_start)
        return error_set(error, EBADMSG, "not a signed text: %s",
                         at_start ? "nothing stands before the line ---"
                                  : "it has no line --- with a signature behind it");
    const size_t text = (size_t)(at + 1 - (const char *)bytes);
    const size_t skip = text + strlen(SIGNED_SEPARATOR);
    *ret_text = (struct slice){.at = bytes, .length = text};
    *ret_signature = (struct slice){.at = (const char *)bytes + skip, .length = n - skip};
    return 0;
}

// One signature at the beginning of *rest, cut off there.
static int cut_signature(struct slice *rest, struct signature *ret, struct error *error)
{
    unsigned char line[SIGNATURE_LINE_SIZE];
    struct signature s = {.prehashed = false};
    struct slice comment;
    if (minisign_cut_comment(rest, MINISIGN_COMMENT_PREFIX, MINISIGN_COMMENT_MAXIMUM, &comment) < 0)
        return error_set(error, EBADMSG, "malformed signature: expected a line \"%s…\"", MINISIGN_COMMENT_PREFIX);
    if (minisign_cut_bytes(rest, line, sizeof line) < 0)
        return error_set(error, EBADMSG, "malformed signature: expected a line of %u base64 digits",
                         (unsigned)BASE64_SIZE(sizeof line) - 1);
    if (minisign_cut_comment(rest, MINISIGN_TRUSTED_PREFIX, MINISIGN_TRUSTED_MAXIMUM, &s.trusted_comment) < 0)
        return error_set(error, EBADMSG, "malformed signature: expected a line \"%s…\"", MINISIGN_TRUSTED_PREFIX);
    if (minisign_cut_bytes(rest, s.global, sizeof s.global) < 0)
        return error_set(error, EBADMSG, "malformed signature: expected a last line of %u base64 digits",
                         (unsigned)BASE64_SIZE(sizeof s.global) - 1);
    s.prehashed = memcmp(line, algorithm_prehashed, 2) == 0;
    if (!s.prehashed && memcmp(line, algorithm_legacy, 2) != 0)
        return error_set(error, EBADMSG, "malformed signature: unknown algorithm");
    memcpy(s.bytes, line + 2 + KEY_ID_SIZE, KEY_SIGNATURE_SIZE);
    *ret = s;
    return 0;
}

int signed_cut_signature(struct slice *rest, struct slice *ret, struct error *error)
{
    struct signature s;
    struct slice left = *rest;
    int r = cut_signature(&left, &s, error);
    if (r < 0)
        return r;
    *ret = (struct slice){.at = rest->at, .length = rest->length - left.length};
    *rest = left;
    return 0;
}

int signed_verify_detached(const void *bytes, size_t n, const void *signature, size_t signature_size,
                           const struct key_public *key, struct error *error)
{
    struct signature s = {.prehashed = false};
    unsigned char hash[HASH_SIZE];
    unsigned char joined[KEY_SIGNATURE_SIZE + MINISIGN_TRUSTED_MAXIMUM];
    char text[KEY_TEXT_SIZE];
    struct slice rest = {.at = signature, .length = signature_size};
    int r = cut_signature(&rest, &s, error);
    if (r < 0)
        return r;
    if (rest.length > 0)
        return error_set(error, EBADMSG, "malformed signature: %zu bytes behind its end", rest.length);
    if (s.prehashed) {
        hash_text(bytes, n, hash);
        bytes = hash;
        n = sizeof hash;
    }
    if (!key_verify(key, bytes, n, s.bytes))
        return error_set(error, EKEYREJECTED, "the signature is not one of %s over this text", key_to_text(key, text));
    if (!key_verify(key, joined, join_global(s.bytes, s.trusted_comment, joined), s.global))
        return error_set(error, EKEYREJECTED, "the signature's trusted comment was not signed by %s",
                         key_to_text(key, text));
    return 0;
}

int signed_verify(const void *bytes, size_t n, const struct key_public *key, struct slice *ret_text,
                  struct error *error)
{
    struct slice text = {.length = 0};
    struct slice signature = {.length = 0};
    int r = signed_split(bytes, n, &text, &signature, error);
    if (r < 0)
        return r;
    r = signed_verify_detached(text.at, text.length, signature.at, signature.length, key, error);
    if (r == -EKEYREJECTED) // nobody is to take for wrong what there was no memory to verify
        r = key_can_verify() ? signed_verify_detached(text.at, text.length, signature.at, signature.length, key, error)
                             : error_set(error, ENOMEM, "cannot verify a signature: out of memory");
    if (r < 0)
        return r;
    *ret_text = text;
    return 0;
}
