// rondo-overlay's file system, over libfuse's low-level interface. overlay_fuse.h says what it shows.
//
// 1. Requests run in libfuse's threads, as many as are in flight (at most THREADS), because a read may wait for the
//    network and must hold up nobody else.
// 2. Direct I/O, no write-back cache: a write is acknowledged after overlay_write, a flush after overlay_flush.
// 3. PUNCH_HOLE and ZERO_RANGE both mean: exactly this range reads as zeros. (qemu uses PUNCH_HOLE for a guest's
// discard
//    and for its write-zeroes alike.) What can be dropped of it is dropped.
// 4. A request that finds no space is held and done again as a whole, which is the same as once (TRUST, rule 7).
//
// The kernel lets writes of one open file run in parallel only if they are asynchronous (qemu's aio=native or
// io_uring); libfuse's flag for parallel synchronous ones is younger than Debian 12's. Reads are always parallel.
#include "fuse-cloop/overlay_fuse.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/banned.h"

#define DISK_INODE 2u
#define DISK_NAME "disk"
#define THREADS 128u
#define IDLE_THREADS 16u
#define ATTRIBUTES_SECONDS 86400.0 // nothing of them ever changes

struct overlay_fuse {
    struct overlay_fuse_settings settings;
    struct fuse_session *session;
    pthread_t serving;
};

static struct overlay_fuse *of(fuse_req_t request)
{
    return fuse_req_userdata(request);
}

static off_t size_of(fuse_req_t request)
{
    return (off_t)overlay_size(of(request)->settings.overlay);
}

// Errors for the guest are few; a failed flush is also told to the supervisor (rule 4).
static void reply_error(fuse_req_t request, int result)
{
    struct error error = {0};
    if (result < 0 && overlay_failure(of(request)->settings.overlay, &error) < 0)
        overlay_hold_say_failed(of(request)->settings.hold, error.text);
    int code = -result;
    if (code == ENODATA || code == EBADMSG || code == ENOSPC)
        code = EIO;
    fuse_reply_err(request, code);
}

static struct stat attributes_of(fuse_req_t request, fuse_ino_t inode)
{
    struct stat st = {.st_ino = inode, .st_uid = geteuid(), .st_gid = getegid(), .st_blksize = 4096};
    if (inode == FUSE_ROOT_ID) {
        st.st_mode = S_IFDIR | 0700;
        st.st_nlink = 2;
    } else {
        st.st_mode = S_IFREG | 0600;
        st.st_nlink = 1;
        st.st_size = size_of(request);
        st.st_blocks = st.st_size / 512;
    }
    return st;
}

static void start(void *context, struct fuse_conn_info *connection)
{
    (void)context;
    connection->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE; // invariant 2
    connection->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;  // O_TRUNC comes as a change of the size, which is refused
    connection->max_background = THREADS;                    // asynchronous requests in flight; the default is 12
    connection->congestion_threshold = THREADS * 3 / 4;
}

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    if (parent != FUSE_ROOT_ID || strcmp(name, DISK_NAME) != 0) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    struct fuse_entry_param entry = {.ino = DISK_INODE,
                                     .attr = attributes_of(request, DISK_INODE),
                                     .attr_timeout = ATTRIBUTES_SECONDS,
                                     .entry_timeout = ATTRIBUTES_SECONDS};
    fuse_reply_entry(request, &entry);
}

static void get_attributes(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)file;
    struct stat st = attributes_of(request, inode);
    fuse_reply_attr(request, &st, ATTRIBUTES_SECONDS);
}

// Only what changes nothing: the size that the disk has.
static void set_attributes(fuse_req_t request, fuse_ino_t inode, struct stat *st, int which,
                           struct fuse_file_info *file)
{
    if (inode == DISK_INODE && which == FUSE_SET_ATTR_SIZE && st->st_size == size_of(request))
        get_attributes(request, inode, file);
    else
        fuse_reply_err(request, EPERM);
}

static void open_disk(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    if (inode != DISK_INODE) {
        fuse_reply_err(request, EISDIR);
        return;
    }
    file->direct_io = 1;
    fuse_reply_open(request, file);
}

static void read_disk(fuse_req_t request, fuse_ino_t inode, size_t n, off_t offset, struct fuse_file_info *file)
{
    (void)inode;
    (void)file;
    off_t size = size_of(request);
    if (offset < 0 || offset >= size)
        n = 0;
    else if ((off_t)n > size - offset)
        n = (size_t)(size - offset);
    void *bytes CLEANUP_FREE = malloc(n > 0 ? n : 1);
    if (!bytes) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    int r = n > 0 ? overlay_read(of(request)->settings.overlay, (uint64_t)offset, bytes, n) : 0;
    if (r < 0)
        reply_error(request, r);
    else
        fuse_reply_buf(request, bytes, n);
}

// Zeros if `from` is NULL (invariant 4).
static int change(fuse_req_t request, uint64_t offset, const void *from, uint64_t n)
{
    const struct overlay_fuse_settings *s = &of(request)->settings;
    bool held = false;
    int r;
    do {
        r = from ? overlay_write(s->overlay, offset, from, (size_t)n) : overlay_write_zeroes(s->overlay, offset, n);
    } while (r == -ENOSPC && overlay_hold_wait_for_space(s->hold, &held));
    overlay_hold_end_wait(s->hold, &held);
    return r;
}

static void write_disk(fuse_req_t request, fuse_ino_t inode, const char *bytes, size_t n, off_t offset,
                       struct fuse_file_info *file)
{
    (void)inode;
    (void)file;
    if (offset < 0 || offset > size_of(request) || n > (size_t)(size_of(request) - offset)) { // TRUST T25
        fuse_reply_err(request, EFBIG);
        return;
    }
    int r = change(request, (uint64_t)offset, bytes, n);
    if (r < 0)
        reply_error(request, r);
    else
        fuse_reply_write(request, n);
}

static void allocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t n, struct fuse_file_info *file)
{
    (void)inode;
    (void)file;
    off_t size = size_of(request);
    if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) && mode != FALLOC_FL_ZERO_RANGE &&
        mode != (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)) {
        fuse_reply_err(request, EOPNOTSUPP);
        return;
    }
    if (offset < 0 || n <= 0) {
        fuse_reply_err(request, EINVAL);
        return;
    }
    if (offset > size || n > size - offset) {
        if (!(mode & FALLOC_FL_KEEP_SIZE)) {
            fuse_reply_err(request, EFBIG);
            return;
        }
        n = offset < size ? size - offset : 0; // what lies behind the end has no bytes to be zero
    }
    reply_error(request, n > 0 ? change(request, (uint64_t)offset, NULL, (uint64_t)n) : 0);
}

static void sync_disk(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *file)
{
    (void)inode;
    (void)data_only;
    (void)file;
    reply_error(request, overlay_flush(of(request)->settings.overlay));
}

static void read_folder(fuse_req_t request, fuse_ino_t inode, size_t n, off_t offset, struct fuse_file_info *file)
{
    (void)file;
    if (inode != FUSE_ROOT_ID) {
        fuse_reply_err(request, ENOTDIR);
        return;
    }
    static const struct {
        const char *name;
        fuse_ino_t inode;
    } entries[] = {{".", FUSE_ROOT_ID}, {"..", FUSE_ROOT_ID}, {DISK_NAME, DISK_INODE}};
    char bytes[512];
    size_t used = 0;
    for (size_t i = offset < 0 ? ARRAY_SIZE(entries) : (size_t)offset; i < ARRAY_SIZE(entries); i++) {
        struct stat st = attributes_of(request, entries[i].inode);
        size_t room = (n < sizeof bytes ? n : sizeof bytes) - used;
        size_t length = fuse_add_direntry(request, bytes + used, room, entries[i].name, &st, (off_t)i + 1);
        if (length > room)
            break;
        used += length;
    }
    fuse_reply_buf(request, bytes, used);
}

static void get_space(fuse_req_t request, fuse_ino_t inode)
{
    (void)inode;
    struct statvfs space;
    if (fstatvfs(of(request)->settings.folder, &space) < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_statfs(request, &space);
}

static const struct fuse_lowlevel_ops operations = {
    .init = start,
    .lookup = lookup,
    .getattr = get_attributes,
    .setattr = set_attributes,
    .open = open_disk,
    .read = read_disk,
    .write = write_disk,
    .fsync = sync_disk,
    .fallocate = allocate,
    .readdir = read_folder,
    .statfs = get_space,
};

int overlay_fuse_mount(const struct overlay_fuse_settings *settings, const char *mountpoint, struct overlay_fuse **ret,
                       struct error *error)
{
    struct overlay_fuse *f CLEANUP_FREE = calloc(1, sizeof *f);
    if (!f)
        return error_set(error, ENOMEM, "out of memory");
    f->settings = *settings;
    f->serving = pthread_self();
    char *arguments[] = {(char[]){"rondo-overlay"}, (char[]){"-o"},
                         (char[]){"fsname=rondo-overlay,subtype=rondo,default_permissions,noatime"}, NULL};
    struct fuse_args list = FUSE_ARGS_INIT(3, arguments);
    f->session = fuse_session_new(&list, &operations, sizeof operations, f);
    fuse_opt_free_args(&list);
    if (!f->session)
        return error_set(error, ENOMEM, "libfuse could not be started");
    if (fuse_session_mount(f->session, mountpoint) != 0) { // libfuse has printed why
        fuse_session_destroy(f->session);
        return error_set(error, EOPNOTSUPP,
                         "cannot mount the disk at %s: FUSE does not work here; `rondo doctor` says more", mountpoint);
    }
    *ret = TAKE_PTR(f);
    return 0;
}

int overlay_fuse_serve(struct overlay_fuse *f)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (!config)
        return -ENOMEM;
    fuse_loop_cfg_set_clone_fd(config, 0);
    fuse_loop_cfg_set_max_threads(config, THREADS);
    fuse_loop_cfg_set_idle_threads(config, IDLE_THREADS);
    int r = fuse_session_loop_mt(f->session, config);
    fuse_loop_cfg_destroy(config);
    return r > 0 ? -EINTR : r;
}

void overlay_fuse_end(struct overlay_fuse *f)
{
    fuse_session_exit(f->session);
    pthread_kill(f->serving, SIGUSR1);
}

void overlay_fuse_unmount(struct overlay_fuse *f)
{
    // What somebody else has unmounted is not ours any more; another mount may be there.
    struct pollfd device = {.fd = fuse_session_fd(f->session)};
    if (poll(&device, 1, 0) > 0 && (device.revents & POLLERR))
        return;
    struct error error = {.text = ""};
    if (unmounter_remove(f->settings.unmounter, true, &error) < 0)
        log_warning("%s", error.text);
}

void overlay_fuse_free(struct overlay_fuse *f)
{
    fuse_session_destroy(f->session);
    free(f);
}
