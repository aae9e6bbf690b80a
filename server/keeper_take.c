// A version is taken in (keeper.h, rules 1 to 3):
//
//   manifest parsed, signature → site locked → its catalog → may this key? is it new? → what it needs: there or staged?
//   → copied, hashed → the whole version checked → counted →
//   placed → manifest → catalog signed (or queued) → staging emptied
//
// Until the last step but one, readers of the site see nothing of it.
#include "server/keeper_private.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "catalog/signer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define LOCK_TRIES 100u // ten seconds: a publication in the folder itself may take longer, and the client asks again

static int read_manifest(struct taking *t, int fd, struct error *error)
{
    struct stat st;

    if (fd < 0 || io->fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)MANIFEST_SIZE_MAXIMUM)
        return error_set(error, EBADMSG, "no manifest of at most %u bytes came", MANIFEST_SIZE_MAXIMUM);
    t->size = (size_t)st.st_size;
    t->bytes = malloc(t->size + 1);
    t->manifest = calloc(1, sizeof *t->manifest);
    if (!t->bytes || !t->manifest)
        return error_set(error, ENOMEM, "out of memory");
    int r = io_read_full(fd, t->bytes, t->size, 0);
    if (r < 0)
        return error_set(error, -r, "the manifest cannot be read: %s", strerror(-r));
    t->name = sha256_of(t->bytes, t->size);
    r = manifest_parse(t->bytes, t->size, t->manifest, error);
    if (r == 0)
        r = signer_check(t->manifest, t->bytes, t->size, error);
    if (r < 0)
        return error_prefix(error, r == -EKEYREJECTED ? -EBADMSG : r, "the manifest");
    const struct key_public signer = signer_of(t->manifest);
    return key_equal(&signer, &t->key)
               ? 0
               : error_set(error, EKEYREJECTED, "the manifest is signed with another key than the session");
}

static int open_site(struct taking *t, struct error *error)
{
    const struct timespec step = {.tv_nsec = 100000000};
    int r = -EBUSY;

    for (unsigned i = 0; i < LOCK_TRIES && r == -EBUSY; i++) {
        if (i > 0)
            nanosleep(&step, NULL);
        r = site_open(t->keeper->options.site, &t->site, error);
    }
    return r;
}

static int read_catalog(struct taking *t, struct error *error)
{
    struct key_public ours;

    int r = site_catalog_read(t->site, &t->catalog, error);
    if (r == -ENOENT)
        return error_set(error, EKEYREJECTED, "this site has no catalog yet, so that nobody may publish here");
    if (r < 0)
        return r;
    if (!t->keeper->site_key)
        return keeper_pending_add(t, error);
    key_public_of(t->keeper->site_key, &ours);
    return key_equal(&ours, &t->catalog.site_key)
               ? 0
               : error_set(error, EIO, "the server's --site-key is not the key of the site");
}

static int check_new(struct taking *t, struct error *error)
{
    const struct manifest *m = t->manifest;
    const struct catalog_image *image;
    char key[KEY_TEXT_SIZE];

    if (!catalog_allows(&t->catalog, &t->key, m->name))
        return error_set(error, EKEYREJECTED, "the key %s may not publish %s here", key_to_text(&t->key, key), m->name);
    if (catalog_find(&t->catalog, m->name, m->version, &image, NULL) == 0 && sha256_equal(&image->manifest, &t->name)) {
        t->listed = true;
        return 0;
    }
    int r = site_catalog_check_new(&t->catalog, m->name, m->version, t->tag[0] ? t->tag : NULL, error);
    if (r < 0)
        return r;
    t->newest = catalog_newest_serial(&t->catalog, m->name);
    return m->serial > t->newest
               ? 0
               : error_set(error, ESTALE,
                           "%s was published since this was made: its serial is %llu, and this one has %llu", m->name,
                           (unsigned long long)t->newest, (unsigned long long)m->serial);
}

static int list(struct taking *t, struct error *error)
{
    const struct manifest *m = t->manifest;
    struct catalog_image image = {.serial = m->serial, .manifest = t->name};

    (void)snprintf(image.name, sizeof image.name, "%s", m->name);
    (void)snprintf(image.version, sizeof image.version, "%s", m->version);
    int r = catalog_add_image(&t->catalog, &image, error);
    if (r == 0 && t->tag[0])
        r = catalog_set_tag(&t->catalog, m->name, t->tag, m->version, error);
    return r;
}

static int sign(struct taking *t, struct error *error)
{
    if (!t->keeper->site_key) {
        t->pending = true;
        return keeper_pending_put(t, error);
    }
    // As long as the owner let the last one last.
    return site_catalog_sign(t->site, &t->catalog, t->keeper->site_key, t->catalog.expires - t->catalog.issued, error);
}

static int take_new(struct taking *t, struct error *error)
{
    struct sha256 name;

    int r = list(t, error); // in memory: what is refused is refused before anything lies in the site
    if (r == 0)
        r = keeper_pending_check_room(t, error);
    if (r == 0)
        r = keeper_objects_find(t, error);
    if (r == 0)
        r = keeper_objects_copy(t, error);
    if (r == 0)
        r = keeper_placed_add(t, error);
    if (r == 0)
        r = keeper_objects_place(t, error);
    if (r == 0)
        r = site_put_object(t->site, t->bytes, t->size, &name, error);
    if (r == 0)
        r = sign(t, error);
    return r;
}

// Handed in once more: by whoever did not hear the answer. A tag that is not there yet, or names an older version, is
// still set to the newest one. It is never set back: a listed manifest is public, and nobody signed that.
static int take_again(struct taking *t, struct error *error)
{
    const struct manifest *m = t->manifest;
    const struct catalog_image *image;

    t->pending = !t->keeper->site_key && keeper_pending_has(t->keeper, &t->name);
    if (!t->tag[0] || m->serial != catalog_newest_serial(&t->catalog, m->name) ||
        (catalog_find(&t->catalog, m->name, t->tag, &image, NULL) == 0 && image->serial >= m->serial))
        return 0;
    int r = catalog_set_tag(&t->catalog, m->name, t->tag, m->version, error);
    if (r == 0)
        r = keeper_pending_check_room(t, error);
    return r < 0 ? r : sign(t, error);
}

int keeper_take(struct taking *t, int manifest, struct error *error)
{
    int r = read_manifest(t, manifest, error);
    if (r == 0)
        r = open_site(t, error);
    if (r == 0)
        r = read_catalog(t, error);
    if (r == 0)
        r = check_new(t, error);
    if (r == 0)
        r = t->listed ? take_again(t, error) : take_new(t, error);
    if (r == 0 && !t->listed)
        keeper_objects_unstage(t);
    return r;
}

void keeper_take_end(struct taking *t)
{
    keeper_objects_drop(t);
    needs_free(t->needs);
    catalog_free(&t->catalog);
    site_close(t->site);
    cleanup_close(&t->staged);
    free(t->manifest);
    free(t->bytes);
}
