// The files of one site, opened read-only below the site's folder, and what HTTP says about each of them.
#pragma once

#include "base/error.h"
#include "server/conditions.h"
#include "server/site_path.h"
#include <stdbool.h>
#include <stdint.h>

#define SITE_TAG_SIZE 72 // 64 digits, two quotes, a NUL byte, to the next multiple of 8

// Never changes after site_files_open(), so any number of threads use it without a lock.
struct site_files {
    int folder;       // kept open: a folder that is renamed later is still the one that is served
    bool has_openat2; // Linux 5.6, and no old container's filter in the way; otherwise part by part
};

struct site_file {
    int fd; // owned by the caller
    uint64_t size;
    char tag[SITE_TAG_SIZE];                  // ETag, with its quotes
    char last_modified[CONDITIONS_DATE_SIZE]; // "" while the file is too young for a date in seconds to name it
    const char *content_type;                 // static text
    const char *cache_control;                // static text
};

// -ENOENT, -EINVAL (not a folder) or -EACCES. A folder without a catalog yet is fine: site_files_has_catalog() tells.
int site_files_open(const char *folder, struct site_files *ret, struct error *error);
bool site_files_has_catalog(const struct site_files *site);
void site_files_close(struct site_files *site);

// Opens a regular file. No symbolic link is followed, whatever `path` holds. -ENOENT for everything that is not
// there or not a regular file; -EACCES for files that cannot be read, or are not meant to be: a page that not
// everybody may read (a key that was left in the folder has mode 0600) is not served; -EMFILE and other errno
// values as open(2) has them.
int site_files_open_file(const struct site_files *site, const struct site_path *path, struct site_file *ret);
