// An archive: one version of an image in one file, which is a site packed by tar (POSIX.1-1988, "ustar"). So `tar x`
// makes a folder of it that any web server can serve, and that is a site by itself.
//
//   archive.rondo     what it holds: struct archive_description
//   roots/N …         root statements of the site's keys, the last of them the one that the catalog names; none if it
//                     names none
//   catalog.rondo     the site's whole catalog: who signed what, and until when
//   objects/ab/ab…    the catalog's shard with the image's lines (if it has shards), then the manifest, then the packs
//   1,024 zeros       and nothing behind them
//
// Invariants
//   1. What archive_format_header writes is all that a reader takes: a header is read by writing the one that its name
//      and size call for, and comparing. So there are no links, folders, long names, other paths, or sparse files.
//   2. No name out of an archive is ever used as one: a header says what an entry is, by kind and hash.
//   3. The bytes of an entry are the caller's to verify; what fills up its last block is zeros.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include <stdbool.h>
#include <stdint.h>

#define ARCHIVE_BLOCK 512u
#define ARCHIVE_END_SIZE (2 * ARCHIVE_BLOCK)
#define ARCHIVE_ENTRY_MAXIMUM (64u << 20)      // as PACK_SIZE_MAXIMUM: nothing that a site stores is larger
#define ARCHIVE_DESCRIPTION_MAXIMUM (4u << 10) // of its text

#define ARCHIVE_ROOTS_MAXIMUM 256u // the highest number of a root statement, as in catalog/catalog.h

enum archive_kind { ARCHIVE_DESCRIPTION, ARCHIVE_ROOT, ARCHIVE_CATALOG, ARCHIVE_OBJECT };

struct archive_entry {
    enum archive_kind kind;
    struct sha256 object; // of ARCHIVE_OBJECT; else zero
    unsigned root;        // of ARCHIVE_ROOT: its number, from 2; else zero
    uint32_t size;        // 1 to ARCHIVE_ENTRY_MAXIMUM
};

void archive_format_header(const struct archive_entry *e, unsigned char ret[static ARCHIVE_BLOCK]);

// 1 and an entry; 0 for a block of zeros, the first half of the end; -EBADMSG for anything else.
int archive_parse_header(const unsigned char block[static ARCHIVE_BLOCK], struct archive_entry *ret,
                         struct error *error);

// How many zeros follow an entry of that size.
static inline uint32_t archive_padding(uint32_t size)
{
    return (ARCHIVE_BLOCK - size % ARCHIVE_BLOCK) % ARCHIVE_BLOCK;
}

// The text of archive.rondo. It is not signed: it says what to look for, and the catalog whether that may be believed.
struct archive_description {
    char site[1024]; // the address that it was exported from; printable text, to be parsed by whoever uses it
    char name[65], version[65];
    struct sha256 manifest;
    uint64_t objects, bytes; // of the entries that are objects: how many, and their sizes
};
int archive_format_description(const struct archive_description *d, struct buf *ret);
int archive_parse_description(const void *bytes, size_t n, struct archive_description *ret, struct error *error);
