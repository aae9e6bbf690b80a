// The top layer's map: its pages in memory (rule 7): loaded on demand, at most OVERLAY_MAP_PAGES of them, whatever the
// disk's size.
//
//   absent ──pin──> loading ──read and checked──> clean ──set──> dirty ──begin_round──> in_round ──end_round──> clean
//     ^                └──────damaged─────> absent   │            ^                       │ set
//     └───────────────────evicted────────────────────┘            └── dirty and in_round <┘
//
// 1. Only a clean, unpinned page is evicted (a clock's hand chooses): until the file has a page's bits, memory is the
//    only place that does. When nothing can be evicted, the thread that needs a page has a round flushed.
// 2. `bits` change under map.lock; `copy` belongs to the flusher while in_round, and is what reaches the file.
// 3. A page's bytes are checked when they are loaded: no block may have the bits 3, and what lies behind the disk's
//    last block must be 0. Damage is -EBADMSG for the requests that need this page, and for no other.
// 4. Space for a page is in the file before a bit of it is set (rule 5).
// 5. Whoever changes something has a page pinned from the look at the states to the change of them, and of the data.
//    So while changes are held, and none has a page pinned, neither the top layer's files nor what memory has of them
//    change, but for a round. Readers pin nothing: they get the state and the file that it is about under map.lock.
#include "blockstore/overlay_private.h"

#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

int overlay_map_start(struct overlay_map *m)
{
    memset(m, 0, sizeof *m);
    int r = pthread_mutex_init(&m->lock, NULL);
    if (r != 0)
        return -r;
    r = pthread_cond_init(&m->changed, NULL);
    if (r != 0)
        pthread_mutex_destroy(&m->lock);
    return -r;
}

void overlay_map_stop(struct overlay_map *m)
{
    for (unsigned i = 0; i < m->count; i++)
        free(m->pages[i]);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
}

static struct overlay_page **bucket_of(struct overlay_map *m, uint64_t number)
{
    return &m->buckets[number % OVERLAY_MAP_BUCKETS];
}

static struct overlay_page *find(struct overlay_map *m, uint64_t number)
{
    struct overlay_page *page = *bucket_of(m, number);
    while (page && page->number != number)
        page = page->next_in_bucket;
    return page;
}

static void take_out(struct overlay_map *m, struct overlay_page *page)
{
    struct overlay_page **at = bucket_of(m, page->number);
    while (*at != page)
        at = &(*at)->next_in_bucket;
    *at = page->next_in_bucket;
}

static int load(const struct overlay *o, struct overlay_page *page)
{
    int r = io_read_full(o->map_file, page->bits, OVERLAY_PAGE_SIZE, overlay_map_offset(page->number));
    if (r < 0)
        return r;
    if (!overlay_map_is_valid(o->blocks, page->number, page->bits)) {
        log_error("page %llu of the overlay's map (disk.map) is damaged; its 64 MiB of the disk cannot be used",
                  (unsigned long long)page->number);
        return -EBADMSG;
    }
    page->allocated = false;
    for (unsigned i = 0; i < OVERLAY_PAGE_SIZE && !page->allocated; i++)
        page->allocated = page->bits[i] != 0;
    return 0;
}

static struct overlay_page *evict(struct overlay_map *m)
{
    for (unsigned step = 0; step < 2 * m->count; step++) {
        struct overlay_page *page = m->pages[m->hand];
        m->hand = (m->hand + 1) % m->count;
        if (page->pins > 0 || page->loading || page->dirty || page->in_round)
            continue;
        if (!page->recent) {
            take_out(m, page);
            return page;
        }
        page->recent = false;
    }
    return NULL;
}

// A page struct that is in no bucket; NULL if all are in use (or memory is short while there is none at all).
static struct overlay_page *find_room(struct overlay_map *m)
{
    if (m->count < OVERLAY_MAP_PAGES) {
        struct overlay_page *page = malloc(sizeof *page);
        if (page) {
            m->pages[m->count++] = page;
            return page;
        }
    }
    return m->count > 0 ? evict(m) : NULL;
}

// Gives a page that could not be loaded back, out of its bucket and out of pages[].
static void drop(struct overlay_map *m, struct overlay_page *page)
{
    take_out(m, page);
    for (unsigned i = 0; i < m->count; i++) {
        if (m->pages[i] == page) {
            m->pages[i] = m->pages[--m->count];
            break;
        }
    }
    m->hand = 0;
    free(page);
}

// Waits, or has a round flushed, so that a page may become free. Called and returns with map.lock held.
static int make_room(struct overlay *o)
{
    struct overlay_map *m = &o->map;
    if (m->count == 0)
        return -ENOMEM;
    bool dirty = false;
    for (unsigned i = 0; i < m->count && !dirty; i++)
        dirty = m->pages[i]->dirty && !m->pages[i]->in_round;
    if (!dirty) {
        if (o->flusher.failed)
            return -EIO;
        pthread_cond_wait(&m->changed, &m->lock); // for an unpin, a load, or the round that has the pages
        return 0;
    }
    pthread_mutex_unlock(&m->lock);
    int r = overlay_flusher_round(o);
    pthread_mutex_lock(&m->lock);
    return r;
}

// The page in memory. Called and returns with map.lock held.
static int get(struct overlay *o, uint64_t number, struct overlay_page **ret)
{
    struct overlay_map *m = &o->map;
    int r = 0;
    for (;;) {
        struct overlay_page *page = find(m, number);
        if (page && page->loading) {
            pthread_cond_wait(&m->changed, &m->lock);
            continue;
        }
        if (!page) {
            page = find_room(m);
            if (!page) {
                r = make_room(o);
                if (r < 0)
                    break;
                continue;
            }
            memset(page, 0, offsetof(struct overlay_page, bits));
            page->number = number;
            page->loading = true;
            page->next_in_bucket = *bucket_of(m, number);
            *bucket_of(m, number) = page;
            pthread_mutex_unlock(&m->lock);
            r = load(o, page);
            pthread_mutex_lock(&m->lock);
            page->loading = false;
            pthread_cond_broadcast(&m->changed);
            if (r < 0) {
                drop(m, page);
                break;
            }
        }
        page->recent = true;
        *ret = page;
        break;
    }
    return r;
}

// One change less. With map.lock held.
static void end_change(struct overlay_map *m)
{
    m->changing--;
    pthread_cond_broadcast(&m->changed);
}

int overlay_map_pin(struct overlay *o, uint64_t number, struct overlay_page **ret)
{
    struct overlay_map *m = &o->map;
    struct overlay_page *page;
    pthread_mutex_lock(&m->lock);
    while (m->changes == OVERLAY_CHANGES_HELD)
        pthread_cond_wait(&m->changed, &m->lock);
    int r = m->changes == OVERLAY_CHANGES_REFUSED ? -EIO : 0;
    if (r == 0) {
        m->changing++;
        r = get(o, number, &page);
        if (r < 0)
            end_change(m);
    }
    if (r == 0) {
        page->pins++;
        *ret = page;
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

void overlay_map_unpin(struct overlay *o, struct overlay_page *page)
{
    pthread_mutex_lock(&o->map.lock);
    page->pins--;
    end_change(&o->map);
    pthread_mutex_unlock(&o->map.lock);
}

int overlay_map_find_run(struct overlay *o, uint64_t block, uint64_t maximum, struct overlay_place *ret_place,
                         uint64_t *ret_count)
{
    struct overlay_page *page;
    uint64_t first = block % OVERLAY_PAGE_BLOCKS, count = 1;
    if (maximum > OVERLAY_PAGE_BLOCKS - first)
        maximum = OVERLAY_PAGE_BLOCKS - first;
    pthread_mutex_lock(&o->map.lock);
    int r = get(o, block / OVERLAY_PAGE_BLOCKS, &page);
    if (r == 0) {
        enum overlay_state state = overlay_map_state(page->bits, first);
        while (count < maximum && overlay_map_state(page->bits, first + count) == state)
            count++;
        *ret_place = (struct overlay_place){.state = state, .data = o->data};
        *ret_count = count;
    }
    pthread_mutex_unlock(&o->map.lock);
    return r;
}

int overlay_map_allocate(struct overlay *o, struct overlay_page *page)
{
    pthread_mutex_lock(&o->map.lock);
    bool done = page->allocated;
    pthread_mutex_unlock(&o->map.lock);
    if (done)
        return 0;
    int r = overlay_file_allocate(o->map_file, overlay_map_offset(page->number), OVERLAY_PAGE_SIZE);
    if (r < 0)
        return r;
    pthread_mutex_lock(&o->map.lock);
    page->allocated = true;
    pthread_mutex_unlock(&o->map.lock);
    return 0;
}

void overlay_map_set(struct overlay *o, struct overlay_page *page, uint64_t first, uint64_t count,
                     enum overlay_state state)
{
    pthread_mutex_lock(&o->map.lock);
    for (uint64_t i = first; i < first + count; i++) {
        unsigned shift = (unsigned)(i % 4 * 2);
        page->bits[i / 4] = (unsigned char)((page->bits[i / 4] & ~(3u << shift)) | (unsigned)state << shift);
    }
    page->dirty = true;
    pthread_mutex_unlock(&o->map.lock);
}

int overlay_map_count(struct overlay *o, struct overlay_counts *ret)
{
    uint64_t pages = overlay_map_page_count(o->blocks), data = 0, zero = 0;
    unsigned char bits[OVERLAY_PAGE_SIZE];
    for (uint64_t number = 0; number < pages; number++) {
        pthread_mutex_lock(&o->map.lock);
        const struct overlay_page *page = find(&o->map, number);
        bool in_memory = page && !page->loading;
        int file = o->map_file;
        if (in_memory)
            memcpy(bits, page->bits, sizeof bits);
        pthread_mutex_unlock(&o->map.lock);
        // A page that is not in memory is as the file has it; what changes from here on is counted or not.
        int r = in_memory ? 0 : io_read_full(file, bits, sizeof bits, overlay_map_offset(number));
        if (r < 0)
            return r;
        for (unsigned i = 0; i < sizeof bits; i++) {
            data += (unsigned)__builtin_popcount(bits[i] & 0x55);
            zero += (unsigned)__builtin_popcount(bits[i] & 0xaa);
        }
    }
    ret->data_blocks = data;
    ret->zero_blocks = zero;
    return 0;
}
