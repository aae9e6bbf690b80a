// What passt's end of the socket may send: any stream of bytes. Each frame that is handed out has a frame's length and
// lies in what was sent, in order; and each one goes out again as it came in.
#include "vmm/net_link.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define INPUT_MAXIMUM (150u << 10) // fits the socket's buffer

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static unsigned char back[NET_FRAME_MAXIMUM + 4];
    struct net_link *link = NULL;
    const unsigned char *frame;
    size_t n, at = 0;
    int pair[2];

    if (size > INPUT_MAXIMUM)
        return 0;
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    require(net_link_new(NET_LINK_PASST, pair[0], &link, NULL) == 0);
    require(size == 0 || send(pair[1], data, size, 0) == (ssize_t)size);
    while (net_link_peek(link, &frame, &n) == 1) {
        require(n >= NET_FRAME_MINIMUM && n <= NET_FRAME_MAXIMUM && at + 4 + n <= size);
        require(memcmp(frame, data + at + 4, n) == 0);
        const struct iovec pieces[] = {{(void *)frame, n / 2}, {(void *)(frame + n / 2), n - n / 2}};
        require(net_link_send(link, pieces, n) == 0);
        require(recv(pair[1], back, n + 4, MSG_WAITALL) == (ssize_t)(n + 4) && memcmp(back, data + at, n + 4) == 0);
        net_link_consume(link);
        at += 4 + n;
    }
    net_link_free(link);
    close(pair[1]);
    return 0;
}
