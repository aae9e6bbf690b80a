// Reads an archive in order, from a file or a pipe; nothing is believed of it (blockstore/archive.h). Memory is what
// the caller asks for; no more is read than what is asked for.
#pragma once

#include "blockstore/archive.h"
#include <sys/types.h>

struct archive_reader {
    int fd;                  // the caller's
    bool (*cancelled)(void); // asked between reads; may be NULL
    uint64_t at;             // bytes read
    uint32_t left, pad;      // of the present entry
};

// The next entry, after the present one was read to its end: 1; 0 at the end of the archive, behind which there is
// nothing more; -EBADMSG, -ECANCELED, or the failure of a read.
int archive_next(struct archive_reader *a, struct archive_entry *ret, struct error *error);
// At most n bytes of the present entry; 0 at its end.
ssize_t archive_read(struct archive_reader *a, void *to, size_t n, struct error *error);
// All of a small entry, malloc'ed: -EBADMSG if it is larger than `maximum`.
int archive_read_all(struct archive_reader *a, const struct archive_entry *e, size_t maximum, void **ret,
                     struct error *error);
