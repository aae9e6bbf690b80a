// client/import_objects.h: each object is hashed before it stands in the cache, and what came to stand there is noted.
#include "client/import_objects.h"

#include "base/cleanup.h"
#include "client/cli.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define PIECE_SIZE (256u << 10)

static int note_object(struct import_objects *o, const struct sha256 *name, uint32_t size, struct error *error)
{
    o->objects++;
    o->bytes += size;
    if (o->objects > o->about->objects || o->bytes > o->about->bytes)
        return error_set(error, EBADMSG, "it holds more than it says");
    if (cache_has_object(store_cache(o->store), name))
        return 0;
    return buf_append(&o->placed, name, sizeof(*name)) < 0 ? error_set(error, ENOMEM, "out of memory") : 0;
}

int import_objects_not_kept(const struct import_objects *o, struct error *error)
{
    struct cache *cache = store_cache(o->store);
    char need[32], limit[32];
    int why = cache_write_failure(cache);
    return error_set(error, ENOSPC,
                     "the cache %s does not keep it (%s); this version needs %s, the cache's limit is %s: free space "
                     "there, raise the limit, or name another cache with RONDO_CACHE",
                     cache_folder(cache), why ? strerror(-why) : "it is too small",
                     text_format_size(o->about->bytes, need), text_format_size(cache_limit(cache), limit));
}

int import_objects_read(struct import_objects *o, const struct sha256 *name, size_t maximum, void **ret,
                        size_t *ret_size, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    struct archive_entry e;
    char hex[SHA256_HEX_SIZE];
    int r = archive_next(o->archive, &e, error);
    if (r < 0)
        return r;
    if (r == 0 || e.kind != ARCHIVE_OBJECT || !sha256_equal(&e.object, name))
        return error_set(error, EBADMSG, "object %.12s… is not where it should be", sha256_to_hex(name, hex));
    r = archive_read_all(o->archive, &e, maximum, &bytes, error);
    if (r == 0)
        r = note_object(o, name, e.size, error);
    if (r < 0)
        return r;
    struct sha256 actual = sha256_of(bytes, e.size);
    if (!sha256_equal(&actual, name))
        return error_set(error, EBADMSG, "object %.12s… is not what its name says", sha256_to_hex(name, hex));
    cache_put_object(store_cache(o->store), name, bytes, e.size);
    *ret = TAKE_PTR(bytes);
    *ret_size = e.size;
    return 0;
}

static int read_pack(struct import_objects *o, const struct archive_entry *e, struct error *error)
{
    struct cache_stream *s = NULL;
    char hex[SHA256_HEX_SIZE], at[32], all[32];
    int r = pack_set_put(o->packs, &(struct whole_object){e->object, e->size}, error);
    if (r == 0)
        return error_set(error, EBADMSG, "object %.12s… is in it twice", sha256_to_hex(&e->object, hex));
    if (r == 1)
        r = note_object(o, &e->object, e->size, error);
    if (r < 0)
        return r;
    unsigned char *piece CLEANUP_FREE = malloc(PIECE_SIZE);
    if (!piece || cache_stream_new(store_cache(o->store), &e->object, e->size, &s) < 0)
        return error_set(error, ENOMEM, "out of memory");
    ssize_t n;
    while ((n = archive_read(o->archive, piece, PIECE_SIZE, error)) > 0) {
        cache_stream_add(s, piece, (size_t)n);
        cli_progress("%s of %s", text_format_size(o->archive->at, at), text_format_size(o->about->bytes, all));
    }
    r = n < 0 ? (int)n : cache_stream_finish(s);
    cache_stream_free(s);
    if (n == 0 && r == -EBADMSG)
        return error_set(error, EBADMSG, "object %.12s… is not what its name says", sha256_to_hex(&e->object, hex));
    return r == 1 ? import_objects_not_kept(o, error) : r;
}

int import_objects_read_packs(struct import_objects *o, struct error *error)
{
    struct archive_entry e;
    int r = pack_set_new(&o->packs, error);
    while (r == 0 && (r = archive_next(o->archive, &e, error)) == 1)
        r = e.kind == ARCHIVE_OBJECT ? read_pack(o, &e, error)
                                     : error_set(error, EBADMSG, "something else is among its objects");
    cli_progress_end();
    if (r == 0 && (o->objects != o->about->objects || o->bytes != o->about->bytes))
        r = error_set(error, EBADMSG, "it holds less than it says");
    return r;
}

int import_objects_check_packs(struct import_objects *o, struct version *version, struct error *error)
{
    struct pack_set *wanted CLEANUP(pack_set_free) = NULL;
    size_t came = pack_set_count(o->packs);
    char hex[SHA256_HEX_SIZE];
    int r = pack_set_new(&wanted, error);
    if (r == 0)
        r = pack_set_add(wanted, version, error);
    if (r == -ENOENT)
        return error_set(error, EBADMSG, "a pack with a part of the version's map is not in it");
    for (size_t k = 0; r >= 0 && k < pack_set_count(wanted); k++) {
        struct whole_object pack = pack_set_get(wanted, k);
        r = pack_set_put(o->packs, &pack, error);
        if (r == 1)
            return error_set(error, EBADMSG, "pack %.12s… of the version is not in it", sha256_to_hex(&pack.name, hex));
    }
    if (r >= 0 && pack_set_count(wanted) != came)
        r = error_set(error, EBADMSG, "it holds objects that the version does not need");
    return r < 0 ? r : 0;
}

void import_objects_take_back(const struct import_objects *o)
{
    cache_remove_objects(store_cache(o->store), (const struct sha256 *)o->placed.data,
                         o->placed.size / sizeof(struct sha256));
}

void import_objects_free(struct import_objects *o)
{
    pack_set_free(&o->packs);
    buf_free(&o->placed);
}
