// What resolve.c (images) and resolve_catalog.c share.
#pragma once

#include "client/resolve.h"

// One clock reading and one view of what is known, for one command.
struct resolve_decision {
    struct trust *trust;
    struct trust_request request;
    const char *site; // the caller's, as `pin` is
    int64_t now;
    bool first_contact;  // of the site, whose key resolve_settle will remember
    struct buf accepted; // a catalog that just came, to be remembered by resolve_settle; empty if none did
    char accepted_etag[128];
    struct buf signed_bytes; // of the catalog that resolve_get_catalog gave, wherever it came from
    struct buf *roots;       // root statements that request.roots points to; owned
};
// Where a catalog came from, and its root statements are asked for.
struct resolve_place {
    struct store *store;
    const char *address;
};
// The caller ends with resolve_end.
int resolve_begin(struct resolve_decision *d, const struct configuration *configuration, const char *site,
                  const struct key_public *pin, const struct resolve_options *options, struct error *error);

void resolve_end(struct resolve_decision *d);

// A recent catalog serves without asking the site if *may_be_recent, which then stays true. (A directory costs nothing
// to ask.) The caller frees with catalog_free.
int resolve_get_catalog(struct store *store, struct resolve_decision *d, const struct resolve_options *options,
                        bool *may_be_recent, struct catalog *ret, bool *ret_fresh, struct error *error);

// Verifies these bytes of a catalog, wherever they came from, and asks trust about it, which remembers nothing yet. A
// first contact, a new key, an expired catalog and a wrong clock are told. `signed_bytes` are set. Root statements that
// are wanted are fetched `from` there (NULL: none is).
int resolve_accept(struct resolve_decision *d, const void *bytes, size_t n, const struct resolve_place *from,
                   struct catalog *ret, bool *ret_fresh, struct error *error);

// One small file of a site (resolve_fetch.c), in one attempt, and a second one where a kept connection or a passing
// fault may have been the reason; if `patient`, more of them, with growing waits. `bytes` has its maximum, which is the
// file's; the caller frees it.
struct resolve_fetched {
    struct buf bytes; // empty if not modified
    char etag[128];
    bool not_modified;
};
int resolve_fetch(const struct resolve_place *from, const char *path, const char *etag, bool patient,
                  struct resolve_fetched *ret, struct error *error);
int resolve_collect(void *context, uint64_t offset, const void *bytes, size_t n); // a sink: into the struct buf

// The root statements that trust wants to see before it decides about *c, into d->request; where one is
// known that they follow, each is verified before the next one is asked for.
int resolve_get_roots(struct resolve_decision *d, const struct catalog *c, const struct resolve_place *from,
                      struct error *error);
void resolve_drop_roots(struct resolve_decision *d);
// One of them; nothing of it is verified. -EBADMSG if the place lacks it.
int resolve_fetch_root(const struct resolve_place *from, unsigned number, struct buf *ret, struct error *error);

// Does the manifest say what the catalog's line says of it, and may its signer publish that name at `site`?
int resolve_check_manifest(const char *site, const struct catalog *c, const struct catalog_image *image,
                           const struct version *v, struct error *error);

// What resolve_get_catalog gave is remembered only here, unless `name`'s newest serial in it is lower than one that was
// seen: -ESTALE, and nothing has changed. NULL: no name is asked for.
int resolve_settle(struct resolve_decision *d, const struct catalog *c, const char *name, uint64_t newest_serial,
                   struct error *error);

// All shards that a look-up of `name` needs (NULL: all there are), from the cache, the site or its mirrors.
int resolve_load_shards(struct store *store, const char *site, const char *name, bool offline, struct catalog *c,
                        struct error *error);
