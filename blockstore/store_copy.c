// Copying the packs of a version into a site: for a version of that site that goes on referring to them.
//
//   the map is walked → the packs that are needed, each once → of those that the site lacks, one at a time:
//   whole in the cache? else fetched whole → hashed → placed as an object
//
// The pages of the map come from the store, so they may be anywhere that the store knows. One pack at a time is in
// memory (at most PACK_SIZE_MAXIMUM), and the list of their names. Copied packs are as the version's publisher made
// them. What an interruption leaves are whole objects, which the next attempt finds.
#include "base/cleanup.h"
#include "blockstore/pack.h"
#include "blockstore/site.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define SLOW_BYTES_PER_SECOND (128u << 10) // a pack may take the waiting time, and its bytes at this rate

struct copying {
    struct version *v;
    const struct version_copy *copy;
    struct version_list list;
    unsigned member;
};

static int note_pack(struct copying *c, const struct pack_reference *pack, struct error *error)
{
    int64_t number = store_number_pack(&c->list, pack);

    return number < 0 ? store_explain_list((int)number, error) : 0;
}

static int note_page(void *context, const struct chunk_reference *ref, const struct map_page *page, uint64_t first,
                     struct error *error)
{
    struct copying *c = context;
    const struct version_copy *copy = c->copy;
    int r = note_pack(c, &ref->pack, error);

    for (unsigned block = 0, n; r == 0 && page->level == 0 && block < MAP_LEAF_BLOCKS; block += n) {
        struct map_run run = map_leaf_find(page, block);
        struct chunk_reference chunk;
        n = run.blocks;
        if (run.zero || !map_page_reference(page, run.reference, &chunk))
            continue;
        r = copy->needs(copy->context, c->member, first + block, n);
        if (r > 0)
            r = note_pack(c, &chunk.pack, error);
        else if (r < 0)
            error_set(error, -r, "cannot find what changed: %s", strerror(-r));
    }
    return r;
}

struct fetched {
    unsigned char *bytes;
    size_t size, used;
    const struct sha256 *name;
};

static void restart(void *context)
{
    struct fetched *f = context;
    f->used = 0;
}

static int sink(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct fetched *f = context;
    (void)offset; // the whole is asked for, and comes in order
    if (n > f->size - f->used)
        return -EBADMSG;
    memcpy(f->bytes + f->used, bytes, n);
    f->used += n;
    return 0;
}

static int verify(void *context, struct error *error)
{
    const struct fetched *f = context;
    struct sha256 hash = sha256_of(f->bytes, f->used);
    if (f->used != f->size || !sha256_equal(&hash, f->name))
        return error_set(error, EBADMSG, "the bytes do not match the pack's name");
    return 0;
}

// The whole pack, malloc'ed.
static int get_pack(struct version *v, const struct list_pack *pack, void **ret, struct error *error)
{
    char path[80], hex[SHA256_HEX_SIZE];
    size_t size;
    struct cache *cache = v->store->cache;

    if (pack->size > PACK_SIZE_MAXIMUM)
        return error_set(error, EBADMSG, "a pack is larger than any may be");
    if (cache && cache_get_object(cache, &pack->name, pack->size, ret, &size) == 0)
        return 0;
    if (!v->mirrors)
        return error_set(error, ENETUNREACH, "pack %.16s… is not whole in the cache, and there is no source to ask",
                         sha256_to_hex(&pack->name, hex));
    CLEANUP_FREE unsigned char *bytes = malloc(pack->size);
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
    struct fetched f = {.bytes = bytes, .size = pack->size, .name = &pack->name};
    store_object_path(&pack->name, path);
    struct mirrors_job job = {.path = path,
                              .maximum = pack->size,
                              .priority = SOURCE_FILL,
                              .restart = restart,
                              .sink = sink,
                              .verify = verify,
                              .context = &f,
                              .patience_ns = (uint64_t)v->store->wait_seconds * 1000000000};
    int r = mirrors_fetch(v->mirrors, &job, 1,
                          store_deadline(v->store) + pack->size * UINT64_C(1000000000) / SLOW_BYTES_PER_SECOND);
    if (r < 0)
        return error_set(error, -r, "%s", job.error.text);
    *ret = TAKE_PTR(bytes);
    return 0;
}

static int copy_pack(struct copying *c, struct site *site, const struct list_pack *pack, struct version_copied *done,
                     struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    struct sha256 name;
    int fd = site_open_object(site, &pack->name);

    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (fd != -ENOENT)
        return site_write_failed(site, error, fd, "a pack");
    int r = get_pack(c->v, pack, &bytes, error);
    if (r == 0)
        r = site_put_object(site, bytes, pack->size, &name, error);
    if (r == 0) {
        done->packs++;
        done->bytes += pack->size;
    }
    return r;
}

static int copy_listed(struct copying *c, struct site *site, struct version_copied *done, struct error *error)
{
    uint64_t all = 0, passed = 0;
    int r = 0;

    for (size_t i = 0; i < c->list.pack_count; i++)
        all += c->list.packs[i].size;
    for (size_t i = 0; r == 0 && i < c->list.pack_count; i++) {
        if (c->copy->progress && c->copy->progress(c->copy->context, "packs of the base", passed, all) != 0)
            return error_set(error, ECANCELED, "cancelled; the same command goes on from here");
        r = copy_pack(c, site, &c->list.packs[i], done, error);
        passed += c->list.packs[i].size;
    }
    return r;
}

int version_copy_logo(struct version *v, struct site *site, struct error *error)
{
    const struct manifest_logo *logo = &v->manifest->logo;
    struct copying c = {.v = v};
    struct version_copied done = {.packs = 0};

    if (logo->type == MANIFEST_LOGO_NONE)
        return 0;
    return copy_pack(&c, site, &(struct list_pack){.name = logo->object, .size = logo->size}, &done, error);
}

int version_copy_packs(struct version *v, struct site *site, const struct version_copy *copy,
                       struct version_copied *ret, struct error *error)
{
    struct copying c = {.v = v, .copy = copy};
    const struct map_visit visit = {.visit = note_page, .context = &c};
    struct version_copied done = {.packs = 0};
    int r = sha256_make_keys(&c.list.keys);

    if (r < 0)
        return error_set(error, -r, "no random numbers can be had");
    for (; r == 0 && c.member < v->manifest->member_count; c.member++)
        r = store_walk_map(v, c.member, &visit, error);
    if (r == 0)
        r = copy_listed(&c, site, &done, error);
    store_free_list(&c.list);
    if (r == 0)
        *ret = done;
    return r;
}
