// Whole objects: how a file comes to stand in objects/, and how it leaves.
//
//   stream, put   temporary ──(hash right)──▶ objects/        else unlinked
//   complete      partial/  ──(hash right)──▶ objects/        else stays
//   distrust      objects/  ─(hash wrong)──▶ partial/         where it can be written, and healed; else stays
//
//   1. Nothing is renamed into objects/ before its whole hash was found equal to its name.
//   2. A temporary is private to its maker (O_EXCL) and locked as long as that lives, so that whoever sweeps knows
//      which ones are left over.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/cache_private.h"
#include "blockstore/pack.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/banned.h"

#define PIECE_SIZE (256u << 10) // read at a time when a whole file is hashed

struct cache_stream {
    struct cache *c;
    struct sha256 name;
    uint32_t size;  // that the whole must have
    uint32_t added; // so far
    struct hash_stream *hash;
    int fd; // of the temporary; −1: it could not be made or written, and only the hash goes on
    char temporary[CACHE_NAME_SIZE];
};

// --- into objects/ -------------------------------------------------------------------------------------------------

static int rename_to_object(struct cache *c, int from_folder, const char *from, const struct sha256 *name)
{
    char hex[SHA256_HEX_SIZE];
    int folder CLEANUP_CLOSE = cache_open_folder(c, CACHE_OBJECTS, name, true);
    if (folder < 0)
        return folder;
    if (io->renameat(from_folder, from, folder, sha256_to_hex(name, hex)) < 0)
        return -errno;
    return 0;
}

static void unlink_partial(struct cache *c, const struct sha256 *name)
{
    char hex[SHA256_HEX_SIZE];
    int folder CLEANUP_CLOSE = cache_open_folder(c, CACHE_PARTIAL, name, false);
    if (folder >= 0)
        io->unlinkat(folder, sha256_to_hex(name, hex), 0); // most often there is none
}

static int make_temporary(struct cache *c, char *name)
{
    if (c->places[CACHE_PARTIAL] < 0)
        return -EROFS;
    snprintf(name, CACHE_NAME_SIZE, CACHE_TEMPORARY_PREFIX "%ld-%u-%llx", (long)getpid(),
             atomic_fetch_add(&c->temporaries, 1), (unsigned long long)io_monotonic_ns());
    int fd = io_open(c->places[CACHE_PARTIAL], name, O_RDWR | O_CREAT | O_EXCL, 0600);
    while ((fd == -EMFILE || fd == -ENFILE) && cache_close_idle_handle(c))
        fd = io_open(c->places[CACHE_PARTIAL], name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd >= 0)
        flock(fd, LOCK_EX | LOCK_NB); // free, for nobody else knows it; a file system without locks only sweeps late
    return fd;
}

static void drop_temporary(struct cache_stream *s, int why)
{
    if (s->fd < 0)
        return;
    io->unlinkat(s->c->places[CACHE_PARTIAL], s->temporary, 0);
    io->close(s->fd);
    s->fd = -1;
    if (why < 0)
        cache_note_failure(s->c, why);
}

static void start_temporary(struct cache_stream *s)
{
    if (io_monotonic_ns() < atomic_load(&s->c->paused_until))
        return;
    s->fd = make_temporary(s->c, s->temporary);
    if ((s->fd == -ENOSPC || s->fd == -EDQUOT) && cache_make_room(s->c, s->size, NULL))
        s->fd = make_temporary(s->c, s->temporary);
    if (s->fd < 0)
        cache_note_failure(s->c, s->fd);
}

int cache_stream_new(struct cache *c, const struct sha256 *pack, uint32_t pack_size, struct cache_stream **ret)
{
    struct cache_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct cache_stream){.c = c, .name = *pack, .size = pack_size, .fd = -1};
    s->hash = hash_stream_new();
    if (!s->hash) {
        free(s);
        return -ENOMEM;
    }
    start_temporary(s);
    *ret = s;
    return 0;
}

int cache_stream_restart(struct cache_stream *s)
{
    if (s->added > 0)
        hash_stream_end(s->hash);
    s->added = 0; // the same bytes will be written over the old ones
    if (s->fd < 0)
        start_temporary(s);
    return 0;
}

bool cache_stream_keeps(const struct cache_stream *s)
{
    return s->fd >= 0;
}

int cache_stream_add(struct cache_stream *s, const void *bytes, size_t n)
{
    if (n > s->size - s->added)
        return -EBADMSG;
    if (s->fd >= 0) {
        int r = io_write_full(s->fd, bytes, n, s->added);
        if ((r == -ENOSPC || r == -EDQUOT) && cache_make_room(s->c, s->size, NULL))
            r = io_write_full(s->fd, bytes, n, s->added);
        if (r < 0)
            drop_temporary(s, r);
    }
    hash_stream_add(s->hash, bytes, n);
    s->added += (uint32_t)n;
    return 0;
}

int cache_stream_finish(struct cache_stream *s)
{
    struct sha256 actual = hash_stream_end(s->hash);
    bool right = s->added == s->size && sha256_equal(&actual, &s->name);
    s->added = 0;
    if (!right)
        return -EBADMSG;
    if (s->fd < 0)
        return 1;
    int r = rename_to_object(s->c, s->c->places[CACHE_PARTIAL], s->temporary, &s->name);
    if (r < 0) {
        drop_temporary(s, r);
        return 1;
    }
    io->close(s->fd);
    s->fd = -1;
    unlink_partial(s->c, &s->name);
    cache_forget_handle(s->c, &s->name);
    cache_account(s->c, s->size, &s->name);
    return 0;
}

void cache_stream_free(struct cache_stream *s)
{
    if (!s)
        return;
    drop_temporary(s, 0);
    hash_stream_free(&s->hash);
    free(s);
}

// --- completion and distrust ---------------------------------------------------------------------------------------

// 1 if the file has exactly `size` bytes, none of them in a hole, that hash to `name`.
static int file_is_object(int fd, const struct sha256 *name, uint32_t size)
{
    struct stat st;
    if (!cache_is_ours(fd, &st) || st.st_size != (off_t)size || lseek(fd, 0, SEEK_HOLE) < st.st_size)
        return 0;
    unsigned char *piece CLEANUP_FREE = malloc(PIECE_SIZE);
    struct hash_stream *hash CLEANUP(hash_stream_free) = hash_stream_new();
    if (!piece || !hash)
        return -ENOMEM;
    for (uint32_t at = 0; at < size;) {
        uint32_t n = size - at < PIECE_SIZE ? size - at : PIECE_SIZE;
        int r = io_read_full(fd, piece, n, at);
        if (r < 0)
            return r;
        hash_stream_add(hash, piece, n);
        at += n;
    }
    struct sha256 actual = hash_stream_end(hash);
    return sha256_equal(&actual, name);
}

int cache_complete(struct cache *c, const struct sha256 *pack, uint32_t pack_size)
{
    char hex[SHA256_HEX_SIZE];
    if (cache_has_object(c, pack))
        return 1;
    int folder CLEANUP_CLOSE = cache_open_folder(c, CACHE_PARTIAL, pack, false);
    if (folder < 0)
        return folder == -ENOENT ? 0 : folder;
    sha256_to_hex(pack, hex);
    int fd CLEANUP_CLOSE = io_open(folder, hex, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    int r = file_is_object(fd, pack, pack_size);
    if (r <= 0)
        return r;
    r = rename_to_object(c, folder, hex, pack);
    if (r < 0)
        return r;
    cache_forget_handle(c, pack);
    return 1;
}

bool cache_has_object(struct cache *c, const struct sha256 *name)
{
    char hex[SHA256_HEX_SIZE];
    struct stat st;
    int folder CLEANUP_CLOSE = cache_open_folder(c, CACHE_OBJECTS, name, false);
    return folder >= 0 && fstatat(folder, sha256_to_hex(name, hex), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && st.st_uid == geteuid();
}

// A whole object is believed rather than whoever says that it is wrong: what a reference says of its bytes may be a lie
// of that reference's publisher, and must not cost the others what they keep.
static bool object_is_right(int folder, const char *hex, const struct sha256 *name)
{
    struct stat st;
    int fd CLEANUP_CLOSE = io_open(folder, hex, O_RDONLY | O_NONBLOCK, 0);
    return fd >= 0 && cache_is_ours(fd, &st) && (uint64_t)st.st_size <= PACK_SIZE_MAXIMUM &&
           file_is_object(fd, name, (uint32_t)st.st_size) == 1;
}

void cache_distrust(struct cache *c, const struct sha256 *pack)
{
    char hex[SHA256_HEX_SIZE];
    sha256_to_hex(pack, hex);
    int from CLEANUP_CLOSE = cache_open_folder(c, CACHE_OBJECTS, pack, false);
    if (from >= 0 && !object_is_right(from, hex, pack)) {
        int to CLEANUP_CLOSE = cache_open_folder(c, CACHE_PARTIAL, pack, true);
        if (to < 0 || (io->renameat(from, hex, to, hex) < 0 && errno != ENOENT))
            io->unlinkat(from, hex, 0); // it must not stay among the whole ones, whatever it costs
    }
    cache_forget_handle(c, pack); // it may be of a file that was replaced meanwhile
}

// --- small objects -------------------------------------------------------------------------------------------------

int cache_get_object(struct cache *c, const struct sha256 *name, size_t maximum, void **ret_bytes, size_t *ret_size)
{
    char hex[SHA256_HEX_SIZE];
    void *bytes;
    size_t n;

    int folder CLEANUP_CLOSE = cache_open_folder(c, CACHE_OBJECTS, name, false);
    if (folder < 0)
        return -ENOENT;
    sha256_to_hex(name, hex);
    int r = io_read_file(folder, hex, maximum, &bytes, &n);
    if (r < 0)
        return r == -ENOMEM ? r : -ENOENT;
    struct sha256 actual = sha256_of(bytes, n);
    if (!sha256_equal(&actual, name)) {
        free(bytes);
        io->unlinkat(folder, hex, 0); // torn or rotten: the next put writes it anew
        return -ENOENT;
    }
    utimensat(folder, hex, NULL, AT_SYMLINK_NOFOLLOW); // used now; a failure only makes it older than it is
    *ret_bytes = bytes;
    *ret_size = n;
    return 0;
}

void cache_put_object(struct cache *c, const struct sha256 *name, const void *bytes, size_t n)
{
    struct cache_stream *s;
    if (n > PACK_SIZE_MAXIMUM || cache_stream_new(c, name, (uint32_t)n, &s) < 0)
        return;
    if (cache_stream_add(s, bytes, n) == 0)
        cache_stream_finish(s); // best effort: rule 5
    cache_stream_free(s);
}
