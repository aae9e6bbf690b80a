// What the web process knows of the site that it takes publications for: its key and id, who may publish there, and
// which objects it has. Read from the site's own signed catalog, anew whenever that was replaced: so a key that is
// revoked is refused at its next request, whatever token it has. (The keeper decides by itself; server/keeper.h.)
//
// Any thread.
#pragma once

#include "catalog/catalog.h"

struct publish_site;
int publish_site_new(const char *folder, struct publish_site **ret, struct error *error);
void publish_site_free(struct publish_site **s); // for CLEANUP too; NULL is fine

// Which site this is, and may this key publish any name there? -EKEYREJECTED if not; another failure if there is no
// catalog, or it cannot be read.
struct publish_site_names {
    struct key_public key;
    unsigned char id[CATALOG_ID_SIZE];
};
int publish_site_check(struct publish_site *s, const struct key_public *key, struct publish_site_names *ret,
                       struct error *error);

bool publish_site_has(struct publish_site *s, const struct sha256 *object);
