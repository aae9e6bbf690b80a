// What the two files of site_check.h share: site_check.c has the objects, site_check_version.c the versions.
#pragma once

#include "blockstore/site_check.h"
#include "blockstore/store_private.h"

struct place { // of a chunk in its pack
    uint32_t offset, length;
    unsigned char name[8]; // its first bytes: who reads the chunk compares them all
};

struct item {
    struct sha256 name;
    uint64_t size;
    bool right, is_pack, needed;
    bool unread;       // what it holds is not known: it could not be read
    uint32_t referred; // the size that a reference gives it; 0: unknown
    bool told;         // of a wrong reference to it: one is enough
    struct sha256 table;
    struct place *places; // in the order of their offsets; NULL: there were too many
    uint32_t place_count;
};

struct site_check {
    struct site *site;
    struct site_check_options o;
    struct item *items;
    size_t count, capacity;
    pthread_mutex_t mutex;
    struct site_check_counts sum;
    uint64_t done, all, places;
    struct version_list pages;   // that were looked at
    struct version_list missing; // objects
    const char *label;           // of the version that is looked at
};

void site_check_tell(struct site_check *k, const struct sha256 *object, const char *what);
int site_check_tick(void *context);
struct item *site_check_find(const struct site_check *k, const struct sha256 *name);
