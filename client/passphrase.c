// See passphrase.h. The controlling terminal itself is used, so that standard input and output may be redirected.
//
// 1. A file is read byte by byte up to the newline, so that the next key finds the next line of a FIFO.
// 2. What others may read is no secret: it is refused, not warned of, as ssh does with keys.
// 3. Nothing waits without bounds, or for over a second without a word: a FIFO without a writer costs a minute.
#include "client/passphrase.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "client/cli.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>

#include "base/banned.h"

#define FIFO_SECONDS 60

// --- a file

static const char *passphrase_file(void)
{
    const char *path = getenv(PASSPHRASE_FILE_VARIABLE);
    return path && *path ? path : NULL;
}

static int check_file(int fd, const char *path, bool *ret_fifo, struct error *error)
{
    struct stat s;
    if (fstat(fd, &s) < 0)
        return error_set(error, errno, "cannot read %s, the file of the passphrase: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode) && !S_ISFIFO(s.st_mode))
        return error_set(error, EINVAL, "%s, the file of the passphrase, is neither a file nor a FIFO", path);
    if (s.st_uid != geteuid() && s.st_uid != 0)
        return error_set(error, EACCES, "%s, the file of the passphrase, belongs to somebody else", path);
    if (s.st_mode & 077)
        return error_set(error, EACCES,
                         "%s, the file of the passphrase, is open to others (mode %04o), who may know it by now; "
                         "change the passphrase, or, if nobody else was there: chmod 600 %s",
                         path, s.st_mode & 07777u, path);
    *ret_fifo = S_ISFIFO(s.st_mode);
    return 0;
}

// Until there is something to read.
static int wait_for_writer(int fd, const char *path, struct error *error)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready = cli_poll(&p, 1, 1000);
    if (ready == 0) {
        fprintf(stderr, "rondo: waiting for the passphrase that somebody writes to %s\n", path);
        ready = cli_poll(&p, 1, (FIFO_SECONDS - 1) * 1000);
    }
    if (ready < 0)
        return error_set(error, errno == EINTR ? ECANCELED : errno, "no passphrase came from %s: %s", path,
                         errno == EINTR ? "cancelled" : strerror(errno));
    return ready > 0 ? 0 : error_set(error, ETIMEDOUT, "nobody wrote a passphrase to %s for %d s", path, FIFO_SECONDS);
}

// The first line; its length.
static int read_line(int fd, const char *path, bool fifo, char *ret, size_t capacity, struct error *error)
{
    size_t n = 0;
    for (;;) {
        int r = fifo ? wait_for_writer(fd, path, error) : 0;
        if (r < 0)
            return r;
        char byte;
        const ssize_t got = read(fd, &byte, 1);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got < 0)
            return error_set(error, errno, "cannot read %s, the file of the passphrase: %s", path, strerror(errno));
        if (got == 0 || byte == '\n')
            break;
        if (byte == '\0')
            return error_set(error, EINVAL, "%s holds no passphrase: there is a NUL byte in its first line", path);
        if (n == capacity - 1)
            return error_set(error, EINVAL, "%s holds no passphrase: its first line has more than %zu bytes", path,
                             capacity - 1);
        ret[n++] = byte;
    }
    ret[n] = '\0';
    return n ? (int)n : error_set(error, EINVAL, "%s holds no passphrase: its first line is empty", path);
}

static int read_file(const char *path, char *ret, size_t capacity, struct error *error)
{
    bool fifo = false;
    // O_NONBLOCK: opening a FIFO would wait for its writer without a word.
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return error_set(error, errno, "cannot read %s, the file of the passphrase: %s", path, strerror(errno));
    int r = check_file(fd, path, &fifo, error);
    if (r == 0)
        r = read_line(fd, path, fifo, ret, capacity, error);
    if (r < 0)
        explicit_bzero(ret, capacity);
    return r;
}

// --- a terminal

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

static int ask_terminal(const char *prompt, char *ret, size_t capacity)
{
    CLEANUP_CLOSE int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0)
        return -EACCES;
    return ask_on(terminal, prompt, ret, capacity);
}

// --- keys

// `context` is a struct error, for what the caller of key_read_secret has no words for.
static int ask(void *context, const char *prompt, char *ret, size_t capacity)
{
    struct error *why = context;
    const char *file = passphrase_file();
    if (file)
        return read_file(file, ret, capacity, why);
    int r = ask_terminal(prompt, ret, capacity);
    return r == -EACCES ? error_set(why, EACCES,
                                    "the secret key is encrypted, and there is no terminal to ask for its passphrase "
                                    "on; " PASSPHRASE_FILE_VARIABLE "=FILE names a file that holds it")
                        : r;
}

int passphrase_read_key(const char *path, struct key_secret **ret, struct error *error)
{
    struct error why = {.text = ""};
    int r = key_read_secret(path, ask, &why, ret, error);
    return r < 0 && why.text[0] ? error_set(error, -r, "%s: %s", path, why.text) : r;
}

int passphrase_ask_new(char *ret, size_t capacity, struct error *error)
{
    char again[256];
    ret[0] = '\0';
    if (passphrase_file())
        return read_file(passphrase_file(), ret, capacity, error);
    if (!isatty(STDIN_FILENO))
        return 0;
    int first = ask_terminal("Passphrase for the new key (empty: none): ", ret, capacity);
    if (first < 0)
        return error_set(error, -first, "cannot ask for a passphrase: %s", strerror(-first));
    if (first == 0)
        return 0;
    int second = ask_terminal("Once more: ", again, sizeof(again));
    bool same = second == first && memcmp(ret, again, (size_t)first) == 0;
    explicit_bzero(again, sizeof(again));
    return same ? first : error_set(error, EINVAL, "the two passphrases differ; nothing was written");
}
