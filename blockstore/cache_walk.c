// The walk over the cache's files, and what only looks at them: measuring, and sweeping temporaries.
//
//   1. Every walk opens each folder of two digits by itself, without following links, and looks at regular files of
//      ours only.
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "blockstore/cache_private.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/banned.h"

#define SWEEP_AGE_SECONDS 60 // a temporary that was just made may not be locked yet

static int add_file(struct cache_walk *w, const struct cache_file *file)
{
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? w->capacity * 2 : 1024;
        struct cache_file *files = realloc(w->files, capacity * sizeof(*files));
        if (!files)
            return -ENOMEM;
        w->files = files;
        w->capacity = capacity;
    }
    w->files[w->count++] = *file;
    w->bytes += file->bytes;
    return 0;
}

static bool stat_own_file(int folder, const char *name, struct stat *ret)
{
    return fstatat(folder, name, ret, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret->st_mode) && ret->st_uid == geteuid();
}

static int walk_file(void *context, int folder, const char *name)
{
    struct cache_walk *w = context;
    struct cache_file file = {.place = w->place};
    struct stat st;
    if (!sha256_from_hex(name, strlen(name), &file.name) || !stat_own_file(folder, name, &st))
        return 0;
    file.used = st.st_mtim;
    file.bytes = (uint64_t)st.st_blocks * 512;
    return add_file(w, &file);
}

static bool is_folder_name(const char *name)
{
    return strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2;
}

static int walk_folder(void *context, int folder, const char *name)
{
    struct cache_walk *w = context;
    struct stat st;
    if (is_folder_name(name)) {
        int r = folder_walk(folder, name, walk_file, w);
        return r == -ENOMEM ? r : 0; // what is not a folder of ours holds nothing of ours
    }
    if (stat_own_file(folder, name, &st))
        w->bytes += (uint64_t)st.st_blocks * 512;
    return 0;
}

static int walk_place(struct cache *c, struct cache_walk *w, enum cache_place place)
{
    w->place = place;
    return c->places[place] < 0 ? 0 : folder_walk(c->places[place], ".", walk_folder, w);
}

int cache_walk_files(struct cache *c, struct cache_walk *w)
{
    struct sha256 *pins CLEANUP_FREE = NULL;
    size_t count;
    int r = cache_load_pins(c, &pins, &count);
    if (r == 0)
        r = walk_place(c, w, CACHE_PARTIAL);
    if (r == 0)
        r = walk_place(c, w, CACHE_OBJECTS);
    if (r < 0)
        return r;
    for (size_t i = 0; i < w->count; i++) {
        if (!cache_find_pin(pins, count, &w->files[i].name))
            continue;
        w->files[i].claim = CLAIM_PINNED;
        w->pinned_bytes += w->files[i].bytes;
    }
    return 0;
}

void cache_walk_free(struct cache_walk *w)
{
    free(w->files);
}

int cache_measure(struct cache *c, struct cache_usage *ret)
{
    struct cache_walk w CLEANUP(cache_walk_free) = {0};
    int r = cache_walk_files(c, &w);
    if (r < 0)
        return r;
    *ret = (struct cache_usage){.bytes = w.bytes, .pinned_bytes = w.pinned_bytes, .files = w.count};
    return 0;
}

static bool is_left_over(int folder, const char *name)
{
    struct stat st;
    if (!stat_own_file(folder, name, &st) || st.st_mtime + SWEEP_AGE_SECONDS > io_realtime_seconds())
        return false;
    int fd CLEANUP_CLOSE = io_open(folder, name, O_RDONLY | O_NONBLOCK, 0);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static int sweep_file(void *prefix, int folder, const char *name)
{
    if (strncmp(name, prefix, strlen(prefix)) == 0 && is_left_over(folder, name))
        io->unlinkat(folder, name, 0); // what stays costs space only
    return 0;
}

void cache_sweep_temporaries(struct cache *c)
{
    char pack[] = CACHE_TEMPORARY_PREFIX, other[] = IO_TEMPORARY_PREFIX;
    if (c->places[CACHE_PARTIAL] >= 0)
        (void)folder_walk(c->places[CACHE_PARTIAL], ".", sweep_file, pack);
    if (c->pins >= 0)
        (void)folder_walk(c->pins, ".", sweep_file, other);
}
