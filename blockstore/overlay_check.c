// See overlay_check.h. What a map says is only held against its disk's size: a data file is sparse and has that size,
// so no bit can point outside of it, and what blocks of it hold is the guest's.
#include "blockstore/overlay_check.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/overlay_private.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

struct check {
    void (*problem)(void *context, bool whole, const char *text);
    void *context;
};

static int check_map(const struct check *c, const struct overlay_pair *pair, const char *name)
{
    unsigned char bits[OVERLAY_PAGE_SIZE];
    uint64_t pages = overlay_map_page_count(pair->header.blocks);
    for (uint64_t number = 0; number < pages; number++) {
        off_t at = lseek(pair->map, (off_t)overlay_map_offset(number), SEEK_DATA);
        if (at < 0 && errno == ENXIO)
            return 0; // nothing but holes follows
        if (at > (off_t)overlay_map_offset(number))
            number = ((uint64_t)at - OVERLAY_HEADER_SIZE) / OVERLAY_PAGE_SIZE;
        if (number >= pages)
            return 0;
        int r = io_read_full(pair->map, bits, sizeof(bits), overlay_map_offset(number));
        if (r < 0 && r != -EIO)
            return r;
        if (r == 0 && overlay_map_is_valid(pair->header.blocks, number, bits))
            continue;
        struct error text = {.text = ""};
        error_set(&text, EBADMSG, "%s: page %llu cannot be %s; its 64 MiB of the disk cannot be used", name,
                  (unsigned long long)number, r == 0 ? "right" : "read");
        c->problem(c->context, false, text.text);
    }
    return 0;
}

static int check_layer(const struct check *c, int dir, const struct overlay_layer *layer,
                       const struct sha256 *base_manifest, uint64_t *blocks)
{
    char name[OVERLAY_NAME_SIZE];
    struct overlay_pair pair = {.data = -1, .map = -1};
    struct error error = {.text = ""};
    int r = overlay_pair_open(dir, &layer->id, O_RDONLY, &pair, &error);
    if (r < 0) {
        c->problem(c->context, false, error.text);
        return r == -EMFILE || r == -ENFILE || r == -ENOMEM ? r : 0;
    }
    overlay_pair_name(&layer->id, OVERLAY_MAP_SUFFIX, name);
    if (!sha256_equal(&pair.header.base_manifest, base_manifest)) {
        error_set(&error, EBADMSG, "%s is of a disk over another version than the machine's settings name", name);
        c->problem(c->context, false, error.text);
    }
    if (*blocks != 0 && pair.header.blocks != *blocks) {
        error_set(&error, EBADMSG, "%s is of a disk of another size than the layers above it", name);
        c->problem(c->context, false, error.text);
    }
    *blocks = pair.header.blocks;
    r = check_map(c, &pair, name);
    overlay_pair_close(&pair);
    return r;
}

int overlay_check(int dir, const struct sha256 *base_manifest,
                  void (*problem)(void *context, bool whole, const char *text), void *context)
{
    const struct check c = {.problem = problem, .context = context};
    struct overlay_layers layers;
    struct error error = {.text = ""};
    uint64_t blocks = 0;
    bool listed;
    int r = overlay_layers_read(dir, &layers, &listed, &error);
    if (r < 0) {
        problem(context, true, error.text);
        return 0;
    }
    for (unsigned i = 0; i < layers.count && r == 0; i++)
        r = check_layer(&c, dir, &layers.layers[i], base_manifest, &blocks);
    return r;
}
