// What is done to all pages of the top layer's map at once: they reach the file in rounds, changes of them are held,
// and the file becomes another one. The numbered rules, and the states of a page, are those of overlay_map.c.
#include "blockstore/overlay_private.h"

#include "base/io.h"

#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

unsigned overlay_map_begin_round(struct overlay *o)
{
    struct overlay_map *m = &o->map;
    pthread_mutex_lock(&m->lock);
    m->round_count = 0;
    for (unsigned i = 0; i < m->count; i++) {
        struct overlay_page *page = m->pages[i];
        if (!page->dirty)
            continue;
        memcpy(page->copy, page->bits, OVERLAY_PAGE_SIZE);
        page->dirty = false;
        page->in_round = true;
        m->round[m->round_count++] = page;
    }
    pthread_mutex_unlock(&m->lock);
    return m->round_count;
}

int overlay_map_write_round(struct overlay *o)
{
    for (unsigned i = 0; i < o->map.round_count; i++) {
        const struct overlay_page *page = o->map.round[i];
        int r = io_write_full(o->map_file, page->copy, OVERLAY_PAGE_SIZE, overlay_map_offset(page->number));
        if (r < 0)
            return r;
    }
    return 0;
}

void overlay_map_end_round(struct overlay *o)
{
    pthread_mutex_lock(&o->map.lock);
    for (unsigned i = 0; i < o->map.round_count; i++)
        o->map.round[i]->in_round = false;
    pthread_cond_broadcast(&o->map.changed);
    pthread_mutex_unlock(&o->map.lock);
}

void overlay_map_hold_changes(struct overlay *o)
{
    pthread_mutex_lock(&o->map.lock);
    o->map.changes = OVERLAY_CHANGES_HELD;
    while (o->map.changing > 0)
        pthread_cond_wait(&o->map.changed, &o->map.lock);
    pthread_mutex_unlock(&o->map.lock);
}

void overlay_map_end_hold(struct overlay *o, enum overlay_changes next)
{
    pthread_mutex_lock(&o->map.lock);
    if (o->map.changes == OVERLAY_CHANGES_HELD)
        o->map.changes = next;
    pthread_cond_broadcast(&o->map.changed);
    pthread_mutex_unlock(&o->map.lock);
}

static bool is_loading(const struct overlay_map *m)
{
    for (unsigned i = 0; i < m->count; i++)
        if (m->pages[i]->loading)
            return true;
    return false;
}

void overlay_map_replace(struct overlay *o, int data, int map_file)
{
    struct overlay_map *m = &o->map;
    pthread_mutex_lock(&m->lock);
    while (is_loading(m)) // for a reader, from the file before
        pthread_cond_wait(&m->changed, &m->lock);
    while (m->count > 0)
        free(m->pages[--m->count]);
    memset(m->buckets, 0, sizeof m->buckets);
    m->hand = 0;
    o->data = data;
    o->map_file = map_file;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

void overlay_map_wake(struct overlay *o)
{
    pthread_mutex_lock(&o->map.lock);
    pthread_cond_broadcast(&o->map.changed);
    pthread_mutex_unlock(&o->map.lock);
}
