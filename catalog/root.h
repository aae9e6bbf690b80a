// Root statements: which keys a site has, as its owner signed them. They form a chain. Root 1 has no text: it is the
// one key that a user pinned or met. Each later one is a file of the site, roots/N, that never changes:
//
//   rondo-root 1
//   site <name>
//   id <128-bit>                 of the site, as in its catalog; the same in all of its roots
//   number 2                     from 2; no number is left out
//   threshold 1                  how many of these keys must sign this root, and the next one
//   key <public key>             1 to 8, sorted by their bytes
//   catalog <public key>         signs catalogs from now on; may be one of the above
//   revoke <public key>          any number up to 64, sorted: nothing signed with these is accepted
//   ---
//   1 to 32 minisign signatures, four lines each, over everything before the `---` line
//
// opt-… lines may follow the first.
//
// 1. Root N + 1 is signed by a threshold of root N's keys, by a threshold of its own, and by its catalog key: so each
//    key was held by somebody when it came in, and whoever pinned the catalog's key finds its signature.
// 2. A threshold counts keys, not signatures: however often a key signed, it counts once. Signatures of keys that are
//    not known count nothing, and harm nothing: those of former keys stand there, too.
// 3. What a root revokes, every later one revokes; what is revoked is none of its keys.
// 4. Each number has one text. The catalog names number and hash of the root under which it was signed.
#pragma once

#include "catalog/catalog.h"

#define ROOT_SIZE_MAXIMUM (32u << 10) // of the file
#define ROOT_KEYS_MAXIMUM 8u
#define ROOT_REVOKED_MAXIMUM 64u
#define ROOT_SIGNATURES_MAXIMUM 32u
#define ROOT_PATH_SIZE 16 // of "roots/256"

struct root {
    char site[CATALOG_NAME_SIZE]; // "" in root 1, which is not bound to an id either
    unsigned char id[CATALOG_ID_SIZE];
    unsigned number, threshold, key_count, revoked_count;
    struct key_public keys[ROOT_KEYS_MAXIMUM]; // sorted, as `revoked` is
    struct key_public catalog_key;
    struct key_public revoked[ROOT_REVOKED_MAXIMUM];
    struct sha256 text; // hash of the text; zero in root 1
};

// Root 1 of whoever knows a site by this key alone.
void root_imply(const struct key_public *key, struct root *ret);

// A text, without the `---` line and what follows; whether it is signed is not looked at. -EBADMSG.
int root_parse(const void *text, size_t n, struct root *ret, struct error *error);
// The text. -EINVAL, with a message for whoever makes a root, if it would not parse back.
int root_format(const struct root *root, struct buf *ret, struct error *error);

// A whole file, signed as rule 1 says by its own keys: for whoever knows no root before it. -EBADMSG if it is
// malformed, -EKEYREJECTED if signatures are missing.
int root_open(const void *bytes, size_t n, struct root *ret, struct error *error);
// The same for the root after `old`, by all of rules 1 and 3. -ESTALE if it is an older one, -EBADMSG if its number is
// another one than the next, -EKEYREJECTED if it is not of old's site, or not what old's keys have signed.
int root_follow(const struct root *old, const void *bytes, size_t n, struct root *ret, struct error *error);
// Has this key signed the file? False for what is malformed.
bool root_is_signed_by(const void *bytes, size_t n, const struct key_public *key);

// One of its keys, or the catalog's.
bool root_has_key(const struct root *root, const struct key_public *key);
bool root_revokes(const struct root *root, const struct key_public *key);

// 0 if the catalog is one under this root (not root 1): its root line, key, id, and all of the root's revocations.
// -EKEYREJECTED if not; another text of the same number is told as that.
int root_check_catalog(const struct root *root, const struct catalog *c, struct error *error);

// Puts a key where it belongs in a sorted list; nothing if it is there. -E2BIG if the list is full.
int root_add_key(struct key_public *keys, unsigned *count, unsigned maximum, const struct key_public *key);

// "roots/N": its path in the site.
const char *root_path(unsigned number, char ret[static ROOT_PATH_SIZE]);
