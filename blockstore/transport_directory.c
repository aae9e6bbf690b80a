// A directory as a source: a copied site, a USB stick, a mounted share. Read by the caller's own thread.
//
// 1. No path leads out of the directory: openat2 resolves below its descriptor only (RESOLVE_BENEATH, since Linux
//    5.6), whatever symbolic links stand in it. Nothing but a regular file is read, and opening one never blocks.
// 2. The medium may go away or rot: errors of reading are -ENETUNREACH, so that the next source is asked.
// 3. The entity tag is made of what changes when io_replace_file() replaces a file: inode, size and time.

#include "blockstore/transport_private.h"

#include "base/cleanup.h"
#include "base/io.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/banned.h"

#define PIECE (1u << 20) // bytes for the sink at a time

int transport_directory_open(struct source *s, const char *path, struct error *error)
{
    char shown[256];
    text_escape(slice_of(path), shown, sizeof(shown));
    int root CLEANUP_CLOSE = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        int code = errno;
        return error_set(error, code, "the directory %s cannot be opened: %s", shown, strerror(code));
    }
    struct stat st;
    if (io->fstat(root, &st) < 0) {
        int code = errno;
        return error_set(error, code, "the directory %s cannot be examined: %s", shown, strerror(code));
    }
    s->address = strdup(path);
    if (!s->address)
        return error_set(error, ENOMEM, "no memory for a source");
    s->device = st.st_dev;
    s->inode = st.st_ino;
    s->root = TAKE_FD(root);
    return 0;
}

int transport_open_below(int root, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd;
    do
        fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
    while (fd < 0 && (errno == EINTR || errno == EAGAIN)); // EAGAIN: a rename happened beside us (openat2(2))
    return fd < 0 ? -errno : (int)fd;
}

static int open_failure(struct source *s, struct source_request *r, int code)
{
    switch (code) {
    case ENOENT:
    case ENOTDIR:
        return transport_fail(s, r, ENOENT, "it is not there");
    case EXDEV:
    case ELOOP:
        return transport_fail(s, r, EBADMSG, "a symbolic link leads out of the directory");
    case ENXIO: // a socket, or a pipe that nobody writes to
        return transport_fail(s, r, EBADMSG, "it is no regular file");
    case EPERM:
    case EACCES:
        return transport_fail(s, r, EACCES, "it may not be read by this user");
    case ENOSYS:
        return transport_fail(s, r, EOPNOTSUPP, "this kernel lacks openat2 (Linux 5.6)");
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return transport_fail(s, r, code, "%s", strerror(code));
    default:
        return transport_fail(s, r, ENETUNREACH, "%s", strerror(code));
    }
}

static int deliver(struct source *s, struct source_request *r, int fd, uint64_t length)
{
    size_t capacity = length < PIECE ? (size_t)length : PIECE;
    void *piece CLEANUP_FREE = io->malloc(capacity + 1); // never of size 0
    if (!piece)
        return transport_fail(s, r, ENOMEM, "no memory");
    while (r->received < length) {
        size_t n = length - r->received < capacity ? (size_t)(length - r->received) : capacity;
        int result = io_read_full(fd, piece, n, r->offset + r->received);
        if (result == -ENODATA)
            return transport_fail(s, r, ENETUNREACH, "the file became shorter while it was read");
        if (result < 0)
            return transport_fail(s, r, ENETUNREACH, "it cannot be read: %s", strerror(-result));
        result = r->sink(r->context, r->offset + r->received, piece, n);
        if (result < 0)
            return transport_fail(s, r, -result, "the bytes could not be taken: %s", strerror(-result));
        r->received += n;
    }
    return 0;
}

static int read_file(struct source *s, struct source_request *r)
{
    const struct transport *t = s->transport;
    int fd CLEANUP_CLOSE = transport_open_below(s->root, r->path);
    if (fd == -EACCES && t->opener)
        fd = t->opener(t->opener_context, s->root, r->path);
    if (fd < 0)
        return open_failure(s, r, -fd);
    struct stat st;
    if (io->fstat(fd, &st) < 0)
        return transport_fail(s, r, ENETUNREACH, "it cannot be examined: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return transport_fail(s, r, EBADMSG, "it is no regular file");
    snprintf(r->etag, sizeof(r->etag), "\"%llx-%llx-%llx.%lx\"", (unsigned long long)st.st_ino,
             (unsigned long long)st.st_size, (unsigned long long)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec);
    if (r->if_etag && strcmp(r->if_etag, r->etag) == 0) {
        r->not_modified = true;
        return 0;
    }
    uint64_t size = (uint64_t)st.st_size;
    unsigned long long end = r->offset + r->length;
    if (r->length && end > size)
        return transport_fail(s, r, EBADMSG, "the file there ends before byte %llu", end);
    if (!r->length && size > r->maximum)
        return transport_fail(s, r, EBADMSG, "it has %llu bytes, where at most %llu can be right",
                              (unsigned long long)size, (unsigned long long)r->maximum);
    return deliver(s, r, fd, r->length ? r->length : size);
}

void transport_directory_read(struct source *s, struct source_request *r)
{
    r->result = read_file(s, r);
    if (r->result < 0)
        atomic_fetch_add_explicit(&s->transport->failures, 1, memory_order_relaxed);
    if (r->done)
        r->done(r->context);
}
