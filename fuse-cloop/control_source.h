// Which sources a client may name: addresses of sites, and folders that do not lie in what we show ourselves (reading
// such a folder would wait for our own answer).
#pragma once

#include "fuse-cloop/session.h"

int control_check_source(const struct session *s, const char *address, struct error *error); // -EINVAL
// The same for the cache's folder; to be called before the mount is served: looks at the text alone.
int control_check_cache(const char *mount_point, const char *folder, struct error *error);
