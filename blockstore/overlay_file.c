// The overlay's two files: their making, opening and closing. The format stands in overlay.h.
//
// 1. disk.map appears last, by a rename, when both files are whole and stable: an overlay with a disk.map is complete.
//    A disk.data beside which there is none, and which holds nothing, was left by an interrupted creation and is
//    replaced.
// 2. The header page is never written again. It carries its own hash; everything in it is checked before use.
// 3. Both files have exactly the lengths that the header's block count demands, from their making on; so no write of
//    ours ever moves the end of a file, and a file that was cut is found when it is opened.
// 4. An open overlay holds an exclusive flock on both files (TRUST T42); the kernel drops it with the process.
#include "blockstore/overlay_private.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/banned.h"

#define DATA_NAME "disk.data"
#define MAP_NAME "disk.map"
#define NEW_MAP_NAME "disk.map.new"
#define VERSION 1u
#define LAYER_ID_SIZE 16u
#define HASHED_SIZE (8u + 4u + 4u + 8u + SHA256_SIZE + LAYER_ID_SIZE)

void overlay_header_format(const struct overlay_header *header, unsigned char page[static OVERLAY_HEADER_SIZE])
{
    memset(page, 0, OVERLAY_HEADER_SIZE);
    memcpy(page, OVERLAY_MAGIC, sizeof OVERLAY_MAGIC - 1);
    put_le32(page + 8, VERSION);
    put_le64(page + 16, header->blocks);
    memcpy(page + 24, header->base_manifest.bytes, SHA256_SIZE);
    struct sha256 hash = sha256_of(page, HASHED_SIZE);
    memcpy(page + HASHED_SIZE, hash.bytes, SHA256_SIZE);
}

static bool is_all_zero(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

int overlay_header_parse(const unsigned char page[static OVERLAY_HEADER_SIZE], struct overlay_header *ret,
                         struct error *error)
{
    struct cursor c = cursor_over(page, OVERLAY_HEADER_SIZE);
    struct overlay_header header = {0};
    unsigned char magic[8], parent[LAYER_ID_SIZE];
    struct sha256 hash, actual = sha256_of(page, HASHED_SIZE);
    cursor_copy(&c, magic, sizeof magic);
    uint32_t version = cursor_u32(&c), reserved = cursor_u32(&c);
    header.blocks = cursor_u64(&c);
    cursor_copy(&c, header.base_manifest.bytes, SHA256_SIZE);
    cursor_copy(&c, parent, sizeof parent);
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
    if (!is_all_zero(parent, sizeof parent))
        return error_set(error, EBADMSG, "it lies over another layer, which this Rondo does not know");
    *ret = header;
    return 0;
}

static uint64_t map_file_size(uint64_t blocks)
{
    return OVERLAY_HEADER_SIZE + overlay_map_page_count(blocks) * OVERLAY_PAGE_SIZE;
}

// Invariant 1: an empty disk.data without a disk.map is a leftover.
static int remove_leftover(int dir)
{
    struct stat st;
    if (fstatat(dir, MAP_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    if (errno != ENOENT)
        return -errno;
    if (io->unlinkat(dir, NEW_MAP_NAME, 0) < 0 && errno != ENOENT)
        return -errno;
    if (fstatat(dir, DATA_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISREG(st.st_mode) || st.st_blocks != 0)
        return -EEXIST;
    return io->unlinkat(dir, DATA_NAME, 0) < 0 ? -errno : 0;
}

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

static int make_files(int dir, const struct overlay_header *header)
{
    unsigned char page[OVERLAY_HEADER_SIZE];
    overlay_header_format(header, page);
    int r = remove_leftover(dir);
    if (r < 0)
        return r;
    r = make_file(dir, DATA_NAME, NULL, 0, header->blocks * OVERLAY_BLOCK_SIZE);
    if (r < 0)
        return r;
    const char *map_name = NEW_MAP_NAME;
    r = make_file(dir, NEW_MAP_NAME, page, sizeof page, map_file_size(header->blocks));
    if (r == 0) {
        if (io->renameat(dir, NEW_MAP_NAME, dir, MAP_NAME) < 0)
            r = -errno;
        else
            map_name = MAP_NAME;
        if (r == 0)
            r = io_sync_folder_of(dir, MAP_NAME);
        if (r < 0)
            io->unlinkat(dir, map_name, 0);
    }
    if (r < 0)
        io->unlinkat(dir, DATA_NAME, 0);
    return r;
}

int overlay_create(int dir, uint64_t size, const struct sha256 *base_manifest, struct error *error)
{
    if (size == 0 || size % OVERLAY_BLOCK_SIZE != 0 || size / OVERLAY_BLOCK_SIZE > OVERLAY_MAXIMUM_BLOCKS)
        return error_set(error, EINVAL,
                         "a disk of %llu bytes cannot be made: the size is a multiple of 4096, at most 16T",
                         (unsigned long long)size);
    struct overlay_header header = {.blocks = size / OVERLAY_BLOCK_SIZE, .base_manifest = *base_manifest};
    int r = make_files(dir, &header);
    if (r == -EEXIST)
        return error_set(error, EEXIST, "the folder has an overlay (" DATA_NAME ") already");
    if (r < 0)
        return error_set(error, -r, "cannot make the overlay's files: %s", strerror(-r));
    return 0;
}

// Opens and locks one file; the descriptor or -errno.
static int open_locked(int dir, const char *name, struct error *error)
{
    int fd CLEANUP_CLOSE = io_open(dir, name, O_RDWR, 0);
    if (fd == -ENOENT)
        return error_set(error, ENOENT, "the instance has no %s; its disk was never made, or is gone", name);
    if (fd < 0)
        return error_set(error, -fd, "cannot open %s: %s", name, strerror(-fd));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return error_set(error, EBUSY, "%s is in use: the instance is running already", name);
        return error_set(error, errno, "cannot lock %s: %m", name);
    }
    return TAKE_FD(fd);
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

static int read_header(int map_file, struct overlay_header *ret, struct error *error)
{
    unsigned char page[OVERLAY_HEADER_SIZE];
    int r = io_read_full(map_file, page, sizeof page, 0);
    if (r == -ENODATA)
        return error_set(error, EBADMSG, MAP_NAME " is damaged: it is shorter than its header");
    if (r < 0)
        return error_set(error, -r, "cannot read " MAP_NAME ": %s", strerror(-r));
    r = overlay_header_parse(page, ret, error);
    return r < 0 ? error_prefix(error, r, MAP_NAME " cannot be used") : 0;
}

// What an opening checks beyond the header itself.
static int check_files(int data, int map_file, const struct sha256 *base_manifest, const struct overlay_base *base,
                       struct overlay_header *ret, struct error *error)
{
    struct overlay_header header = {0};
    int r = read_header(map_file, &header, error);
    if (r == 0)
        r = check_size(map_file, MAP_NAME, map_file_size(header.blocks), error);
    if (r == 0)
        r = check_size(data, DATA_NAME, header.blocks * OVERLAY_BLOCK_SIZE, error);
    if (r < 0)
        return r;
    if (!sha256_equal(&header.base_manifest, base_manifest)) { // TRUST T43
        char made[SHA256_HEX_SIZE], asked[SHA256_HEX_SIZE];
        return error_set(error, ESTALE,
                         "the overlay was made over the version with manifest %s and cannot be used over %s; run that "
                         "version, or make a new instance",
                         sha256_to_hex(&header.base_manifest, made), sha256_to_hex(base_manifest, asked));
    }
    unsigned long long size = header.blocks * OVERLAY_BLOCK_SIZE;
    if (base->size > size)
        return error_set(error, EINVAL, "the base has %llu bytes, more than the %llu of the overlay's disk",
                         (unsigned long long)base->size, size);
    *ret = header;
    return 0;
}

int overlay_open(int dir, const struct sha256 *base_manifest, const struct overlay_base *base, struct overlay **ret,
                 struct error *error)
{
    int map_file CLEANUP_CLOSE = open_locked(dir, MAP_NAME, error);
    if (map_file < 0)
        return map_file;
    int data CLEANUP_CLOSE = open_locked(dir, DATA_NAME, error);
    if (data < 0)
        return data;
    struct overlay_header header = {0};
    int r = check_files(data, map_file, base_manifest, base, &header, error);
    if (r < 0)
        return r;
    struct overlay *o CLEANUP_FREE = calloc(1, sizeof *o);
    if (!o)
        return error_set(error, ENOMEM, "out of memory");
    o->blocks = header.blocks;
    o->base = *base;
    r = overlay_lock_start(&o->lock);
    if (r < 0)
        return error_set(error, -r, "cannot make a lock: %s", strerror(-r));
    r = overlay_map_start(&o->map);
    if (r < 0)
        goto no_map;
    r = overlay_flusher_start(&o->flusher);
    if (r < 0)
        goto no_flusher;
    o->map_file = TAKE_FD(map_file);
    o->data = TAKE_FD(data);
    *ret = TAKE_PTR(o);
    return 0;

no_flusher:
    overlay_map_stop(&o->map);
no_map:
    overlay_lock_stop(&o->lock);
    return error_set(error, -r, "cannot make a lock: %s", strerror(-r));
}

int overlay_close(struct overlay *o, struct error *error)
{
    int r = overlay_flusher_round(o);
    if (r < 0)
        overlay_failure(o, error);
    int data_closed = io_close(o->data), map_closed = io_close(o->map_file);
    if (r == 0 && (data_closed < 0 || map_closed < 0)) {
        r = data_closed < 0 ? data_closed : map_closed;
        error_set(error, -r, "cannot close the overlay's files: %s", strerror(-r));
    }
    overlay_flusher_stop(&o->flusher);
    overlay_map_stop(&o->map);
    overlay_lock_stop(&o->lock);
    free(o);
    return r;
}

int overlay_file_allocate(int fd, uint64_t offset, uint64_t n)
{
    while (io->fallocate(fd, 0, (off_t)offset, (off_t)n) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            return 0;
        if (errno != EINTR)
            return errno == EDQUOT ? -ENOSPC : -errno;
    }
    return 0;
}
