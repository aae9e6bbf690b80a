// A site's folder, as its one writer sees it.
//
//   catalog.rondo            replaced by rename
//   objects/ab/abcdef…       placed by rename, never changed
//   roots/N                  placed by rename, before a catalog names it (catalog/root.h)
//   .lock                    flock: held by the writer
//   .unfinished/IMAGE        the packs of an interrupted publication: a line "<pack> <size> <table>" for each
//   .unfinished/.unneeded    objects that no listed version needs, and since when (blockstore/site_collect.h)
//   .unfinished/.rondo-tmp-… temporaries; whatever a killed writer left is swept by the next one
//
// All temporaries lie in .unfinished, so that a web server or a mirror never meets half a file among the objects. The
// folder that the user names may be reached through symbolic links; below it none is followed.
//
// One thread at a time, but site_list_packs and site_place_objects, which one other thread may call.
#pragma once

#include "base/error.h"
#include "blockstore/chunk.h"

#define SITE_TEMPORARY_SIZE 40 // of a temporary's name, NUL included

struct site;

// Makes what is missing, takes the lock (-EBUSY if another writer has it) and sweeps old temporaries.
int site_open(const char *path, struct site **ret, struct error *error);
// For whoever only looks while others write: takes no lock, makes nothing. Nothing but what opens and reads may be
// called on it. -ENOENT if it is no site's folder.
int site_open_reading(const char *path, struct site **ret, struct error *error);
void site_close(struct site *s); // NULL is fine
const char *site_path(const struct site *s);

// The message for a write in the site that failed with `r` (negative errno); returns r.
int site_write_failed(const struct site *s, struct error *error, int r, const char *what);

// A new, empty temporary, open for reading and writing.
int site_make_temporary(struct site *s, char ret_name[static SITE_TEMPORARY_SIZE], struct error *error);
void site_drop_temporary(struct site *s, const char *name);
int site_open_temporary(struct site *s, const char *name); // for reading; the descriptor or -errno
// A new one, but unlinked already: for data that need not survive this process. Returns the descriptor or -errno.
int site_make_scratch(struct site *s);

// Renames temporaries, whose bytes must be on stable storage already, to their names as objects, and makes that
// durable. -ELOOP if a folder on the way is a symbolic link.
struct site_object {
    char temporary[SITE_TEMPORARY_SIZE];
    struct sha256 name;
};
int site_place_objects(struct site *s, const struct site_object *objects, unsigned n, struct error *error);

// Stores bytes as an object, as catalog.rondo, or as a root statement; durable when they return. A failure leaves no
// temporary.
int site_put_object(struct site *s, const void *bytes, size_t n, struct sha256 *ret_name, struct error *error);
int site_put_catalog(struct site *s, const void *bytes, size_t n, struct error *error);
// `name` is that of a file in roots/.
int site_put_root(struct site *s, const char *name, const void *bytes, size_t n, struct error *error);

// Opens an object for reading; returns the descriptor or -errno.
int site_open_object(struct site *s, const struct sha256 *name);
// Reads a page of a map as it is stored: ref->length bytes, whose hash is right. -EBADMSG if it is not there.
int site_read_page(struct site *s, const struct chunk_reference *ref, void *to, struct error *error);
// Makes the name of an object durable that an interrupted writer placed, who may not have come to that. 0 or -errno.
int site_sync_object(struct site *s, const struct sha256 *name);

// Where packs lie that this folder does not hold: at the site over a network to which it is to be sent.
struct site_elsewhere {
    // Reads n bytes of the pack, which verify by what refers to them. -ENOENT, without a sentence, if it is not there.
    int (*read)(void *context, const struct pack_reference *pack, uint64_t offset, void *to, size_t n,
                struct error *error);
    void *context;
};
void site_set_elsewhere(struct site *s, const struct site_elsewhere *elsewhere); // it must outlive *s; NULL: nowhere
const struct site_elsewhere *site_elsewhere(const struct site *s);

// The list of unfinished packs of an image. A line that a crash cut short, and all behind it, is dropped.
int site_list_packs(struct site *s, const char *image, const struct pack_reference *packs, unsigned n,
                    struct error *error); // appends, durable
int site_walk_list(struct site *s, const char *image, int (*each)(void *context, const struct pack_reference *pack),
                   void *context, struct error *error);
int site_walk_lists(struct site *s, int (*each)(void *context, const struct pack_reference *pack), void *context,
                    struct error *error);                                  // of all images
int site_end_list(struct site *s, const char *image, struct error *error); // fine if there is none
