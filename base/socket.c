// Unix sockets between Rondo's own programs.
//
// Listening at a path where a dead program left its socket: the folder is locked (flock) from the first look
// until listen(), so that two programs that start at once cannot remove each other's new socket; the second one
// finds the first alive.
//
// 1. A message is one SOCK_SEQPACKET record: it arrives whole, or -EMSGSIZE.
// 2. Received descriptors are owned by exactly one side: by the caller on success, closed here otherwise.
// 3. A path longer than sun_path is reached through /proc/self/fd of its folder.
#include "base/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"

#include "base/banned.h"

#define BACKLOG 64

// Opens the folder of the socket (`flags`: O_RDONLY to lock it, O_PATH where passing through is enough), and makes
// an address relative to it. *ret_name is the socket's name in it.
static int make_address(const char *path, int flags, struct sockaddr_un *ret_address, const char **ret_name)
{
    char folder[PATH_TEXT_SIZE];
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (!*name)
        return -EINVAL;
    int r = slash ? path_format(folder, sizeof folder, "%.*s", (int)(slash - path) + 1, path)
                  : path_format(folder, sizeof folder, ".");
    if (r < 0)
        return r;
    int fd CLEANUP_CLOSE = open(folder, flags | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    r = path_format(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", fd, name);
    if (r < 0)
        return r;
    *ret_address = address;
    *ret_name = name;
    return TAKE_FD(fd);
}

static int check_same_user(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    return peer.uid == geteuid() ? 0 : -EPERM;
}

// Connects without waiting: a full backlog is a living listener too (-EAGAIN).
static int try_connect(const struct sockaddr_un *address)
{
    int fd CLEANUP_CLOSE = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    return connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;
}

// Removes a socket that nobody listens at; anything else stays.
static int remove_stale(int folder, const char *name, const struct sockaddr_un *address)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    int r = try_connect(address);
    if (r == -ENOENT)
        return 0;
    if (r != -ECONNREFUSED)
        return -EBUSY;
    return unlinkat(folder, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int listen_locked(int folder, const char *name, const struct sockaddr_un *address)
{
    int r = remove_stale(folder, name, address);
    if (r < 0)
        return r;
    int fd CLEANUP_CLOSE = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    // bind() gives the file the mode of the socket's own inode, so there is no moment at which others may connect.
    if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)address, sizeof *address) < 0)
        return -errno;
    if (listen(fd, BACKLOG) < 0) {
        r = -errno;
        unlinkat(folder, name, 0);
        return r;
    }
    return TAKE_FD(fd);
}

int socket_listen(const char *path, struct error *error)
{
    struct sockaddr_un address;
    const char *name = path;
    int folder CLEANUP_CLOSE = make_address(path, O_RDONLY, &address, &name);
    if (folder < 0)
        return error_set(error, -folder, "cannot make the socket %s: %s", path, strerror(-folder));
    while (flock(folder, LOCK_EX) < 0)
        if (errno != EINTR)
            return error_set(error, errno, "cannot lock the folder of %s: %m", path);
    int fd = listen_locked(folder, name, &address);
    if (fd == -EBUSY)
        return error_set(error, EBUSY, "another program already serves %s", path);
    if (fd == -EEXIST)
        return error_set(error, EEXIST, "%s exists and is not a socket; move it away", path);
    if (fd < 0)
        return error_set(error, -fd, "cannot listen at %s: %s", path, strerror(-fd));
    return fd;
}

int socket_connect(const char *path, struct error *error)
{
    struct sockaddr_un address;
    const char *name = path;
    int folder CLEANUP_CLOSE = make_address(path, O_PATH, &address, &name);
    if (folder < 0)
        return error_set(error, -folder, "cannot reach the socket %s: %s", path, strerror(-folder));
    int fd CLEANUP_CLOSE = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(error, errno, "cannot make a socket: %m");
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return error_set(error, errno, "cannot connect to %s: %m", path);
    int r = check_same_user(fd);
    if (r < 0)
        return error_set(error, -r, "the program at %s runs as another user", path);
    return TAKE_FD(fd);
}

int socket_accept(int listener)
{
    int fd CLEANUP_CLOSE = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = check_same_user(fd);
    return r < 0 ? r : TAKE_FD(fd);
}

// The control part of a message; the union aligns it.
union control {
    char bytes[CMSG_SPACE(SOCKET_FDS_MAXIMUM * sizeof(int))];
    struct cmsghdr alignment;
};

int socket_pair(int type, int *ret_ours, int *ret_theirs, struct error *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(error, errno, "cannot make a socket pair: %s", strerror(errno));
    *ret_ours = pair[0];
    *ret_theirs = pair[1];
    return 0;
}

int socket_send(int fd, const char *text, const int *fds, unsigned count)
{
    size_t length = strlen(text);
    if (length == 0 || (count > 0 && !fds))
        return -EINVAL; // an empty record would look like the end of the connection
    if (length >= SOCKET_LINE_MAXIMUM || count > SOCKET_FDS_MAXIMUM)
        return -EMSGSIZE;
    struct iovec piece = {.iov_base = (void *)text, .iov_len = length};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    union control control = {0};
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    }
    while (sendmsg(fd, &message, MSG_NOSIGNAL) < 0) {
        if (errno == ECONNRESET)
            return -EPIPE;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

// Waits until something can be received. `deadline` in io_monotonic_ns() time; UINT64_MAX: none.
static int wait_readable(int fd, uint64_t deadline)
{
    int timeout = -1;
    if (deadline != UINT64_MAX) {
        uint64_t now = io_monotonic_ns();
        timeout = deadline > now ? (int)((deadline - now + 999999) / 1000000) : 0;
    }
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int r = poll(&wait, 1, timeout);
    if (r < 0)
        return -errno;
    return r == 0 ? -EAGAIN : 0;
}

static unsigned take_descriptors(struct msghdr *message, int fds[static SOCKET_FDS_MAXIMUM])
{
    unsigned count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            if (count < SOCKET_FDS_MAXIMUM)
                fds[count++] = fd;
            else
                close(fd);
        }
    }
    return count;
}

int socket_receive(int fd, int timeout_ms, char text[static SOCKET_LINE_MAXIMUM], int *ret_fds, unsigned *ret_count)
{
    uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : io_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
    char bytes[SOCKET_LINE_MAXIMUM];
    struct iovec piece = {.iov_base = bytes, .iov_len = sizeof bytes - 1};
    union control control;
    struct msghdr message;
    ssize_t n;
    do {
        int r = wait_readable(fd, deadline);
        if (r < 0)
            return r;
        // Without a place for descriptors there is no control part: the kernel then drops them and says so.
        message = (struct msghdr){.msg_iov = &piece,
                                  .msg_iovlen = 1,
                                  .msg_control = ret_fds ? control.bytes : NULL,
                                  .msg_controllen = ret_fds ? sizeof control.bytes : 0};
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (n < 0 && errno == EAGAIN); // another thread took it: wait for the rest of the time
    if (n < 0 && errno != ECONNRESET)
        return -errno;

    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = n < 0 ? 0 : take_descriptors(&message, fds);
    int r = 0;
    if (n > 0 && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        r = -EMSGSIZE;
    else if (n > 0 && memchr(bytes, '\0', (size_t)n))
        r = -EBADMSG;
    if (r < 0 || n <= 0) {
        for (unsigned i = 0; i < count; i++)
            close(fds[i]);
        count = 0;
    }
    if (r < 0)
        return r;
    size_t length = n > 0 ? (size_t)n : 0; // a reset is the end too: the peer went without reading our last words
    memcpy(text, bytes, length);
    text[length] = '\0';
    if (ret_fds && count > 0)
        memcpy(ret_fds, fds, count * sizeof(int));
    if (ret_count)
        *ret_count = count;
    return (int)length;
}
