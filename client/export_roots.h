// The root statements of a site's keys that an archive takes along (catalog/root.h).
#pragma once

#include "catalog/root.h"
#include "client/resolve.h"

struct export_roots { // files[i] is root first + i; the last is the one that the catalog names
    unsigned first, count;
    struct buf files[ROOT_NUMBER_MAXIMUM];
};
// As many as are to be had, from what this user has seen, else from the version's sources (`store`): whoever imports
// the archive may know any key that the site ever had. That older ones are missing is told, and no failure. The caller
// ends with export_roots_free.
int export_roots_get(struct store *store, const struct resolved *r, struct export_roots *ret, struct error *error);
void export_roots_free(struct export_roots *roots);
