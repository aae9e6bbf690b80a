// How much of a version the cache on the disk lacks (version_count_missing): what `rondo inspect` says of a machine
// that still needs its site. The chunks are those of the map, a window of packs at a time (store_list.c); a chunk
// counts as there if its first byte is, for a hole begins with zero and a chunk never does (cache.h). So a damaged one
// counts, too: to see that would take the reading and hashing of everything, which `rondo pull` does.
#include "blockstore/store_private.h"
#include <errno.h>

#include "base/banned.h"

static void count_window(struct version *v, const struct version_list *list, const struct list_window *w,
                         uint64_t *missing, uint64_t *all)
{
    unsigned char first;
    for (size_t i = 0; i < w->chunk_count; i++) {
        const struct list_chunk *c = &w->chunks[i];
        *all += c->length;
        if (cache_read(v->store->cache, &list->packs[c->pack].name, c->offset, &first, 1) < 0)
            *missing += c->length;
    }
}

int version_count_missing(struct version *v, uint64_t *ret_missing, uint64_t *ret_all, struct error *error)
{
    struct version_list list;
    uint64_t missing = 0, all = 0;
    if (!v->store->cache)
        return error_set(error, EINVAL, "there is no cache");
    int r = store_list_packs(v, 0, &list, error);
    if (r < 0)
        return r;
    for (size_t first = 0, count = 0; first < list.pack_count && r == 0; first += count) {
        struct list_window w;
        r = store_list_window(v, &list, first, &w, error);
        if (r < 0)
            break;
        count_window(v, &list, &w, &missing, &all);
        count = w.count;
        store_free_window(&w);
    }
    store_free_list(&list);
    if (r == 0) {
        *ret_missing = missing;
        *ret_all = all;
    }
    return r;
}
