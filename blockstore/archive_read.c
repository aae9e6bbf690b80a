// See archive_read.h.
#include "blockstore/archive_read.h"
#include "base/cleanup.h"
#include "base/io.h"
#include <string.h>

#include "base/banned.h"

// Reads what there is of n bytes; fewer only at the end of the file.
static ssize_t read_some(struct archive_reader *a, void *to, size_t n, struct error *error)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = read(a->fd, (char *)to + got, n - got); // a pipe may be read, which has no offsets
        int code = errno;
        if (a->cancelled && a->cancelled())
            return error_set(error, ECANCELED, "cancelled");
        if (r < 0 && code == EINTR)
            continue;
        if (r < 0)
            return error_set(error, code, "it cannot be read: %s", strerror(code));
        if (r == 0)
            break;
        got += (size_t)r;
    }
    a->at += got;
    return (ssize_t)got;
}

static int read_whole(struct archive_reader *a, void *to, size_t n, struct error *error)
{
    ssize_t r = read_some(a, to, n, error);
    if (r < 0)
        return (int)r;
    return (size_t)r == n ? 0
                          : error_set(error, EBADMSG, "it is cut short, after %llu bytes", (unsigned long long)a->at);
}

static int read_zeros(struct archive_reader *a, uint32_t n, struct error *error)
{
    static const unsigned char zeros[ARCHIVE_BLOCK];
    unsigned char bytes[ARCHIVE_BLOCK];
    int r = read_whole(a, bytes, n, error);
    if (r == 0 && memcmp(bytes, zeros, n) != 0)
        r = error_set(error, EBADMSG, "there is something where zeros belong, before byte %llu",
                      (unsigned long long)a->at);
    return r;
}

static int end(struct archive_reader *a, struct error *error)
{
    unsigned char more;
    int r = read_zeros(a, ARCHIVE_END_SIZE - ARCHIVE_BLOCK, error);
    ssize_t n = r < 0 ? r : read_some(a, &more, 1, error);
    if (n > 0)
        return error_set(error, EBADMSG, "there is something behind its end, at byte %llu",
                         (unsigned long long)a->at - 1);
    return (int)n;
}

int archive_next(struct archive_reader *a, struct archive_entry *ret, struct error *error)
{
    unsigned char block[ARCHIVE_BLOCK];
    struct archive_entry e = {.size = 0};
    int r = read_zeros(a, a->pad, error);
    a->pad = 0;
    if (r == 0)
        r = read_whole(a, block, sizeof(block), error);
    if (r == 0)
        r = archive_parse_header(block, &e, error);
    if (r == 1) {
        a->left = e.size;
        a->pad = archive_padding(e.size);
        *ret = e;
    } else if (r == 0) {
        r = end(a, error);
    }
    return r;
}

ssize_t archive_read(struct archive_reader *a, void *to, size_t n, struct error *error)
{
    n = n < a->left ? n : a->left;
    int r = read_whole(a, to, n, error);
    if (r < 0)
        return r;
    a->left -= (uint32_t)n;
    return (ssize_t)n;
}

int archive_read_all(struct archive_reader *a, const struct archive_entry *e, size_t maximum, void **ret,
                     struct error *error)
{
    if (e->size > maximum)
        return error_set(error, EBADMSG, "an entry has %u bytes, where at most %zu can be right", e->size, maximum);
    void *bytes CLEANUP_FREE = io->malloc(e->size);
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
    ssize_t n = archive_read(a, bytes, e->size, error);
    if (n < 0)
        return (int)n;
    *ret = TAKE_PTR(bytes);
    return 0;
}
