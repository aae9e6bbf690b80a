// The process that unmounts (see unmounter.h). The conversation: "detach" or "unmount"; the answer is "0", or an errno
// and what went wrong.
#include "fuse-cloop/unmounter.h"

#include "base/cleanup.h"
#include "base/socket.h"
#include "fuse-cloop/mount.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define OURS 3 // the first descriptor after those of a terminal

static const char detach_word[] = "detach", unmount_word[] = "unmount";

// SIGTERM and what a terminal sends are for the program that we serve.
static _Noreturn void serve(const char *path, int fd)
{
    char text[SOCKET_LINE_MAXIMUM], answer[ERROR_TEXT_SIZE + 16];
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    prctl(PR_SET_NAME, "rondo-unmount");
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)signal(signals[i], SIG_IGN);
    if ((fd != OURS && dup2(fd, OURS) < 0) || close_range(OURS + 1, ~0u, 0) < 0)
        _exit(EXIT_CODE_OTHER);
    for (;;) {
        struct error error = {.text = ""};
        int r = socket_receive(OURS, -1, text, NULL, NULL);
        if (r == -EINTR)
            continue;
        if (r <= 0)
            _exit(EXIT_CODE_OK);
        r = mount_remove(path, strcmp(text, detach_word) == 0, &error);
        snprintf(answer, sizeof answer, "%d %s", -r, error.text);
        if (socket_send(OURS, answer, NULL, 0) < 0)
            _exit(EXIT_CODE_OTHER);
    }
}

int unmounter_start(const char *path, struct unmounter *ret, struct error *error)
{
    int ours, theirs;
    int r = socket_pair(SOCK_SEQPACKET, &ours, &theirs, error);
    if (r < 0)
        return r;
    pid_t pid = fork();
    if (pid == 0)
        serve(path, theirs);
    r = pid < 0 ? error_set(error, errno, "cannot start the process that unmounts: %m") : 0;
    close(theirs);
    if (r < 0) {
        close(ours);
        return r;
    }
    *ret = (struct unmounter){.fd = ours, .pid = pid};
    return 0;
}

int unmounter_remove(const struct unmounter *u, bool detach, struct error *error)
{
    char answer[SOCKET_LINE_MAXIMUM], *rest;
    int r = socket_send(u->fd, detach ? detach_word : unmount_word, NULL, 0);
    if (r == 0) {
        do
            r = socket_receive(u->fd, -1, answer, NULL, NULL);
        while (r == -EINTR);
        r = r == 0 ? -EPIPE : r;
    }
    if (r < 0)
        return error_set(error, -r, "the process that unmounts is gone: %s", strerror(-r));
    long code = strtol(answer, &rest, 10);
    return code == 0 ? 0 : error_set(error, (int)code, "%s", rest + (*rest == ' '));
}

void unmounter_end(struct unmounter *u)
{
    close(u->fd);
    while (waitpid(u->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
