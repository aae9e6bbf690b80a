// What the layers below the top one hold. They do not change while an overlay is open, but for a snapshot that makes
// one more of what was the top. So a block's place among them is looked up once for all the blocks of a map page (64
// MiB of the disk), and kept as a byte a block: however many layers there are, a read then asks the top layer's map and
// this table, no more.
//
// 1. A table is filled from the lowest layer up, each layer's states over those below it; "base" leaves what is there.
// 2. Memory is bounded (rule 7): OVERLAY_LOWER_SLOTS tables of 16 KiB. Page n has slot n modulo that, so that a disk of
//    up to 16 GiB keeps them all.
// 3. A slot's lock is held while its table is filled: who needs the same page waits for the same reads. Nobody who
// holds
//    it takes another lock.
// 4. A damaged page of any layer is -EBADMSG for the requests that need it, and for no other.
// 5. A layer that is added was the top. Of a block that is "base" in it, a table with it and one without it say the
//    same; so readers may ask either for as long as they ask that layer first. When overlay_lower_add returns, there is
//    no table without it. Its number is one that no table has yet.
#include "blockstore/overlay_private.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

int overlay_lower_start(struct overlay_lower *l)
{
    memset(l, 0, sizeof *l);
    for (unsigned i = 0; i < OVERLAY_LOWER_SLOTS; i++) {
        int r = pthread_mutex_init(&l->slots[i].lock, NULL);
        if (r != 0) {
            while (i-- > 0)
                pthread_mutex_destroy(&l->slots[i].lock);
            return -r;
        }
    }
    return 0;
}

void overlay_lower_stop(struct overlay_lower *l)
{
    for (unsigned i = 0; i < OVERLAY_LOWER_SLOTS; i++) {
        free(l->slots[i].where);
        pthread_mutex_destroy(&l->slots[i].lock);
    }
    for (unsigned i = 0; i < l->count; i++) {
        close(l->data[i]);
        close(l->map[i]);
    }
}

void overlay_lower_add(struct overlay_lower *l, int data, int map)
{
    l->data[l->count] = data;
    l->map[l->count] = map;
    l->count++; // after what it counts
    for (unsigned i = 0; i < OVERLAY_LOWER_SLOTS; i++) {
        pthread_mutex_lock(&l->slots[i].lock);
        free(TAKE_PTR(l->slots[i].where));
        pthread_mutex_unlock(&l->slots[i].lock);
    }
}

// Invariant 1, for one layer.
static void lay_over(unsigned char *where, const unsigned char *bits, unsigned layer)
{
    for (unsigned i = 0; i < OVERLAY_PAGE_SIZE; i++) {
        if (bits[i] == 0)
            continue;
        for (unsigned b = 4 * i; b < 4 * i + 4; b++) {
            enum overlay_state state = overlay_map_state(bits, b);
            if (state != OVERLAY_BASE)
                where[b] = (unsigned char)(state == OVERLAY_DATA ? 1 + layer : OVERLAY_LOWER_ZERO);
        }
    }
}

static int fill(const struct overlay *o, uint64_t number, unsigned char *where)
{
    unsigned char bits[OVERLAY_PAGE_SIZE];
    memset(where, 0, OVERLAY_PAGE_BLOCKS);
    const unsigned count = o->lower.count;
    for (unsigned layer = 0; layer < count; layer++) {
        int r = io_read_full(o->lower.map[layer], bits, sizeof bits, overlay_map_offset(number));
        if (r < 0)
            return r;
        if (!overlay_map_is_valid(o->blocks, number, bits)) {
            log_error("page %llu of the map of the overlay's layer %u below the top is damaged; its 64 MiB of the disk "
                      "cannot be used",
                      (unsigned long long)number, count - layer);
            return -EBADMSG;
        }
        lay_over(where, bits, layer);
    }
    return 0;
}

// The slot with the page's table in it; under its lock.
static int load(const struct overlay *o, struct overlay_lower_slot *slot, uint64_t number)
{
    if (slot->where && slot->number == number)
        return 0;
    unsigned char *where = slot->where ? slot->where : malloc(OVERLAY_PAGE_BLOCKS);
    if (!where)
        return -ENOMEM;
    int r = fill(o, number, where);
    if (r < 0) {
        free(where);
        slot->where = NULL;
        return r;
    }
    slot->where = where;
    slot->number = number;
    return 0;
}

int overlay_lower_find_run(struct overlay *o, uint64_t block, uint64_t maximum, struct overlay_place *ret_place,
                           uint64_t *ret_count)
{
    uint64_t number = block / OVERLAY_PAGE_BLOCKS, first = block % OVERLAY_PAGE_BLOCKS, count = 1;
    struct overlay_lower_slot *slot = &o->lower.slots[number % OVERLAY_LOWER_SLOTS];
    if (maximum > OVERLAY_PAGE_BLOCKS - first)
        maximum = OVERLAY_PAGE_BLOCKS - first;
    pthread_mutex_lock(&slot->lock);
    int r = load(o, slot, number);
    unsigned where = 0;
    if (r == 0) {
        where = slot->where[first];
        while (count < maximum && slot->where[first + count] == where)
            count++;
    }
    pthread_mutex_unlock(&slot->lock);
    if (r < 0)
        return r;
    if (where == 0)
        *ret_place = (struct overlay_place){.state = OVERLAY_BASE, .data = -1};
    else if (where == OVERLAY_LOWER_ZERO)
        *ret_place = (struct overlay_place){.state = OVERLAY_ZERO, .data = -1};
    else
        *ret_place = (struct overlay_place){.state = OVERLAY_DATA, .data = o->lower.data[where - 1]};
    *ret_count = count;
    return 0;
}
