// What is known, without asking anybody, of a newer version of the image that a machine was made from: the catalog that
// is remembered of its site, looked up for the tag that it was made from. A machine never moves by itself (TRUST T43):
// this is only to be told; `rondo update` is what its user does about it.
//
// A failure of any kind means that nothing is known. One thread.
#pragma once

#include "blockstore/cache.h"
#include "client/instance.h"

#define NEWER_KEPT_NAME "kept" // a file in the instance's folder: the hash of a manifest, for newer_keep

struct newer {
    char version[CATALOG_NAME_SIZE]; // what the tag names now; "": nothing newer is known
    struct sha256 manifest;
    bool kept;    // its user has decided to stay with the version that the machine has
    bool revoked; // the site has revoked the key that signed the version that the machine has (TRUST T34)
};

// Whether the catalog revokes the key that signed this version, as far as the cache tells: a manifest that is not there
// is not asked for.
bool newer_is_revoked(struct cache *cache, const struct catalog *c, const struct sha256 *manifest);

// The catalogs that are looked into. Several machines of one site, one after the other, cost one look.
struct newer_source {
    struct trust *trust; // NULL: nothing is remembered of any site
    struct cache *cache; // NULL until a shard is needed
    char site[CATALOG_URL_SIZE];
    bool known; // of `site`
    struct catalog catalog;
};
void newer_open(struct newer_source *ret);
void newer_close(struct newer_source *s);
void newer_find(struct newer_source *s, const struct instance *i, struct newer *ret);

// A line on stderr, if there is something newer to be told of; and one if the site has revoked the key that signed the
// version that the machine has.
void newer_tell(const struct instance *i);

// From now on that version is not told of any more; another one will be. Needs no lock.
int newer_keep(const struct instance *i, const struct sha256 *manifest, struct error *error);
