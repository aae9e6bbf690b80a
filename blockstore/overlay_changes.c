// What an overlay changed of its base, found by its maps alone. Map pages that no layer has written to are passed over
// as holes of the map files, so the time follows what was written and not the disk's size.
#include "blockstore/overlay_private.h"

#include "blockstore/file_extents.h"

#include "base/banned.h"

// The first map page from `number` on that the file may have something in; the number of pages if there is none.
static int find_written_page(const struct overlay *o, int map, uint64_t number, uint64_t *ret)
{
    const uint64_t pages = overlay_map_page_count(o->blocks);
    uint64_t start, end;
    int r = file_extents_find_data(map, overlay_map_offset(number), overlay_map_offset(pages), &start, &end);
    if (r < 0)
        return r;
    *ret = r == 0 ? pages : (start - OVERLAY_HEADER_SIZE) / OVERLAY_PAGE_SIZE;
    return 0;
}

// The same of all layers.
static int skip_empty_pages(const struct overlay *o, uint64_t number, uint64_t *ret)
{
    uint64_t nearest = 0, of_layer = 0;
    int r = find_written_page(o, o->map_file, number, &nearest);
    for (unsigned i = 0; i < o->lower.count && r == 0 && nearest > number; i++) {
        r = find_written_page(o, o->lower.map[i], number, &of_layer);
        if (r == 0 && of_layer < nearest)
            nearest = of_layer;
    }
    if (r == 0)
        *ret = nearest;
    return r;
}

int overlay_find_change(struct overlay *o, uint64_t block, struct overlay_change *ret)
{
    while (block < o->blocks) {
        uint64_t number = block / OVERLAY_PAGE_BLOCKS, nearest = number, count;
        struct overlay_place place;
        int r = block % OVERLAY_PAGE_BLOCKS == 0 ? skip_empty_pages(o, number, &nearest) : 0;
        if (r < 0)
            return r;
        if (nearest > number) {
            block = nearest * OVERLAY_PAGE_BLOCKS;
            continue;
        }
        r = overlay_find_place(o, block, o->blocks - block, &place, &count);
        if (r < 0)
            return r;
        if (place.state != OVERLAY_BASE) {
            *ret = (struct overlay_change){.first = block, .count = count, .zero = place.state == OVERLAY_ZERO};
            return 1;
        }
        block += count;
    }
    return 0;
}
