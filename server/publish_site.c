// See publish_site.h. A catalog is another one if its file is (it is replaced by rename): inode, size and times tell.
//
// Lock: `lock` guards all but the path. A catalog is read under it: others would read the same.
#include "server/publish_site.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "catalog/site_catalog.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "base/banned.h"

struct identity {
    uint64_t device, inode, size;
    struct timespec modified, changed;
};

struct publish_site {
    pthread_mutex_t lock;
    char folder[PATH_TEXT_SIZE], path[PATH_TEXT_SIZE]; // path: of the catalog
    struct site *site;                                 // NULL: not opened yet
    struct identity identity;                          // of the file that the catalog is from
    struct catalog catalog;
};

int publish_site_new(const char *folder, struct publish_site **ret, struct error *error)
{
    struct publish_site *s = calloc(1, sizeof *s);

    if (!s)
        return error_set(error, ENOMEM, "not enough memory to start");
    pthread_mutex_init(&s->lock, NULL);
    int r = path_format(s->folder, sizeof s->folder, "%s", folder);
    if (r == 0)
        r = path_format(s->path, sizeof s->path, "%s/catalog.rondo", folder);
    if (r == 0) {
        *ret = s;
        return 0;
    }
    publish_site_free(&s);
    return error_set(error, -r, "the site's path is too long");
}

void publish_site_free(struct publish_site **s)
{
    if (!*s)
        return;
    catalog_free(&(*s)->catalog);
    site_close((*s)->site);
    pthread_mutex_destroy(&(*s)->lock);
    free(*s);
    *s = NULL;
}

static int identify(const char *path, struct identity *ret, struct error *error)
{
    struct stat st;

    if (fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set(error, errno, errno == ENOENT ? "this site has no catalog yet" : "the catalog cannot be read");
    memset(ret, 0, sizeof *ret); // padding, too: it is compared
    ret->device = st.st_dev;
    ret->inode = st.st_ino;
    ret->size = (uint64_t)st.st_size;
    ret->modified = st.st_mtim;
    ret->changed = st.st_ctim;
    return 0;
}

// Under the lock.
static int refresh(struct publish_site *s, struct error *error)
{
    struct catalog catalog;
    struct identity identity;

    int r = identify(s->path, &identity, error);
    if (r < 0 || (s->catalog.number && memcmp(&identity, &s->identity, sizeof identity) == 0))
        return r;
    if (!s->site)
        r = site_open_reading(s->folder, &s->site, error);
    if (r == 0)
        r = site_catalog_read(s->site, &catalog, error);
    if (r < 0)
        return r;
    catalog_free(&s->catalog);
    s->catalog = catalog;
    s->identity = identity;
    return 0;
}

static bool may_publish(const struct catalog *c, const struct key_public *key)
{
    bool listed = key_equal(key, &c->site_key);

    for (unsigned i = 0; i < c->key_count && !listed; i++)
        listed = key_equal(key, &c->keys[i].key);
    return listed && !catalog_revokes(c, key);
}

int publish_site_check(struct publish_site *s, const struct key_public *key, struct publish_site_names *ret,
                       struct error *error)
{
    char text[KEY_TEXT_SIZE];

    pthread_mutex_lock(&s->lock);
    int r = refresh(s, error);
    if (r == 0 && !may_publish(&s->catalog, key))
        r = error_set(error, EKEYREJECTED, "the key %s may publish nothing here", key_to_text(key, text));
    if (r == 0) {
        ret->key = s->catalog.site_key;
        memcpy(ret->id, s->catalog.id, sizeof ret->id);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

bool publish_site_has(struct publish_site *s, const struct sha256 *object)
{
    pthread_mutex_lock(&s->lock);
    int fd CLEANUP_CLOSE = s->site ? site_open_object(s->site, object) : -ENOENT;
    pthread_mutex_unlock(&s->lock);
    return fd >= 0;
}
