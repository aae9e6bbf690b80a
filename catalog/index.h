// The index: what a site's signed catalog and its signed manifests say, in an SQLite database, for search, the read API
// and the pages. The signed files stay the truth: the index is made from them, whole again at any time, and nothing
// that is run is ever decided by it.
//
// 1. Only what was verified is in it: the catalog by its own site key, a manifest by its hash and its publisher's key.
//    A version whose manifest cannot be had, or is not right, is left out, and counted.
// 2. One process writes, any number read beside it (WAL): a reader sees the index as it was before an update, or as it
//    is after it, never between.
// 3. SQL is constant, values are bound. What people type reaches FTS5 quoted, word by word, so that its own syntax
//    cannot be reached. A query has a time limit and bounded results.
// 4. A database that is damaged, or of another schema, is not used: whoever may write makes it anew.
//
// A struct index is for one thread at a time; threads open one each.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include "catalog/catalog.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INDEX_LIMIT_MAXIMUM 100u      // rows of one answer
#define INDEX_OFFSET_MAXIMUM 1000000u // rows before it
#define INDEX_QUERY_MS 2000           // a query that takes longer fails, -ETIMEDOUT

struct index;

// `path` NULL: in memory, writable. Writable: made where it is missing, and made anew where it is damaged or of another
// schema; -EBUSY while another process writes it. Otherwise: -ENOENT, or -EUCLEAN if it must be made anew first.
int index_open(const char *path, bool writable, struct index **ret, struct error *error);
// The same, writable, without what was in it: for a file whose damage showed in use. Others that have it open see that
// it is not the one at its path any more.
int index_open_anew(const char *path, struct index **ret, struct error *error);
void index_close(struct index **x); // for CLEANUP too; NULL is fine
// False if the file that was opened is no longer the one at its path: close it, and open it again.
bool index_is_current(const struct index *x);

struct index_counts {
    unsigned versions; // in the index now
    unsigned added, removed;
    unsigned refused; // listed by the catalog, but missing or not right; each is a line of the log
    unsigned unread;  // of those: they could not be read just now, and may be right
};
// Makes the index say what the site in `folder` says now; nothing in that folder is changed, and its lock is not taken.
// Only what is not in the index yet is read; `anew`: all of it. On failure the index is as it was. -ENOENT if there is
// no catalog yet.
int index_update(struct index *x, const char *folder, bool anew, struct index_counts *ret, struct error *error);

struct index_site {
    char name[CATALOG_NAME_SIZE];
    struct key_public key;
    unsigned char id[CATALOG_ID_SIZE];
    uint64_t number;
    int64_t issued, expires; // seconds since 1970
    uint64_t images, versions;
    // Another one whenever anything in the index is another: an ETag without its quotes.
    char tag[64];
};
// -ENOENT before the first update.
int index_get_site(struct index *x, struct index_site *ret, struct error *error);

// One version. Texts are never NULL ("" where there is none), printable UTF-8, and belong to the list.
struct index_version {
    uint64_t serial;
    struct sha256 manifest;
    int64_t created;             // seconds since 1970
    struct key_public publisher; // that signed it
    const char *arch, *os, *licence, *title, *summary;
    const char *homepage;    // http:// or https://, or ""
    const char *description; // Markdown, lines ended by '\n'; "" but in index_find_image's row
    const char *ports;       // lines "80 http", each ended by '\n'
    const char *tags;        // "latest, stable": as many as 4 KiB hold (a selector finds the others, too)
    struct sha256 logo;      // an object of the site, if it has_logo
    const char *logo_type;   // "png" or "jpeg"
    uint32_t logo_size;      // bytes
    unsigned version_count;  // of its name
    uint64_t memory;         // bytes; 0: the manifest does not say
    uint64_t disk_size;      // of the member disk, as the machine sees it
    uint64_t boot_bytes;     // of the boot packs; 0: it has none
    uint64_t
        stored_bytes;   // of its data and its map, each piece once: what a whole copy of it has (rondo history: SIZE)
    uint64_t new_bytes; // of those, what the version before (the next lower serial) does not have (NEW)
    char name[CATALOG_NAME_SIZE], version[CATALOG_NAME_SIZE];
    bool has_logo;
    bool revoked; // nobody accepts it: its publisher's key is revoked, or may not publish this name any more
};

struct index_list {
    struct index_version *versions;
    unsigned count;
    uint64_t all; // that there are, whatever limit and offset
};
void index_list_free(struct index_list *l); // for CLEANUP too; a zeroed one is fine

enum index_order { INDEX_BY_RELEVANCE, INDEX_BY_NAME, INDEX_BY_AGE }; // best, a, newest first
struct index_query {                                                  // zeroed: everything, by name
    const char *words;      // all must occur, the last one as a beginning; capitals and accents do not matter
                            // NULL, or ASCII without a letter or digit: any. Signs beyond ASCII alone: none
    const char *os;         // how the version's os begins, capitals or not; NULL or "": any
    const char *arch;       // NULL or "": any
    const char *publisher;  // a public key's text; NULL or "": any
    uint64_t max_size;      // of stored_bytes; 0: any
    enum index_order order; // INDEX_BY_RELEVANCE without words is by name
    unsigned limit, offset; // limit 0 is INDEX_LIMIT_MAXIMUM; both are cut to their maximum
};
// The images that fit, each as the version that it is shown by: the one that `latest` names (or the newest), or if that
// one is revoked or left out the newest that is not. Descriptions are "".
int index_search(struct index *x, const struct index_query *q, struct index_list *ret, struct error *error);

// One version of an image, with its description; `selector` is a version or a tag; NULL or "": the one that it is shown
// by. -ENOENT: the list is empty then.
int index_find_image(struct index *x, const char *name, const char *selector, struct index_list *ret,
                     struct error *error);
// All of its versions, newest first, without descriptions. -ENOENT if there is none.
int index_list_versions(struct index *x, const char *name, unsigned limit, unsigned offset, struct index_list *ret,
                        struct error *error);

// What all versions of a publisher brought: their new_bytes together.
int index_sum_new_bytes(struct index *x, const struct key_public *publisher, uint64_t *ret, struct error *error);

// What images can be filtered by: the values that occur, most frequent first, at most INDEX_LIMIT_MAXIMUM.
enum index_facet { INDEX_OS, INDEX_ARCH, INDEX_PUBLISHER };
int index_walk_facet(struct index *x, enum index_facet facet,
                     int (*each)(void *context, const char *value, uint64_t images), void *context,
                     struct error *error);
