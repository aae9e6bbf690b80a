// rondo export IMAGE FILE: all of a version in one file (blockstore/archive.h), for where there is no network.
//
//   resolve ─▶ packs that are missing in the cache are fetched whole ─▶ archive: roots, catalog, shard, manifest, packs
//
// The file is written aside and renamed, so that it is there whole or not at all; what a killed export left aside, the
// next one into that folder takes away. "-" is standard output. Every object is hashed once more on its way from the
// cache: what has rotten there is fetched again, and never exported.
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "blockstore/archive.h"
#include "blockstore/object_copy.h"
#include "client/cli.h"
#include "client/export_roots.h"
#include "client/images.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>

#include "base/banned.h"

#define TEMPORARY IO_TEMPORARY_PREFIX "export-"
#define TRIES 2u // to have an object of the cache that is whole and right

struct export
{
    struct images images;
    struct resolved resolved;
    struct object_copy copy;
    struct export_roots roots;
    struct pack_set *objects; // the shard (if any), the manifest, the packs
    const char *path;         // for messages
    int lease;                // of the version, so that nothing of it is evicted meanwhile
    int fd;
    bool stream; // standard output, which cannot be written at an offset
    uint64_t at; // bytes written
    uint64_t all;
};

// --- what belongs to it --------------------------------------------------------------------------------------------

static void report_fetch(void *context, uint64_t bytes)
{
    char text[32];
    (void)context;
    cli_progress("%s are here", text_format_size(bytes, text));
}

static int copy(struct export *e, size_t first, struct error *error)
{
    return object_copy_run(&e->copy, e->objects, first, pack_set_count(e->objects), error);
}

static int list_objects(struct export *e, struct version *v, struct error *error)
{
    size_t manifest_size;
    version_manifest_bytes(v, &manifest_size);
    const struct catalog_shard *shard = &e->resolved.shard;
    int r = pack_set_new(&e->objects, error);
    if (r < 0)
        return r;
    if (shard->size > 0)
        r = pack_set_put(e->objects, &(struct whole_object){shard->object, shard->size}, error);
    if (r >= 0)
        r = pack_set_put(e->objects, &(struct whole_object){e->resolved.manifest, (uint32_t)manifest_size}, error);
    size_t first = pack_set_count(e->objects);
    if (r >= 0)
        r = pack_set_add_first(e->objects, v, error);
    if (r >= 0)
        r = copy(e, first, error); // with these here, the rest is known without asking
    if (r >= 0)
        r = pack_set_add(e->objects, v, error);
    return r < 0 ? r : copy(e, 0, error);
}

static int fetch(struct export *e, const char *image, struct error *error)
{
    struct version *v = NULL;
    struct resolved *s = &e->resolved;
    int r = images_resolve(&e->images, image, s, error);
    if (r < 0)
        return r;
    r = images_open_version(&e->images, s, &v, error);
    if (r == 0)
        e->lease = cache_lease(store_cache(e->images.store), &s->manifest);
    if (r == 0 && s->source_count)
        r = mirrors_new(store_transport(e->images.store), (const char *const *)s->sources, s->source_count,
                        &e->copy.mirrors, error);
    if (r == 0)
        r = list_objects(e, v, error);
    cli_progress_end();
    version_close(v);
    if (r == -ENOENT && s->offline) // a pull would not do: it needs not all of a pack
        return error_set(error, ENONET,
                         "not all packs of %s %s are whole in the cache; without --offline, rondo export fetches them",
                         s->description->name, s->description->version);
    return r;
}

// --- the file ------------------------------------------------------------------------------------------------------

static int write_stream(int fd, const unsigned char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno == EINTR && !cli_interrupted())
            continue;
        if (done < 0)
            return -errno;
        bytes += done;
        n -= (size_t)done;
    }
    return 0;
}

static int put(struct export *e, const void *bytes, size_t n, struct error *error)
{
    int r = e->stream ? write_stream(e->fd, bytes, n) : io_write_full(e->fd, bytes, n, e->at);
    if (r == -EINTR)
        return error_set(error, ECANCELED, "cancelled");
    if (r < 0)
        return error_set(error, -r, "cannot write %s: %s%s", e->path, strerror(-r),
                         r == -ENOSPC || r == -EDQUOT ? "; make room and give the same command again" : "");
    e->at += n;
    return 0;
}

static int put_entry(struct export *e, const struct archive_entry *entry, const void *bytes, struct error *error)
{
    static const unsigned char zeros[ARCHIVE_BLOCK];
    unsigned char header[ARCHIVE_BLOCK];
    archive_format_header(entry, header);
    int r = put(e, header, sizeof(header), error);
    if (r == 0)
        r = put(e, bytes, entry->size, error);
    return r < 0 ? r : put(e, zeros, archive_padding(entry->size), error);
}

static int put_description(struct export *e, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ARCHIVE_DESCRIPTION_MAXIMUM);
    const struct resolved *s = &e->resolved;
    struct archive_description d = {.manifest = s->manifest, .objects = pack_set_count(e->objects)};
    snprintf(d.site, sizeof(d.site), "%s", s->address.site);
    snprintf(d.name, sizeof(d.name), "%s", s->description->name);
    snprintf(d.version, sizeof(d.version), "%s", s->description->version);
    for (size_t i = 0; i < pack_set_count(e->objects); i++)
        d.bytes += pack_set_get(e->objects, i).size;
    e->all = d.bytes;
    int r = archive_format_description(&d, &text);
    if (r < 0)
        return error_set(error, -r, "out of memory");
    return put_entry(e, &(struct archive_entry){.kind = ARCHIVE_DESCRIPTION, .size = (uint32_t)text.size}, text.data,
                     error);
}

static int put_roots(struct export *e, struct error *error)
{
    int r = 0;
    for (unsigned i = 0; i < e->roots.count && r == 0; i++) {
        const struct buf *file = &e->roots.files[i];
        r = put_entry(
            e, &(struct archive_entry){.kind = ARCHIVE_ROOT, .root = e->roots.first + i, .size = (uint32_t)file->size},
            file->data, error);
    }
    return r;
}

static int put_object(struct export *e, size_t i, struct error *error)
{
    const struct whole_object object = pack_set_get(e->objects, i);
    CLEANUP_FREE void *bytes = NULL;
    char hex[SHA256_HEX_SIZE];
    size_t n = 0;
    int r = -ENOENT;
    for (unsigned try = 0; try < TRIES && r == -ENOENT; try++) {
        r = try == 0 ? 0 : object_copy_run(&e->copy, e->objects, i, i + 1, error);
        if (r == 0)
            r = cache_get_object(store_cache(e->images.store), &object.name, object.size, &bytes, &n);
        else
            return r;
    }
    if (r < 0 || n != object.size)
        return error_set(error, r < 0 && r != -ENOENT ? -r : EIO, "object %s cannot be read from the cache %s",
                         sha256_to_hex(&object.name, hex), cache_folder(store_cache(e->images.store)));
    return put_entry(e, &(struct archive_entry){.kind = ARCHIVE_OBJECT, .object = object.name, .size = object.size},
                     bytes, error);
}

static int put_all(struct export *e, struct error *error)
{
    static const unsigned char end[ARCHIVE_END_SIZE];
    const struct buf *catalog = &e->resolved.catalog;
    char at[32], all[32];
    int r = put_description(e, error);
    if (r == 0)
        r = put_roots(e, error);
    if (r == 0)
        r = put_entry(e, &(struct archive_entry){.kind = ARCHIVE_CATALOG, .size = (uint32_t)catalog->size},
                      catalog->data, error);
    for (size_t i = 0; i < pack_set_count(e->objects) && r == 0; i++) {
        cli_progress("%s of %s written", text_format_size(e->at, at), text_format_size(e->all, all));
        r = cli_interrupted() ? error_set(error, ECANCELED, "cancelled") : put_object(e, i, error);
    }
    cli_progress_end();
    return r < 0 ? r : put(e, end, sizeof(end), error);
}

// The folder of a path, and the name in it.
static int open_folder(const char *path, const char **ret_name, struct error *error)
{
    char folder[PATH_TEXT_SIZE];
    struct stat st;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    int r = slash ? path_format(folder, sizeof(folder), "%.*s", (int)(slash - path) + 1, path)
                  : path_format(folder, sizeof(folder), ".");
    if (r < 0)
        return error_set(error, -r, "the path %s is too long", path);
    // What is no file would be replaced by one.
    if (name[0] == '\0' || (stat(path, &st) == 0 && !S_ISREG(st.st_mode)))
        return error_set(error, EINVAL, "%s is no file; name one, or - for standard output", path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, errno, "cannot write %s: %s: %s", path, folder, strerror(errno));
    *ret_name = name;
    return fd;
}

// What an export left that was killed: nobody holds its lock.
static int sweep_one(void *context, int folder, const char *entry)
{
    (void)context;
    struct stat st;
    if (strncmp(entry, TEMPORARY, strlen(TEMPORARY)) != 0)
        return 0;
    CLEANUP_CLOSE int fd = io_open(folder, entry, O_WRONLY | O_NONBLOCK, 0);
    if (fd >= 0 && io->fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0)
        io->unlinkat(folder, entry, 0);
    return 0;
}

// A file of our own, locked so that nobody sweeps it.
static int make_temporary(int folder, char ret_name[static sizeof(TEMPORARY) + 16])
{
    struct stat st;
    uint64_t random;
    for (;;) {
        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
            return -EIO;
        snprintf(ret_name, sizeof(TEMPORARY) + 16, TEMPORARY "%016llx", (unsigned long long)random);
        CLEANUP_CLOSE int fd = io_open(folder, ret_name, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (fd < 0)
            return fd;
        const bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (!locked && errno != EWOULDBLOCK)
            return TAKE_FD(fd); // a file system without locks
        if (locked && io->fstat(fd, &st) == 0 && st.st_nlink > 0)
            return TAKE_FD(fd);
    } // somebody swept it between its making and its lock
}

static int write_file(struct export *e, int folder, const char *name, struct error *error)
{
    char temporary[sizeof(TEMPORARY) + 16];
    folder_walk(folder, ".", sweep_one, NULL);
    e->fd = make_temporary(folder, temporary);
    if (e->fd < 0)
        return error_set(error, -e->fd, "cannot write %s: %s", e->path, strerror(-e->fd));
    CLEANUP_CLOSE int lock = fcntl(e->fd, F_DUPFD_CLOEXEC, 0); // the same, until it has its name
    (void)lock;
    int r = put_all(e, error);
    int end = r == 0 && io->fsync(e->fd) < 0 ? -errno : 0;
    int closed = io_close(e->fd);
    end = end < 0 ? end : closed;
    if (r == 0 && end == 0 && io->renameat(folder, temporary, folder, name) < 0)
        end = -errno;
    if (r < 0 || end < 0)
        io->unlinkat(folder, temporary, 0);
    else if (io->fsync(folder) < 0 && errno != EINVAL) // which says that there are no folders to sync
        end = -errno;
    return r == 0 && end < 0 ? error_set(error, -end, "cannot write %s: %s", e->path, strerror(-end)) : r;
}

static int export(struct export *e, const char *image, struct error *error)
{
    const char *name = NULL;
    char size[32], hex[SHA256_HEX_SIZE];
    int folder CLEANUP_CLOSE = e->stream ? -1 : open_folder(e->path, &name, error);
    if (folder < 0 && !e->stream)
        return folder;
    e->copy = (struct object_copy){.target = object_copy_to_cache(store_cache(e->images.store)),
                                   .wait_seconds = e->images.configuration.outage_seconds,
                                   .progress = report_fetch};
    int r = fetch(e, image, error);
    if (r == 0)
        r = export_roots_get(e->images.store, &e->resolved, &e->roots, error);
    if (r < 0)
        return r;
    cli_catch_signals(); // from here on there is a temporary to take away
    e->fd = STDOUT_FILENO;
    r = e->stream ? put_all(e, error) : write_file(e, folder, name, error);
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: %s %s is in %s: %s; rondo import takes it in, anywhere\n", e->resolved.description->name,
            e->resolved.description->version, e->path, text_format_size(e->at, size));
    if (!e->stream)
        printf("%s\n", sha256_to_hex(&e->resolved.manifest, hex));
    return 0;
}

int verb_export(int argc, char **argv)
{
    struct export e = {.lease = -1};
    const struct option options[] = {IMAGES_OPTIONS(e.images), {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 2, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    e.path = argv[2];
    e.stream = strcmp(argv[2], "-") == 0;
    if (e.stream && isatty(STDOUT_FILENO))
        return cli_usage("export", "an archive is nothing for a terminal: name a file, or redirect the output");
    if (e.stream)
        e.path = "standard output";
    cli_cancel_on_signals();
    r = images_open(&e.images, &error);
    if (r < 0)
        return cli_fail(r, &error);
    r = export(&e, argv[1], &error);
    cache_end_lease(store_cache(e.images.store), &e.resolved.manifest, e.lease);
    export_roots_free(&e.roots);
    pack_set_free(&e.objects);
    mirrors_free(e.copy.mirrors);
    resolve_free(&e.resolved);
    images_close(&e.images);
    return cli_end(r, &error);
}
