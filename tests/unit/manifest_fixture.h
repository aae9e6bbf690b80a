// A manifest's text, and one that is parsed, for the tests of blockstore/manifest.h.
#pragma once

#include "blockstore/manifest.h"

#include "base/cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define DISK "member disk 2147483648 " A64 "," B64 ",8400000," C64 ",8,4096\n"
#define KERNEL "member kernel 14186432 " B64 "," A64 ",9000," C64 ",100,5\n"
#define INITRD "member initrd 1000 -\n"
#define HEAD                                                                                                           \
    "rondo-manifest 1\nname debian\nversion 12.5\nserial 7\nparent " C64                                               \
    "\ncreated 2026-11-23T10:00:00Z\npublisher " KEY "\narch x86_64\n"
#define TAIL                                                                                                           \
    "cmdline console=ttyS0 root=/dev/vda rw\nmemory 512M\nboot " A64 " 2000000\nboot " B64 " 100\nready login:\n"      \
    "title Debian 12\nsummary A small d\xc3\xa9"                                                                       \
    "bian\nhomepage https://www.debian.org/\nlicence various\nos Debian GNU/Linux\n"
#define TEXT HEAD DISK KERNEL INITRD TAIL
#define SIGNATURE "---\nuntrusted comment: x\nRUQ\n"
#define GOOD TEXT SIGNATURE
#define MINIMAL                                                                                                        \
    "rondo-manifest 1\nname a\nversion 1\nserial 1\ncreated 1970-01-01T00:00:00Z\npublisher " KEY                      \
    "\narch x86_64\nmember disk 0 -\n"

static struct manifest *parsed;

static inline int set_up(void **state)
{
    (void)state;
    parsed = malloc(sizeof(*parsed));
    return parsed ? 0 : -1;
}

static inline int tear_down(void **state)
{
    (void)state;
    free(parsed);
    return 0;
}

static inline int parse(const char *text, size_t n, struct error *error)
{
    char *exact = malloc(n ? n : 1); // no NUL byte behind it
    assert_non_null(exact);
    memcpy(exact, text, n);
    int r = manifest_parse(exact, n, parsed, error);
    free(exact);
    return r;
}

static inline void assert_hash(const struct sha256 *hash, const char *hex)
{
    char text[SHA256_HEX_SIZE];
    assert_string_equal(sha256_to_hex(hash, text), hex);
}
