// The root statements of a site in a directory here (catalog/root.h), for whoever changes it.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "client/publisher.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static int read_root(struct site *s, unsigned number, void **ret_bytes, size_t *ret_size, struct error *error)
{
    char name[ROOT_PATH_SIZE], path[PATH_TEXT_SIZE];
    int r = path_format(path, sizeof(path), "%s/%s", site_path(s), root_path(number, name));
    if (r < 0)
        return error_set(error, -r, "the path %.64s… is too long", site_path(s));
    r = io_read_file(AT_FDCWD, path, ROOT_SIZE_MAXIMUM, ret_bytes, ret_size);
    if (r == -ENOENT)
        return error_set(error, EBADMSG,
                         "%s lacks %s, which its catalog needs; rondo fsck %s --repair fetches it from a mirror",
                         site_path(s), name, site_path(s));
    return r < 0 ? error_set(error, -r, "cannot read %s: %s", path, strerror(-r)) : 0;
}

int publisher_read_root(struct site *s, const struct catalog *c, struct root *ret, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size = 0;
    struct root root;
    if (c->root_number <= 1) {
        root_imply(&c->site_key, ret);
        return 0;
    }
    int r = read_root(s, c->root_number, &bytes, &size, error);
    if (r < 0)
        return r;
    r = root_open(bytes, size, &root, error);
    if (r == 0)
        r = root_check_catalog(&root, c, error);
    if (r < 0)
        return error_prefix(error, r, "%s: roots/%u (rondo fsck %s --repair fetches it from a mirror)", site_path(s),
                            c->root_number, site_path(s));
    *ret = root;
    return 0;
}

int publisher_check_roots(struct site *s, const struct catalog *now, const struct catalog *next, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size = 0;
    struct root root;
    if (next->root_number == now->root_number && sha256_equal(&next->root_text, &now->root_text) &&
        key_equal(&next->site_key, &now->site_key))
        return 0;
    if (next->root_number != now->root_number + 1)
        return error_set(error, EKEYREJECTED, "it is signed with %s than %s, and by no root statement that follows %u",
                         key_equal(&next->site_key, &now->site_key) ? "other roots" : "another key", site_path(s),
                         now->root_number);
    int r = publisher_read_root(s, now, &root, error);
    if (r == 0)
        r = read_root(s, next->root_number, &bytes, &size, error);
    if (r == 0)
        r = root_follow(&root, bytes, size, &root, error);
    return r < 0 ? r : root_check_catalog(&root, next, error);
}

int publisher_put_root(struct site *s, const struct root *root, const void *bytes, size_t n, struct error *error)
{
    char path[ROOT_PATH_SIZE];
    return site_put_root(s, root_path(root->number, path) + strlen("roots/"), bytes, n, error);
}

int publisher_count_signed(struct site *s, const struct catalog *c, const struct key_public *key,
                           int (*each)(void *context, const char *name, struct error *error), void *context,
                           struct error *error)
{
    int count = 0, r = 0;
    CLEANUP_FREE struct manifest *m = malloc(sizeof(*m));
    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    for (unsigned i = 0; i < c->image_count && r == 0; i++) {
        const struct catalog_image *image = &c->images[i];
        r = site_catalog_read_manifest(s, image, m, each ? error : NULL);
        if (r < 0 && each)
            return error_prefix(error, r, "%s %s, whose publisher must be known (rondo fsck %s --repair)", image->name,
                                image->version, site_path(s));
        if (r == 0 && memcmp(m->publisher, key->bytes, sizeof(m->publisher)) == 0) {
            count++;
            r = each ? each(context, image->name, error) : 0;
        } else {
            r = 0;
        }
    }
    return r < 0 ? r : count;
}

int publisher_tell_revoked(struct site *s, const struct catalog *c, const struct key_public *key, struct error *error)
{
    char text[64];
    const int count = publisher_count_signed(s, c, key, NULL, NULL, error);
    if (count <= 0)
        return count;
    snprintf(text, sizeof(text), "%d listed versions are", count);
    fprintf(stderr,
            "rondo: %s signed with the key that is revoked: whoever has seen this catalog "
            "refuses what it signed, even from the cache; publish that again with another key\n",
            count == 1 ? "one listed version is" : text);
    return 0;
}
