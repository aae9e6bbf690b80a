// One layer of an overlay: its two files. The format of the header stands in overlay.h.
//
// 1. The header page is never written again. It carries its own hash; everything in it is checked before use.
// 2. Both files have exactly the lengths that the header's block count demands, from their making on; so no write of
//    ours ever moves the end of a file, and a file that was cut is found when it is opened.
// 3. The first layer's header has no parent, every other one's has: taken by itself, none passes for a whole overlay.
#include "blockstore/overlay_private.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
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

// --- names ---------------------------------------------------------------------------------------------------------

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

const char *overlay_pair_name(const struct overlay_id *id, const char *suffix, char name[static OVERLAY_NAME_SIZE])
{
    char hex[2 * OVERLAY_ID_SIZE + 1];
    if (overlay_id_equal(id, &overlay_first_id))
        snprintf(name, OVERLAY_NAME_SIZE, "disk.%s", suffix);
    else
        snprintf(name, OVERLAY_NAME_SIZE, "layer-%s.%s", overlay_id_to_hex(id, hex), suffix);
    return name;
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

static uint64_t map_file_size(uint64_t blocks)
{
    return overlay_map_offset(overlay_map_page_count(blocks));
}

// --- making --------------------------------------------------------------------------------------------------------

// A new file of `size` bytes that begins with the given ones, stable when this returns; on failure there is none.
static int make_file(int dir, const char *name, const void *bytes, size_t n, uint64_t size)
{
    int fd = io_open(dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return fd;
    int r = io->ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
    if (r == 0 && n > 0)
        r = io_write_full(fd, bytes, n, 0);
    if (r == 0 && io->fsync(fd) < 0)
        r = -errno;
    int closed = io_close(fd);
    if (r == 0)
        r = closed;
    if (r < 0)
        io->unlinkat(dir, name, 0);
    return r;
}

int overlay_pair_make(int dir, const char *data_name, const char *map_name, const struct overlay_header *header)
{
    unsigned char page[OVERLAY_HEADER_SIZE];
    overlay_header_format(header, page);
    int r = make_file(dir, data_name, NULL, 0, header->blocks * OVERLAY_BLOCK_SIZE);
    if (r < 0)
        return r;
    r = make_file(dir, map_name, page, sizeof page, map_file_size(header->blocks));
    if (r < 0)
        io->unlinkat(dir, data_name, 0);
    return r;
}

// --- opening -------------------------------------------------------------------------------------------------------

static int open_file(int dir, const char *name, int flags, struct error *error)
{
    int fd = io_open(dir, name, flags | O_NONBLOCK, 0); // nothing to a file, but a FIFO in its place does not hang us
    if (fd == -ENOENT)
        return error_set(error, ENOENT, "the instance has no %s; its disk was never made, or is gone", name);
    if (fd < 0)
        return error_set(error, -fd, "cannot open %s: %s", name, strerror(-fd));
    return fd;
}

static int check_size(int fd, const char *name, uint64_t expected, struct error *error)
{
    struct stat st;
    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "cannot examine %s: %m", name);
    if (!S_ISREG(st.st_mode))
        return error_set(error, EBADMSG, "%s is not a regular file", name);
    if ((uint64_t)st.st_size != expected)
        return error_set(error, EBADMSG, "%s is damaged: it has %lld bytes instead of %llu", name,
                         (long long)st.st_size, (unsigned long long)expected);
    return 0;
}

static int read_header(int map_file, const char *name, struct overlay_header *ret, struct error *error)
{
    unsigned char page[OVERLAY_HEADER_SIZE];
    int r = io_read_full(map_file, page, sizeof page, 0);
    if (r == -ENODATA)
        return error_set(error, EBADMSG, "%s is damaged: it is shorter than its header", name);
    if (r < 0)
        return error_set(error, -r, "cannot read %s: %s", name, strerror(-r));
    r = overlay_header_parse(page, ret, error);
    return r < 0 ? error_prefix(error, r, "%s cannot be used", name) : 0;
}

int overlay_pair_open(int dir, const struct overlay_id *id, int flags, struct overlay_pair *ret, struct error *error)
{
    char data_name[OVERLAY_NAME_SIZE], map_name[OVERLAY_NAME_SIZE];
    overlay_pair_name(id, OVERLAY_DATA_SUFFIX, data_name);
    overlay_pair_name(id, OVERLAY_MAP_SUFFIX, map_name);
    int map CLEANUP_CLOSE = open_file(dir, map_name, flags, error);
    if (map < 0)
        return map;
    int data CLEANUP_CLOSE = open_file(dir, data_name, flags, error);
    if (data < 0)
        return data;
    int r = overlay_pair_adopt(id, data, map, ret, error);
    if (r < 0)
        return r;
    (void)TAKE_FD(data);
    (void)TAKE_FD(map);
    return 0;
}

int overlay_pair_adopt(const struct overlay_id *id, int data, int map, struct overlay_pair *ret, struct error *error)
{
    char data_name[OVERLAY_NAME_SIZE], map_name[OVERLAY_NAME_SIZE];
    overlay_pair_name(id, OVERLAY_DATA_SUFFIX, data_name);
    overlay_pair_name(id, OVERLAY_MAP_SUFFIX, map_name);
    struct overlay_header header = {0};
    int r = read_header(map, map_name, &header, error);
    if (r == 0)
        r = check_size(map, map_name, map_file_size(header.blocks), error);
    if (r == 0)
        r = check_size(data, data_name, header.blocks * OVERLAY_BLOCK_SIZE, error);
    if (r < 0)
        return r;
    bool first = overlay_id_equal(id, &overlay_first_id);
    if (first != is_all_zero(header.parent.bytes, OVERLAY_ID_SIZE)) // invariant 3
        return error_set(error, EBADMSG, "%s cannot be used: it is the map of %s", map_name,
                         first ? "a layer over another one" : "a first layer");
    *ret = (struct overlay_pair){.data = data, .map = map, .header = header};
    return 0;
}

void overlay_pair_close(struct overlay_pair *pair)
{
    cleanup_close(&pair->data);
    cleanup_close(&pair->map);
    pair->data = pair->map = -1;
}
