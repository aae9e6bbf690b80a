// The user's configuration: <config>/config, lines of `key value`, # comments. Unknown keys are refused by name.
//
//   site http://host/         the site of image names without a URL (RONDO_SITE overrides)
//   cache-size 10G            the limit of the cache
//   outage-seconds 30         how long a block may be missing before the machine pauses
//   require-pin yes           refuse first contact without a key in the address
//   keep no                   what a machine's base lacks in the cache is not fetched while it runs, unless asked for
//   fill-rate 2M              how much of it a second; none: no limit
//   source /media/usb         where objects may be, too, asked before the site (may be repeated; up to 8)
#pragma once

#include "base/error.h"
#include "catalog/catalog.h"
#include <stdbool.h>

#define CONFIGURATION_SOURCES_MAXIMUM 8u

struct configuration {
    char site[CATALOG_URL_SIZE]; // empty: none
    uint64_t cache_size;         // 0: the default
    unsigned outage_seconds;
    bool require_pin;
    bool keep;          // yes unless it says no
    uint64_t fill_rate; // bytes a second; 0: no limit
    char sources[CONFIGURATION_SOURCES_MAXIMUM][CATALOG_URL_SIZE];
    unsigned source_count;
};
#define CONFIGURATION_FILL_RATE (2ull << 20) // docs/decisions.md has the reasons

// The text of a configuration; `path` is for messages. -EINVAL names the line.
int configuration_parse(const void *bytes, size_t n, const char *path, struct configuration *ret, struct error *error);
int configuration_read(struct configuration *ret, struct error *error); // a missing file is the defaults
