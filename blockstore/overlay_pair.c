// One layer of an overlay: its two files. What stands in the header is overlay_format.c's.
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

const char *overlay_pair_name(const struct overlay_id *id, const char *suffix, char name[static OVERLAY_NAME_SIZE])
{
    char hex[2 * OVERLAY_ID_SIZE + 1];
    if (overlay_id_equal(id, &overlay_first_id))
        snprintf(name, OVERLAY_NAME_SIZE, "disk.%s", suffix);
    else
        snprintf(name, OVERLAY_NAME_SIZE, "layer-%s.%s", overlay_id_to_hex(id, hex), suffix);
    return name;
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
    static const struct overlay_id none;
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
    if (first != overlay_id_equal(&header.parent, &none)) // invariant 3
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
