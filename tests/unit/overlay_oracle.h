// What an overlay may hold after a failure: for every 512-byte sector of some chosen blocks, the contents that it had
// at the last flush that succeeded, and all that it was given since (FORMATS, "Overlay": flushed is there, the rest old
// or new).
#pragma once

#include "overlay_fixture.h"

#define SECTOR 512u
#define ORACLE_DISK_BLOCKS (2u * PAGE_BLOCKS + 9000u) // three map pages
#define ORACLE_DISK_SIZE ((uint64_t)ORACLE_DISK_BLOCKS * BLOCK)
#define ORACLE_BASE_SIZE (UINT64_C(32766) * BLOCK + 700)
#define ORACLE_SECTORS (26u * 8u)
#define ORACLE_CONTENTS 128u // remembered for one sector

// The chosen blocks: the beginning, both borders of map pages (the second with the end of the base), and the end.
static const struct {
    uint64_t first, count;
} oracle_windows[] = {{0, 6}, {16380, 8}, {32764, 8}, {ORACLE_DISK_BLOCKS - 4, 4}};
#define ORACLE_WINDOWS (sizeof oracle_windows / sizeof oracle_windows[0])

struct oracle {
    struct {
        unsigned char current[SECTOR];
        uint64_t allowed[ORACLE_CONTENTS]; // hashes
        unsigned count;
    } sectors[ORACLE_SECTORS];
};

enum oracle_kind { ORACLE_WRITE, ORACLE_ZEROES, ORACLE_DISCARD, ORACLE_FLUSH, ORACLE_READ };

struct oracle_request {
    enum oracle_kind kind;
    unsigned window;
    uint64_t offset, n; // on the disk
    unsigned char bytes[3 * BLOCK];
};

static inline uint64_t oracle_hash(const unsigned char *bytes)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (unsigned i = 0; i < SECTOR; i++)
        h = (h ^ bytes[i]) * UINT64_C(1099511628211);
    return h;
}

// The first sector of a window in the table.
static inline unsigned oracle_window_sector(unsigned window)
{
    unsigned sector = 0;
    for (unsigned i = 0; i < window; i++)
        sector += (unsigned)oracle_windows[i].count * 8;
    return sector;
}

static inline void oracle_start(struct oracle *o)
{
    for (unsigned w = 0; w < ORACLE_WINDOWS; w++) {
        for (unsigned i = 0; i < oracle_windows[w].count * 8; i++) {
            unsigned s = oracle_window_sector(w) + i;
            for (unsigned b = 0; b < SECTOR; b++)
                o->sectors[s].current[b] = fresh_at(ORACLE_BASE_SIZE, oracle_windows[w].first * BLOCK + i * SECTOR + b);
            o->sectors[s].allowed[0] = oracle_hash(o->sectors[s].current);
            o->sectors[s].count = 1;
        }
    }
}

static inline void oracle_flushed(struct oracle *o)
{
    for (unsigned s = 0; s < ORACLE_SECTORS; s++) {
        o->sectors[s].allowed[0] = oracle_hash(o->sectors[s].current);
        o->sectors[s].count = 1;
    }
}

static inline void oracle_choose(struct random_numbers *r, struct oracle_request *ret)
{
    static const enum oracle_kind kinds[] = {ORACLE_WRITE, ORACLE_WRITE,  ORACLE_WRITE,   ORACLE_WRITE,
                                             ORACLE_WRITE, ORACLE_ZEROES, ORACLE_DISCARD, ORACLE_DISCARD,
                                             ORACLE_FLUSH, ORACLE_FLUSH,  ORACLE_READ};
    ret->kind = kinds[random_below(r, sizeof kinds / sizeof kinds[0])];
    ret->window = (unsigned)random_below(r, ORACLE_WINDOWS);
    uint64_t size = oracle_windows[ret->window].count * BLOCK, at = random_below(r, size);
    uint64_t n = 1 + random_below(r, sizeof ret->bytes);
    if (random_below(r, 2)) {
        at -= at % BLOCK;
        n += BLOCK - n % BLOCK;
    }
    if (n > sizeof ret->bytes)
        n = sizeof ret->bytes;
    ret->n = n < size - at ? n : size - at;
    ret->offset = oracle_windows[ret->window].first * BLOCK + at;
    for (uint64_t i = 0; i < ret->n; i++)
        ret->bytes[i] = (unsigned char)random_next(r);
}

// The request is about to be made: its contents become possible. False if a sector's history would overflow.
static inline bool oracle_expect(struct oracle *o, const struct oracle_request *q)
{
    if (q->kind == ORACLE_FLUSH || q->kind == ORACLE_READ)
        return true;
    uint64_t start = oracle_windows[q->window].first * BLOCK, from = q->offset, end = q->offset + q->n;
    if (q->kind == ORACLE_DISCARD) {
        from = (from + BLOCK - 1) / BLOCK * BLOCK;
        end = end / BLOCK * BLOCK;
    }
    for (uint64_t at = from; at < end;) {
        unsigned s = oracle_window_sector(q->window) + (unsigned)((at - start) / SECTOR);
        uint64_t within = at % SECTOR, n = SECTOR - within < end - at ? SECTOR - within : end - at;
        if (q->kind == ORACLE_WRITE)
            memcpy(o->sectors[s].current + within, q->bytes + (at - q->offset), n);
        else
            memset(o->sectors[s].current + within, 0, n);
        if (o->sectors[s].count == ORACLE_CONTENTS)
            return false;
        o->sectors[s].allowed[o->sectors[s].count++] = oracle_hash(o->sectors[s].current);
        at += n;
    }
    return true;
}

static inline int oracle_perform(struct overlay *overlay, struct oracle_request *q)
{
    switch (q->kind) {
    case ORACLE_WRITE:
        return overlay_write(overlay, q->offset, q->bytes, q->n);
    case ORACLE_ZEROES:
        return overlay_write_zeroes(overlay, q->offset, q->n);
    case ORACLE_DISCARD:
        return overlay_discard(overlay, q->offset, q->n);
    case ORACLE_FLUSH:
        return overlay_flush(overlay);
    case ORACLE_READ:
        break;
    }
    return overlay_read(overlay, q->offset, q->bytes, q->n);
}

// How many sectors hold something that they may not. What they hold is then the newest that they may hold; with
// `settle`, the only thing.
static inline unsigned oracle_look(struct oracle *o, struct overlay *overlay, bool settle)
{
    unsigned wrong = 0;
    for (unsigned w = 0; w < ORACLE_WINDOWS; w++) {
        for (unsigned i = 0; i < oracle_windows[w].count * 8; i++) {
            unsigned s = oracle_window_sector(w) + i, known = 0;
            unsigned char *bytes = o->sectors[s].current;
            if (overlay_read(overlay, oracle_windows[w].first * BLOCK + i * SECTOR, bytes, SECTOR) != 0) {
                wrong++;
                continue;
            }
            uint64_t hash = oracle_hash(bytes);
            while (known < o->sectors[s].count && o->sectors[s].allowed[known] != hash)
                known++;
            wrong += known == o->sectors[s].count;
            if (settle) {
                o->sectors[s].allowed[0] = hash;
                o->sectors[s].count = 1;
            }
        }
    }
    return wrong;
}

static inline unsigned oracle_check(struct oracle *o, struct overlay *overlay)
{
    return oracle_look(o, overlay, true);
}
