// Copying a layer into the one below it, which is a deleted snapshot's.
//
// 1. The upper layer stays above its copy and hides it, so that nothing that can be read changes, wherever this is cut
//    short. It may be the top layer: then the lower one will be the top.
// 2. The lower layer is written to as any overlay is (overlay.c), with all its rules; so what reaches its files when is
//    known, and a failure there is like any other.
#include "blockstore/overlay_private.h"

#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define COPY_SIZE (1u << 20)

static int copy_data(int from, struct overlay *to, uint64_t block, uint64_t count, void (*progress)(uint64_t bytes),
                     uint64_t *copied)
{
    CLEANUP_FREE void *bytes = malloc(COPY_SIZE);
    if (!bytes)
        return -ENOMEM;
    uint64_t offset = block * OVERLAY_BLOCK_SIZE, end = offset + count * OVERLAY_BLOCK_SIZE;
    while (offset < end) {
        size_t n = end - offset < COPY_SIZE ? (size_t)(end - offset) : COPY_SIZE;
        int r = io_read_full(from, bytes, n, offset);
        if (r == 0)
            r = overlay_write(to, offset, bytes, n);
        if (r < 0)
            return r;
        offset += n;
        *copied += n;
        if (progress)
            progress(*copied);
    }
    return 0;
}

// What the upper layer says of the blocks of one map page.
static int copy_page(const struct overlay_pair *upper, uint64_t number, struct overlay *to,
                     void (*progress)(uint64_t bytes), uint64_t *copied)
{
    unsigned char bits[OVERLAY_PAGE_SIZE];
    int r = io_read_full(upper->map, bits, sizeof bits, overlay_map_offset(number));
    if (r == 0 && !overlay_map_is_valid(upper->header.blocks, number, bits))
        r = -EBADMSG;
    for (uint64_t at = 0, count; at < OVERLAY_PAGE_BLOCKS && r == 0; at += count) {
        enum overlay_state state = overlay_map_state(bits, at);
        for (count = 1; at + count < OVERLAY_PAGE_BLOCKS; count++)
            if (overlay_map_state(bits, at + count) != state)
                break;
        uint64_t block = number * OVERLAY_PAGE_BLOCKS + at;
        if (state == OVERLAY_DATA)
            r = copy_data(upper->data, to, block, count, progress, copied);
        else if (state == OVERLAY_ZERO)
            r = overlay_discard(to, block * OVERLAY_BLOCK_SIZE, count * OVERLAY_BLOCK_SIZE);
    }
    return r;
}

static int refuse_read(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    (void)context, (void)offset, (void)to, (void)count, (void)n;
    return -EIO; // whole blocks are copied: nothing below is ever merged
}

int overlay_merge_down(int dir, int lock, const struct overlay_layers *layers, unsigned at,
                       void (*progress)(uint64_t bytes), struct error *error)
{
    struct overlay_pair upper CLEANUP(overlay_pair_close) = {.data = -1, .map = -1};
    struct overlay *to;
    uint64_t copied = 0;
    int r = overlay_pair_open(dir, &layers->layers[at - 1].id, O_RDONLY, &upper, error);
    if (r < 0) {
        close(lock);
        return r;
    }
    // A base of the disk's size: a block that was discarded above must be so here, wherever the base ends.
    const struct overlay_base base = {.read = refuse_read, .size = upper.header.blocks * OVERLAY_BLOCK_SIZE};
    r = overlay_open_layers(dir, lock, layers, at, &upper.header.base_manifest, &base, &to, error);
    if (r < 0)
        return r;
    for (uint64_t page = 0; page < overlay_map_page_count(upper.header.blocks) && r == 0; page++)
        r = copy_page(&upper, page, to, progress, &copied);
    if (r < 0)
        error_set(error, -r, "cannot copy the layer above the deleted snapshot: %s",
                  r == -EBADMSG ? "its map is damaged" : strerror(-r));
    struct error closing = {.text = ""};
    int closed = overlay_close(to, &closing);
    return r == 0 && closed < 0 ? error_set(error, -closed, "%s", closing.text) : r;
}
