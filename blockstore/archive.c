// See archive.h. A header has the fields of POSIX.1-1988's ustar; numbers are octal digits with a NUL byte behind them.
//
//   0 name 100   100 mode 8   108 uid 8   116 gid 8   124 size 12   136 mtime 12   148 checksum 8   156 type 1
//   157 link 100   257 "ustar\0" "00"   265 owner, group, devices, prefix: empty
#include "blockstore/archive.h"
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define NAME_SIZE 100u
#define SIZE_AT 124u
#define SIZE_DIGITS 11u
#define CHECKSUM_AT 148u
#define FIRST_LINE "rondo-archive 1"
#define LINE_MAXIMUM 1100u

static const char description_name[] = "archive.rondo", catalog_name[] = "catalog.rondo", objects_name[] = "objects/",
                  roots_name[] = "roots/";

static void format_name(const struct archive_entry *e, char name[static NAME_SIZE])
{
    char hex[SHA256_HEX_SIZE];
    if (e->kind == ARCHIVE_OBJECT)
        snprintf(name, NAME_SIZE, "%s%.2s/%s", objects_name, sha256_to_hex(&e->object, hex), hex);
    else if (e->kind == ARCHIVE_ROOT)
        snprintf(name, NAME_SIZE, "%s%u", roots_name, e->root);
    else
        snprintf(name, NAME_SIZE, "%s", e->kind == ARCHIVE_CATALOG ? catalog_name : description_name);
}

static void put_octal(unsigned char *to, unsigned digits, uint64_t number)
{
    for (unsigned i = digits; i-- > 0; number >>= 3)
        to[i] = (unsigned char)('0' + (number & 7));
}

void archive_format_header(const struct archive_entry *e, unsigned char ret[static ARCHIVE_BLOCK])
{
    char name[NAME_SIZE];
    unsigned sum = 0;
    memset(ret, 0, ARCHIVE_BLOCK);
    format_name(e, name);
    memcpy(ret, name, strlen(name));
    put_octal(ret + 100, 7, 0444);
    put_octal(ret + 108, 7, 0); // owner, group and time say nothing: equal versions make equal archives
    put_octal(ret + 116, 7, 0);
    put_octal(ret + SIZE_AT, SIZE_DIGITS, e->size);
    put_octal(ret + 136, 11, 0);
    memset(ret + CHECKSUM_AT, ' ', 8); // as which it counts in the sum
    ret[156] = '0';
    memcpy(ret + 257, "ustar\00000", 8);
    for (unsigned i = 0; i < ARCHIVE_BLOCK; i++)
        sum += ret[i];
    put_octal(ret + CHECKSUM_AT, 6, sum);
    ret[CHECKSUM_AT + 6] = '\0';
}

static bool parse_root(const char *digits, unsigned *ret)
{
    const struct slice text = {.at = digits, .length = strnlen(digits, 4)};
    uint64_t number;
    if (!text_parse_u64(text, ARCHIVE_ROOTS_MAXIMUM, &number) || number < 2)
        return false;
    *ret = (unsigned)number;
    return true;
}

static int refuse_header(const unsigned char *block, struct error *error)
{
    char name[128];
    text_escape((struct slice){(const char *)block, strnlen((const char *)block, NAME_SIZE)}, name, sizeof(name));
    return error_set(error, EBADMSG, "an entry (\"%s\") is not as rondo export writes it", name);
}

int archive_parse_header(const unsigned char block[static ARCHIVE_BLOCK], struct archive_entry *ret,
                         struct error *error)
{
    static const unsigned char zeros[ARCHIVE_BLOCK];
    struct archive_entry e = {.kind = ARCHIVE_DESCRIPTION};
    unsigned char wanted[ARCHIVE_BLOCK];
    const char *name = (const char *)block;
    const size_t prefix = strlen(objects_name) + 3; // "objects/ab/"
    uint64_t size = 0;
    if (memcmp(block, zeros, ARCHIVE_BLOCK) == 0)
        return 0;
    if (strncmp(name, objects_name, strlen(objects_name)) == 0) {
        e.kind = ARCHIVE_OBJECT;
        if (!sha256_from_hex(name + prefix, SHA256_HEX_SIZE - 1, &e.object))
            return refuse_header(block, error);
    } else if (strncmp(name, roots_name, strlen(roots_name)) == 0) {
        e.kind = ARCHIVE_ROOT;
        if (!parse_root(name + strlen(roots_name), &e.root))
            return refuse_header(block, error);
    } else if (memcmp(name, catalog_name, sizeof(catalog_name)) == 0) {
        e.kind = ARCHIVE_CATALOG;
    }
    for (unsigned i = 0; i < SIZE_DIGITS; i++)
        size = size * 8 + (uint64_t)(block[SIZE_AT + i] & 7);
    if (size == 0 || size > ARCHIVE_ENTRY_MAXIMUM)
        return error_set(error, EBADMSG, "an entry of %llu bytes is in it: 1 to %u can be right",
                         (unsigned long long)size, ARCHIVE_ENTRY_MAXIMUM);
    e.size = (uint32_t)size;
    archive_format_header(&e, wanted);
    if (memcmp(block, wanted, ARCHIVE_BLOCK) != 0)
        return refuse_header(block, error);
    *ret = e;
    return 1;
}

int archive_format_description(const struct archive_description *d, struct buf *ret)
{
    char hex[SHA256_HEX_SIZE];
    return buf_append_format(ret, "%s\nsite %s\nname %s\nversion %s\nmanifest %s\nobjects %llu\nbytes %llu\n",
                             FIRST_LINE, d->site, d->name, d->version, sha256_to_hex(&d->manifest, hex),
                             (unsigned long long)d->objects, (unsigned long long)d->bytes);
}

// The value of the next line, which must have this key.
static bool next_value(struct text_reader *r, const char *key, struct slice *ret)
{
    struct slice line, found;
    if (text_next_line(r, &line) <= 0)
        return false;
    text_split_line(line, &found, ret);
    return slice_equal(found, key);
}

static bool copy(char *to, size_t capacity, struct slice from)
{
    if (from.length == 0 || from.length >= capacity)
        return false;
    memcpy(to, from.at, from.length);
    to[from.length] = '\0';
    return true;
}

static bool parse_lines(struct text_reader *r, struct archive_description *d)
{
    struct slice value;
    return text_next_line(r, &value) > 0 && slice_equal(value, FIRST_LINE) && next_value(r, "site", &value) &&
           copy(d->site, sizeof(d->site), value) && next_value(r, "name", &value) && text_is_image_name(value) &&
           copy(d->name, sizeof(d->name), value) && next_value(r, "version", &value) && text_is_version_name(value) &&
           copy(d->version, sizeof(d->version), value) && next_value(r, "manifest", &value) &&
           sha256_from_hex(value.at, value.length, &d->manifest) && next_value(r, "objects", &value) &&
           text_parse_u64(value, UINT32_MAX, &d->objects) && next_value(r, "bytes", &value) &&
           text_parse_u64(value, INT64_MAX, &d->bytes) && r->left == 0;
}

int archive_parse_description(const void *bytes, size_t n, struct archive_description *ret, struct error *error)
{
    struct archive_description d = {.objects = 0};
    struct text_reader r = text_reader_over(bytes, n, LINE_MAXIMUM);
    if (n > ARCHIVE_DESCRIPTION_MAXIMUM || !parse_lines(&r, &d))
        return error_set(error, EBADMSG, "%s in it is not as rondo export writes it", description_name);
    *ret = d;
    return 0;
}
