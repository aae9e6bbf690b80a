// From an address to a version that may be used: the one way in which a verb comes by a manifest hash.
//
//   address → catalog (from the site, or the remembered one) → signature → trust (key, number, expiry) → image line
//   → manifest (from cache or sources) → hash, signature, publisher allowed, name, version, serial as the line says
//
// A catalog checked within the last RESOLVE_CATALOG_SECONDS is not asked for again, except when the wanted version is
// missing from it, when the site is a directory, or when its owner here has published since (publisher_sign_catalog).
// Offline, or when the site cannot be reached, the remembered catalog serves: an expired one with one warning.
#pragma once

#include "blockstore/store.h"
#include "catalog/address.h"
#include "catalog/trust.h"
#include "client/configuration.h"

#define RESOLVE_CATALOG_SECONDS 60

struct resolve_options {
    bool offline;       // no connection attempt at all
    bool require_fresh; // exit 6 unless the catalog has not expired
    bool require_pin;   // exit 5 at an unpinned first contact; so does the configuration's line
    bool connect_ahead; // if the manifest is fetched over HTTP, connections are made with it (resolved.ahead)
    bool for_update;    // asks the site whatever the catalog's age; no falling back to the remembered one
};

struct resolved {
    struct address address;
    struct sha256 manifest;
    struct manifest *description; // parsed; owned
    char **sources;               // the site, then its mirrors; owned
    unsigned source_count;        // 0 when offline
    bool fresh;
    struct transport_ahead ahead; // for rondo-cloop, which will want the first blocks; owned
};

// `store` holds the cache and the transport. On success the caller frees with resolve_free.
int resolve_image(struct store *store, const struct configuration *configuration, const char *address,
                  const struct resolve_options *options, struct resolved *ret, struct error *error);
void resolve_free(struct resolved *r);

// What a failure of the store means where there were no sources to ask: -ENOENT becomes -ENETUNREACH (exit code 4:
// "network, and not in the cache") with the next step; anything else is returned as it is.
int resolve_explain_offline(int result, unsigned source_count, const char *site, const char *name, const char *version,
                            struct error *error);

// Only the site's catalog (for ls and publish): fetched, verified, trusted. The caller frees with catalog_free.
int resolve_catalog(struct store *store, const struct configuration *configuration, const char *site,
                    const struct resolve_options *options, struct catalog *ret, bool *ret_fresh, struct error *error);

// A store as the client's verbs want it: cache folder made, limits from the configuration.
int resolve_open_store(const struct configuration *configuration, struct store **ret, struct error *error);
