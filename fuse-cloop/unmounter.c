// The process that unmounts (see unmounter.h). The conversation: "detach" or "unmount", or "device PATH"; the answer is
// "0", with the device's number, or an errno and what went wrong.
#include "fuse-cloop/unmounter.h"

#include "base/cleanup.h"
#include "base/path.h"
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

static const char detach_word[] = "detach", unmount_word[] = "unmount", device_word[] = "device ";

static void answer(const char *path, const char *question, char *ret_text, size_t capacity)
{
    struct error error = {.text = ""};
    dev_t device;
    int r;
    if (strncmp(question, device_word, sizeof device_word - 1) != 0) {
        r = mount_remove(path, strcmp(question, detach_word) == 0, &error);
    } else {
        r = mount_device_of(question + sizeof device_word - 1, &device);
        if (r == 0)
            snprintf(error.text, sizeof error.text, "%llu", (unsigned long long)device);
    }
    snprintf(ret_text, capacity, "%d %s", -r, error.text);
}

// SIGTERM and what a terminal sends are for the program that we serve.
static _Noreturn void serve(const char *path, int fd)
{
    char text[SOCKET_LINE_MAXIMUM], reply[ERROR_TEXT_SIZE + 16];
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    prctl(PR_SET_NAME, "rondo-unmount");
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)signal(signals[i], SIG_IGN);
    if ((fd != OURS && dup2(fd, OURS) < 0) || close_range(OURS + 1, ~0u, 0) < 0)
        _exit(EXIT_CODE_OTHER);
    for (;;) {
        int r = socket_receive(OURS, -1, text, NULL, NULL);
        if (r == -EINTR)
            continue;
        if (r <= 0)
            _exit(EXIT_CODE_OK);
        answer(path, text, reply, sizeof reply);
        if (socket_send(OURS, reply, NULL, 0) < 0)
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
    *ret = (struct unmounter){.fd = ours, .pid = pid, .mutex = PTHREAD_MUTEX_INITIALIZER};
    return 0;
}

// *ret_rest gets what stands behind the number of the answer.
static int ask(struct unmounter *u, const char *question, char answer[static SOCKET_LINE_MAXIMUM], char **ret_rest,
               struct error *error)
{
    pthread_mutex_lock(&u->mutex);
    int r = socket_send(u->fd, question, NULL, 0);
    if (r == 0) {
        do
            r = socket_receive(u->fd, -1, answer, NULL, NULL);
        while (r == -EINTR);
        r = r == 0 ? -EPIPE : r;
    }
    pthread_mutex_unlock(&u->mutex);
    if (r < 0)
        return error_set(error, -r, "the process that unmounts is gone: %s", strerror(-r));
    long code = strtol(answer, ret_rest, 10);
    *ret_rest += **ret_rest == ' ';
    return code == 0 ? 0 : error_set(error, (int)code, "%s", *ret_rest);
}

int unmounter_remove(struct unmounter *u, bool detach, struct error *error)
{
    char text[SOCKET_LINE_MAXIMUM], *rest;
    return ask(u, detach ? detach_word : unmount_word, text, &rest, error);
}

int unmounter_find_device(struct unmounter *u, const char *path, dev_t *ret_device)
{
    char question[SOCKET_LINE_MAXIMUM], text[SOCKET_LINE_MAXIMUM], *rest;
    int r = path_format(question, sizeof question, "%s%s", device_word, path);
    if (r == 0)
        r = ask(u, question, text, &rest, NULL);
    if (r == 0)
        *ret_device = (dev_t)strtoull(rest, NULL, 10);
    return r;
}

void unmounter_end(struct unmounter *u)
{
    close(u->fd);
    while (waitpid(u->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
