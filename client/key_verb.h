// What the files of `rondo key` share: key.c (the verb), key_rotate.c, key_rotate_install.c.
#pragma once

#include "client/cli.h"
#include "client/publisher.h"

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

#define SECRETS_MAXIMUM (2 * ROOT_KEYS_MAXIMUM + 1)

struct rotation {
    const struct key_rotate_options *options;
    const char *site;
    struct key_secret *secrets[SECRETS_MAXIMUM];
    unsigned secret_count;
    struct key_public new_keys[ROOT_KEYS_MAXIMUM], catalog_key;
    unsigned new_key_count;
    bool has_catalog_key;
    struct publisher_change p;
    struct root now, next;
    struct buf file; // of the next root
};
// Among those that were read; NULL if it is not.
const struct key_secret *rotation_find_secret(const struct rotation *t, const struct key_public *key);
// Says on stderr whose signatures a root statement needs of this root's keys.
void rotation_list_signers(const struct root *root, bool with_catalog_key);
// `file` becomes the site's root, and its catalog, or its text in a file, is one under it.
int rotation_install(struct rotation *t, struct error *error);
