// Where copied objects come to stand (object_copy.h): in the cache, through its streams; in a site's folder, through a
// temporary that is synced before it gets its name.
#include "base/io.h"
#include "base/text.h"
#include "blockstore/object_copy.h"
#include "blockstore/pack.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

// --- the cache -----------------------------------------------------------------------------------------------------

static bool cache_has(void *context, const struct whole_object *object)
{
    return cache_has_object(context, &object->name); // what is in objects/ was whole; its reader hashes it
}

static int cache_begin(void *context, const struct whole_object *object, void **ret, struct error *error)
{
    struct cache_stream *s;
    int r = cache_stream_new(context, &object->name, object->size, &s);
    if (r < 0)
        return error_set(error, -r, "out of memory");
    *ret = s;
    return 0;
}

static int cache_restart(void *stream)
{
    return cache_stream_restart(stream);
}

static int cache_add(void *stream, const void *bytes, size_t n)
{
    return cache_stream_add(stream, bytes, n);
}

static int cache_finish(void *stream)
{
    int r = cache_stream_finish(stream);
    return r == 1 ? -ENOSPC : r;
}

static void cache_end(void *stream)
{
    cache_stream_free(stream);
}

static int cache_explain(void *context, int result, struct error *error)
{
    struct cache *cache = context;
    char limit[32];
    int why = cache_write_failure(cache);
    return error_set(error, -result,
                     "the cache %s does not keep what is fetched (%s; its limit is %s): free space there, raise the "
                     "limit, or name another cache with RONDO_CACHE",
                     cache_folder(cache), why ? strerror(-why) : "it is too small",
                     text_format_size(cache_limit(cache), limit));
}

struct object_target object_copy_to_cache(struct cache *cache)
{
    return (struct object_target){.has = cache_has,
                                  .begin = cache_begin,
                                  .restart = cache_restart,
                                  .add = cache_add,
                                  .finish = cache_finish,
                                  .end = cache_end,
                                  .explain = cache_explain,
                                  .context = cache};
}

// --- a site's folder -----------------------------------------------------------------------------------------------

struct site_stream {
    struct site *site;
    struct whole_object wanted;
    struct hash_stream *hash;
    struct site_object object;
    int fd; // of the temporary; −1: it was placed
    uint32_t added;
};

static bool site_has(void *context, const struct whole_object *object)
{
    struct sha256 actual;
    struct stat st;
    int fd = site_open_object(context, &object->name);
    if (fd < 0)
        return false;
    bool right = io->fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                 (object->size == 0 || st.st_size == (off_t)object->size) && sha256_of_file(fd, &actual, NULL) == 0 &&
                 sha256_equal(&actual, &object->name);
    io->close(fd);
    // Who placed it may not have come to make its name durable.
    return right && site_sync_object(context, &object->name) == 0;
}

static void site_end(void *stream)
{
    struct site_stream *s = stream;
    if (s->fd >= 0) {
        site_drop_temporary(s->site, s->object.temporary);
        io->close(s->fd);
    }
    hash_stream_free(&s->hash);
    free(s);
}

static int site_begin(void *context, const struct whole_object *object, void **ret, struct error *error)
{
    struct site_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(error, ENOMEM, "out of memory");
    *s = (struct site_stream){.site = context, .wanted = *object, .fd = -1, .hash = hash_stream_new()};
    s->object.name = object->name;
    if (s->hash)
        s->fd = site_make_temporary(s->site, s->object.temporary, error);
    if (s->fd < 0) {
        int r = s->hash ? s->fd : error_set(error, ENOMEM, "out of memory");
        site_end(s);
        return r;
    }
    *ret = s;
    return 0;
}

static int site_restart(void *stream)
{
    struct site_stream *s = stream;
    if (s->added > 0)
        hash_stream_end(s->hash);
    s->added = 0; // the same bytes will be written over the old ones
    return 0;
}

static int site_add(void *stream, const void *bytes, size_t n)
{
    struct site_stream *s = stream;
    if (n > (s->wanted.size ? s->wanted.size : PACK_SIZE_MAXIMUM) - s->added)
        return -EBADMSG;
    int r = io_write_full(s->fd, bytes, n, s->added);
    if (r < 0)
        return r;
    hash_stream_add(s->hash, bytes, n);
    s->added += (uint32_t)n;
    return 0;
}

static int site_finish(void *stream)
{
    struct site_stream *s = stream;
    struct sha256 actual = hash_stream_end(s->hash);
    const uint32_t size = s->added;
    bool right = (s->wanted.size == 0 || size == s->wanted.size) && sha256_equal(&actual, &s->wanted.name);
    s->added = 0;
    if (!right)
        return -EBADMSG;
    // Whoever came first may have sent more than the object has, if nobody knew how much that is.
    int r = s->wanted.size == 0 && io->ftruncate(s->fd, (off_t)size) < 0 ? -errno : 0;
    if (r == 0 && io->fsync(s->fd) < 0)
        r = -errno;
    int closed = io_close(s->fd);
    r = r < 0 ? r : closed;
    if (r == 0)
        r = site_place_objects(s->site, &s->object, 1, NULL);
    if (r < 0)
        site_drop_temporary(s->site, s->object.temporary);
    s->fd = -1;
    return r;
}

static int site_explain(void *context, int result, struct error *error)
{
    return site_write_failed(context, error, result, "an object");
}

struct object_target object_copy_to_site(struct site *site)
{
    return (struct object_target){.has = site_has,
                                  .begin = site_begin,
                                  .restart = site_restart,
                                  .add = site_add,
                                  .finish = site_finish,
                                  .end = site_end,
                                  .explain = site_explain,
                                  .context = site};
}
