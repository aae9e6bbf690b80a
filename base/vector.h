// A cursor over scattered memory (struct iovec), for I/O that is cut at other places than the memory is. The pieces
// belong to the caller, who knows that they hold as many bytes as are taken.
#pragma once

#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

#define VECTOR_MAXIMUM 130u // pieces of one request: as many as a virtqueue chain may have

struct vector {
    const struct iovec *at; // the piece that the next byte is in
    size_t skip;            // how much of it was taken
};

static inline struct vector vector_over(const struct iovec *pieces)
{
    return (struct vector){.at = pieces};
}

// The part of the next piece that lies within `n` bytes, and goes on behind it.
static inline struct iovec vector_next(struct vector *v, size_t n)
{
    // The callers never take more than there is, which the analyzer cannot know.
    while (v->skip == v->at->iov_len) { // NOLINT(clang-analyzer-core.UndefinedBinaryOperatorResult)
        v->at++;
        v->skip = 0;
    }
    size_t left = v->at->iov_len - v->skip;
    struct iovec part = {.iov_base = (char *)v->at->iov_base + v->skip, .iov_len = n < left ? n : left};
    v->skip += part.iov_len;
    return part;
}

// The next `n` bytes as pieces of their own; returns how many, at most as many as there were to begin with.
static inline unsigned vector_take(struct vector *v, size_t n, struct iovec *ret)
{
    unsigned count = 0;
    for (; n > 0; n -= ret[count++].iov_len)
        ret[count] = vector_next(v, n);
    return count;
}

static inline void vector_copy_from(struct vector *v, void *to, size_t n)
{
    for (char *at = to; n > 0;) {
        struct iovec part = vector_next(v, n);
        memcpy(at, part.iov_base, part.iov_len);
        at += part.iov_len;
        n -= part.iov_len;
    }
}

static inline void vector_copy_to(struct vector *v, const void *from, size_t n)
{
    for (const char *at = from; n > 0;) {
        struct iovec part = vector_next(v, n);
        memcpy(part.iov_base, at, part.iov_len);
        at += part.iov_len;
        n -= part.iov_len;
    }
}

static inline void vector_zero(struct vector *v, size_t n)
{
    while (n > 0) {
        struct iovec part = vector_next(v, n);
        memset(part.iov_base, 0, part.iov_len);
        n -= part.iov_len;
    }
}

static inline void vector_skip(struct vector *v, size_t n)
{
    while (n > 0)
        n -= vector_next(v, n).iov_len;
}
