// See site_catalog.h.
#include "catalog/site_catalog.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "catalog/signed.h"
#include "catalog/signer.h"
#include <fcntl.h>
#include <string.h>

#include "base/banned.h"

static int read_object(struct site *s, const struct sha256 *name, size_t size, void **ret, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    CLEANUP_CLOSE int fd = site_open_object(s, name);
    if (fd == -ENOENT) // not what is returned: that would be a site without a catalog
        return error_set(error, EBADMSG, "%s lacks object %.16s…, which its catalog needs; restore it from a mirror",
                         site_path(s), sha256_to_hex(name, hex));
    if (fd < 0)
        return error_set(error, -fd, "cannot read %s/objects/…/%.16s…: %s", site_path(s), sha256_to_hex(name, hex),
                         strerror(-fd));
    CLEANUP_FREE void *bytes = malloc(size + 1); // one more, to see what is too long
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
    ssize_t n = io_read_some(fd, bytes, size + 1, 0);
    if (n < 0)
        return error_set(error, (int)-n, "cannot read %s/objects/…/%.16s…: %s", site_path(s), sha256_to_hex(name, hex),
                         strerror((int)-n));
    struct sha256 hash = sha256_of(bytes, (size_t)n);
    if ((size_t)n != size || !sha256_equal(&hash, name))
        return error_set(error, EBADMSG, "%s: object %.16s… is damaged", site_path(s), sha256_to_hex(name, hex));
    *ret = TAKE_PTR(bytes);
    return 0;
}

int site_catalog_open(struct site *s, const char *path, const void *bytes, size_t size, struct catalog *ret,
                      struct error *error)
{
    struct catalog c;
    int r = catalog_open(bytes, size, &c, error);
    if (r < 0)
        return error_prefix(error, r, "%s", path);
    for (unsigned i = 0; i < c.shard_count && r == 0; i++) {
        CLEANUP_FREE void *text = NULL;
        struct catalog_shard shard = c.shards[i]; // parsing may move the arrays
        r = shard.size > CATALOG_SHARD_MAXIMUM ? error_set(error, EBADMSG, "%s: a shard is too long", path)
                                               : read_object(s, &shard.object, shard.size, &text, error);
        if (r == 0)
            r = catalog_parse_shard(&c, &shard, text, shard.size, error);
    }
    if (r < 0)
        catalog_free(&c);
    else
        *ret = c;
    return r;
}

int site_catalog_read(struct site *s, struct catalog *ret, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    char path[4096];
    size_t size;
    int r = path_format(path, sizeof(path), "%s/catalog.rondo", site_path(s));
    if (r < 0) // cut short, it would seem to be a site without a catalog
        return error_set(error, -r, "the path %.64s… is too long; go to its folder and name the site from there",
                         site_path(s));
    r = io_read_file(AT_FDCWD, path, CATALOG_SIZE_MAXIMUM, &bytes, &size);
    if (r < 0)
        return error_set(error, -r, "cannot read %s: %s", path, strerror(-r));
    return site_catalog_open(s, path, bytes, size, ret, error);
}

int site_catalog_read_manifest(struct site *s, const struct catalog_image *image, struct manifest *ret,
                               struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    CLEANUP_FREE void *bytes = malloc(MANIFEST_SIZE_MAXIMUM);
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
    sha256_to_hex(&image->manifest, hex);
    CLEANUP_CLOSE int fd = site_open_object(s, &image->manifest);
    ssize_t n = fd < 0 ? fd : io_read_some(fd, bytes, MANIFEST_SIZE_MAXIMUM, 0);
    if (n < 0)
        return error_set(error, (int)-n, "cannot read manifest %.16s…: %s", hex, strerror((int)-n));
    struct sha256 hash = sha256_of(bytes, (size_t)n);
    if (!sha256_equal(&hash, &image->manifest))
        return error_set(error, EBADMSG, "manifest %.16s… is damaged", hex);
    int r = manifest_parse(bytes, (size_t)n, ret, error);
    if (r < 0)
        return r;
    r = signer_check(ret, bytes, (size_t)n, error);
    if (r < 0)
        return error_prefix(error, r, "manifest %.16s…", hex);
    if (strcmp(ret->name, image->name) != 0 || strcmp(ret->version, image->version) != 0 ||
        ret->serial != image->serial)
        return error_set(error, EBADMSG, "manifest %.16s… is of %s %s (serial %llu)", hex, ret->name, ret->version,
                         (unsigned long long)ret->serial);
    return 0;
}

int site_catalog_check_new(const struct catalog *c, const char *name, const char *version, const char *tag,
                           struct error *error)
{
    for (unsigned i = 0; i < c->image_count; i++) {
        if (strcmp(c->images[i].name, name) != 0)
            continue;
        if (strcmp(c->images[i].version, version) == 0)
            return error_set(error, EEXIST, "%s %s is published already; choose another --version", name, version);
        if (tag && strcmp(c->images[i].version, tag) == 0)
            return error_set(error, EINVAL, "%s is a version of %s; choose another --tag", tag, name);
    }
    for (unsigned i = 0; i < c->tag_count; i++)
        if (strcmp(c->tags[i].name, name) == 0 && strcmp(c->tags[i].tag, version) == 0)
            return error_set(error, EINVAL, "%s is a tag of %s; choose another --version", version, name);
    return 0;
}

static int store_shard(void *context, const void *bytes, size_t n, struct sha256 *ret)
{
    return site_put_object(context, bytes, n, ret, NULL);
}

int site_catalog_format(struct site *s, struct catalog *c, int64_t expires_seconds, struct buf *ret_text,
                        struct error *error)
{
    int r = catalog_advance(c, io_realtime_seconds(), expires_seconds, error);
    return r < 0 ? r : catalog_format(c, store_shard, s, ret_text, error);
}

int site_catalog_sign(struct site *s, struct catalog *c, const struct key_secret *site_key, int64_t expires_seconds,
                      struct error *error)
{
    struct key_public public;
    char key[KEY_TEXT_SIZE];
    key_public_of(site_key, &public);
    if (!key_equal(&public, &c->site_key))
        return error_set(error, EKEYREJECTED, "the key of %s is %s; sign with that one (--site-key)", site_path(s),
                         key_to_text(&c->site_key, key));
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    int r = site_catalog_format(s, c, expires_seconds, &text, error);
    if (r == 0)
        r = signed_write(site_key, text.data, text.size, "rondo catalog", &file, error);
    return r < 0 ? r : site_put_catalog(s, file.data, file.size, error);
}
