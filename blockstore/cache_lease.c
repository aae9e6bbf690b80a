// Leases: <dir>/leases/<manifest> is an empty file, locked (flock, shared) by whoever has that version open:
// rondo-cloop for its machines and mounts, whoever pulls. What the version needs is not listed anywhere: whoever is
// about to evict walks its map, by the pages that the cache has. Below a page that the cache lacks nothing can be read
// without the network anyway.
//
//   1. A lease ends with its last holder, however that ends: a file that nobody holds locked says nothing, and is
//   removed
//      by whoever notices.
//   2. Who locks a file looks whether it is still linked, and makes another if not. Who removes one holds it locked
//      alone. So no held lease is ever without its name.
//   3. Nobody waits for a lease. Where none can be had (a read-only disk), the version is open without.
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "blockstore/cache_private.h"
#include "blockstore/manifest.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define LEASE_ATTEMPTS 100u // each meets a file that somebody is just removing, or looking at
#define LEASE_STEP_MS 1u

static int try_lease(struct cache *c, const char *hex)
{
    struct stat st;
    int fd CLEANUP_CLOSE = io_open(c->leases, hex, O_RDWR | O_CREAT, 0600);
    while ((fd == -EMFILE || fd == -ENFILE) && cache_close_idle_handle(c))
        fd = io_open(c->leases, hex, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_SH | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    return cache_is_ours(fd, &st) ? TAKE_FD(fd) : -EAGAIN;
}

int cache_lease(struct cache *c, const struct sha256 *manifest)
{
    char hex[SHA256_HEX_SIZE];
    if (c->leases < 0)
        return -EROFS;
    sha256_to_hex(manifest, hex);
    int r = try_lease(c, hex);
    for (unsigned i = 0; i < LEASE_ATTEMPTS && r == -EAGAIN; i++) {
        struct timespec step = {.tv_nsec = LEASE_STEP_MS * 1000000l};
        nanosleep(&step, NULL);
        r = try_lease(c, hex);
    }
    return r;
}

// Removes the file behind a descriptor, if nobody else holds it. True if somebody does.
static bool is_held(struct cache *c, int fd, const char *hex)
{
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK;
    struct stat st;
    if (cache_is_ours(fd, &st))
        io->unlinkat(c->leases, hex, 0);
    return false;
}

void cache_end_lease(struct cache *c, const struct sha256 *manifest, int lease)
{
    char hex[SHA256_HEX_SIZE];
    if (lease < 0)
        return;
    is_held(c, lease, sha256_to_hex(manifest, hex));
    close(lease);
}

// --- for eviction --------------------------------------------------------------------------------------------------

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    struct cache *c = context;
    (void)error;
    int r = cache_peek(c, &ref->pack.name, ref->offset, to, ref->length);
    if (r < 0)
        return -ENOENT;
    struct sha256 actual = sha256_of(to, ref->length);
    return sha256_equal(&actual, &ref->name) ? 0 : -ENOENT;
}

int cache_add_needs(struct cache *c, const struct sha256 *manifest, struct needs *needs, struct error *error)
{
    void *bytes CLEANUP_FREE = NULL;
    size_t size;
    unsigned missing;
    int r = cache_get_object(c, manifest, MANIFEST_SIZE_MAXIMUM, &bytes, &size);
    if (r == -ENOENT)
        return needs_add(needs, manifest, 0, error);
    if (r < 0)
        return error_set(error, -r, "out of memory");
    struct manifest *m CLEANUP_FREE = malloc(sizeof(*m));
    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    if (manifest_parse(bytes, size, m, error) < 0)
        return needs_add(needs, manifest, 0, error); // nobody can run it
    r = needs_add_version(needs, manifest, m, read_page, c, &missing, error);
    return r == -EBADMSG ? 0 : r; // a map that is malformed can be read no further by anybody
}

struct lease_walk {
    struct cache *c;
    struct needs *needs;
    struct error *error;
};

static int add_lease(void *context, int folder, const char *name)
{
    struct lease_walk *w = context;
    struct sha256 manifest;
    if (!sha256_from_hex(name, strlen(name), &manifest))
        return 0;
    int fd CLEANUP_CLOSE = io_open(folder, name, O_RDONLY | O_NONBLOCK, 0);
    // One that cannot be looked at (a foreign file, no descriptors) counts as held: that keeps too much at worst.
    if (fd == -ENOENT || (fd >= 0 && !is_held(w->c, fd, name)))
        return 0;
    return cache_add_needs(w->c, &manifest, w->needs, w->error);
}

int cache_add_leased(struct cache *c, struct needs *needs, struct error *error)
{
    struct lease_walk w = {.c = c, .needs = needs, .error = error};
    return c->leases < 0 ? 0 : folder_walk(c->leases, ".", add_lease, &w);
}
