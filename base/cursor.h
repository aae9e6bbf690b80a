// A checked cursor over untrusted bytes: the only way in which binary formats are read. A read past the end
// returns zeros and sets `failed` for good, so a parser reads a whole structure and checks once, before it uses
// any of it. Integers are little-endian (FORMATS, first paragraph).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
    const unsigned char *at;
    size_t left;
    bool failed;
};

static inline struct cursor cursor_over(const void *bytes, size_t length)
{
    return (struct cursor){.at = bytes, .left = length, .failed = false};
}

// `n` bytes in place, or NULL (and failed) when fewer are left.
static inline const unsigned char *cursor_bytes(struct cursor *c, size_t n)
{
    if (c->failed || n > c->left) {
        c->failed = true;
        return NULL;
    }
    const unsigned char *p = c->at;
    c->at += n;
    c->left -= n;
    return p;
}

static inline void cursor_copy(struct cursor *c, void *to, size_t n)
{
    const unsigned char *p = cursor_bytes(c, n);
    if (p)
        memcpy(to, p, n);
    else
        memset(to, 0, n);
}

static inline uint16_t get_le16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t get_le64(const unsigned char *p)
{
    return (uint64_t)get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

static inline void put_le16(unsigned char *p, uint16_t v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

static inline void put_le32(unsigned char *p, uint32_t v)
{
    put_le16(p, (uint16_t)v);
    put_le16(p + 2, (uint16_t)(v >> 16));
}

static inline void put_le64(unsigned char *p, uint64_t v)
{
    put_le32(p, (uint32_t)v);
    put_le32(p + 4, (uint32_t)(v >> 32));
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    const unsigned char *p = cursor_bytes(c, 1);
    return p ? *p : 0;
}

static inline uint16_t cursor_u16(struct cursor *c)
{
    const unsigned char *p = cursor_bytes(c, 2);
    return p ? get_le16(p) : 0;
}

static inline uint32_t cursor_u32(struct cursor *c)
{
    const unsigned char *p = cursor_bytes(c, 4);
    return p ? get_le32(p) : 0;
}

static inline uint64_t cursor_u64(struct cursor *c)
{
    const unsigned char *p = cursor_bytes(c, 8);
    return p ? get_le64(p) : 0;
}
