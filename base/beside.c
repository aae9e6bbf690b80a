// Processes beside ours (see beside.h).
#include "base/beside.h"

#include "base/cleanup.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define OURS 3 // the first descriptor after those of a terminal

// SIGTERM and what a terminal sends are for the program that we serve.
static _Noreturn void serve(const struct beside_work *work, int fd)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    char question[SOCKET_LINE_MAXIMUM], text[SOCKET_LINE_MAXIMUM];
    prctl(PR_SET_NAME, work->name);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)signal(signals[i], SIG_IGN);
    if ((fd != OURS && dup2(fd, OURS) < 0) || close_range(OURS + 1, ~0u, 0) < 0)
        _exit(EXIT_CODE_OTHER);
    if (work->prepare)
        work->prepare(work->context);
    for (;;) {
        int fds[SOCKET_FDS_MAXIMUM];
        unsigned count = 0;
        if (work->idle)
            work->idle(work->context);
        int r = socket_receive(OURS, work->idle ? work->idle_seconds * 1000 : -1, question, fds, &count);
        if (r == -EINTR || r == -EAGAIN)
            continue;
        if (r <= 0)
            _exit(EXIT_CODE_OK);
        int answered = work->answer(work->context, question, count > 0 ? fds[0] : -1, text);
        r = socket_send(OURS, text, &answered, answered >= 0);
        if (answered >= 0)
            close(answered);
        while (count > 0)
            close(fds[--count]);
        if (r < 0)
            _exit(EXIT_CODE_OTHER);
    }
}

int beside_start(const struct beside_work *work, struct beside *ret, struct error *error)
{
    int ours, theirs;
    int r = socket_pair(SOCK_SEQPACKET, &ours, &theirs, error);
    if (r < 0)
        return r;
    pid_t pid = fork();
    if (pid == 0)
        serve(work, theirs);
    r = pid < 0 ? error_set(error, errno, "cannot start %s: %m", work->name) : 0;
    close(theirs);
    if (r < 0) {
        close(ours);
        return r;
    }
    *ret = (struct beside){.fd = ours, .pid = pid, .mutex = PTHREAD_MUTEX_INITIALIZER};
    return 0;
}

int beside_ask(struct beside *b, const char *question, int fd, char text[static SOCKET_LINE_MAXIMUM], char **ret_rest,
               int *ret_fd, struct error *error)
{
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    pthread_mutex_lock(&b->mutex);
    int r = socket_send(b->fd, question, &fd, fd >= 0);
    if (r == 0) {
        do
            r = socket_receive(b->fd, -1, text, fds, &count);
        while (r == -EINTR);
        r = r == 0 ? -EPIPE : r;
    }
    pthread_mutex_unlock(&b->mutex);
    if (r < 0)
        return error_set(error, -r, "a process beside this one is gone: %s", strerror(-r));
    long code = strtol(text, ret_rest, 10);
    *ret_rest += **ret_rest == ' ';
    if (ret_fd)
        *ret_fd = count > 0 ? fds[--count] : -1;
    while (count > 0)
        close(fds[--count]);
    return code == 0 ? 0 : error_set(error, (int)code, "%s", *ret_rest);
}

void beside_tell(struct beside *b, const char *text)
{
    char answer[SOCKET_LINE_MAXIMUM];
    pthread_mutex_lock(&b->mutex);
    while (socket_receive(b->fd, 0, answer, NULL, NULL) > 0)
        ;
    (void)send(b->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    pthread_mutex_unlock(&b->mutex);
}

void beside_end(struct beside *b)
{
    close(b->fd);
    while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
