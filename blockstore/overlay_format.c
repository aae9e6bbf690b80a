// What the files of an overlay's layers say, and may say: ids, the header page, the map's pages. The formats stand in
// overlay.h.
//
// 1. A header carries its own hash, and all of it is checked before any of it is used.
// 2. No block has the bits 3, and none behind the disk's last one has any.
#include "blockstore/overlay_private.h"

#include "base/cursor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define VERSION 1u
#define HASHED_SIZE (8u + 4u + 4u + 8u + SHA256_SIZE + OVERLAY_ID_SIZE)

const struct overlay_id overlay_first_id = {.bytes = {[OVERLAY_ID_SIZE - 1] = 1}};

static bool is_all_zero(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

// --- ids -----------------------------------------------------------------------------------------------------------

bool overlay_id_equal(const struct overlay_id *a, const struct overlay_id *b)
{
    return memcmp(a->bytes, b->bytes, OVERLAY_ID_SIZE) == 0;
}

const char *overlay_id_to_hex(const struct overlay_id *id, char hex[static 2 * OVERLAY_ID_SIZE + 1])
{
    for (unsigned i = 0; i < OVERLAY_ID_SIZE; i++)
        snprintf(hex + (size_t)2 * i, 3, "%02x", id->bytes[i]);
    return hex;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool overlay_id_from_hex(struct slice hex, struct overlay_id *ret)
{
    struct overlay_id id;
    if (hex.length != (size_t)2 * OVERLAY_ID_SIZE)
        return false;
    for (unsigned i = 0; i < OVERLAY_ID_SIZE; i++) {
        int high = digit_of(hex.at[2 * i]), low = digit_of(hex.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        id.bytes[i] = (unsigned char)(high << 4 | low);
    }
    if (is_all_zero(id.bytes, sizeof id.bytes))
        return false;
    *ret = id;
    return true;
}

// --- the header ----------------------------------------------------------------------------------------------------

void overlay_header_format(const struct overlay_header *header, unsigned char page[static OVERLAY_HEADER_SIZE])
{
    memset(page, 0, OVERLAY_HEADER_SIZE);
    memcpy(page, OVERLAY_MAGIC, sizeof OVERLAY_MAGIC - 1);
    put_le32(page + 8, VERSION);
    put_le64(page + 16, header->blocks);
    memcpy(page + 24, header->base_manifest.bytes, SHA256_SIZE);
    memcpy(page + 24 + SHA256_SIZE, header->parent.bytes, OVERLAY_ID_SIZE);
    struct sha256 hash = sha256_of(page, HASHED_SIZE);
    memcpy(page + HASHED_SIZE, hash.bytes, SHA256_SIZE);
}

int overlay_header_parse(const unsigned char page[static OVERLAY_HEADER_SIZE], struct overlay_header *ret,
                         struct error *error)
{
    struct cursor c = cursor_over(page, OVERLAY_HEADER_SIZE);
    struct overlay_header header = {0};
    unsigned char magic[8];
    struct sha256 hash, actual = sha256_of(page, HASHED_SIZE);
    cursor_copy(&c, magic, sizeof magic);
    uint32_t version = cursor_u32(&c), reserved = cursor_u32(&c);
    header.blocks = cursor_u64(&c);
    cursor_copy(&c, header.base_manifest.bytes, SHA256_SIZE);
    cursor_copy(&c, header.parent.bytes, OVERLAY_ID_SIZE);
    cursor_copy(&c, hash.bytes, SHA256_SIZE);
    if (memcmp(magic, OVERLAY_MAGIC, sizeof magic) != 0)
        return error_set(error, EBADMSG, "it is not the map of a Rondo overlay");
    if (version != VERSION)
        return error_set(error, EBADMSG, "it has format version %u, and this Rondo knows version %u only", version,
                         VERSION);
    if (!sha256_equal(&hash, &actual) || reserved != 0 || !is_all_zero(c.at, c.left))
        return error_set(error, EBADMSG, "its header is damaged");
    if (header.blocks == 0 || header.blocks > OVERLAY_MAXIMUM_BLOCKS)
        return error_set(error, EBADMSG, "its header gives a size of %llu blocks, which cannot be",
                         (unsigned long long)header.blocks);
    *ret = header;
    return 0;
}

// --- a page of the map -----------------------------------------------------------------------------------------------

// Invariant 2.
bool overlay_map_is_valid(uint64_t blocks, uint64_t number, const unsigned char bits[static OVERLAY_PAGE_SIZE])
{
    for (unsigned i = 0; i < OVERLAY_PAGE_SIZE; i++)
        if (bits[i] & bits[i] >> 1 & 0x55)
            return false;
    uint64_t used = blocks - number * OVERLAY_PAGE_BLOCKS;
    for (uint64_t i = used; i < OVERLAY_PAGE_BLOCKS; i++)
        if (overlay_map_state(bits, i) != OVERLAY_BASE)
            return false;
    return true;
}
