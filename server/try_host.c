// The host of visitors' machines (see try_host.h). One thread, one poll loop; machines are try_machine.h's.
//
// Everything of theirs is below one folder: home/ (RONDO_HOME: what machines write, and the host's own trust in the
// site), cache/, run/ (RONDO_RUNTIME), config/. Of the server's environment they get PATH, TMPDIR and RONDO_LOG.
#include "server/try_host.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/text.h"
#include "server/try_machine.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/banned.h"

#define TICK_MS 1000
#define NICENESS 10                  // the server itself comes first
#define CACHE_SIZE "cache-size 2G\n" // of what is a copy of the site on the same disk

struct host {
    struct try_place place;
    char runtime[PATH_TEXT_SIZE];
    int fd; // -1: the server has gone
    struct try_machine machines[TRY_MACHINES_MAXIMUM];
};

static int refuse_limits(const char *text, struct error *error)
{
    return error_set(error, EINVAL, "--try takes N[,idle=SECONDS][,life=SECONDS][,memory=SIZE][,disk=SIZE], not \"%s\"",
                     text);
}

static int parse_size(const char *text, const char *name, const char *value, uint64_t least, uint64_t *ret,
                      struct error *error)
{
    char size[32];
    if (!text_parse_size(value, ret))
        return refuse_limits(text, error);
    if (*ret < least)
        return error_set(error, EINVAL, "--try %s=%s: a machine needs %s at least", name, value,
                         text_format_size(least, size));
    return 0;
}

static int parse_seconds(const char *text, const char *name, const char *value, unsigned *ret, struct error *error)
{
    uint64_t n;
    if (!text_parse_u64(slice_of(value), UINT64_MAX, &n))
        return refuse_limits(text, error);
    if (n == 0 || n > TRY_SECONDS_MAXIMUM)
        return error_set(error, EINVAL, "--try %s=%s: seconds are from 1 to %u", name, value, TRY_SECONDS_MAXIMUM);
    *ret = (unsigned)n;
    return 0;
}

int try_limits_parse(const char *text, struct try_limits *ret, struct error *error)
{
    struct try_limits limits = {
        .idle = TRY_IDLE_SECONDS, .life = TRY_LIFE_SECONDS, .memory = TRY_MEMORY_DEFAULT, .disk = TRY_DISK_DEFAULT};
    char copy[256];
    uint64_t n;
    if (strlen(text) >= sizeof copy)
        return refuse_limits(text, error);
    memcpy(copy, text, strlen(text) + 1);
    char *rest = copy, *word = strsep(&rest, ",");
    if (!text_parse_u64(slice_of(word), UINT64_MAX, &n))
        return refuse_limits(text, error);
    if (n == 0 || n > TRY_MACHINES_MAXIMUM)
        return error_set(error, EINVAL, "--try %s: machines are from 1 to %u", word, TRY_MACHINES_MAXIMUM);
    limits.machines = (unsigned)n;
    while ((word = strsep(&rest, ","))) {
        const char *name = strsep(&word, "=");
        int r = -EINVAL;
        if (!word)
            return refuse_limits(text, error);
        if (strcmp(name, "memory") == 0)
            r = parse_size(text, name, word, TRY_MEMORY_MINIMUM, &limits.memory, error);
        else if (strcmp(name, "disk") == 0)
            r = parse_size(text, name, word, TRY_DISK_MINIMUM, &limits.disk, error);
        else if (strcmp(name, "idle") == 0)
            r = parse_seconds(text, name, word, &limits.idle, error);
        else if (strcmp(name, "life") == 0)
            r = parse_seconds(text, name, word, &limits.life, error);
        else
            return refuse_limits(text, error);
        if (r < 0)
            return r;
    }
    *ret = limits;
    return 0;
}

int try_limits_check_memory(const struct try_limits *limits, uint64_t there, struct error *error)
{
    char each[32], all[32];
    if (limits->memory <= there / limits->machines)
        return 0;
    return error_set(
        error, EINVAL,
        "--try: %u machines of %s each are more than the %s of memory that this computer has with its swap: "
        "allow fewer, or give them less (%u,memory=SIZE)",
        limits->machines, text_format_size(limits->memory, each), text_format_size(there, all), limits->machines);
}

// --- before it hears anybody ---------------------------------------------------------------------------------------

static int make_folder(const char *folder, const char *name, const char *variable, char ret_path[static PATH_TEXT_SIZE],
                       struct error *error)
{
    int r = path_format(ret_path, PATH_TEXT_SIZE, "%s/%s", folder, name);
    if (r == 0)
        r = io_make_folders(AT_FDCWD, ret_path, 0700);
    if (r == 0 && setenv(variable, ret_path, 1) < 0)
        r = -ENOMEM;
    return r < 0 ? error_set(error, -r, "cannot make %s/%s: %s", folder, name, strerror(-r)) : 0;
}

static int set_environment(struct host *h, const char *folder, struct error *error)
{
    static const char *const kept[] = {"PATH", "TMPDIR", "RONDO_LOG"};
    char *values[ARRAY_SIZE(kept)] = {NULL};
    char path[PATH_TEXT_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        const char *value = getenv(kept[i]);
        values[i] = value ? strdup(value) : NULL;
    }
    clearenv();
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        if (values[i])
            setenv(kept[i], values[i], 1);
        free(values[i]);
    }
    int r = make_folder(folder, "home", "RONDO_HOME", h->place.home, error);
    if (r == 0)
        r = make_folder(folder, "run", "RONDO_RUNTIME", h->runtime, error);
    if (r == 0)
        r = make_folder(folder, "cache", "RONDO_CACHE", path, error);
    if (r == 0)
        r = make_folder(folder, "config/rondo", "XDG_CONFIG_HOME", path, error);
    if (r < 0)
        return r;
    int configuration CLEANUP_CLOSE = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    r = configuration < 0 ? -errno : io_replace_file(configuration, "config", CACHE_SIZE, sizeof CACHE_SIZE - 1, 0600);
    if (r < 0)
        return error_set(error, -r, "cannot write %s/config: %s", path, strerror(-r));
    *strrchr(path, '/') = '\0';
    return setenv("XDG_CONFIG_HOME", path, 1) < 0 ? error_set(error, ENOMEM, "not enough memory to start") : 0;
}

// --- its loop ------------------------------------------------------------------------------------------------------

static int start(struct host *h, const char *name, struct error *error)
{
    if (!text_is_image_name(slice_of(name)))
        return error_set(error, EINVAL, "that is no name of an image");
    for (unsigned i = 0; i < h->place.limits.machines; i++)
        if (try_machine_is_free(&h->machines[i]))
            return try_machine_start(&h->machines[i], &h->place, name, error);
    return error_set(error, EBUSY, "as many machines run as may");
}

static void answer(struct host *h)
{
    char question[SOCKET_LINE_MAXIMUM], text[64];
    struct error error = {.text = ""};
    uint64_t number;
    int r = socket_receive(h->fd, 0, question, NULL, NULL);
    if (r == -EAGAIN || r == -EINTR)
        return;
    struct slice rest = slice_of(question), word = slice_cut_word(&rest);
    if (r <= 0 || !slice_equal(word, "start") || !text_parse_u64(slice_cut_word(&rest), UINT64_MAX, &number)) {
        close(TAKE_FD(h->fd));
        return;
    }
    int stream CLEANUP_CLOSE = start(h, rest.at, &error);
    if (stream < 0 && stream != -EBUSY)
        log_error("no machine: %s", error.text);
    if (stream >= 0)
        snprintf(text, sizeof text, "ok %llu", (unsigned long long)number);
    else
        snprintf(text, sizeof text, "error %llu %d", (unsigned long long)number, -stream);
    r = socket_send(h->fd, text, &stream, stream >= 0);
    if (r < 0)
        close(TAKE_FD(h->fd));
}

// Returns when the server has gone, and all machines with it.
static void loop(struct host *h)
{
    struct pollfd polls[1 + TRY_MACHINE_POLLS * TRY_MACHINES_MAXIMUM];
    const unsigned count = h->place.limits.machines;
    for (;;) {
        unsigned running = 0;
        for (unsigned i = 0; i < count; i++) {
            if (h->fd < 0)
                try_machine_end(&h->machines[i], "the server stops");
            running += !try_machine_is_free(&h->machines[i]);
            try_machine_prepare(&h->machines[i], &polls[1 + TRY_MACHINE_POLLS * i]);
        }
        if (h->fd < 0 && running == 0)
            return;
        polls[0] = (struct pollfd){.fd = h->fd, .events = POLLIN};
        if (poll(polls, 1 + TRY_MACHINE_POLLS * count, running ? TICK_MS : -1) < 0)
            continue;
        for (unsigned i = 0; i < count; i++)
            if (!try_machine_is_free(&h->machines[i]))
                try_machine_handle(&h->machines[i], &h->place, &polls[1 + TRY_MACHINE_POLLS * i]);
        if (polls[0].revents && h->fd >= 0)
            answer(h);
    }
}

// rondo-cloop would end by itself, after a minute.
static void end_cloop(const struct host *h)
{
    char path[PATH_TEXT_SIZE];
    if (path_format(path, sizeof path, "%s/cloop.sock", h->runtime) < 0)
        return;
    int fd CLEANUP_CLOSE = socket_connect(path, NULL);
    if (fd >= 0)
        socket_send(fd, "quit", NULL, 0);
}

static _Noreturn void serve(struct host *h, int fd)
{
    // SIGTERM and what a terminal sends are for the server: our machines end with it.
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)signal(signals[i], SIG_IGN);
    const struct rlimit none = {0};
    prctl(PR_SET_NAME, "rondo-try");
    setrlimit(RLIMIT_CORE, &none);
    setpriority(PRIO_PROCESS, 0, NICENESS);
    spawn_close_all_but(&fd, 1);
    h->fd = fd;
    loop(h);
    end_cloop(h);
    _exit(EXIT_CODE_OK);
}

// --- the server's end ----------------------------------------------------------------------------------------------

int try_host_start(const char *site, const char *folder, const char *program, const struct try_limits *limits,
                   struct try_host *ret, struct error *error)
{
    struct host *h CLEANUP_FREE = calloc(1, sizeof *h);
    if (!h)
        return error_set(error, ENOMEM, "not enough memory to start");
    h->place = (struct try_place){.site = site, .program = program, .limits = *limits};
    for (unsigned i = 0; i < TRY_MACHINES_MAXIMUM; i++)
        h->machines[i] = (struct try_machine)TRY_MACHINE_NONE;
    int ours, theirs;
    int r = socket_pair(SOCK_SEQPACKET | SOCK_NONBLOCK, &ours, &theirs, error);
    if (r < 0)
        return r;
    pid_t pid = fork();
    if (pid == 0) {
        r = set_environment(h, folder, error);
        if (r == 0)
            r = socket_send(theirs, "ok", NULL, 0);
        if (r == 0)
            serve(h, theirs);
        socket_send(theirs, error && error->text[0] ? error->text : "no memory", NULL, 0);
        _exit(EXIT_CODE_OTHER);
    }
    r = pid < 0 ? error_set(error, errno, "cannot start a process for machines: %m") : 0;
    close(theirs);
    char text[SOCKET_LINE_MAXIMUM] = "it ended";
    struct try_host new = {.fd = ours, .pid = pid};
    if (r == 0 && (socket_receive(ours, -1, text, NULL, NULL) <= 0 || strcmp(text, "ok") != 0)) {
        r = error_set(error, EIO, "the process for machines does not start: %.500s", text);
        try_host_end(&new);
    } else if (r < 0) {
        close(ours);
    } else {
        *ret = new;
    }
    return r;
}

int try_host_ask(const struct try_host *h, uint64_t number, const char *name)
{
    char text[SOCKET_LINE_MAXIMUM];
    snprintf(text, sizeof text, "start %llu %s", (unsigned long long)number, name);
    return socket_send(h->fd, text, NULL, 0);
}

// "ok NUMBER" with a stream, or "error NUMBER ERRNO".
static bool parse_answer(const char *text, bool has_stream, struct try_answer *ret)
{
    struct slice rest = slice_of(text), word = slice_cut_word(&rest);
    uint64_t code = 0;
    if (!slice_equal(word, has_stream ? "ok" : "error") ||
        !text_parse_u64(slice_cut_word(&rest), UINT64_MAX, &ret->number))
        return false;
    if (!has_stream && (!text_parse_u64(slice_cut_word(&rest), 4095, &code) || code == 0))
        return false;
    ret->stream = -(int)code;
    return true;
}

int try_host_hear(const struct try_host *h, struct try_answer *ret)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    struct try_answer new;
    int r = socket_receive(h->fd, 0, text, fds, &count);
    if (r == -EAGAIN || r == -EINTR)
        return 0;
    if (r > 0 && count <= 1 && parse_answer(text, count == 1, &new)) {
        *ret = new;
        if (count == 1)
            ret->stream = fds[0];
        return 1;
    }
    while (count > 0)
        close(fds[--count]);
    return -EPIPE; // whoever answers otherwise is no host
}

void try_host_end(struct try_host *h)
{
    if (h->fd < 0)
        return;
    close(TAKE_FD(h->fd));
    while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
