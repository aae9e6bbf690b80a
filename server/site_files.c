// Opening files of a site. The kernel itself keeps every open below the site's folder (openat2 with RESOLVE_BENEATH
// and RESOLVE_NO_SYMLINKS); where it cannot, each part of the name is opened by itself with O_NOFOLLOW, which comes
// to the same for names without "..". server/site_path.c has checked the name before: two independent walls.
//
// Validators. An object's tag is its name, since its bytes are. Everything else is replaced by rename, so a change
// shows in inode, size or times; the tag is a hash of these (hashed, for inode numbers are nobody's business).
// Last-Modified counts whole seconds: it is given only for files that are SETTLED_SECONDS old, so that no two
// contents were ever given the same date.

#include "server/site_files.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/io.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>

#include "base/banned.h"

#define SETTLED_SECONDS 2

// O_NONBLOCK: the open of a FIFO would wait for a writer. It means nothing for regular files.
#define FILE_FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

static const struct {
    const char *suffix, *type;
} content_types[] = {
    {".html", "text/html; charset=utf-8"},
    {".htm", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".txt", "text/plain; charset=utf-8"},
    {".md", "text/plain; charset=utf-8"},
    {".pub", "text/plain; charset=utf-8"},
    {".minisig", "text/plain; charset=utf-8"},
    {".rondo", "text/plain; charset=utf-8"},
    {".json", "application/json"},
    {".xml", "application/xml"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".jpg", "image/jpeg"},
    {".jpeg", "image/jpeg"},
    {".gif", "image/gif"},
    {".webp", "image/webp"},
    {".ico", "image/vnd.microsoft.icon"},
    {".woff2", "font/woff2"},
    {".wasm", "application/wasm"},
};

static const char *content_type_of(const char *name)
{
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < ARRAY_SIZE(content_types); i++)
        if (strcasecmp(dot, content_types[i].suffix) == 0)
            return content_types[i].type;
    return "application/octet-stream";
}

static int open_by_kernel(int folder, const char *name, int flags)
{
    struct open_how how = {
        .flags = (unsigned)flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };

    // EAGAIN: something on the way was renamed meanwhile, so the kernel could not vouch for the walk. EINTR: a
    // network file system.
    for (int tries = 0; tries < 16; tries++) {
        long fd = syscall(SYS_openat2, folder, name, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
    return -EAGAIN;
}

static int open_by_parts(int folder, const char *name)
{
    int here CLEANUP_CLOSE = -1;
    const char *slash;

    for (; (slash = strchr(name, '/')); name = slash + 1) {
        char part[256];
        if ((size_t)(slash - name) >= sizeof part || slash == name)
            return -ENOENT;
        memcpy(part, name, (size_t)(slash - name));
        part[slash - name] = '\0';
        if (strcmp(part, "..") == 0)
            return -ENOENT;

        int next = io_open(here < 0 ? folder : here, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (next < 0)
            return next;
        if (here >= 0)
            close(here);
        here = next;
    }
    if (strcmp(name, "..") == 0)
        return -ENOENT;
    return io_open(here < 0 ? folder : here, name, FILE_FLAGS | O_NOFOLLOW, 0);
}

int site_files_open(const char *folder, struct site_files *ret, struct error *error)
{
    int fd CLEANUP_CLOSE = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return error_set(error, ENOENT, "there is no folder %s: name a site's folder, or publish into it first",
                         folder);
    if (fd < 0 && errno == ENOTDIR)
        return error_set(error, EINVAL, "%s is not a folder: name the folder that holds catalog.rondo", folder);
    if (fd < 0)
        return error_set(error, errno, "cannot open folder %s: %m", folder);

    int probe CLEANUP_CLOSE = open_by_kernel(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    ret->has_openat2 = probe >= 0;
    ret->folder = TAKE_FD(fd);
    return 0;
}

bool site_files_has_catalog(const struct site_files *site)
{
    return faccessat(site->folder, SITE_PATH_CATALOG, F_OK, 0) == 0;
}

void site_files_close(struct site_files *site)
{
    cleanup_close(&site->folder);
    site->folder = -1;
}

static void describe_object(struct site_file *file, const char *name)
{
    (void)snprintf(file->tag, sizeof file->tag, "\"%.64s\"", name + strlen("objects/ab/"));
    file->content_type = "application/octet-stream";
    file->cache_control = "public, max-age=31536000, immutable";
}

static void describe_other(struct site_file *file, const struct site_path *path, const struct stat *st)
{
    const struct {
        uint64_t device, inode, size;
        int64_t modified, modified_ns, changed, changed_ns;
    } identity = {
        .device = st->st_dev,
        .inode = st->st_ino,
        .size = (uint64_t)st->st_size,
        .modified = st->st_mtim.tv_sec,
        .modified_ns = st->st_mtim.tv_nsec,
        .changed = st->st_ctim.tv_sec,
        .changed_ns = st->st_ctim.tv_nsec,
    };
    struct sha256 hash = sha256_of(&identity, sizeof identity);
    char hex[SHA256_HEX_SIZE];

    (void)snprintf(file->tag, sizeof file->tag, "\"%.32s\"", sha256_to_hex(&hash, hex));
    file->content_type = content_type_of(path->name);
    // The catalog: FORMATS says that a client asks at most once a minute. Pages: cached, but asked for each time.
    file->cache_control =
        path->kind == SITE_PATH_CATALOG_FILE ? "public, max-age=60, must-revalidate" : "public, no-cache";
}

int site_files_open_file(const struct site_files *site, const struct site_path *path, struct site_file *ret)
{
    int fd CLEANUP_CLOSE = site->has_openat2 ? open_by_kernel(site->folder, path->name, FILE_FLAGS)
                                             : open_by_parts(site->folder, path->name);
    struct site_file file = {.fd = -1};
    struct stat st;

    // A link, a socket, a way out of the folder: to the outside there is no such file.
    if (fd == -ELOOP || fd == -EXDEV || fd == -ENOTDIR || fd == -ENXIO || fd == -ENAMETOOLONG)
        return -ENOENT;
    if (fd < 0)
        return fd;
    if (io->fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -ENOENT;
    if (path->kind == SITE_PATH_PAGE && !(st.st_mode & S_IROTH))
        return -EACCES;

    file.size = (uint64_t)st.st_size;
    if (path->kind == SITE_PATH_OBJECT)
        describe_object(&file, path->name);
    else
        describe_other(&file, path, &st);
    if (st.st_mtim.tv_sec + SETTLED_SECONDS <= io_realtime_seconds())
        conditions_format_date(st.st_mtim.tv_sec, file.last_modified);
    file.fd = TAKE_FD(fd);
    *ret = file;
    return 0;
}
