// rondo logs: what the console showed in a machine's last run, or present one; --machine: what its supervisor and its
// programs said. To a pipe the bytes go as they are, to a terminal as plain text (plain.h).
#include "base/cleanup.h"
#include "base/io.h"
#include "client/cli.h"
#include "client/instance.h"
#include "client/plain.h"
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define PIECE (64u << 10)
#define LOOK_MS 100

struct following {
    const struct instance *instance;
    int fd;
    uint64_t offset;
    bool terminal;
    struct plain plain;
};

// All that is there now.
static int show(struct following *f, struct error *error)
{
    static char bytes[PIECE];
    for (;;) {
        ssize_t n = io_read_some(f->fd, bytes, sizeof(bytes), f->offset);
        if (n < 0)
            return error_set(error, (int)-n, "cannot read the log in %s: %s", f->instance->folder, strerror((int)-n));
        if (n == 0 || ferror(stdout))
            break;
        f->offset += (uint64_t)n;
        if (f->terminal)
            plain_feed(&f->plain, bytes, (size_t)n);
        else
            (void)fwrite(bytes, 1, (size_t)n, stdout); // its failure stays in ferror
    }
    plain_flush(&f->plain);
    (void)fflush(stdout);
    return 0;
}

// Until the machine has ended, and with it the log.
static int follow(struct following *f, struct error *error)
{
    for (;;) {
        struct stat st;
        bool runs = instance_is_running(f->instance); // before the last bytes are read
        if (fstat(f->fd, &st) == 0 && (uint64_t)st.st_size < f->offset)
            f->offset = 0; // another run has begun
        int r = show(f, error);
        if (r < 0 || !runs || ferror(stdout))
            return r;
        poll(NULL, 0, LOOK_MS);
    }
}

static int show_log(const struct instance *i, bool machine, bool following, struct error *error)
{
    const char *name = machine ? "machine.log" : "console.log";
    CLEANUP_CLOSE int fd = io_open(i->folder_fd, name, O_RDONLY | O_NONBLOCK, 0);
    if (fd == -ENOENT)
        return error_set(error, ENOENT, "machine %s has no %s yet: it has not run; rondo start %s starts it", i->name,
                         name, i->name);
    if (fd < 0)
        return error_set(error, -fd, "cannot open %s/%s: %s", i->folder, name, strerror(-fd));
    struct following f = {.instance = i, .fd = fd, .terminal = isatty(STDOUT_FILENO), .plain = PLAIN_TO(stdout)};
    int r = following ? follow(&f, error) : show(&f, error);
    if (r == 0 && !machine && f.offset >= INSTANCE_CONSOLE_LOG_MAXIMUM)
        fprintf(
            stderr,
            "\nrondo: the log ends here, as it is full; rondo console %s shows what a machine that runs said last\n",
            i->name);
    return r;
}

int verb_logs(int argc, char **argv)
{
    bool following = false, machine = false;
    const struct option options[] = {
        {"follow", OPTION_FLAG, &following}, {"machine", OPTION_FLAG, &machine}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    struct instance i = INSTANCE_NONE;
    cli_cancel_on_signals();
    r = instance_open(argv[1], &i, &error);
    if (r == 0 || (r == -EBADMSG && i.folder_fd >= 0)) // a damaged machine's logs are of interest, too
        r = show_log(&i, machine, following, &error);
    instance_close(&i);
    return cli_end(r, &error);
}
