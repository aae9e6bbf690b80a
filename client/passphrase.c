// See passphrase.h. The controlling terminal itself is used, so that standard input and output may be redirected.
#include "client/passphrase.h"
#include "base/cleanup.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

#include "base/banned.h"

static int ask_on(int terminal, const char *prompt, char *ret, size_t capacity)
{
    struct termios before, quiet;
    size_t n = 0;
    ssize_t got = 0;
    if (tcgetattr(terminal, &before) < 0)
        return -errno;
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    // First quiet, then the question: what is typed in answer to it is neither shown nor flushed.
    if (tcsetattr(terminal, TCSAFLUSH, &quiet) < 0)
        return -errno;
    dprintf(terminal, "%s", prompt);
    while (n < capacity - 1 && (got = read(terminal, ret + n, 1)) == 1 && ret[n] != '\n')
        n++;
    tcsetattr(terminal, TCSAFLUSH, &before);
    dprintf(terminal, "\n");
    ret[n] = '\0';
    if (got < 0)
        return -errno;
    return n == capacity - 1 ? -E2BIG : (int)n;
}

int passphrase_ask(void *context, const char *prompt, char *ret, size_t capacity)
{
    (void)context;
    CLEANUP_CLOSE int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0)
        return -EACCES;
    return ask_on(terminal, prompt, ret, capacity);
}

int passphrase_ask_new(char *ret, size_t capacity, struct error *error)
{
    char again[256];
    ret[0] = '\0';
    if (!isatty(STDIN_FILENO))
        return 0;
    int first = passphrase_ask(NULL, "Passphrase for the new key (empty: none): ", ret, capacity);
    if (first < 0)
        return error_set(error, -first, "cannot ask for a passphrase: %s", strerror(-first));
    if (first == 0)
        return 0;
    int second = passphrase_ask(NULL, "Once more: ", again, sizeof(again));
    bool same = second == first && memcmp(ret, again, (size_t)first) == 0;
    explicit_bzero(again, sizeof(again));
    return same ? first : error_set(error, EINVAL, "the two passphrases differ; nothing was written");
}
