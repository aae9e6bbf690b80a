// The objects of a version that is taken in (keeper_private.h).
//
// What is staged can still be changed by a web process that somebody took over. So it is copied into temporaries of the
// site, which that process cannot write, and hashed on the way; the whole version is checked with these copies, and
// these are what is placed.
#include "server/keeper_private.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/pack.h"
#include "blockstore/parent.h"

#include <fcntl.h>
#include <string.h>

#include "base/banned.h"

#define COPY_BYTES (256u << 10)

static int open_staged(const struct taking *t, const struct sha256 *name)
{
    char hex[SHA256_HEX_SIZE];

    return t->staged < 0 ? -ENOENT : io_open(t->staged, sha256_to_hex(name, hex), O_RDONLY | O_NONBLOCK, 0);
}

static int open_anywhere(struct taking *t, const struct sha256 *name)
{
    int fd = site_open_object(t->site, name);

    return fd == -ENOENT ? open_staged(t, name) : fd;
}

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    int fd CLEANUP_CLOSE = open_anywhere(context, &ref->pack.name);

    int r = fd < 0 ? fd : io_read_full(fd, to, ref->length, ref->offset);
    if (r == 0 || r == -ENOENT)
        return r;
    return error_set(error, r == -ENODATA ? EBADMSG : -r, "a page of the map in pack %.16s… cannot be read: %s",
                     sha256_to_hex(&ref->pack.name, hex), r == -ENODATA ? "the pack is too short" : strerror(-r));
}

static void note_missing(struct taking *t, const struct sha256 *name)
{
    if (t->missing_count < TAKING_MISSING)
        t->missing[t->missing_count++] = *name;
}

// 0: in the site; 1: staged; −ENOENT: missing.
static int find_object(struct taking *t, const struct needs_object *object, struct error *error)
{
    struct stat st;
    char hex[SHA256_HEX_SIZE];
    int fd CLEANUP_CLOSE = site_open_object(t->site, &object->name);
    const bool staged = fd == -ENOENT;

    if (staged)
        fd = open_staged(t, &object->name);
    if (fd == -ENOENT) {
        note_missing(t, &object->name);
        return -ENOENT;
    }
    if (fd < 0 || io->fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return error_set(error, EIO, "object %.16s… cannot be read", sha256_to_hex(&object->name, hex));
    if ((object->size && st.st_size != (off_t)object->size) || st.st_size > (off_t)PACK_SIZE_MAXIMUM)
        return error_set(error, EBADMSG, "object %.16s… has another size than the version says",
                         sha256_to_hex(&object->name, hex));
    return staged;
}

static int find_all(struct taking *t, struct error *error)
{
    const size_t count = needs_count(t->needs);

    t->objects = calloc(count, sizeof *t->objects);
    t->placed = calloc(count + 1, sizeof *t->placed);
    if (!t->objects || !t->placed)
        return error_set(error, ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const struct needs_object object = needs_get(t->needs, i);
        if (sha256_equal(&object.name, &t->name))
            continue;
        int r = find_object(t, &object, error);
        if (r < 0 && r != -ENOENT)
            return r;
        if (r > 0)
            t->objects[t->object_count++].name = object.name;
    }
    return t->missing_count > 0 ? error_set(error, ENOENT, "objects of the version are missing") : 0;
}

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct site_object *)a)->name.bytes, ((const struct site_object *)b)->name.bytes,
                  SHA256_SIZE);
}

int keeper_objects_find(struct taking *t, struct error *error)
{
    char key[KEY_TEXT_SIZE], path[sizeof STAGING_FOLDER + KEY_TEXT_SIZE];
    unsigned missing_pages = 0;

    (void)snprintf(path, sizeof path, STAGING_FOLDER "/%s", key_to_text(&t->key, key));
    t->staged = io_open(t->keeper->state, path, O_RDONLY | O_DIRECTORY, 0);
    int r = needs_new(&t->needs, error);
    if (r == 0)
        r = needs_add_version(t->needs, &t->name, t->manifest, read_page, t, &missing_pages, error);
    if (r == 0)
        r = find_all(t, error);
    if (r == 0 && missing_pages > 0)
        r = error_set(error, EAGAIN, "objects came while they were looked for");
    if (r == 0)
        qsort(t->objects, t->object_count, sizeof *t->objects, compare);
    return r;
}

// --- copies --------------------------------------------------------------------------------------------------------

static int copy_bytes(struct taking *t, int from, int to, struct placed_object *ret, struct error *error)
{
    struct hash_stream *hash CLEANUP(hash_stream_free) = hash_stream_new();
    unsigned char *bytes CLEANUP_FREE = malloc(COPY_BYTES);
    uint64_t at = 0;
    ssize_t n;

    if (!hash || !bytes)
        return error_set(error, ENOMEM, "out of memory");
    while ((n = io_read_some(from, bytes, COPY_BYTES, at)) > 0 && at <= PACK_SIZE_MAXIMUM) {
        int r = io_write_full(to, bytes, (size_t)n, at);
        if (r < 0)
            return site_write_failed(t->site, error, r, "an object");
        hash_stream_add(hash, bytes, (size_t)n);
        at += (uint64_t)n;
    }
    if (n < 0)
        return error_set(error, (int)-n, "a staged object cannot be read: %s", strerror((int)-n));
    if (io->fsync(to) < 0)
        return site_write_failed(t->site, error, -errno, "an object");
    *ret = (struct placed_object){.name = hash_stream_end(hash), .bytes = at};
    t->object_bytes += at;
    return 0;
}

static int copy_object(struct taking *t, struct site_object *object, struct placed_object *copied, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    int from CLEANUP_CLOSE = open_staged(t, &object->name);

    if (from < 0)
        return error_set(error, -from, "a staged object cannot be read: %s", strerror(-from));
    int to = site_make_temporary(t->site, object->temporary, error);
    if (to < 0) {
        object->temporary[0] = '\0';
        return to;
    }
    int r = copy_bytes(t, from, to, copied, error);
    int closed = io_close(to);
    if (r == 0 && closed < 0)
        r = site_write_failed(t->site, error, closed, "an object");
    if (r < 0 || sha256_equal(&copied->name, &object->name))
        return r;
    note_missing(t, &object->name);
    io->unlinkat(t->staged, sha256_to_hex(&object->name, hex), 0);
    return error_set(error, EBADMSG, "what is staged as object %.16s… is damaged; send it again", hex);
}

// What parent_check reads that is not in the site yet: a chunk after the other of one pack.
struct copies {
    struct taking *taking;
    struct sha256 open;
    int fd;
};

static int read_copy(void *context, const struct pack_reference *pack, uint64_t offset, void *to, size_t n,
                     struct error *error)
{
    struct copies *c = context;
    const struct site_object wanted = {.name = pack->name};

    if (c->fd < 0 || !sha256_equal(&c->open, &pack->name)) {
        const struct site_object *object =
            bsearch(&wanted, c->taking->objects, c->taking->object_count, sizeof wanted, compare);
        if (!object)
            return -ENOENT;
        cleanup_close(&c->fd);
        c->fd = site_open_temporary(c->taking->site, object->temporary);
        c->open = pack->name;
    }
    int r = c->fd < 0 ? c->fd : io_read_full(c->fd, to, n, offset);
    return r < 0 ? error_set(error, r == -ENODATA ? EBADMSG : EIO, "a pack cannot be read: %s", strerror(-r)) : 0;
}

int keeper_objects_copy(struct taking *t, struct error *error)
{
    struct copies copies = {.taking = t, .fd = -1};
    const struct site_elsewhere elsewhere = {.read = read_copy, .context = &copies};
    int r = 0;

    for (unsigned i = 0; i < t->object_count && r == 0; i++)
        r = copy_object(t, &t->objects[i], &t->placed[i], error);
    if (r < 0)
        return r;
    site_set_elsewhere(t->site, &elsewhere);
    r = parent_check(t->site, t->manifest, error);
    site_set_elsewhere(t->site, NULL);
    cleanup_close(&copies.fd);
    return r;
}

int keeper_objects_place(struct taking *t, struct error *error)
{
    int r = site_place_objects(t->site, t->objects, t->object_count, error);

    for (unsigned i = 0; i < t->object_count && r == 0; i++)
        t->objects[i].temporary[0] = '\0';
    return r;
}

void keeper_objects_unstage(struct taking *t)
{
    char hex[SHA256_HEX_SIZE];

    for (unsigned i = 0; i < t->object_count; i++)
        io->unlinkat(t->staged, sha256_to_hex(&t->objects[i].name, hex), 0); // what stays is swept
}

void keeper_objects_drop(struct taking *t)
{
    for (unsigned i = 0; i < t->object_count; i++)
        if (t->objects[i].temporary[0])
            site_drop_temporary(t->site, t->objects[i].temporary);
    free(t->objects);
    free(t->placed);
}
