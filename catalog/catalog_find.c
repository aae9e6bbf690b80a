// Looking up in a catalog: images, tags, who may publish what.
//
// 1. A version's own name wins over tags; the parser lets no tag bear a version's name, so there is nothing to win.
// 2. A revoked key may publish nothing, be it the site's own.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/catalog_private.h"

#include "base/banned.h"

static bool fill_name(char to[static CATALOG_NAME_SIZE], const char *name)
{
    const size_t length = strnlen(name, CATALOG_NAME_SIZE);
    if (length == CATALOG_NAME_SIZE)
        return false;
    memcpy(to, name, length + 1);
    return true;
}

struct catalog_image *catalog_image_at(const struct catalog *c, const char *name, const char *version)
{
    struct catalog_image wanted = {.serial = 0};
    if (c->image_count == 0 || !fill_name(wanted.name, name) || !fill_name(wanted.version, version))
        return NULL;
    return bsearch(&wanted, c->images, c->image_count, sizeof wanted, catalog_compare_images);
}

struct catalog_tag *catalog_tag_at(const struct catalog *c, const char *name, const char *tag)
{
    struct catalog_tag wanted = {.name = ""};
    if (c->tag_count == 0 || !fill_name(wanted.name, name) || !fill_name(wanted.tag, tag))
        return NULL;
    return bsearch(&wanted, c->tags, c->tag_count, sizeof wanted, catalog_compare_tags);
}

const struct catalog_shard *catalog_find_shard(const struct catalog *c, const char *name)
{
    if (c->shard_count == 0)
        return NULL;
    const unsigned char prefix = catalog_shard_of(name);
    for (unsigned i = 0; i < c->shard_count; i++)
        if (c->shards[i].prefix == prefix && !c->shards[i].loaded)
            return &c->shards[i];
    return NULL;
}

const struct catalog_image *catalog_newest_image(const struct catalog *c, const char *name)
{
    const struct catalog_image *best = NULL;
    for (unsigned i = 0; i < c->image_count; i++)
        if (strcmp(c->images[i].name, name) == 0 && (!best || c->images[i].serial > best->serial))
            best = &c->images[i];
    return best;
}

uint64_t catalog_newest_serial(const struct catalog *c, const char *name)
{
    const struct catalog_image *image = catalog_newest_image(c, name);
    return image ? image->serial : 0;
}

// A list of words for a message; what does not fit is left out, and said to be.
struct listing {
    char text[320];
    size_t length;
    unsigned left_out;
};

static void listing_add(struct listing *l, const char *word)
{
    const char *comma = l->length > 0 ? ", " : "";
    const size_t n = strlen(comma) + strlen(word);
    if (l->left_out > 0 || n >= sizeof l->text - 32 - l->length) {
        l->left_out++;
        return;
    }
    snprintf(l->text + l->length, sizeof l->text - l->length, "%s%s", comma, word);
    l->length += n;
}

static const char *listing_end(struct listing *l)
{
    if (l->length == 0)
        return "none";
    if (l->left_out > 0)
        snprintf(l->text + l->length, sizeof l->text - l->length, " and %u more", l->left_out);
    return l->text;
}

static int complain_about_name(const struct catalog *c, const char *name, struct error *error)
{
    struct listing l = {.text = ""};
    char shown[CATALOG_NAME_SIZE * 4];
    for (unsigned i = 0; i < c->image_count; i++)
        if (i == 0 || strcmp(c->images[i - 1].name, c->images[i].name) != 0)
            listing_add(&l, c->images[i].name);
    return error_set(error, ENOENT, "no image %s in the site %s; there are: %s",
                     text_escape(slice_of(name), shown, sizeof shown), c->site, listing_end(&l));
}

static int complain_about_selector(const struct catalog *c, const char *name, const char *selector, struct error *error)
{
    struct listing versions = {.text = ""};
    struct listing tags = {.text = ""};
    char shown[CATALOG_NAME_SIZE * 4];
    for (unsigned i = 0; i < c->image_count; i++)
        if (strcmp(c->images[i].name, name) == 0)
            listing_add(&versions, c->images[i].version);
    for (unsigned i = 0; i < c->tag_count; i++)
        if (strcmp(c->tags[i].name, name) == 0)
            listing_add(&tags, c->tags[i].tag);
    return error_set(error, ENOENT, "no version or tag %s of %s; versions: %s; tags: %s",
                     text_escape(slice_of(selector), shown, sizeof shown), name, listing_end(&versions),
                     listing_end(&tags));
}

int catalog_find(const struct catalog *c, const char *name, const char *selector, const struct catalog_image **ret,
                 struct error *error)
{
    const bool any = !selector || !*selector;
    char shown[CATALOG_NAME_SIZE * 4];
    if (catalog_find_shard(c, name))
        return error_set(error, EINVAL, "cannot look for %s: its part of the catalog was not read",
                         text_escape(slice_of(name), shown, sizeof shown));
    const struct catalog_image *latest = catalog_newest_image(c, name);
    if (!latest)
        return complain_about_name(c, name, error);
    const struct catalog_image *image = any ? NULL : catalog_image_at(c, name, selector);
    if (!image) {
        const struct catalog_tag *tag = catalog_tag_at(c, name, any ? "latest" : selector);
        if (tag)
            image = catalog_image_at(c, name, tag->version);
        else if (any || strcmp(selector, "latest") == 0)
            image = latest;
    }
    if (!image)
        return complain_about_selector(c, name, selector, error);
    *ret = image;
    return 0;
}

void catalog_list_tags(const struct catalog *c, const struct catalog_image *image, char *ret, size_t capacity)
{
    size_t n = 0;
    ret[0] = '\0';
    for (unsigned i = 0; i < c->tag_count; i++) {
        if (strcmp(c->tags[i].name, image->name) != 0 || strcmp(c->tags[i].version, image->version) != 0)
            continue;
        const size_t more = (size_t)snprintf(ret + n, capacity - n, "%s%s", n ? ", " : "", c->tags[i].tag);
        if (more >= capacity - n) {
            ret[n] = '\0';
            return;
        }
        n += more;
    }
}

bool catalog_revokes(const struct catalog *c, const struct key_public *key)
{
    for (unsigned i = 0; i < c->revoked_count; i++)
        if (key_equal(&c->revoked[i], key))
            return true;
    return false;
}

int catalog_allows(const struct catalog *c, const struct key_public *key, const char *name)
{
    if (catalog_revokes(c, key))
        return 0;
    if (key_equal(&c->site_key, key))
        return 1;
    for (unsigned i = 0; i < c->key_count; i++) {
        const size_t length = strlen(c->keys[i].prefix);
        if (key_equal(&c->keys[i].key, key) && strncmp(c->keys[i].prefix, name, length) == 0 &&
            (name[length] == '\0' || name[length] == '.'))
            return 1;
    }
    return 0;
}
