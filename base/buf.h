// A growing byte buffer that cannot be made without a maximum: whatever fills it (a network body, a file, a
// formatted text) is bounded from the start.
//
//   struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64 * 1024);
//   r = buf_append(&b, bytes, n);
//
// A buffer always has a NUL byte behind its last byte (not counted in size), so that text in it can be printed.
// Not for use by several threads at once.
#pragma once

#include <stdarg.h>
#include <stddef.h>

struct buf {
    unsigned char *data; // NULL until something was appended; owned by the buffer
    size_t size;         // bytes in use
    size_t capacity;     // bytes allocated, including the NUL byte
    size_t maximum;      // `size` never exceeds this
};

#define BUF_WITH_MAXIMUM(n)                                                                                            \
    {                                                                                                                  \
        .data = NULL, .size = 0, .capacity = 0, .maximum = (n)                                                         \
    }

// Each returns 0, -E2BIG if the maximum would be exceeded, or -ENOMEM; on failure the buffer is unchanged.
int buf_append(struct buf *b, const void *bytes, size_t n);
int buf_append_format(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_append_format_va(struct buf *b, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));

// Makes room for `n` more bytes and returns where to write them in *ret_at; the caller then adds to `size` what
// it wrote.
int buf_reserve(struct buf *b, size_t n, unsigned char **ret_at);

// The contents as a C string ("" while empty). Valid until the next change of the buffer.
const char *buf_text(const struct buf *b);

void buf_clear(struct buf *b); // size = 0, memory kept
void buf_free(struct buf *b);  // as new, maximum kept; errno is preserved
