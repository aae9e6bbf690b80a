// What a publisher brings into the site is counted against its quota before it is placed (placed.h).
//
// A publisher without a list is new, or its list was removed, or is of a server before there were any. Its list is made
// of what the versions need that are its own: what several publishers' versions share counts for each of them then.
#include "server/keeper_private.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "catalog/signer.h"

#include "base/banned.h"

static void free_needs(struct needs **needs)
{
    needs_free(*needs);
}

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    return site_read_page(context, ref, to, error);
}

// What cannot be read whole counts as far as it can be.
static int add_version(struct taking *t, const struct catalog_image *image, struct needs *needs, struct error *error)
{
    CLEANUP_FREE struct manifest *m = malloc(sizeof *m);
    struct error why = {.text = ""};
    unsigned missing;

    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    int r = site_catalog_read_manifest(t->site, image, m, &why);
    if (r == 0) {
        const struct key_public signer = signer_of(m);
        if (!key_equal(&signer, &t->key))
            return 0;
        r = needs_add_version(needs, &image->manifest, m, read_page, t->site, &missing, &why);
    }
    if (r < 0)
        log_error("%s %s cannot be counted for its publisher's quota: %s", image->name, image->version, why.text);
    return 0;
}

static uint64_t size_of(struct site *site, const struct needs_object *object)
{
    struct stat st;
    int fd CLEANUP_CLOSE = object->size ? -1 : site_open_object(site, &object->name);

    return object->size ? object->size : fd >= 0 && io->fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static int make_list(struct taking *t, struct error *error)
{
    struct needs *needs CLEANUP(free_needs) = NULL;

    int r = needs_new(&needs, error);
    for (unsigned i = 0; i < t->catalog.image_count && r == 0; i++)
        if (catalog_allows(&t->catalog, &t->key, t->catalog.images[i].name) &&
            !sha256_equal(&t->catalog.images[i].manifest, &t->name))
            r = add_version(t, &t->catalog.images[i], needs, error);
    if (r < 0)
        return r;
    const size_t count = needs_count(needs);
    CLEANUP_FREE struct placed_object *objects = calloc(count + 1, sizeof *objects);
    if (!objects)
        return error_set(error, ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const struct needs_object object = needs_get(needs, i);
        objects[i] = (struct placed_object){.name = object.name, .bytes = size_of(t->site, &object)};
    }
    return placed_make(t->keeper->placed, &t->key, objects, count, error);
}

int keeper_placed_add(struct taking *t, struct error *error)
{
    struct keeper *k = t->keeper;
    uint64_t quota = k->options.quota;
    bool own;

    int r = placed_find_quota(k->placed, &t->key, &quota, &own, error);
    if (r < 0)
        return r == -EBADMSG ? -EIO : r; // not the version's fault
    t->placed[t->object_count] = (struct placed_object){.name = t->name, .bytes = t->size};
    for (bool made = false;; made = true) {
        r = placed_add(k->placed, &t->key, t->placed, t->object_count + 1, quota, t->site, error);
        if (r != -ENOENT || made)
            return r == -ENOENT ? error_set(error, EIO, "the list of what a publisher brought is gone again") : r;
        r = make_list(t, error);
        if (r < 0)
            return r;
    }
}
