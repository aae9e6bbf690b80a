// The root statements of a site that is mirrored.
#pragma once

#include "blockstore/site.h"
#include "client/resolve_private.h"

// Those that the catalog *c needs are in the site's folder when this returns 0, each verified.
int mirror_roots(struct site *s, const struct resolve_place *from, const struct catalog *c, struct error *error);
// Looks at them, and changes nothing: calls `wrong` for each that is missing or is not what it should be.
void mirror_roots_check(const struct site *s, const struct catalog *c,
                        void (*wrong)(void *context, const char *path, const char *what), void *context);
