// An overlay as a whole: its making, opening and closing. The formats stand in overlay.h and overlay_snapshot.h.
//
// 1. disk.map appears last, by a rename, when both files of the first layer are whole and stable: an overlay with a
//    disk.map is complete. A disk.data beside which there is none, and which holds nothing, was left by an interrupted
//    creation and is replaced.
// 2. Whoever has an overlay open, or changes its layers, holds an exclusive flock on disk.map (TRUST T42), whichever
//    layer is the top; the kernel drops it with the process. The list of the layers is read under it.
// 3. What the list says is made durable before anything is written to the top layer: whoever replaced it may have died
//    before they could, and what a guest flushes must not be in a layer that the list after a power loss does not name.
//    The same goes for the top layer's bytes: what an opened overlay shows is stable, or was written since.
// 4. Of all the layers' files only those of the top are opened for writing; of one that has become a snapshot since
//    (overlay_live.c), nothing but reads.
#include "blockstore/overlay_private.h"

#include "base/cleanup.h"
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

// --- making --------------------------------------------------------------------------------------------------------

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

static int make_files(int dir, const struct overlay_header *header)
{
    int r = remove_leftover(dir);
    if (r < 0)
        return r;
    r = overlay_pair_make(dir, DATA_NAME, NEW_MAP_NAME, header);
    if (r < 0)
        return r;
    const char *map_name = NEW_MAP_NAME;
    if (io->renameat(dir, NEW_MAP_NAME, dir, MAP_NAME) < 0)
        r = -errno;
    else
        map_name = MAP_NAME;
    if (r == 0)
        r = io_sync_folder_of(dir, MAP_NAME);
    if (r < 0) {
        io->unlinkat(dir, map_name, 0);
        io->unlinkat(dir, DATA_NAME, 0);
    }
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

// --- opening -------------------------------------------------------------------------------------------------------

int overlay_take_lock(int dir, struct error *error)
{
    int fd CLEANUP_CLOSE = io_open(dir, MAP_NAME, O_RDWR, 0);
    if (fd == -ENOENT)
        return error_set(error, ENOENT, "the instance has no " MAP_NAME "; its disk was never made, or is gone");
    if (fd < 0)
        return error_set(error, -fd, "cannot open " MAP_NAME ": %s", strerror(-fd));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return error_set(error, EBUSY, MAP_NAME " is in use: the instance is running already");
        return error_set(error, errno, "cannot lock " MAP_NAME ": %m");
    }
    return TAKE_FD(fd);
}

// What an opening demands of a layer beyond what overlay_pair_open did.
static int check_header(const struct overlay_header *header, const struct sha256 *base_manifest,
                        const struct overlay_base *base, struct error *error)
{
    if (!sha256_equal(&header->base_manifest, base_manifest)) { // TRUST T43
        char made[SHA256_HEX_SIZE], asked[SHA256_HEX_SIZE];
        return error_set(error, ESTALE,
                         "the overlay was made over the version with manifest %s and cannot be used over %s; run that "
                         "version, or make a new instance",
                         sha256_to_hex(&header->base_manifest, made), sha256_to_hex(base_manifest, asked));
    }
    unsigned long long size = header->blocks * OVERLAY_BLOCK_SIZE;
    if (base->size > size)
        return error_set(error, EINVAL, "the base has %llu bytes, more than the %llu of the overlay's disk",
                         (unsigned long long)base->size, size);
    return 0;
}

// Opens one layer below the top.
static int open_lower(int dir, const struct overlay_layer *layer, const struct overlay_header *top,
                      struct overlay_lower *l, struct error *error)
{
    struct overlay_pair pair = {.data = -1, .map = -1};
    int r = overlay_pair_open(dir, &layer->id, O_RDONLY, &pair, error);
    if (r < 0)
        return r;
    if (pair.header.blocks != top->blocks || !sha256_equal(&pair.header.base_manifest, &top->base_manifest)) {
        overlay_pair_close(&pair);
        return error_set(error, EBADMSG, "the layers of the overlay do not belong together: one is of another disk");
    }
    l->data[l->count] = pair.data;
    l->map[l->count] = pair.map;
    l->count++;
    return 0;
}

// Makes all that an open overlay has in memory; its files are in place already.
static int start_parts(struct overlay *o)
{
    int r = overlay_lock_start(&o->lock);
    if (r < 0)
        return r;
    r = overlay_map_start(&o->map);
    if (r < 0)
        goto no_map;
    r = overlay_flusher_start(&o->flusher);
    if (r < 0)
        goto no_flusher;
    return 0;

no_flusher:
    overlay_map_stop(&o->map);
no_map:
    overlay_lock_stop(&o->lock);
    return r;
}

int overlay_open_layers(int dir, int lock, const struct overlay_layers *layers, unsigned first,
                        const struct sha256 *base_manifest, const struct overlay_base *base, struct overlay **ret,
                        struct error *error)
{
    CLEANUP_CLOSE int lock_file = lock;
    struct overlay_pair top CLEANUP(overlay_pair_close) = {.data = -1, .map = -1};
    int r = overlay_pair_open(dir, &layers->layers[first].id, O_RDWR, &top, error);
    if (r == 0)
        r = check_header(&top.header, base_manifest ? base_manifest : &top.header.base_manifest, base, error);
    if (r < 0)
        return r;
    if (io->fdatasync(top.data) < 0 || io->fdatasync(top.map) < 0) // invariant 3
        return error_set(error, errno, "the overlay's files could not be written to the disk: %m");
    struct overlay *o CLEANUP_FREE = calloc(1, sizeof *o);
    if (!o)
        return error_set(error, ENOMEM, "out of memory");
    o->blocks = top.header.blocks;
    o->base = *base;
    r = overlay_lower_start(&o->lower);
    if (r < 0)
        return error_set(error, -r, "cannot make a lock: %s", strerror(-r));
    for (unsigned i = layers->count; i-- > first + 1 && r == 0;)
        r = open_lower(dir, &layers->layers[i], &top.header, &o->lower, error);
    if (r == 0) {
        r = start_parts(o);
        if (r < 0)
            error_set(error, -r, "cannot make a lock: %s", strerror(-r));
    }
    if (r < 0) {
        overlay_lower_stop(&o->lower);
        return r;
    }
    o->top = layers->layers[first].id;
    o->next = (struct overlay_pair){.data = -1, .map = -1};
    o->lock_file = TAKE_FD(lock_file);
    o->map_file = TAKE_FD(top.map);
    o->data = TAKE_FD(top.data);
    *ret = TAKE_PTR(o);
    return 0;
}

int overlay_open(int dir, const struct sha256 *base_manifest, const struct overlay_base *base, struct overlay **ret,
                 struct error *error)
{
    struct overlay_layers layers;
    bool listed;
    int lock CLEANUP_CLOSE = overlay_take_lock(dir, error);
    if (lock < 0)
        return lock;
    int r = overlay_layers_read(dir, &layers, &listed, error);
    if (r == 0 && listed) { // invariant 3
        r = io_sync_folder_of(dir, MAP_NAME);
        if (r < 0)
            error_set(error, -r, "cannot sync the instance's folder: %s", strerror(-r));
    }
    if (r < 0)
        return r;
    return overlay_open_layers(dir, TAKE_FD(lock), &layers, 0, base_manifest, base, ret, error);
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
    overlay_lower_stop(&o->lower);
    overlay_pair_close(&o->next);
    close(o->lock_file);
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
