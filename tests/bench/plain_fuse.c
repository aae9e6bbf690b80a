// The least that a FUSE file system can do: one local file, shown as DIR/disk. What rondo-cloop is compared with
// (hot.py).
//
//   plain_fuse FILE DIR
//
// Many threads, a pread into a buffer, an answer from that buffer, and the mount options of rondo-cloop. It stays in
// the foreground until DIR is unmounted.
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_MAXIMUM = 128 << 10, DISK = 2 };

static int file;
static off_t size;
static const double long_time = 86400;

static struct stat describe(fuse_ino_t number)
{
    struct stat st = {.st_ino = number, .st_nlink = 1};
    st.st_mode = number == DISK ? S_IFREG | 0444 : S_IFDIR | 0555;
    st.st_size = number == DISK ? size : 0;
    return st;
}

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->max_read = READ_MAXIMUM;
    conn->max_background = 256;
    conn->congestion_threshold = 256;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e = {.ino = DISK, .attr_timeout = long_time, .entry_timeout = long_time};
    if (parent != FUSE_ROOT_ID || strcmp(name, "disk") != 0) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    e.attr = describe(DISK);
    fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info)
{
    struct stat st = describe(number);
    (void)info;
    fuse_reply_attr(req, &st, long_time);
}

static void do_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info)
{
    (void)number;
    info->keep_cache = 1;
    info->noflush = 1;
    fuse_reply_open(req, info);
}

static void do_read(fuse_req_t req, fuse_ino_t number, size_t n, off_t offset, struct fuse_file_info *info)
{
    static _Thread_local char buffer[READ_MAXIMUM];
    (void)number, (void)info;
    ssize_t got = pread(file, buffer, n < sizeof(buffer) ? n : sizeof(buffer), offset);
    if (got < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_buf(req, buffer, (size_t)got);
}

static const struct fuse_lowlevel_ops operations = {
    .init = do_init, .lookup = do_lookup, .getattr = do_getattr, .open = do_open, .read = do_read};

int main(int argc, char **argv)
{
    char name[] = "plain_fuse", flag[] = "-o", options[128];
    char *words[] = {name, flag, options, NULL};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, words);
    struct stat st;
    if (argc != 3)
        return 2;
    file = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &st) < 0) {
        perror(argv[1]);
        return 1;
    }
    size = st.st_size;
    snprintf(options, sizeof(options), "ro,nosuid,nodev,noatime,default_permissions,fsname=plain_fuse,max_read=%d",
             READ_MAXIMUM);
    struct fuse_session *session = fuse_session_new(&arguments, &operations, sizeof(operations), NULL);
    if (!session || fuse_set_signal_handlers(session) < 0 || fuse_session_mount(session, argv[2]) < 0)
        return 1;
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int r = fuse_session_loop_mt(session, config);
    fuse_session_unmount(session);
    return r ? 1 : 0;
}
