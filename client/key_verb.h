// What the files of `rondo key` share: key.c (the verb), key_rotate.c.
#pragma once

#include "client/cli.h"

struct key_rotate_options {
    struct option_list keys;             // files of secret keys
    struct option_list new_keys, revoke; // new_keys: public, or files of secret ones; empty: as they are
    const char *catalog_key;             // the same; NULL: as it is
    uint64_t threshold;                  // 0: as it is
    const char *unsigned_path;           // the root's text is left there; with signed_paths, the catalog's
    struct option_list signed_paths;     // a root that was signed elsewhere
    int64_t expires;                     // seconds, of the catalog
};
int key_rotate(const char *site, const struct key_rotate_options *options, struct error *error);
