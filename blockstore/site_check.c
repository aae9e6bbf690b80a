// See site_check.h.
//
//   1. `items` is sorted by name before any thread looks at it, and grows no more. Each thread writes to its own item.
//   2. `mutex` guards what threads share: counts, progress, the calls of `problem`.
#include "blockstore/site_check.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parallel.h"
#include "base/text.h"
#include "blockstore/pack.h"
#include "blockstore/site_check_private.h"
#include "blockstore/site_collect.h"
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define PIECE_SIZE (256u << 10)
#define ITEMS_MAXIMUM (2 * NEEDS_MAXIMUM)

void site_check_tell(struct site_check *k, const struct sha256 *object, const char *what)
{
    pthread_mutex_lock(&k->mutex);
    k->sum.problems++;
    k->o.problem(k->o.context, object, what);
    pthread_mutex_unlock(&k->mutex);
}

int site_check_tick(void *context)
{
    struct site_check *k = context;
    pthread_mutex_lock(&k->mutex);
    uint64_t done = k->done;
    pthread_mutex_unlock(&k->mutex);
    return k->o.progress && k->o.progress(k->o.context, done, k->all) != 0 ? -ECANCELED : 0;
}

// --- objects -------------------------------------------------------------------------------------------------------

static int add_item(void *context, const struct sha256 *name, uint64_t bytes, const char *path)
{
    struct site_check *k = context;
    struct error what = {.text = ""};
    if (!name) {
        char shown[512]; // a file's name may be anything
        text_escape(slice_of(path), shown, sizeof(shown));
        error_set(&what, EBADMSG, "%s is no object; move it away", shown);
        site_check_tell(k, NULL, what.text);
        return 0;
    }
    if (k->count == k->capacity) {
        size_t capacity = k->capacity ? 2 * k->capacity : 256;
        struct item *items = capacity > ITEMS_MAXIMUM ? NULL : realloc(k->items, capacity * sizeof(*items));
        if (!items)
            return -ENOMEM;
        k->items = items;
        k->capacity = capacity;
    }
    k->items[k->count++] = (struct item){.name = *name, .size = bytes};
    k->all += bytes;
    return 0;
}

static int compare_items(const void *a, const void *b)
{
    return memcmp(((const struct item *)a)->name.bytes, ((const struct item *)b)->name.bytes, SHA256_SIZE);
}

struct item *site_check_find(const struct site_check *k, const struct sha256 *name)
{
    const struct item key = {.name = *name};
    return k->count ? bsearch(&key, k->items, k->count, sizeof(key), compare_items) : NULL;
}

struct table_check {
    struct site_check *k;
    struct item *item;
    int fd;
    unsigned char *stored; // room for a page
};

static int check_entry(void *context, const struct pack_entry *entry)
{
    struct table_check *t = context;
    if (entry->length > PAGE_STORED_MAXIMUM)
        return -EBADMSG;
    int r = io_read_full(t->fd, t->stored, entry->length, entry->offset);
    if (r < 0)
        return r;
    struct sha256 actual = sha256_of(t->stored, entry->length);
    if (!sha256_equal(&actual, &entry->name))
        return -EBADMSG;
    if (t->item->places) {
        struct place *p = &t->item->places[t->item->place_count++];
        *p = (struct place){.offset = entry->offset, .length = entry->length};
        memcpy(p->name, entry->name.bytes, sizeof(p->name));
    }
    return 0;
}

static int make_places(struct site_check *k, struct item *item, uint32_t count)
{
    pthread_mutex_lock(&k->mutex);
    bool room = k->places + count <= SITE_CHECK_CHUNKS;
    k->places += room ? count : 0;
    pthread_mutex_unlock(&k->mutex);
    if (room && !(item->places = calloc(count ? count : 1, sizeof(*item->places))))
        return -ENOMEM;
    return 0;
}

// The file hashes to its name: so what is wrong here, its publisher made so.
static int check_pack(struct site_check *k, struct item *item, int fd)
{
    unsigned char end[PACK_TRAILER_SIZE];
    struct pack_trailer trailer = {.table_offset = 0};
    struct table_check t = {.k = k, .item = item, .fd = fd};
    if (item->size < sizeof(end) || item->size > PACK_SIZE_MAXIMUM)
        return -EBADMSG;
    int r = io_read_full(fd, end, sizeof(end), item->size - sizeof(end));
    if (r == 0)
        r = pack_parse_trailer(end, sizeof(end), (uint32_t)item->size, &trailer, NULL);
    if (r < 0)
        return r;
    unsigned char *table CLEANUP_FREE = malloc(trailer.table_length ? trailer.table_length : 1);
    unsigned char *stored CLEANUP_FREE = malloc(PAGE_STORED_MAXIMUM);
    t.stored = stored;
    if (!table || !stored)
        return -ENOMEM;
    r = io_read_full(fd, table, trailer.table_length, trailer.table_offset);
    if (r < 0)
        return r;
    item->table = sha256_of(table, trailer.table_length);
    if (!sha256_equal(&item->table, &trailer.table))
        return -EBADMSG;
    r = make_places(k, item, trailer.chunk_count);
    return r < 0 ? r : pack_walk_table(table, trailer.table_length, &trailer, check_entry, &t, NULL);
}

static int hash_file(struct site_check *k, struct item *item, int fd)
{
    unsigned char *piece CLEANUP_FREE = malloc(PIECE_SIZE);
    struct hash_stream *hash CLEANUP(hash_stream_free) = hash_stream_new();
    if (!piece || !hash)
        return -ENOMEM;
    for (uint64_t at = 0; at < item->size;) {
        size_t n = item->size - at < PIECE_SIZE ? (size_t)(item->size - at) : PIECE_SIZE;
        int r = io_read_full(fd, piece, n, at);
        if (r < 0)
            return r;
        if (at == 0)
            item->is_pack = n >= PACK_MAGIC_SIZE && memcmp(piece, PACK_MAGIC, PACK_MAGIC_SIZE) == 0;
        hash_stream_add(hash, piece, n);
        at += n;
        pthread_mutex_lock(&k->mutex);
        k->done += n;
        pthread_mutex_unlock(&k->mutex);
    }
    struct sha256 actual = hash_stream_end(hash);
    return sha256_equal(&actual, &item->name) ? 0 : -EBADMSG;
}

static int check_item(void *context, size_t i)
{
    struct site_check *k = context;
    struct item *item = &k->items[i];
    int fd CLEANUP_CLOSE = site_open_object(k->site, &item->name);
    int r = fd < 0 ? fd : hash_file(k, item, fd);
    const char *what = r == -EBADMSG ? "its bytes do not hash to its name" : strerror(-r);
    if (r == 0 && item->is_pack) {
        r = check_pack(k, item, fd);
        what = r == -EBADMSG ? "its table does not say what it holds" : strerror(-r);
    }
    if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
        return r;
    item->right = r == 0;
    item->unread = r < 0 && r != -EBADMSG;
    if (r < 0)
        site_check_tell(k, &item->name, what);
    return 0;
}

int site_check_new(struct site *s, const struct site_check_options *options, struct site_check **ret,
                   struct error *error)
{
    struct site_check *k = calloc(1, sizeof(*k));
    if (!k)
        return error_set(error, ENOMEM, "out of memory");
    k->site = s;
    k->o = *options;
    pthread_mutex_init(&k->mutex, NULL);
    int r = sha256_make_keys(&k->pages.keys) < 0 ? error_set(error, EIO, "no random numbers can be had")
                                                 : site_walk_objects(s, add_item, k, error);
    if (r == 0 && k->count > 0)
        qsort(k->items, k->count, sizeof(*k->items), compare_items);
    if (r == 0) {
        r = parallel_each(k->count, check_item, site_check_tick, k);
        if (r < 0)
            error_set(error, -r, "the check of %s ended before its end: %s", site_path(s),
                      r == -ECANCELED ? "cancelled" : strerror(-r));
    }
    if (r < 0) {
        site_check_free(k);
        return r;
    }
    k->missing.keys = k->pages.keys;
    k->sum.objects = k->count;
    k->sum.bytes = k->all;
    *ret = k;
    return 0;
}

void site_check_free(struct site_check *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->count; i++)
        free(k->items[i].places);
    free(k->items);
    store_free_list(&k->pages);
    store_free_list(&k->missing);
    pthread_mutex_destroy(&k->mutex);
    free(k);
}

void site_check_walk_wrong(const struct site_check *k,
                           void (*each)(void *context, const struct sha256 *name, uint32_t size, bool needed),
                           void *context)
{
    for (size_t i = 0; i < k->count; i++)
        if (!k->items[i].right && (k->items[i].needed || !k->items[i].unread))
            each(context, &k->items[i].name, k->items[i].referred, k->items[i].needed);
    for (size_t i = 0; i < k->missing.pack_count; i++)
        each(context, &k->missing.packs[i].name, k->missing.packs[i].size, true);
}

void site_check_count(const struct site_check *k, struct site_check_counts *ret)
{
    *ret = k->sum;
}
