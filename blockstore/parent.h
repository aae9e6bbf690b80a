// Makes the blocks of a published version known to a writer, so that a new version stores only what is new.
//
// Only what lies in the writer's own site counts: a version must be whole on its site, so packs of another site cannot
// be referred to. Of those packs the tables are read (about 2 % of the bytes), and of the version its map pages.
#pragma once

#include "blockstore/site.h"
#include "blockstore/writer.h"

// `m` is a version of this site. Packs that are missing from the site are passed over and counted in *ret_missing.
//
// `foreign` says that somebody else signed it: what its packs' tables claim is then not believed, but every chunk is
// read, and its blocks hashed, before they can become part of what we sign (FORMATS, "Pack").
int parent_know(struct writer *w, struct site *s, const struct manifest *m, bool foreign, unsigned *ret_known,
                unsigned *ret_missing, struct error *error);
