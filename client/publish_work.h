// The work folders of publications over HTTP, <cache>/publishing/<site key>/<image> (client/publish_remote.h, rule 2).
//
// A folder is a site's, and its lock is that site's: who holds it may remove the folder. It is renamed first, to
// "<image>+", which no image is called, and is removed there: so whoever publishes the same image the next moment
// begins with a folder of its own, whole, and not with half of one.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define PUBLISH_WORK_AGE_MAXIMUM (7 * 86400) // seconds since anything was done in it, until it is swept

// The caller holds its lock. What stays costs room only, and is told. The folders above go with the last one in them.
void publish_work_remove(const char *work);
// The same for whoever does not hold the lock. False: somebody else does, and works there.
bool publish_work_drop(const char *work);

// What commands left that were interrupted and never given again. `now` in seconds since 1970. `dry_run`: only counts.
int publish_work_sweep(int64_t now, bool dry_run, unsigned *ret_count, struct error *error);
