// Changing a catalog, for publishers.
//
// 1. A catalog stays such that catalog_format can write it and catalog_parse read it back: sorted, nothing twice, tags
//    for versions that are there.
// 2. On failure nothing has changed: room is made first.
// 3. A name whose shard is not loaded is not touched: what stands in the shard would be lost or doubled.
#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "catalog/catalog_private.h"

#include "base/banned.h"

int catalog_start(struct catalog *ret, const char *site, const struct key_public *site_key, struct error *error)
{
    struct catalog c = {.number = 0};
    const struct slice name = slice_of(site);
    if (!text_is_image_name(name))
        return error_set(error, EINVAL, "a site's name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit");
    if (!key_is_sound(site_key))
        return error_set(error, EINVAL, "the site's key is not a usable one");
    if (RAND_bytes(c.id, sizeof c.id) != 1)
        return error_set(error, EIO, "cannot make the site's id: no random numbers from the system");
    catalog_parser_copy_name(c.site, name);
    c.site_key = *site_key;
    c.root_number = 1;
    *ret = c;
    return 0;
}

int catalog_advance(struct catalog *c, int64_t now, int64_t lifetime, struct error *error)
{
    static const int64_t latest = INT64_C(253402300799); // the last second that the text form can name, in 9999
    if (c->number >= INT64_MAX)
        return error_set(error, EOVERFLOW, "the catalog's number can grow no further; make a new site");
    if (now < 0 || now > latest || lifetime <= 0 || lifetime > latest - now)
        return error_set(error, EINVAL, "a catalog lives for at least a second, and until the year 9999");
    c->number++;
    c->issued = now;
    c->expires = now + lifetime;
    return 0;
}

// The array with room for one more element; NULL if memory is short, and then the array is as it was.
static void *grow(void *array, unsigned count, size_t size)
{
    return realloc(array, (count + (size_t)1) * size);
}

// Puts an element in its place; if an equal one is there it is replaced. There is room.
static void put(void *array, unsigned *count, const void *element, size_t size,
                int (*compare)(const void *, const void *))
{
    char *at = array;
    char *const end = at + *count * size;
    int order = 1;
    while (at < end && (order = compare(element, at)) > 0)
        at += size;
    if (at == end || order != 0) {
        memmove(at + size, at, (size_t)(end - at));
        ++*count;
    }
    memcpy(at, element, size);
}

static int check_shard(const struct catalog *c, const char *name, struct error *error)
{
    char shown[CATALOG_NAME_SIZE * 4];
    if (catalog_find_shard(c, name))
        return error_set(error, EINVAL, "cannot change %s: its part of the catalog was not read",
                         text_escape(slice_of(name), shown, sizeof shown));
    return 0;
}

static int make_tag(const char *name, const char *tag, const char *version, struct catalog_tag *ret,
                    struct error *error)
{
    if (!text_is_version_name(slice_of(tag)))
        return error_set(error, EINVAL,
                         "a tag is 1 to 64 of letters, digits, . _ - and +, and begins with a letter or "
                         "digit");
    catalog_parser_copy_name(ret->name, slice_of(name));
    catalog_parser_copy_name(ret->tag, slice_of(tag));
    catalog_parser_copy_name(ret->version, slice_of(version));
    return 0;
}

int catalog_add_image(struct catalog *c, const struct catalog_image *image, struct error *error)
{
    struct catalog_tag latest;
    const uint64_t newest = catalog_newest_serial(c, image->name);
    if (!text_is_image_name(slice_of(image->name)))
        return error_set(error, EINVAL,
                         "an image's name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit");
    if (!text_is_version_name(slice_of(image->version)))
        return error_set(error, EINVAL,
                         "a version is 1 to 64 of letters, digits, . _ - and +, and begins with a letter "
                         "or digit");
    int r = check_shard(c, image->name, error);
    if (r < 0)
        return r;
    if (image->serial <= newest || image->serial > INT64_MAX)
        return error_set(error, EINVAL, "the serial of %s:%s must be above %llu", image->name, image->version,
                         (unsigned long long)newest);
    if (strcmp(image->version, "latest") == 0 || catalog_tag_at(c, image->name, image->version))
        return error_set(error, EINVAL, "%s is a tag of %s; a version must be called otherwise", image->version,
                         image->name);
    r = make_tag(image->name, "latest", image->version, &latest, error);
    if (r < 0)
        return r;
    struct catalog_image *images = grow(c->images, c->image_count, sizeof *images);
    c->images = images ? images : c->images;
    struct catalog_tag *tags = grow(c->tags, c->tag_count, sizeof *tags);
    c->tags = tags ? tags : c->tags;
    if (!images || !tags)
        return error_set(error, ENOMEM, "not enough memory for the catalog");
    put(c->images, &c->image_count, image, sizeof *image, catalog_compare_images);
    put(c->tags, &c->tag_count, &latest, sizeof latest, catalog_compare_tags);
    return 0;
}

// The line of a version, which no tag's name can stand for: -ENOENT says what there is.
static int find_version(const struct catalog *c, const char *name, const char *version, struct catalog_image **ret,
                        struct error *error)
{
    const struct catalog_image *named;
    struct catalog_image *image = catalog_image_at(c, name, version);
    if (!image) {
        int r = catalog_find(c, name, version, &named, error);
        return r < 0
                   ? r
                   : error_set(error, EINVAL, "%s is a tag; the version that it names is %s", version, named->version);
    }
    *ret = image;
    return 0;
}

int catalog_set_tag(struct catalog *c, const char *name, const char *tag, const char *version, struct error *error)
{
    struct catalog_tag element;
    struct catalog_image *image;
    int r = check_shard(c, name, error);
    if (r == 0)
        r = find_version(c, name, version, &image, error);
    if (r < 0)
        return r;
    if (catalog_image_at(c, name, tag))
        return error_set(error, EINVAL, "%s is a version of %s; a tag must be called otherwise", tag, name);
    r = make_tag(name, tag, version, &element, error);
    if (r < 0)
        return r;
    struct catalog_tag *tags = grow(c->tags, c->tag_count, sizeof *tags);
    if (!tags)
        return error_set(error, ENOMEM, "not enough memory for the catalog");
    c->tags = tags;
    put(c->tags, &c->tag_count, &element, sizeof element, catalog_compare_tags);
    return 0;
}

// Closes the gap that an element leaves.
static void take_out(void *array, unsigned *count, void *element, size_t size)
{
    char *const end = (char *)array + *count * size;
    char *const behind = (char *)element + size;
    memmove(element, behind, (size_t)(end - behind));
    --*count;
}

int catalog_remove_tag(struct catalog *c, const char *name, const char *tag, struct error *error)
{
    const struct catalog_image *image;
    int r = check_shard(c, name, error);
    if (r == 0)
        r = catalog_find(c, name, tag, &image, error);
    if (r < 0)
        return r;
    if (strcmp(tag, "latest") == 0)
        return error_set(error, EINVAL, "the tag latest stays as long as there are versions of %s; move it instead",
                         name);
    struct catalog_tag *element = catalog_tag_at(c, name, tag);
    if (!element)
        return error_set(error, EINVAL, "%s is a version of %s, not a tag", tag, name);
    take_out(c->tags, &c->tag_count, element, sizeof *element);
    return 0;
}

int catalog_remove_image(struct catalog *c, const char *name, const char *version, struct error *error)
{
    struct catalog_image *image = NULL;
    int r = check_shard(c, name, error);
    if (r == 0)
        r = find_version(c, name, version, &image, error);
    if (r < 0 || !image)
        return r;
    for (unsigned i = 0; i < c->tag_count; i++)
        if (strcmp(c->tags[i].name, name) == 0 && strcmp(c->tags[i].version, version) == 0)
            return error_set(error, EINVAL, "%s %s bears the tag %s; move or remove that first", name, version,
                             c->tags[i].tag);
    if (image->serial == catalog_newest_serial(c, name))
        return error_set(error, EINVAL,
                         "%s %s is the newest version, and without it everybody who has seen it would refuse %s as "
                         "rolled back; publish a newer one first",
                         name, version, name);
    take_out(c->images, &c->image_count, image, sizeof *image);
    return 0;
}

int catalog_add_key(struct catalog *c, const struct key_public *key, const char *prefix, struct error *error)
{
    struct catalog_key element = {.key = *key};
    if (!text_is_image_name(slice_of(prefix)) || !key_is_sound(key))
        return error_set(error, EINVAL, "a key is allowed a whole image name, or what stands before a \".\" of names");
    int r = check_shard(c, prefix, error);
    if (r < 0)
        return r;
    catalog_parser_copy_name(element.prefix, slice_of(prefix));
    struct catalog_key *keys = grow(c->keys, c->key_count, sizeof *keys);
    if (!keys)
        return error_set(error, ENOMEM, "not enough memory for the catalog");
    c->keys = keys;
    put(c->keys, &c->key_count, &element, sizeof element, catalog_compare_keys);
    return 0;
}

static int compare_revoked(const void *a, const void *b)
{
    return memcmp(((const struct key_public *)a)->bytes, ((const struct key_public *)b)->bytes, KEY_PUBLIC_SIZE);
}

int catalog_add_revoked(struct catalog *c, const struct key_public *key, struct error *error)
{
    if (key_equal(key, &c->site_key))
        return error_set(error, EINVAL,
                         "that is the key of the site itself, without which nothing of it would be left");
    if (!key_is_sound(key))
        return error_set(error, EINVAL, "that is not a usable key");
    struct key_public *revoked = grow(c->revoked, c->revoked_count, sizeof *revoked);
    if (!revoked)
        return error_set(error, ENOMEM, "not enough memory for the catalog");
    c->revoked = revoked;
    put(c->revoked, &c->revoked_count, key, sizeof *key, compare_revoked);
    return 0;
}
