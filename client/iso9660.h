// Small read-only file systems, made in memory: ISO 9660 (ECMA-119) with Rock Ridge names (IEEE P1282), which Linux,
// the BSDs and Windows read, and cloud-init looks for.
#pragma once

#include "base/buf.h"
#include <stddef.h>
#include <stdint.h>

#define ISO9660_SECTOR 2048u
#define ISO9660_FILES_MAXIMUM 8u
#define ISO9660_NAME_MAXIMUM 28u // of ECMA-119's 31, the rest is ".;1"

struct iso9660_file {
    const char *name; // letters, digits, dash; 1 to ISO9660_NAME_MAXIMUM bytes
    const void *bytes;
    size_t size;
};

// Appends a file system with these files in its root, in the order of their names, which is the caller's duty. `label`
// has at most 32 bytes. 0, or a failure of the buffer: -E2BIG, -ENOMEM.
int iso9660_write(struct buf *to, const char *label, const struct iso9660_file *files, unsigned count);
