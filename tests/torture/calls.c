// What the product calls in torture: each function fails when its turn has come, and is the real one otherwise.
//
// `torture_call_NAME` stands for NAME (and for NAME64, its name in objects for large files) in the product's objects:
// the Makefile makes the list for objcopy from the symbols of this file.
//
// 1. Calls are counted from 1 over all threads, each kind for itself; each number is given once.
// 2. The plan changes only while the product has no threads that work.
// 3. A failing close has closed, as on Linux.
// 4. Each call fails as it does in reality: with memory for ENOMEM, with descriptors for EMFILE, with writes for
//    ENOSPC, with all else for EIO, or what its manual has in place of that.
#include "tests/torture/torture.h"

#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <malloc.h>
#include <microhttpd.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <poll.h>
#include <pthread.h>
#include <regex.h>
#include <seccomp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

_Thread_local bool torture_exempt;

static atomic_bool armed;
static atomic_ulong calls[TORTURE_KINDS];
static enum torture_kind plan_kind;
static unsigned long plan_at;
static atomic_bool plan_persistent;
static _Atomic(void *) failed_at;

static bool fails_here(enum torture_kind kind, void *caller)
{
    if (torture_exempt || !atomic_load(&armed))
        return false;
    unsigned long number = atomic_fetch_add(&calls[kind], 1) + 1;
    if (kind != plan_kind || plan_at == 0 || number < plan_at || (number > plan_at && !atomic_load(&plan_persistent)))
        return false;
    void *nowhere = NULL;
    atomic_compare_exchange_strong(&failed_at, &nowhere, caller);
    return true;
}
#define FAILS(kind) fails_here(TORTURE_##kind, __builtin_return_address(0))

void torture_arm(enum torture_kind kind, unsigned long at, bool persistent)
{
    for (unsigned i = 0; i < TORTURE_KINDS; i++)
        atomic_store(&calls[i], 0);
    atomic_store(&failed_at, NULL);
    plan_kind = kind;
    plan_at = at;
    atomic_store(&plan_persistent, persistent);
    atomic_store(&armed, true);
}

bool torture_disarm(unsigned long ret_calls[static TORTURE_KINDS])
{
    atomic_store(&armed, false);
    for (unsigned i = 0; i < TORTURE_KINDS; i++)
        ret_calls[i] = atomic_load(&calls[i]);
    return atomic_load(&failed_at) != NULL;
}

void torture_mend(void)
{
    atomic_store(&plan_persistent, false);
}

void *torture_failed_at(void)
{
    return atomic_load(&failed_at);
}

// A function that fails with this value and errno.
#define CALL(kind, type, name, parameters, arguments, failed, code)                                                    \
    type torture_call_##name parameters;                                                                               \
    type torture_call_##name parameters                                                                                \
    {                                                                                                                  \
        if (FAILS(kind)) {                                                                                             \
            errno = code;                                                                                              \
            return failed;                                                                                             \
        }                                                                                                              \
        return name arguments;                                                                                         \
    }

// --- memory ----------------------------------------------------------------------------------------------------------

CALL(MEMORY, void *, malloc, (size_t n), (n), NULL, ENOMEM)
CALL(MEMORY, void *, calloc, (size_t count, size_t n), (count, n), NULL, ENOMEM)
CALL(MEMORY, void *, realloc, (void *p, size_t n), (p, n), NULL, ENOMEM)
CALL(MEMORY, char *, strdup, (const char *text), (text), NULL, ENOMEM)
CALL(MEMORY, FILE *, open_memstream, (char **text, size_t *n), (text, n), NULL, ENOMEM)
CALL(MEMORY, DIR *, fdopendir, (int fd), (fd), NULL, ENOMEM)
CALL(MEMORY, char *, realpath, (const char *path, char *to), (path, to), NULL, ENOMEM)
CALL(MEMORY, int, memfd_create, (const char *name, unsigned flags), (name, flags), -1, ENOMEM)
CALL(MEMORY, void *, mmap, (void *at, size_t n, int protection, int flags, int fd, off_t offset),
     (at, n, protection, flags, fd, offset), MAP_FAILED, ENOMEM)
CALL(MEMORY, int, mlock, (const void *at, size_t n), (at, n), -1, ENOMEM)
CALL(MEMORY, int, madvise, (void *at, size_t n, int advice), (at, n, advice), -1, ENOMEM)
CALL(MEMORY, int, scandirat,
     (int dir, const char *path, struct dirent ***ret, int (*filter)(const struct dirent *),
      int (*compare)(const struct dirent **, const struct dirent **)),
     (dir, path, ret, filter, compare), -1, ENOMEM)
CALL(MEMORY, ssize_t, __getdelim, (char **line, size_t *n, int end, FILE *from), (line, n, end, from), -1, ENOMEM)
CALL(MEMORY, int, pthread_create,
     (pthread_t * ret, const pthread_attr_t *attributes, void *(*run)(void *), void *context),
     (ret, attributes, run, context), EAGAIN, errno)
CALL(MEMORY, int, pthread_setspecific, (pthread_key_t key, const void *value), (key, value), ENOMEM, errno)
CALL(MEMORY, int, regcomp, (regex_t * r, const char *pattern, int flags), (r, pattern, flags), REG_ESPACE, errno)
CALL(MEMORY, int, getaddrinfo,
     (const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **ret),
     (name, port, hints, ret), EAI_MEMORY, errno)
CALL(MEMORY, pid_t, fork, (void), (), -1, EAGAIN)

int torture_call_asprintf(char **ret, const char *format, ...);
int torture_call_asprintf(char **ret, const char *format, ...)
{
    if (FAILS(MEMORY)) {
        errno = ENOMEM;
        return -1;
    }
    va_list arguments;
    va_start(arguments, format);
    int n = vasprintf(ret, format, arguments);
    va_end(arguments);
    return n;
}

// libcrypto's way to fail: NULL, or 0 where 1 is success.
CALL(MEMORY, EVP_MD_CTX *, EVP_MD_CTX_new, (void), (), NULL, errno)
CALL(MEMORY, EVP_MD *, EVP_MD_fetch, (OSSL_LIB_CTX * l, const char *name, const char *properties),
     (l, name, properties), NULL, errno)
CALL(MEMORY, int, EVP_DigestInit_ex2, (EVP_MD_CTX * c, const EVP_MD *type, const OSSL_PARAM *p), (c, type, p), 0, errno)
CALL(MEMORY, int, EVP_DigestSignInit, (EVP_MD_CTX * c, EVP_PKEY_CTX **p, const EVP_MD *type, ENGINE *e, EVP_PKEY *key),
     (c, p, type, e, key), 0, errno)
CALL(MEMORY, int, EVP_DigestSign,
     (EVP_MD_CTX * c, unsigned char *signature, size_t *size, const unsigned char *bytes, size_t n),
     (c, signature, size, bytes, n), 0, errno)
CALL(MEMORY, int, EVP_DigestVerifyInit,
     (EVP_MD_CTX * c, EVP_PKEY_CTX **p, const EVP_MD *type, ENGINE *e, EVP_PKEY *key), (c, p, type, e, key), 0, errno)
CALL(MEMORY, int, EVP_DigestVerify,
     (EVP_MD_CTX * c, const unsigned char *signature, size_t size, const unsigned char *bytes, size_t n),
     (c, signature, size, bytes, n), -1, errno)
CALL(MEMORY, EVP_PKEY *, EVP_PKEY_new_raw_private_key, (int type, ENGINE *e, const unsigned char *bytes, size_t n),
     (type, e, bytes, n), NULL, errno)
CALL(MEMORY, EVP_PKEY *, EVP_PKEY_new_raw_public_key, (int type, ENGINE *e, const unsigned char *bytes, size_t n),
     (type, e, bytes, n), NULL, errno)
CALL(MEMORY, int, EVP_PBE_scrypt,
     (const char *pass, size_t pass_size, const unsigned char *salt, size_t salt_size, uint64_t N, uint64_t r,
      uint64_t p, uint64_t memory, unsigned char *key, size_t key_size),
     (pass, pass_size, salt, salt_size, N, r, p, memory, key, key_size), 0, errno)
CALL(IO, int, RAND_bytes, (unsigned char *to, int n), (to, n), 0, errno)
CALL(IO, int, RAND_priv_bytes, (unsigned char *to, int n), (to, n), 0, errno)

#define ZSTD_NO_MEMORY ((size_t)-ZSTD_error_memory_allocation)
CALL(MEMORY, ZSTD_CCtx *, ZSTD_createCCtx, (void), (), NULL, errno)
CALL(MEMORY, ZSTD_DCtx *, ZSTD_createDCtx, (void), (), NULL, errno)
CALL(MEMORY, size_t, ZSTD_compress2, (ZSTD_CCtx * c, void *to, size_t capacity, const void *from, size_t n),
     (c, to, capacity, from, n), ZSTD_NO_MEMORY, errno)
CALL(MEMORY, size_t, ZSTD_decompressDCtx, (ZSTD_DCtx * c, void *to, size_t capacity, const void *from, size_t n),
     (c, to, capacity, from, n), ZSTD_NO_MEMORY, errno)

CALL(MEMORY, struct MHD_Response *, MHD_create_response_from_buffer,
     (size_t n, void *bytes, enum MHD_ResponseMemoryMode mode), (n, bytes, mode), NULL, errno)
CALL(MEMORY, struct MHD_Response *, MHD_create_response_from_fd_at_offset64, (uint64_t n, int fd, uint64_t offset),
     (n, fd, offset), NULL, errno)
CALL(MEMORY, enum MHD_Result, MHD_add_response_header, (struct MHD_Response * r, const char *name, const char *value),
     (r, name, value), MHD_NO, errno)
CALL(MEMORY, enum MHD_Result, MHD_queue_response, (struct MHD_Connection * c, unsigned status, struct MHD_Response *r),
     (c, status, r), MHD_NO, errno)

// --- I/O -------------------------------------------------------------------------------------------------------------

CALL(IO, int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags), -1, EMFILE)
CALL(IO, int, access, (const char *path, int mode), (path, mode), -1, EIO)
CALL(IO, int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n), -1, EADDRINUSE)
CALL(IO, int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n), -1, ECONNREFUSED)
CALL(IO, int, dup, (int fd), (fd), -1, EMFILE)
CALL(IO, int, dup2, (int fd, int to), (fd, to), -1, EIO)
CALL(IO, int, epoll_create1, (int flags), (flags), -1, EMFILE)
CALL(IO, int, epoll_ctl, (int fd, int what, int of, struct epoll_event *e), (fd, what, of, e), -1, ENOSPC)
CALL(IO, int, eventfd, (unsigned n, int flags), (n, flags), -1, EMFILE)
CALL(IO, int, faccessat, (int dir, const char *path, int mode, int flags), (dir, path, mode, flags), -1, EIO)
CALL(IO, int, fallocate, (int fd, int mode, off_t offset, off_t n), (fd, mode, offset, n), -1, ENOSPC)
CALL(IO, int, fchmod, (int fd, mode_t mode), (fd, mode), -1, EIO)
CALL(IO, int, fchmodat, (int dir, const char *path, mode_t mode, int flags), (dir, path, mode, flags), -1, EIO)
CALL(IO, int, fdatasync, (int fd), (fd), -1, EIO)
CALL(IO, int, fflush, (FILE * f), (f), EOF, ENOSPC)
CALL(IO, int, flock, (int fd, int what), (fd, what), -1, ENOLCK)
CALL(IO, FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL, EMFILE)
CALL(IO, int, fstat, (int fd, struct stat *ret), (fd, ret), -1, EIO)
CALL(IO, int, fstatat, (int dir, const char *path, struct stat *ret, int flags), (dir, path, ret, flags), -1, EIO)
CALL(IO, int, fstatvfs, (int fd, struct statvfs *ret), (fd, ret), -1, EIO)
CALL(IO, int, fsync, (int fd), (fd), -1, EIO)
CALL(IO, int, ftruncate, (int fd, off_t n), (fd, n), -1, ENOSPC)
CALL(IO, int, futimens, (int fd, const struct timespec times[2]), (fd, times), -1, EIO)
CALL(IO, char *, getcwd, (char *to, size_t n), (to, n), NULL, ENOENT)
CALL(IO, ssize_t, getrandom, (void *to, size_t n, unsigned flags), (to, n, flags), -1, ENOSYS)
CALL(IO, int, listen, (int fd, int n), (fd, n), -1, EADDRINUSE)
CALL(IO, off_t, lseek, (int fd, off_t offset, int whence), (fd, offset, whence), -1, EIO)
CALL(IO, int, lstat, (const char *path, struct stat *ret), (path, ret), -1, EIO)
CALL(IO, int, mkdir, (const char *path, mode_t mode), (path, mode), -1, ENOSPC)
CALL(IO, int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), -1, ENOSPC)
CALL(IO, DIR *, opendir, (const char *path), (path), NULL, EMFILE)
CALL(IO, int, pipe2, (int fds[2], int flags), (fds, flags), -1, EMFILE)
CALL(IO, int, poll, (struct pollfd * polls, nfds_t n, int ms), (polls, n, ms), -1, ENOMEM)
CALL(IO, struct dirent *, readdir, (DIR * d), (d), NULL, EIO)
CALL(IO, ssize_t, readlink, (const char *path, char *to, size_t n), (path, to, n), -1, EIO)
CALL(IO, ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags), -1, ECONNRESET)
CALL(IO, int, rename, (const char *from, const char *to), (from, to), -1, EIO)
CALL(IO, int, renameat, (int from_dir, const char *from, int to_dir, const char *to), (from_dir, from, to_dir, to), -1,
     EIO)
CALL(IO, int, renameat2, (int from_dir, const char *from, int to_dir, const char *to, unsigned flags),
     (from_dir, from, to_dir, to, flags), -1, EIO)
CALL(IO, int, rmdir, (const char *path), (path), -1, EIO)
CALL(IO, ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags), -1, EPIPE)
CALL(IO, int, setsockopt, (int fd, int level, int name, const void *value, socklen_t n), (fd, level, name, value, n),
     -1, ENOMEM)
CALL(IO, int, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags), -1, EMFILE)
CALL(IO, int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE)
CALL(IO, int, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds), -1, EMFILE)
CALL(IO, int, stat, (const char *path, struct stat *ret), (path, ret), -1, EIO)
CALL(IO, int, statfs, (const char *path, struct statfs *ret), (path, ret), -1, EIO)
CALL(IO, int, statvfs, (const char *path, struct statvfs *ret), (path, ret), -1, EIO)
CALL(IO, int, timerfd_create, (int clock, int flags), (clock, flags), -1, EMFILE)
CALL(IO, int, unlink, (const char *path), (path), -1, EIO)
CALL(IO, int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), -1, EIO)
CALL(IO, int, utimensat, (int dir, const char *path, const struct timespec times[2], int flags),
     (dir, path, times, flags), -1, EIO)

int torture_call_close(int fd);
int torture_call_close(int fd)
{
    bool failed = FAILS(IO);
    int r = close(fd);
    if (!failed)
        return r;
    errno = EIO;
    return -1;
}

int torture_call_fclose(FILE *f);
int torture_call_fclose(FILE *f)
{
    bool failed = FAILS(IO);
    int r = fclose(f);
    if (!failed)
        return r;
    errno = EIO;
    return EOF;
}

#define OPEN(name, parameters, ...)                                                                                    \
    int torture_call_##name parameters;                                                                                \
    int torture_call_##name parameters                                                                                 \
    {                                                                                                                  \
        if (FAILS(IO)) {                                                                                               \
            errno = EMFILE;                                                                                            \
            return -1;                                                                                                 \
        }                                                                                                              \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                        \
        va_end(more);                                                                                                  \
        return name(__VA_ARGS__, flags, mode);                                                                         \
    }
OPEN(open, (const char *path, int flags, ...), path)
OPEN(openat, (int dir, const char *path, int flags, ...), dir, path)

// One argument of the size of a pointer, or none, which is not looked at then.
#define CONTROL(name, type, code)                                                                                      \
    int torture_call_##name(int fd, type what, ...);                                                                   \
    int torture_call_##name(int fd, type what, ...)                                                                    \
    {                                                                                                                  \
        if (FAILS(IO)) {                                                                                               \
            errno = code;                                                                                              \
            return -1;                                                                                                 \
        }                                                                                                              \
        va_list more;                                                                                                  \
        va_start(more, what);                                                                                          \
        void *argument = va_arg(more, void *);                                                                         \
        va_end(more);                                                                                                  \
        return name(fd, what, argument);                                                                               \
    }
CONTROL(fcntl, int, EMFILE)
CONTROL(ioctl, unsigned long, EIO)

// --- transfers -------------------------------------------------------------------------------------------------------

// Half of it when its turn has come; false (EINTR) if that is nothing.
static bool divide(bool turn, size_t *n)
{
    if (!turn)
        return true;
    *n /= 2;
    errno = EINTR;
    return *n > 0;
}

#define TRANSFER(name, parameters, code, ...)                                                                          \
    ssize_t torture_call_##name parameters;                                                                            \
    ssize_t torture_call_##name parameters                                                                             \
    {                                                                                                                  \
        if (FAILS(IO)) {                                                                                               \
            errno = code;                                                                                              \
            return -1;                                                                                                 \
        }                                                                                                              \
        if (n > 0 && !divide(FAILS(TRANSFER), &n))                                                                     \
            return -1;                                                                                                 \
        return name(__VA_ARGS__);                                                                                      \
    }
TRANSFER(read, (int fd, void *to, size_t n), EIO, fd, to, n)
TRANSFER(write, (int fd, const void *from, size_t n), ENOSPC, fd, from, n)
TRANSFER(pread, (int fd, void *to, size_t n, off_t offset), EIO, fd, to, n, offset)
TRANSFER(pwrite, (int fd, const void *from, size_t n, off_t offset), ENOSPC, fd, from, n, offset)
TRANSFER(recv, (int fd, void *to, size_t n, int flags), ECONNRESET, fd, to, n, flags)
TRANSFER(send, (int fd, const void *from, size_t n, int flags), EPIPE, fd, from, n, flags)

// Pieces: the first one alone, or half of it.
#define TRANSFER_PIECES(name, single, parameters, code, ...)                                                           \
    ssize_t torture_call_##name parameters;                                                                            \
    ssize_t torture_call_##name parameters                                                                             \
    {                                                                                                                  \
        if (FAILS(IO)) {                                                                                               \
            errno = code;                                                                                              \
            return -1;                                                                                                 \
        }                                                                                                              \
        if (count > 0 && pieces->iov_len > 0 && FAILS(TRANSFER)) {                                                     \
            struct iovec part = *pieces;                                                                               \
            if (count == 1 && !divide(true, &part.iov_len))                                                            \
                return -1;                                                                                             \
            return single;                                                                                             \
        }                                                                                                              \
        return name(__VA_ARGS__);                                                                                      \
    }
TRANSFER_PIECES(preadv, preadv(fd, &part, 1, offset), (int fd, const struct iovec *pieces, int count, off_t offset),
                EIO, fd, pieces, count, offset)
TRANSFER_PIECES(pwritev, pwritev(fd, &part, 1, offset), (int fd, const struct iovec *pieces, int count, off_t offset),
                ENOSPC, fd, pieces, count, offset)
TRANSFER_PIECES(writev, writev(fd, &part, 1), (int fd, const struct iovec *pieces, int count), ENOSPC, fd, pieces,
                count)

// --- libraries with hooks --------------------------------------------------------------------------------------------

static int sqlite_start(void *context)
{
    (void)context;
    return SQLITE_OK;
}

static void sqlite_end(void *context)
{
    (void)context;
}

static void *library_malloc(size_t n)
{
    return FAILS(LIBRARY) ? NULL : malloc(n);
}

static void *library_realloc(void *p, size_t n)
{
    return FAILS(LIBRARY) ? NULL : realloc(p, n);
}

static void *library_calloc(size_t count, size_t n)
{
    return FAILS(LIBRARY) ? NULL : calloc(count, n);
}

static char *library_strdup(const char *text)
{
    return FAILS(LIBRARY) ? NULL : strdup(text);
}

static void *sqlite_malloc(int n)
{
    return FAILS(LIBRARY) ? NULL : malloc((size_t)n);
}

static void *sqlite_realloc(void *p, int n)
{
    return FAILS(LIBRARY) ? NULL : realloc(p, (size_t)n);
}

static int sqlite_size(void *p)
{
    return p ? (int)malloc_usable_size(p) : 0;
}

static int sqlite_round(int n)
{
    return (n + 7) & ~7;
}

static const struct sqlite3_mem_methods sqlite_memory = {
    .xMalloc = sqlite_malloc,
    .xFree = free,
    .xRealloc = sqlite_realloc,
    .xSize = sqlite_size,
    .xRoundup = sqlite_round,
    .xInit = sqlite_start,
    .xShutdown = sqlite_end,
};

static void hook_sqlite_files(void)
{
    static const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } table[] = {
        {"open", (sqlite3_syscall_ptr)torture_call_open},
        {"close", (sqlite3_syscall_ptr)torture_call_close},
        {"access", (sqlite3_syscall_ptr)torture_call_access},
        {"fstat", (sqlite3_syscall_ptr)torture_call_fstat},
        {"ftruncate", (sqlite3_syscall_ptr)torture_call_ftruncate},
        {"read", (sqlite3_syscall_ptr)torture_call_read},
        {"pread64", (sqlite3_syscall_ptr)torture_call_pread},
        {"pread", (sqlite3_syscall_ptr)torture_call_pread},
        {"write", (sqlite3_syscall_ptr)torture_call_write},
        {"pwrite", (sqlite3_syscall_ptr)torture_call_pwrite},
        {"pwrite64", (sqlite3_syscall_ptr)torture_call_pwrite},
        {"unlink", (sqlite3_syscall_ptr)torture_call_unlink},
    };
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        (void)vfs->xSetSystemCall(vfs, table[i].name, table[i].call); // those that this build of SQLite does not use
}

void torture_calls_start(void)
{
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &sqlite_memory) != SQLITE_OK || sqlite3_initialize() != SQLITE_OK ||
        curl_global_init_mem(CURL_GLOBAL_DEFAULT, library_malloc, free, library_realloc, library_strdup,
                             library_calloc) != CURLE_OK) {
        fputs("torture: the hooks of the libraries cannot be set\n", stderr);
        abort();
    }
    hook_sqlite_files();
}
