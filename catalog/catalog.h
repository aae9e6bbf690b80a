// The catalog: the signed, expiring list of one site's images, tags and manifests (FORMATS, "Catalog").
//
// Lines, in this order: rondo-catalog, site, id, number, issued, expires, mirror*, revoke*, key*, image*, tag*,
// shard*; opt-… lines may follow any. Beyond CATALOG_SIZE_MAXIMUM the key, image and tag lines live in shards: objects of
// the site, chosen by the first byte of SHA-256(name), of the same line grammar without the head.
#pragma once

#include "base/hash.h"
#include "base/text.h"
#include "catalog/key.h"
#include <stdint.h>

#define CATALOG_SIZE_MAXIMUM (64u << 10)
#define CATALOG_SHARD_MAXIMUM (4u << 20)
#define CATALOG_LINE_MAXIMUM 4096u
#define CATALOG_EXPIRES_DEFAULT (90 * 86400) // seconds
#define CATALOG_ID_SIZE 16
#define CATALOG_NAME_SIZE 65
#define CATALOG_MIRRORS_MAXIMUM 16u
#define CATALOG_URL_SIZE 1024

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
};

struct catalog {
    char site[CATALOG_NAME_SIZE];
    struct key_public site_key;
    unsigned char id[CATALOG_ID_SIZE];
    uint64_t number;
    int64_t issued, expires;
    char (*mirrors)[CATALOG_URL_SIZE];
    struct key_public *revoked;
    struct catalog_key *keys;
    struct catalog_image *images;
    struct catalog_tag *tags;
    struct catalog_shard *shards;
    unsigned mirror_count, revoked_count, key_count, image_count, tag_count, shard_count;
};

// Parses a verified text (without the `---` line and what follows). Arrays are bounded by the text's length. On success
// the caller frees with catalog_free.
int catalog_parse(const void *text, size_t n, struct catalog *ret, struct error *error);
// Parses a shard's lines and adds them to *c. The lines must belong to the shard's prefix.
int catalog_parse_shard(struct catalog *c, const struct catalog_shard *shard, const void *text, size_t n,
                        struct error *error);
void catalog_free(struct catalog *c);

// Verifies with the site key that the catalog itself names, and parses: whether that key is the right one is
// catalog/trust.h's matter.
int catalog_open(const void *bytes, size_t n, struct catalog *ret, struct error *error);

// Writes the head and, where everything fits in CATALOG_SIZE_MAXIMUM, all lines. Otherwise fills shards: `store` is
// called for each shard's text and gives its hash.
int catalog_format(const struct catalog *c, int (*store)(void *context, const void *bytes, size_t n, struct sha256 *ret),
                   void *context, struct buf *ret_text, struct error *error);

// Looks a name up. `selector` is a version or a tag; NULL or "" means the tag latest, or, without such a tag, the version
// with the highest serial. -ENOENT with a message that lists what there is.
int catalog_find(const struct catalog *c, const char *name, const char *selector, const struct catalog_image **ret,
                 struct error *error);
// 1 if `key` may publish `name` (a key line allows it, or it is the site's own key) and is not revoked; else 0.
int catalog_allows(const struct catalog *c, const struct key_public *key, const char *name);

// Changes, for publishers. The newest serial of a name; 0 if there is none.
uint64_t catalog_newest_serial(const struct catalog *c, const char *name);
// Adds a version (replacing one of the same name and version with a higher serial) and points the tag latest, or another,
// to it.
int catalog_add_image(struct catalog *c, const struct catalog_image *image, struct error *error);
int catalog_set_tag(struct catalog *c, const char *name, const char *tag, const char *version, struct error *error);
int catalog_add_key(struct catalog *c, const struct key_public *key, const char *prefix, struct error *error);
