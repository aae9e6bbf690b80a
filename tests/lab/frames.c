// The host's end of a guest's network, for vmm_network.sh: `frames PROGRAM ARGUMENT…` runs the program with an
// additional --net=passt:fd:N. When the guest has sent something, it gets SMALL frames of 60 bytes, written all at
// once, and LARGE of 9000, each of which needs several of its buffers. Then what the guest sends is read until it ends.
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SMALL 1000
#define LARGE 300

static int write_all(int fd, const unsigned char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t r = write(fd, bytes, n);
        if (r <= 0)
            return -1;
        bytes += r;
        n -= (size_t)r;
    }
    return 0;
}

// A frame to everybody, of a type for experiments, behind its length.
static size_t put_frame(unsigned char *at, size_t n)
{
    memset(at, 0xff, 4 + n);
    memcpy(at, (unsigned char[]){0, 0, (unsigned char)(n >> 8), (unsigned char)n}, 4);
    memcpy(at + 4 + 6, (unsigned char[]){2, 0, 0, 0, 0, 1, 0x88, 0xb5}, 8);
    return 4 + n;
}

static int run(char **arguments, int count, int fd)
{
    char net[32], *all[64];
    if (count > 62)
        return 2;
    snprintf(net, sizeof net, "--net=passt:fd:%d", fd);
    memcpy(all, arguments, (size_t)count * sizeof *all);
    all[count] = net;
    all[count + 1] = NULL;
    execvp(all[0], all);
    return 127;
}

int main(int argc, char **argv)
{
    static unsigned char bytes[SMALL * 64 + 9004];
    int pair[2], status = 0;
    size_t n = 0;
    if (argc < 2 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 2;
    pid_t child = fork();
    if (child < 0)
        return 2;
    if (child == 0) {
        close(pair[0]);
        return run(argv + 1, argc - 1, pair[1]);
    }
    close(pair[1]);
    if (read(pair[0], bytes, sizeof bytes) > 0) {
        int failed = 0;
        n = put_frame(bytes, 9000);
        for (unsigned i = 0; i < LARGE && !failed; i++)
            failed = write_all(pair[0], bytes, n);
        n = 0;
        for (unsigned i = 0; i < SMALL; i++)
            n += put_frame(bytes + n, 60);
        if (!failed && write_all(pair[0], bytes, n) < 0)
            perror("frames");
        while (read(pair[0], bytes, sizeof bytes) > 0)
            ;
    }
    if (waitpid(child, &status, 0) < 0)
        return 2;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}
