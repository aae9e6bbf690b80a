// Lines of minisign's files.
//
// 1. One value has one form: base64 without stray bits, exactly one newline behind each line, nothing in between.
#include "catalog/minisign.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "base/hash.h"

#include "base/banned.h"

static bool is_comment(struct slice s)
{
    while (s.length > 0) {
        const char *tab = memchr(s.at, '\t', s.length);
        size_t n = tab ? (size_t)(tab - s.at) : s.length;
        if (!text_is_printable((struct slice){.at = s.at, .length = n}))
            return false;
        n += tab ? 1 : 0;
        s = (struct slice){.at = s.at + n, .length = s.length - n};
    }
    return true;
}

// The next line without its newline; false if there is no newline within `maximum` bytes.
static bool peek_line(struct slice rest, size_t maximum, struct slice *ret)
{
    size_t window = rest.length < maximum ? rest.length : maximum;
    const char *newline = window > 0 ? memchr(rest.at, '\n', window) : NULL;
    if (!newline)
        return false;
    *ret = (struct slice){.at = rest.at, .length = (size_t)(newline - rest.at)};
    return true;
}

static void skip_line(struct slice *rest, struct slice line)
{
    *rest = (struct slice){.at = rest->at + line.length + 1, .length = rest->length - line.length - 1};
}

int minisign_cut_comment(struct slice *rest, const char *prefix, size_t maximum, struct slice *ret_comment)
{
    struct slice line;
    if (!peek_line(*rest, maximum, &line) || !slice_starts(line, prefix) || !is_comment(line))
        return -EBADMSG;
    size_t skip = strlen(prefix);
    *ret_comment = (struct slice){.at = line.at + skip, .length = line.length - skip};
    skip_line(rest, line);
    return 0;
}

int minisign_cut_bytes(struct slice *rest, void *ret, size_t n)
{
    unsigned char bytes[256];
    struct slice line;
    if (n > sizeof bytes || !peek_line(*rest, (n + 2) / 3 * 4 + 1, &line))
        return -EBADMSG;
    bool good = base64_decode(line.at, line.length, bytes, sizeof bytes) == (long)n;
    if (good) {
        memcpy(ret, bytes, n);
        skip_line(rest, line);
    }
    OPENSSL_cleanse(bytes, sizeof bytes); // they may be a secret key's
    return good ? 0 : -EBADMSG;
}
