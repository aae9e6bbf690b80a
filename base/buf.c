// A growing byte buffer with a maximum.
//
// 1. size <= maximum, and size < capacity once memory is held: the byte data[size] is NUL.
// 2. A failed call leaves the buffer as it was, its memory included.
// 3. buf_reserve() clears what it hands out, so that invariant 1 holds whatever part of it the caller fills.
#include "base/buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

#include "base/banned.h"

#define SMALLEST_CAPACITY 64

// Room for `n` more bytes and the NUL byte. Memory at least doubles, so that many small pieces cost linear time.
static int grow(struct buf *b, size_t n)
{
    if (n > b->maximum - b->size || b->maximum == SIZE_MAX)
        return -E2BIG;
    size_t needed = b->size + n + 1;
    if (needed <= b->capacity)
        return 0;
    size_t capacity = b->capacity < SMALLEST_CAPACITY ? SMALLEST_CAPACITY : b->capacity;
    while (capacity < needed)
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    if (capacity > b->maximum + 1)
        capacity = b->maximum + 1;
    unsigned char *data = io->malloc(capacity); // not realloc: an input decides the size, so it goes by the table
    if (!data)
        return -ENOMEM;
    if (b->size > 0)
        memcpy(data, b->data, b->size);
    data[b->size] = '\0';
    free(b->data);
    b->data = data;
    b->capacity = capacity;
    return 0;
}

int buf_append(struct buf *b, const void *bytes, size_t n)
{
    int r = grow(b, n);
    if (r < 0)
        return r;
    if (n > 0)
        memcpy(b->data + b->size, bytes, n);
    b->size += n;
    b->data[b->size] = '\0';
    return 0;
}

int buf_append_format_va(struct buf *b, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0)
        return errno == ENOMEM ? -ENOMEM : -E2BIG;
    int r = grow(b, (size_t)n);
    if (r < 0)
        return r;
    if (vsnprintf((char *)b->data + b->size, (size_t)n + 1, format, arguments) != n) {
        b->data[b->size] = '\0';
        return -ENOMEM;
    }
    b->size += (size_t)n;
    return 0;
}

int buf_append_format(struct buf *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int r = buf_append_format_va(b, format, arguments);
    va_end(arguments);
    return r;
}

int buf_reserve(struct buf *b, size_t n, unsigned char **ret_at)
{
    int r = grow(b, n);
    if (r < 0)
        return r;
    memset(b->data + b->size, 0, n + 1);
    *ret_at = b->data + b->size;
    return 0;
}

const char *buf_text(const struct buf *b)
{
    return b->data ? (const char *)b->data : "";
}

void buf_clear(struct buf *b)
{
    b->size = 0;
    if (b->data)
        b->data[0] = '\0';
}

void buf_free(struct buf *b)
{
    int saved = errno;
    free(b->data);
    b->data = NULL;
    b->size = 0;
    b->capacity = 0;
    errno = saved;
}
