// Writing catalogs, with shards where one file would be too long (catalog.h, first paragraph).
//
// 1. What is written parses back: the whole is parsed before any shard is stored, so a publisher never signs what every
//    reader would refuse.
// 2. A catalog of which a shard was not loaded is not written: what stands in that shard would be lost.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "catalog/catalog_private.h"

#include "base/banned.h"

#define SHARD_COUNT 256

// Where a name's lines go: all to one buffer, or each to its shard's.
struct target {
    struct buf *one;
    struct buf *shards;
};

static struct buf *target_of(const struct target *t, const char *name)
{
    return t->one ? t->one : &t->shards[catalog_shard_of(name)];
}

static int format_head(const struct catalog *c, struct buf *b)
{
    char key[KEY_TEXT_SIZE];
    char issued[32];
    char expires[32];
    char id[2 * CATALOG_ID_SIZE + 1];
    char hash[SHA256_HEX_SIZE];
    for (size_t i = 0; i < CATALOG_ID_SIZE; i++)
        snprintf(id + 2 * i, 3, "%02x", c->id[i]);
    int r = buf_append_format(b, "rondo-catalog 1\nsite %s %s\nid %s\nnumber %llu\nissued %s\nexpires %s\n", c->site,
                              key_to_text(&c->site_key, key), id, (unsigned long long)c->number,
                              text_format_time(c->issued, issued), text_format_time(c->expires, expires));
    if (r == 0 && c->root_number > 1)
        r = buf_append_format(b, "root %u %s\n", c->root_number, sha256_to_hex(&c->root_text, hash));
    for (unsigned i = 0; r == 0 && i < c->mirror_count; i++)
        r = buf_append_format(b, "mirror %s\n", c->mirrors[i]);
    for (unsigned i = 0; r == 0 && i < c->revoked_count; i++)
        r = buf_append_format(b, "revoke %s\n", key_to_text(&c->revoked[i], key));
    return r;
}

static int format_lists(const struct catalog *c, const struct target *t)
{
    char key[KEY_TEXT_SIZE];
    char hash[SHA256_HEX_SIZE];
    int r = 0;
    for (unsigned i = 0; r == 0 && i < c->key_count; i++)
        r = buf_append_format(target_of(t, c->keys[i].prefix), "key %s %s\n", key_to_text(&c->keys[i].key, key),
                              c->keys[i].prefix);
    for (unsigned i = 0; r == 0 && i < c->image_count; i++)
        r = buf_append_format(target_of(t, c->images[i].name), "image %s %s %llu %s\n", c->images[i].name,
                              c->images[i].version, (unsigned long long)c->images[i].serial,
                              sha256_to_hex(&c->images[i].manifest, hash));
    for (unsigned i = 0; r == 0 && i < c->tag_count; i++)
        r = buf_append_format(target_of(t, c->tags[i].name), "tag %s %s %s\n", c->tags[i].name, c->tags[i].tag,
                              c->tags[i].version);
    return r;
}

static int format_shard_lines(const struct buf shards[static SHARD_COUNT], struct buf *b)
{
    char hex[SHA256_HEX_SIZE];
    int r = 0;
    for (unsigned i = 0; r == 0 && i < SHARD_COUNT; i++) {
        if (shards[i].size == 0)
            continue;
        const struct sha256 hash = sha256_of(shards[i].data, shards[i].size);
        r = buf_append_format(b, "shard %02x %s %zu\n", i, sha256_to_hex(&hash, hex), shards[i].size);
    }
    return r;
}

// Invariant 1. `shards` is NULL where there are none.
static int check(const struct buf *text, const struct buf *shards, struct error *error)
{
    struct catalog back CLEANUP(catalog_free) = {.number = 0};
    int r = catalog_parse(text->data, text->size, &back, error);
    for (unsigned i = 0; r == 0 && shards && i < back.shard_count; i++) {
        const struct buf *b = &shards[back.shards[i].prefix];
        r = catalog_parse_shard(&back, &back.shards[i], b->data, b->size, error);
    }
    if (r == -EBADMSG)
        return error_prefix(error, -EINVAL, "the catalog that was to be written is wrong");
    return r;
}

static int store_shards(const struct buf shards[static SHARD_COUNT],
                        int (*store)(void *context, const void *bytes, size_t n, struct sha256 *ret), void *context,
                        struct error *error)
{
    for (unsigned i = 0; i < SHARD_COUNT; i++) {
        struct sha256 stored;
        if (shards[i].size == 0)
            continue;
        int r = store(context, shards[i].data, shards[i].size, &stored);
        if (r < 0)
            return error_set(error, -r, "cannot store shard %02x of the catalog: %s", i, strerror(-r));
        const struct sha256 hash = sha256_of(shards[i].data, shards[i].size);
        if (!sha256_equal(&stored, &hash))
            return error_set(error, EIO, "shard %02x of the catalog was stored as something else", i);
    }
    return 0;
}

static void free_shards(struct buf (*shards)[SHARD_COUNT])
{
    for (unsigned i = 0; i < SHARD_COUNT; i++)
        buf_free(&(*shards)[i]);
}

static int format_sharded(const struct catalog *c, struct buf *text,
                          int (*store)(void *context, const void *bytes, size_t n, struct sha256 *ret), void *context,
                          struct error *error)
{
    struct buf shards[SHARD_COUNT] CLEANUP(free_shards) = {{.data = NULL}};
    for (unsigned i = 0; i < SHARD_COUNT; i++)
        shards[i].maximum = CATALOG_SHARD_MAXIMUM;
    int r = format_lists(c, &(struct target){.shards = shards});
    if (r == 0)
        r = format_head(c, text);
    if (r == 0)
        r = format_shard_lines(shards, text);
    if (r < 0)
        return error_set(error, -r, "cannot write the catalog: %s",
                         r == -E2BIG ? "it is too long, even in shards" : strerror(-r));
    r = check(text, shards, error);
    return r < 0 ? r : store_shards(shards, store, context, error);
}

int catalog_format(const struct catalog *c,
                   int (*store)(void *context, const void *bytes, size_t n, struct sha256 *ret), void *context,
                   struct buf *ret_text, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_TEXT_MAXIMUM);
    for (unsigned i = 0; i < c->shard_count; i++)
        if (!c->shards[i].loaded)
            return error_set(error, EINVAL, "cannot write the catalog: its shard %02x was not read",
                             c->shards[i].prefix);
    int r = format_head(c, &text);
    if (r == 0)
        r = format_lists(c, &(struct target){.one = &text});
    if (r == 0) {
        r = check(&text, NULL, error);
    } else if (r == -E2BIG) {
        buf_clear(&text);
        r = format_sharded(c, &text, store, context, error);
    } else {
        error_set(error, -r, "cannot write the catalog: %s", strerror(-r));
    }
    if (r < 0)
        return r;
    r = buf_append(ret_text, text.data, text.size);
    return r < 0 ? error_set(error, -r, "the catalog does not fit in %zu bytes", ret_text->maximum) : 0;
}
