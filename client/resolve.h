// From an address to a version that may be used: the one way in which a verb comes by a manifest hash.
//
//   address → catalog (from the site, or the remembered one) → signature → trust (key, number, expiry) → image line
//   → manifest (from cache or sources) → hash, signature, publisher allowed, name, version, serial as the line says
//
// Objects, manifests included, may also come from other places that the user names (--source, and `source` in the
// configuration): folders and URLs that are asked before the site, and believed no more than the site is. One that is
// not there is left out.
//
// A catalog checked within the last RESOLVE_CATALOG_SECONDS is not asked for again, except when the wanted version is
// missing from it, when the site is a directory, or when its owner here has published since (publisher_sign_catalog).
// Offline, or when the site cannot be reached, the remembered catalog serves: an expired one with one warning.
#pragma once

#include "blockstore/store.h"
#include "catalog/address.h"
#include "catalog/trust.h"
#include "client/cli.h"
#include "client/configuration.h"

#define RESOLVE_CATALOG_SECONDS 60

#define RESOLVE_OTHERS_MAXIMUM 8u
struct resolve_others {
    char list[RESOLVE_OTHERS_MAXIMUM][CATALOG_URL_SIZE];
    unsigned count;
};
// The other places: those of --source, then the configuration's. Offline they are folders alone.
int resolve_list_others(const struct configuration *configuration, const struct option_list *named, bool offline,
                        struct resolve_others *ret, struct error *error);

struct resolve_options {
    bool offline;       // no connection attempt at all; folders among the other places are asked
    bool require_fresh; // exit 6 unless the catalog has not expired
    bool require_pin;   // exit 5 at an unpinned first contact; so does the configuration's line
    bool connect_ahead; // if the manifest is fetched over HTTP, connections are made with it (resolved.ahead)
    bool for_update;    // asks the site whatever the catalog's age; no falling back to the remembered one
    bool look_only;     // nothing of the site is remembered: for a question that is asked first
    bool all_versions;  // resolved.versions are given, and no manifest opened: there is no description
    const struct resolve_others *others; // may be NULL
    // Of resolve_catalog, where no address says it; either may be NULL.
    const struct key_public *pin; // the key that the user named
    const char *name;             // its newest serial may not be lower than one that was seen
};

struct resolved {
    struct address address;
    struct sha256 manifest;
    struct manifest *description; // parsed; owned
    struct catalog versions;      // with all that governs the name; owned. Empty unless all_versions was asked for
    char **sources;               // the other places, then the site, then its mirrors; owned
    unsigned source_count;        // offline, of these, the folders among the other places
    unsigned other_count;         // the first so many are the other places
    bool offline, fresh;
    struct buf catalog;           // the signed file that vouches for all this
    struct catalog_shard shard;   // of it, with the name's lines; size 0: they are in the file itself
    struct transport_ahead ahead; // for rondo-cloop, which will want the first blocks; owned
};

// `store` holds the cache and the transport. On success the caller frees with resolve_free.
int resolve_image(struct store *store, const struct configuration *configuration, const char *address,
                  const struct resolve_options *options, struct resolved *ret, struct error *error);
void resolve_free(struct resolved *r);

// Opens one of the versions that *c lists: its manifest is what the catalog's line says, and its signer may publish
// that name there. The first `source_count` of the sources are asked (0: the cache alone).
int resolve_open_version(struct store *store, const struct resolved *r, const struct catalog *c,
                         const struct catalog_image *image, unsigned source_count, struct version **ret,
                         struct error *error);

// Pins what version_pull listed for the user who pulled it, and the shard (zero: none), without which the image's name
// would not be found offline. -ENOSPC if the cache has that no more. *objects may be moved.
int resolve_pin_pulled(struct cache *cache, const struct sha256 *manifest, const struct sha256 *shard,
                       struct sha256 **objects, size_t count, struct error *error);

// What a failure of the store means where the site was not to be asked: -ENOENT becomes -ENONET (exit code 4:
// "network, and not in the cache") with the next step; anything else is returned as it is.
int resolve_explain_offline(int result, bool offline, const char *site, const char *name, const char *version,
                            struct error *error);

// Only the site's catalog (for ls and publish): fetched, verified, trusted. The caller frees with catalog_free.
int resolve_catalog(struct store *store, const struct configuration *configuration, const char *site,
                    const struct resolve_options *options, struct catalog *ret, bool *ret_fresh, struct error *error);

// A store as the client's verbs want it: cache folder made, limits from the configuration.
int resolve_open_store(const struct configuration *configuration, struct store **ret, struct error *error);
