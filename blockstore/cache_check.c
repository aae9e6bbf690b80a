// See cache_check.h. What is mended:
//
//   a whole pack that does not hash    goes to partial/, where its right chunks serve on (cache_distrust)
//   any other object                   removed: it comes again when somebody wants it
//   a wrong chunk of an incomplete pack   its first byte becomes zero, and so it is absent
//   a file that is none of ours        removed, unless it is a folder
//
//   1. A file that vanishes on the way was evicted, one that appears was fetched: neither is a problem.
//   2. A chunk may be seen while it is being written: one that is wrong is read again after a moment.
//   3. A reference is believed only as far as the manifest that leads to it hashes. It may still lie, when its
//   publisher
//      did: a right chunk of somebody else's is then fetched once more.
#include "blockstore/cache_check.h"
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/parallel.h"
#include "blockstore/cache_private.h"
#include "blockstore/manifest.h"
#include "blockstore/pack.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define PIECE_SIZE (256u << 10)
#define LOOK_AGAIN_MS 100u

struct check {
    struct cache *c;
    const struct cache_check *o;
    struct cache_walk files;
    enum cache_place place; // that is looked over for foreign files
    char folder[3];
    pthread_mutex_t mutex; // the rest
    struct cache_checked sum;
    uint64_t done, all;
    struct buf manifests;  // names of those that are whole
    unsigned char *stored; // room for a page
    // The pack that a chunk was last looked for in.
    struct sha256 pack;
    bool pack_is_partial;
};

static void tell(struct check *k, const char *path, const char *what, bool mended)
{
    pthread_mutex_lock(&k->mutex);
    k->sum.problems++;
    k->sum.mended += mended;
    k->o->problem(k->o->context, path, what, mended);
    pthread_mutex_unlock(&k->mutex);
}

static const char *path_of(enum cache_place place, const struct sha256 *name, char path[static 96])
{
    char hex[SHA256_HEX_SIZE];
    sha256_to_hex(name, hex);
    snprintf(path, 96, "%s/%.2s/%s", place == CACHE_OBJECTS ? "objects" : "partial", hex, hex);
    return path;
}

// --- whole objects -------------------------------------------------------------------------------------------------

// Hashes an open file; *ret_head gets its first bytes.
static int hash_file(struct check *k, int fd, uint64_t size, struct sha256 *ret, unsigned char ret_head[static 16])
{
    unsigned char *piece CLEANUP_FREE = malloc(PIECE_SIZE);
    struct hash_stream *hash CLEANUP(hash_stream_free) = hash_stream_new();
    if (!piece || !hash)
        return -ENOMEM;
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < PIECE_SIZE ? (size_t)(size - at) : PIECE_SIZE;
        int r = io_read_full(fd, piece, n, at);
        if (r < 0)
            return r;
        if (at == 0)
            memcpy(ret_head, piece, n < 16 ? n : 16);
        hash_stream_add(hash, piece, n);
        at += n;
        pthread_mutex_lock(&k->mutex);
        k->done += n;
        pthread_mutex_unlock(&k->mutex);
    }
    *ret = hash_stream_end(hash);
    return 0;
}

static bool drop_object(struct check *k, int folder, const struct sha256 *name, bool is_pack)
{
    char hex[SHA256_HEX_SIZE];
    if (!k->o->repair)
        return false;
    if (is_pack)
        cache_distrust(k->c, name);
    else
        io->unlinkat(folder, sha256_to_hex(name, hex), 0);
    return !cache_has_object(k->c, name);
}

static int check_object(void *context, size_t i)
{
    struct check *k = context;
    const struct cache_file *file = &k->files.files[i];
    char hex[SHA256_HEX_SIZE], path[96];
    unsigned char head[16] = {0};
    struct sha256 actual;
    struct stat st;
    if (file->place != CACHE_OBJECTS)
        return 0;
    int folder CLEANUP_CLOSE = cache_open_folder(k->c, CACHE_OBJECTS, &file->name, false);
    int fd CLEANUP_CLOSE =
        folder < 0 ? folder : io_open(folder, sha256_to_hex(&file->name, hex), O_RDONLY | O_NONBLOCK, 0);
    if (fd == -ENOENT)
        return 0;
    path_of(CACHE_OBJECTS, &file->name, path);
    int r = fd < 0 ? fd : cache_is_ours(fd, &st) ? 0 : -ENOENT;
    if (r == 0)
        r = hash_file(k, fd, (uint64_t)st.st_size, &actual, head);
    if (r == -ENOENT || r == -ENOMEM || r == -EMFILE || r == -ENFILE)
        return r == -ENOENT ? 0 : r;
    bool is_pack = memcmp(head, PACK_MAGIC, PACK_MAGIC_SIZE) == 0;
    if (r < 0) {
        tell(k, path, strerror(-r), drop_object(k, folder, &file->name, false));
        return 0;
    }
    if (!sha256_equal(&actual, &file->name)) {
        tell(k, path, "its bytes do not hash to its name", drop_object(k, folder, &file->name, is_pack));
        return 0;
    }
    pthread_mutex_lock(&k->mutex);
    k->sum.objects++;
    k->sum.object_bytes += (uint64_t)st.st_size;
    if (st.st_size <= MANIFEST_SIZE_MAXIMUM && memcmp(head, "rondo-manifest 1", 16) == 0)
        r = buf_append(&k->manifests, &file->name, sizeof(file->name));
    pthread_mutex_unlock(&k->mutex);
    return r;
}

static int tick(void *context)
{
    struct check *k = context;
    pthread_mutex_lock(&k->mutex);
    uint64_t done = k->done < k->all ? k->done : k->all;
    pthread_mutex_unlock(&k->mutex);
    return k->o->progress && k->o->progress(k->o->context, done, k->all) != 0 ? -ECANCELED : 0;
}

// --- incomplete packs ----------------------------------------------------------------------------------------------

// 0: right; -ENOENT: not there; -EBADMSG: something else is.
static int look_at_chunk(struct check *k, const struct chunk_reference *ref)
{
    int r = 0;
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        struct timespec moment = {.tv_nsec = LOOK_AGAIN_MS * 1000000l};
        if (attempt > 0)
            nanosleep(&moment, NULL);
        r = cache_peek(k->c, &ref->pack.name, ref->offset, k->stored, ref->length);
        if (r < 0)
            return r == -EIO ? -EBADMSG : r;
        struct sha256 actual = sha256_of(k->stored, ref->length);
        if (sha256_equal(&actual, &ref->name))
            return 0;
    }
    return -EBADMSG;
}

static bool erase_chunk(struct check *k, const struct chunk_reference *ref)
{
    static const unsigned char zero = 0;
    char hex[SHA256_HEX_SIZE];
    struct stat st;
    if (!k->o->repair)
        return false;
    int folder CLEANUP_CLOSE = cache_open_folder(k->c, CACHE_PARTIAL, &ref->pack.name, false);
    int fd CLEANUP_CLOSE =
        folder < 0 ? folder : io_open(folder, sha256_to_hex(&ref->pack.name, hex), O_WRONLY | O_NONBLOCK, 0);
    return fd >= 0 && cache_is_ours(fd, &st) && io_write_full(fd, &zero, 1, ref->offset) == 0;
}

static void check_chunk(struct check *k, const struct chunk_reference *ref)
{
    char path[96], what[128];
    if (ref->length > PAGE_STORED_MAXIMUM)
        return;
    if (!sha256_equal(&ref->pack.name, &k->pack)) {
        k->pack = ref->pack.name;
        k->pack_is_partial = !cache_has_object(k->c, &ref->pack.name);
    }
    int r = k->pack_is_partial ? look_at_chunk(k, ref) : -ENOENT;
    if (r == 0)
        k->sum.chunks++;
    if (r != -EBADMSG)
        return;
    snprintf(what, sizeof(what), "the chunk of %u bytes at %u is damaged", ref->length, ref->offset);
    tell(k, path_of(CACHE_PARTIAL, &ref->pack.name, path), what, erase_chunk(k, ref));
}

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    struct check *k = context;
    (void)error;
    if (tick(k) != 0)
        return -ECANCELED;
    check_chunk(k, ref);
    int r = cache_peek(k->c, &ref->pack.name, ref->offset, to, ref->length);
    if (r < 0)
        return -ENOENT;
    struct sha256 actual = sha256_of(to, ref->length);
    return sha256_equal(&actual, &ref->name) ? 0 : -ENOENT;
}

static int check_page(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct check *k = context;
    struct chunk_reference ref;
    (void)error;
    (void)first;
    if (page->level > 0)
        return 0;
    for (unsigned i = 0; i < page->references; i++)
        if (map_page_reference(page, i, &ref))
            check_chunk(k, &ref);
    return 0;
}

static int check_version(struct check *k, const struct sha256 *name)
{
    void *bytes CLEANUP_FREE = NULL;
    size_t size;
    struct manifest *m CLEANUP_FREE = malloc(sizeof(*m));
    struct map_walk walk = {.read = read_page, .each = check_page, .context = k};
    if (!m)
        return -ENOMEM;
    int r = cache_get_object(k->c, name, MANIFEST_SIZE_MAXIMUM, &bytes, &size);
    if (r < 0 || manifest_parse(bytes, size, m, NULL) < 0)
        return r == -ENOMEM ? r : 0; // evicted meanwhile; or nobody can run it
    for (unsigned i = 0; i < m->member_count && (r == 0 || r == -EBADMSG); i++)
        r = map_walk_member(&walk, &m->members[i], NULL); // -EBADMSG: a page that its publisher made malformed
    return r == -EBADMSG ? 0 : r;
}

static int check_versions(struct check *k)
{
    int r = 0;
    for (size_t at = 0; at + sizeof(struct sha256) <= k->manifests.size && r == 0; at += sizeof(struct sha256)) {
        struct sha256 name;
        memcpy(&name, k->manifests.data + at, sizeof(name));
        r = check_version(k, &name);
    }
    return r;
}

// --- foreign files -------------------------------------------------------------------------------------------------

static void check_foreign(struct check *k, int folder, const char *name, const char *what)
{
    char path[320];
    snprintf(path, sizeof(path), "%s/%s%s%s", k->place == CACHE_OBJECTS ? "objects" : "partial", k->folder,
             k->folder[0] ? "/" : "", name);
    tell(k, path, what, k->o->repair && io->unlinkat(folder, name, 0) == 0);
}

static int look_at_file(void *context, int folder, const char *name)
{
    struct check *k = context;
    struct sha256 hash;
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (!sha256_from_hex(name, strlen(name), &hash) || strncmp(name, k->folder, 2) != 0)
        check_foreign(k, folder, name, "its name is none of an object here");
    else if (!S_ISREG(st.st_mode))
        check_foreign(k, folder, name, "it is no regular file");
    else if (st.st_uid != geteuid())
        check_foreign(k, folder, name, "it is another user's");
    return 0;
}

static int look_at_folder(void *context, int folder, const char *name)
{
    struct check *k = context;
    int r = -ENOTDIR;
    if (strncmp(name, CACHE_TEMPORARY_PREFIX, strlen(CACHE_TEMPORARY_PREFIX)) == 0)
        return 0;
    k->folder[0] = '\0';
    if (strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2) {
        memcpy(k->folder, name, sizeof(k->folder));
        r = folder_walk(folder, name, look_at_file, k);
        k->folder[0] = '\0';
    }
    if (r == -ENOTDIR || r == -ELOOP)
        check_foreign(k, folder, name, "it is no folder of objects");
    return r == -ENOMEM ? r : 0;
}

static int check_names(struct check *k)
{
    int r = 0;
    for (unsigned place = 0; place < 2 && r == 0; place++) {
        k->place = (enum cache_place)place;
        if (k->c->places[place] >= 0)
            r = folder_walk(k->c->places[place], ".", look_at_folder, k);
    }
    return r;
}

static int check_all(struct check *k)
{
    int r = cache_walk_files(k->c, &k->files);
    for (size_t i = 0; i < k->files.count; i++)
        k->all += k->files.files[i].place == CACHE_OBJECTS ? k->files.files[i].bytes : 0;
    if (r == 0)
        r = check_names(k);
    if (r == 0)
        r = parallel_each(k->files.count, check_object, tick, k);
    return r < 0 ? r : check_versions(k);
}

int cache_check(struct cache *c, const struct cache_check *options, struct cache_checked *ret, struct error *error)
{
    struct check k = {.c = c, .o = options, .manifests = BUF_WITH_MAXIMUM(64u << 20)};
    int r = (k.stored = malloc(PAGE_STORED_MAXIMUM)) ? 0 : -ENOMEM;
    pthread_mutex_init(&k.mutex, NULL);
    if (r == 0)
        r = check_all(&k);
    pthread_mutex_destroy(&k.mutex);
    cache_walk_free(&k.files);
    buf_free(&k.manifests);
    free(k.stored);
    if (r < 0)
        return error_set(error, -r, "the check of the cache %s ended before its end: %s", c->folder,
                         r == -ECANCELED ? "cancelled" : strerror(-r));
    *ret = k.sum;
    return 0;
}
