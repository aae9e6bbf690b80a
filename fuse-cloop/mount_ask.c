// Questions to the file system, asked by a process that holds nothing of ours (see mount.h): neither lock nor session,
// so if it waits for an answer that never comes, nobody waits for it.
//
//   rondo-cloop ──fork──▶ child ──fork──▶ grandchild: closes everything, asks, writes the answer into a pipe
//        │                  └ ends at once, and is waited for; nobody need wait for the grandchild
//        └ reads the pipe, for as long as the question is worth
#include "base/cleanup.h"
#include "base/io.h"
#include "fuse-cloop/mount.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#include "base/banned.h"

#define LIVES_MS 200   // a dead mount says so at once, without waiting for anybody
#define DEVICE_MS 5000 // a network file system, or ourselves when we are busy
#define PIPE_FD 3

struct answer {
    int result; // 0 or -errno
    dev_t device;
};
typedef struct answer (*question)(const char *path);

// statfs always asks the file system. On a dead mount it fails at once; on one that nobody serves now it waits, until a
// successor answers.
static struct answer ask_statfs(const char *path)
{
    struct statfs s;
    return (struct answer){.result = statfs(path, &s) < 0 ? -errno : 0};
}

static struct answer ask_device(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return (struct answer){.result = -errno};
    return (struct answer){.device = st.st_dev};
}

// The grandchild, a copy of a process with threads: only async-signal-safe calls.
static void answer_and_end(question ask, const char *path, int writer)
{
    if (dup2(writer, PIPE_FD) < 0 || close_range(PIPE_FD + 1, ~0u, 0) < 0)
        _exit(1);
    struct answer answer = ask(path);
    _exit(write(PIPE_FD, &answer, sizeof(answer)) != (ssize_t)sizeof(answer));
}

static int ask_elsewhere(question ask, const char *path, int timeout_ms, struct answer *ret)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    CLEANUP_CLOSE int reader = ends[0];
    CLEANUP_CLOSE int writer = ends[1];
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0)
            answer_and_end(ask, path, writer);
        _exit(grandchild < 0);
    }
    close(TAKE_FD(writer));
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    struct pollfd p = {.fd = reader, .events = POLLIN};
    uint64_t end = io_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
    for (;;) {
        uint64_t now = io_monotonic_ns();
        int n = poll(&p, 1, now < end ? (int)((end - now) / 1000000) + 1 : 0);
        if (n == 0)
            return -ETIMEDOUT;
        if (n > 0)
            break;
        if (errno != EINTR)
            return -errno;
    }
    struct answer answer;
    ssize_t n = read(reader, &answer, sizeof(answer));
    if (n != (ssize_t)sizeof(answer))
        return -EIO;
    *ret = answer;
    return 0;
}

bool mount_lives(const char *path)
{
    struct answer answer = {.result = -EIO};
    int r = ask_elsewhere(ask_statfs, path, LIVES_MS, &answer);
    // Whatever went wrong with asking: the caller then waits for a successor in vain, at worst.
    return r < 0 || (answer.result != -ENOTCONN && answer.result != -ECONNABORTED);
}

int mount_device_of(const char *path, dev_t *ret)
{
    struct answer answer = {.result = -EIO};
    int r = ask_elsewhere(ask_device, path, DEVICE_MS, &answer);
    if (r == 0)
        r = answer.result;
    if (r == 0)
        *ret = answer.device;
    return r;
}
