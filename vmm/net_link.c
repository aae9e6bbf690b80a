// Frames over a descriptor: see net_link.h.
//
// Receiving: `in` holds what was read and not consumed, [in_start, in_end). A frame is handed out when all of it is
// there; the rest is moved to the front only when a whole frame would no longer fit behind it.
// Sending: a frame that went out in part (a stream only) is kept in `out` until the rest went, too; no other frame is
// taken before.
#include "vmm/net_link.h"

#include "base/cleanup.h"
#include "base/vector.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define LENGTH_SIZE 4u
#define IN_SIZE (2u * (NET_FRAME_MAXIMUM + NET_HEADER_SIZE))
#define OUT_SIZE (NET_FRAME_MAXIMUM + LENGTH_SIZE)

struct net_link {
    enum net_link_kind kind;
    int fd;
    size_t prefix;                  // bytes before each frame: the length, or a tap's header, or none
    size_t in_start, in_end, frame; // frame: what was peeked at, with its prefix; 0: nothing
    size_t out_start, out_end;
    unsigned char in[IN_SIZE], out[OUT_SIZE];
};

static int examine_tap(struct net_link *l, struct error *error)
{
    struct ifreq request = {.ifr_flags = 0};
    int size = NET_HEADER_SIZE;
    if (ioctl(l->fd, TUNGETIFF, &request) < 0)
        return error_set(error, errno, "the network descriptor is no tap interface: %s", strerror(errno));
    if (!(request.ifr_flags & IFF_TAP)) // IFF_NO_PI cannot be asked for: its bit comes back as IFF_NOFILTER
        return error_set(error, EINVAL, "the network interface must be made with IFF_TAP and IFF_NO_PI");
    if (!(request.ifr_flags & IFF_VNET_HDR))
        return 0;
    if ((ioctl(l->fd, TUNSETVNETHDRSZ, &size) | ioctl(l->fd, TUNSETOFFLOAD, 0UL)) < 0) // either
        return error_set(error, errno, "cannot set up the tap interface: %s", strerror(errno));
    l->prefix = NET_HEADER_SIZE;
    return 0;
}

static int examine_socket(struct net_link *l, struct error *error)
{
    int type = 0;
    socklen_t n = sizeof type;
    if (getsockopt(l->fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0)
        return error_set(error, errno, "the network descriptor is no socket: %s", strerror(errno));
    if (type != SOCK_STREAM)
        return error_set(error, EINVAL, "the network descriptor is no stream socket");
    l->prefix = LENGTH_SIZE;
    return 0;
}

int net_link_new(enum net_link_kind kind, int fd, struct net_link **ret, struct error *error)
{
    CLEANUP_CLOSE int mine = fd;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return error_set(error, errno, "the network descriptor cannot be used: %s", strerror(errno));
    CLEANUP_FREE struct net_link *l = calloc(1, sizeof *l);
    if (!l)
        return error_set(error, ENOMEM, "out of memory");
    l->kind = kind;
    l->fd = fd;
    int r = kind == NET_LINK_TAP ? examine_tap(l, error) : examine_socket(l, error);
    if (r < 0)
        return r;
    (void)TAKE_FD(mine);
    *ret = TAKE_PTR(l);
    return 0;
}

void net_link_free(struct net_link *l)
{
    close(l->fd);
    free(l);
}

int net_link_fd(const struct net_link *l)
{
    return l->fd;
}

// --- sending -------------------------------------------------------------------------------------------------------

static ssize_t write_pieces(const struct net_link *l, struct iovec *pieces, unsigned count)
{
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    // Nothing here waits, so nothing is interrupted.
    ssize_t n = l->kind == NET_LINK_PASST ? sendmsg(l->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
                                          : writev(l->fd, pieces, (int)count);
    return n < 0 ? -errno : n;
}

bool net_link_is_behind(const struct net_link *l)
{
    return l->out_start < l->out_end;
}

int net_link_push(struct net_link *l)
{
    while (net_link_is_behind(l)) {
        struct iovec rest = {.iov_base = l->out + l->out_start, .iov_len = l->out_end - l->out_start};
        ssize_t n = write_pieces(l, &rest, 1);
        if (n < 0)
            return (int)n;
        l->out_start += (size_t)n;
    }
    l->out_start = l->out_end = 0;
    return 0;
}

int net_link_send(struct net_link *l, const struct iovec *pieces, size_t n)
{
    struct iovec all[VECTOR_MAXIMUM + 1];
    unsigned char prefix[NET_HEADER_SIZE] = {0};
    int r = net_link_push(l);
    if (r < 0)
        return r;
    if (n < NET_FRAME_MINIMUM || n > NET_FRAME_MAXIMUM)
        return 0; // no frame: nobody could do anything with it
    if (l->kind == NET_LINK_PASST)
        for (unsigned i = 0; i < LENGTH_SIZE; i++)
            prefix[i] = (unsigned char)(n >> (24 - 8 * i));
    all[0] = (struct iovec){.iov_base = prefix, .iov_len = l->prefix};
    struct vector v = vector_over(pieces);
    unsigned count = 1 + vector_take(&v, n, all + 1);
    ssize_t sent = write_pieces(l, all, count);
    if (sent < 0)
        return l->kind == NET_LINK_TAP && sent == -EIO ? 0 : (int)sent; // a tap that is down drops what it gets
    size_t rest = l->prefix + n - (size_t)sent;
    if (rest == 0) // as always on a tap: it takes a frame whole
        return 0;
    v = vector_over(all);
    vector_skip(&v, (size_t)sent);
    vector_copy_from(&v, l->out, rest);
    l->out_end = rest;
    return 0;
}

// --- receiving -----------------------------------------------------------------------------------------------------

// Reads what is there behind what is kept: 1, 0 if there is nothing now, or -errno.
static int fill(struct net_link *l)
{
    if (IN_SIZE - l->in_start < NET_FRAME_MAXIMUM + NET_HEADER_SIZE) {
        memmove(l->in, l->in + l->in_start, l->in_end - l->in_start);
        l->in_end -= l->in_start;
        l->in_start = 0;
    }
    ssize_t n = read(l->fd, l->in + l->in_end, IN_SIZE - l->in_end);
    if (n == 0)
        return -ECONNRESET;
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    l->in_end += (size_t)n;
    return 1;
}

// How long the frame at in_start is, with its prefix; 0: not all of it is there; -EPROTO.
static ssize_t find_frame(const struct net_link *l)
{
    const unsigned char *at = l->in + l->in_start;
    size_t there = l->in_end - l->in_start;
    if (l->kind == NET_LINK_TAP)
        return (ssize_t)there;
    if (there < LENGTH_SIZE)
        return 0;
    size_t n = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
    if (n < NET_FRAME_MINIMUM || n > NET_FRAME_MAXIMUM)
        return -EPROTO;
    return there >= LENGTH_SIZE + n ? (ssize_t)(LENGTH_SIZE + n) : 0;
}

int net_link_peek(struct net_link *l, const unsigned char **ret_frame, size_t *ret_n)
{
    ssize_t n;
    while ((n = find_frame(l)) == 0) {
        int r = fill(l);
        if (r <= 0)
            return r;
    }
    if (n < 0)
        return (int)n;
    l->frame = (size_t)n;
    if ((size_t)n < l->prefix)
        return -EPROTO;
    *ret_frame = l->in + l->in_start + l->prefix;
    *ret_n = (size_t)n - l->prefix;
    return 1;
}

void net_link_consume(struct net_link *l)
{
    l->in_start += l->frame;
    l->frame = 0;
    if (l->in_start == l->in_end)
        l->in_start = l->in_end = 0;
}
