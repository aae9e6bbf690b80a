// Sets of packs: what any number of versions consist of, each pack once, in the order in which it came; and their
// logos, objects like packs to whoever copies them. For whoever copies versions whole, or checks that a copy is. Memory
// in proportion to the number of packs.
#pragma once

#include "blockstore/store.h"

struct whole_object { // as a site stores it
    struct sha256 name;
    uint32_t size; // 0: not known, which a copy to a site (object_copy.h) alone can do without
};

struct pack_set;
int pack_set_new(struct pack_set **ret, struct error *error);
void pack_set_free(struct pack_set **s); // for CLEANUP; NULL is fine

// What the manifest itself names: the boot packs, then those of the members' top pages, and the logo. With these at
// hand, most of the map's pages are.
int pack_set_add_first(struct pack_set *s, struct version *v, struct error *error);
// All that the manifest and the map name; reads the map's pages.
int pack_set_add(struct pack_set *s, struct version *v, struct error *error);
// One more: 1 if it is new, 0 if it was there.
int pack_set_put(struct pack_set *s, const struct whole_object *pack, struct error *error);

size_t pack_set_count(const struct pack_set *s);
struct whole_object pack_set_get(const struct pack_set *s, size_t i); // i below that
