// The catalog: the signed, expiring list of one site's images, tags and manifests (FORMATS, "Catalog").
//
// Lines, in this order: rondo-catalog, site, id, number, issued, expires, root?, mirror*, revoke*, key*, image*, tag*,
// shard*; opt-… lines may follow any. What repeats is sorted by its bytes (image and tag lines by name, then version or
// tag; key lines by prefix, then key; mirrors keep the publisher's order) and never twice; a tag names a version that
// is there, and is not itself the name of one. So one catalog has one text.
//
// The file, text and signature, has at most CATALOG_SIZE_MAXIMUM bytes. Where the lines do not fit, all key, image and
// tag lines live in shards: objects of the site, of the same line grammar without the head. A line's shard is the first
// byte of SHA-256 over the name (of a key line: the prefix) up to its first ".", so that all that governs a name is in
// one shard: a reader of one name fetches one.
#pragma once

#include "base/hash.h"
#include "base/text.h"
#include "catalog/key.h"
#include <stdint.h>

#define CATALOG_SIZE_MAXIMUM (64u << 10)
#define CATALOG_TEXT_MAXIMUM (CATALOG_SIZE_MAXIMUM - 1024u) // what we write leaves this room for the signature
#define CATALOG_SHARD_MAXIMUM (4u << 20)
#define CATALOG_LINE_MAXIMUM 4096u
#define CATALOG_EXPIRES_DEFAULT (90 * 86400) // seconds
#define CATALOG_ID_SIZE 16
#define CATALOG_NAME_SIZE 65
#define CATALOG_MIRRORS_MAXIMUM 16u
#define CATALOG_URL_SIZE 1024
#define ROOT_NUMBER_MAXIMUM 256u // of root statements (catalog/root.h): a new one every month for 21 years

struct catalog_image {
    char name[CATALOG_NAME_SIZE], version[CATALOG_NAME_SIZE];
    uint64_t serial;
    struct sha256 manifest;
};
struct catalog_tag {
    char name[CATALOG_NAME_SIZE], tag[CATALOG_NAME_SIZE], version[CATALOG_NAME_SIZE];
};
struct catalog_key { // who may publish which names
    struct key_public key;
    char prefix[CATALOG_NAME_SIZE]; // a whole name, or ends before a "."
};
struct catalog_shard {
    unsigned char prefix;
    struct sha256 object;
    uint32_t size;
    bool loaded; // by catalog_parse_shard
};

struct catalog { // zeroed is empty
    char site[CATALOG_NAME_SIZE];
    struct key_public site_key;
    unsigned char id[CATALOG_ID_SIZE];
    uint64_t number;
    int64_t issued, expires;
    unsigned root_number;    // of the root statement under which it was signed; 1: none but the key itself. 0 only in a
                             // catalog that was neither parsed nor started
    struct sha256 root_text; // hash of that statement's text; zero for 1
    struct sha256 text;      // hash of the verified text; only catalog_open sets it
    char (*mirrors)[CATALOG_URL_SIZE];
    struct key_public *revoked;
    struct catalog_key *keys;
    struct catalog_image *images;
    struct catalog_tag *tags;
    struct catalog_shard *shards;
    // The arrays are malloc'ed. keys, images, tags and shards are sorted as in the text, and stay so.
    unsigned mirror_count, revoked_count, key_count, image_count, tag_count, shard_count;
};

// Parses a verified text (without the `---` line and what follows). Arrays are bounded by the text's length. On success
// the caller frees with catalog_free.
int catalog_parse(const void *text, size_t n, struct catalog *ret, struct error *error);
// Parses a shard's lines and adds them to *c. The lines must belong to the shard's prefix. -EBADMSG also if the bytes
// are not the object that *shard names. On failure *c is unchanged.
int catalog_parse_shard(struct catalog *c, const struct catalog_shard *shard, const void *text, size_t n,
                        struct error *error);
void catalog_free(struct catalog *c); // for CLEANUP too; *c is then empty

// The shard to fetch and parse before `name` can be looked up in *c; NULL if there is none, or it is loaded already.
const struct catalog_shard *catalog_find_shard(const struct catalog *c, const char *name);

// Verifies with the site key that the catalog itself names, and parses: whether that key is the right one is
// catalog/trust.h's matter. -EBADMSG if it is malformed or was altered; -EKEYREJECTED if it revokes its own site key.
int catalog_open(const void *bytes, size_t n, struct catalog *ret, struct error *error);

// Writes the head and, where everything fits in CATALOG_TEXT_MAXIMUM, all lines. Otherwise fills shards: `store` is
// called for each shard's text and gives its hash. The shards that *c had must all have been loaded, since they are
// written anew. -EINVAL if they were not or if a field would not parse back, -E2BIG if even the head or a shard is too
// long.
int catalog_format(const struct catalog *c,
                   int (*store)(void *context, const void *bytes, size_t n, struct sha256 *ret), void *context,
                   struct buf *ret_text, struct error *error);

// Looks a name up. `selector` is a version or a tag; NULL or "" means the tag latest, or, without such a tag, the
// version with the highest serial. -ENOENT with a message that lists what there is. *ret is valid until *c changes.
int catalog_find(const struct catalog *c, const char *name, const char *selector, const struct catalog_image **ret,
                 struct error *error);
// "latest, stable": the tags of one version, sorted; as many as fit.
void catalog_list_tags(const struct catalog *c, const struct catalog_image *image, char *ret, size_t capacity);
// 1 if `key` may publish `name` (a key line allows it, or it is the site's own key) and is not revoked; else 0.
int catalog_allows(const struct catalog *c, const struct key_public *key, const char *name);

bool catalog_revokes(const struct catalog *c, const struct key_public *key);

// Changes, for publishers; on failure nothing has changed.

// A new site's catalog: empty, with a random id, number 0. catalog_advance then gives it its dates.
int catalog_start(struct catalog *ret, const char *site, const struct key_public *site_key, struct error *error);
// The next number, issued `now` (seconds since 1970), expiring `lifetime` seconds later: before each signing.
int catalog_advance(struct catalog *c, int64_t now, int64_t lifetime, struct error *error);
// The version of a name with the highest serial; NULL if there is none. Its serial alone; 0.
const struct catalog_image *catalog_newest_image(const struct catalog *c, const char *name);
uint64_t catalog_newest_serial(const struct catalog *c, const char *name);
// Adds a version (replacing one of the same name and version) and points the tag latest to it; catalog_set_tag sets
// others. -EINVAL if the serial is not above every other of the name, or the name's shard is not loaded.
int catalog_add_image(struct catalog *c, const struct catalog_image *image, struct error *error);
int catalog_set_tag(struct catalog *c, const char *name, const char *tag, const char *version, struct error *error);
// Takes a tag away: -ENOENT if there is none of that name; -EINVAL for latest, which every image has.
int catalog_remove_tag(struct catalog *c, const char *name, const char *tag, struct error *error);
// Takes a version's line away: -ENOENT if it is not there; -EINVAL if a tag names it, or if it is the newest: readers
// remember the highest serial of a name, and would take what is left for a rollback.
int catalog_remove_image(struct catalog *c, const char *name, const char *version, struct error *error);
// Revokes a key: -EINVAL for the site's own. Versions that it signed stay listed, and nobody accepts them.
int catalog_add_revoked(struct catalog *c, const struct key_public *key, struct error *error);
int catalog_add_key(struct catalog *c, const struct key_public *key, const char *prefix, struct error *error);
