// What the verbs that change a site share: its catalog read from the directory itself, and signed and replaced.
#pragma once

#include "blockstore/manifest.h"
#include "blockstore/site.h"
#include "catalog/root.h"
#include "catalog/site_catalog.h"
#include "client/cli.h"

// Reads the secret keys, asking for passphrases where there is a terminal. Without `site_path` the site's key is the
// same pointer as the other. The caller frees both, once.
int publisher_read_keys(const char *path, const char *site_path, struct key_secret **ret_key,
                        struct key_secret **ret_site_key, struct error *error);

// A change of the catalog of a site that is there: its keys read, the site locked, its catalog read; the site's key is
// the one that the catalog names. Without `key_path` no keys are read. -ENOENT if there is no site. The caller ends
// with publisher_end, whatever this returns.
struct publisher_change {
    struct key_secret *key, *site_key; // site_key may be the same pointer
    struct site *site;                 // NULL: not opened
    struct catalog catalog;
};
int publisher_begin(const char *site, const char *key_path, const char *site_key_path, struct publisher_change *ret,
                    struct error *error);
void publisher_end(struct publisher_change *p);
// -EKEYREJECTED unless `key` may publish `name` there.
int publisher_check_key(const struct publisher_change *p, const char *name, struct error *error);

// A manifest's file: text and signature.
int publisher_sign_manifest(const struct manifest *m, const struct key_secret *key, struct buf *ret_file,
                            struct error *error);

// The root statement under which the site's catalog stands: of its file, and found to fit the catalog; root 1 where
// there is none.
int publisher_read_root(struct site *s, const struct catalog *c, struct root *ret, struct error *error);
// Is `next` signed with the key that signed `now`, or with one that a root statement in the site hands over to?
int publisher_check_roots(struct site *s, const struct catalog *now, const struct catalog *next, struct error *error);
int publisher_put_root(struct site *s, const struct root *root, const void *bytes, size_t n, struct error *error);

// Counts the versions that this key has signed; `each` is called with the name of each, and then none may be left out:
// a manifest that cannot be read is a failure. With NULL it is one that nobody can run, and does not count.
int publisher_count_signed(struct site *s, const struct catalog *c, const struct key_public *key,
                           int (*each)(void *context, const char *name, struct error *error), void *context,
                           struct error *error);
// Says on stderr how many versions fall with the key, if any do.
int publisher_tell_revoked(struct site *s, const struct catalog *c, const struct key_public *key, struct error *error);

// The catalogs of this key were changed here: whoever looks at them with this user's client wants to see that at once.
void publisher_expect_change(const struct key_public *site_key);

// A new catalog for a site at `path`, named after its last folder.
int publisher_new_catalog(const char *path, const struct key_public *site_key, struct catalog *ret,
                          struct error *error);

// --mirror: these URLs are the catalog's mirrors from now on; "none" alone: it has none; an empty list changes nothing.
int publisher_set_mirrors(struct catalog *c, const struct option_list *urls, struct error *error);

// Counts the number up, dates it from now for `expires_seconds`, signs it with the site's key and replaces the file.
int publisher_sign_catalog(struct site *s, struct catalog *c, const struct key_secret *site_key,
                           int64_t expires_seconds, struct error *error);

// One that was signed elsewhere put in place.
int publisher_put_catalog(struct site *s, const void *bytes, size_t n, const struct key_public *site_key,
                          struct error *error);

// "90d", "12h", "3600s": seconds; false if it is none of these, or over ten years.
bool publisher_parse_duration(const char *text, int64_t *ret_seconds);
