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
#define ANSWER_MS 5000
#define NICENESS 10                  // the server itself comes first
#define CACHE_SIZE "cache-size 2G\n" // of what is a copy of the site on the same disk

struct host {
    struct try_place place;
    char runtime[PATH_TEXT_SIZE];
    int fd; // -1: the server has gone
    struct try_machine machines[TRY_MACHINES_MAXIMUM];
};

bool try_limits_parse(const char *text, struct try_limits *ret)
{
    struct try_limits limits = {
        .idle = TRY_IDLE_SECONDS, .life = TRY_LIFE_SECONDS, .memory = TRY_MEMORY_DEFAULT, .disk = TRY_DISK_DEFAULT};
    char copy[256];
    uint64_t n;
    if (strlen(text) >= sizeof copy)
        return false;
    memcpy(copy, text, strlen(text) + 1);
    char *rest = copy, *word = strsep(&rest, ",");
    if (!text_parse_u64(slice_of(word), TRY_MACHINES_MAXIMUM, &n) || n == 0)
        return false;
    limits.machines = (unsigned)n;
    while ((word = strsep(&rest, ","))) {
        const char *name = strsep(&word, "=");
        if (!word)
            return false;
        if (strcmp(name, "memory") == 0) {
            if (!text_parse_size(word, &limits.memory))
                return false;
        } else if (strcmp(name, "disk") == 0) {
            if (!text_parse_size(word, &limits.disk))
                return false;
        } else if (strcmp(name, "idle") != 0 && strcmp(name, "life") != 0) {
            return false;
        } else if (!text_parse_u64(slice_of(word), TRY_SECONDS_MAXIMUM, &n) || n == 0) {
            return false;
        } else {
            *(name[0] == 'i' ? &limits.idle : &limits.life) = (unsigned)n;
        }
    }
    *ret = limits;
    return true;
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

static int start(struct host *h, const char *question, struct error *error)
{
    static const char word[] = "start ";
    struct slice name = slice_of(question + sizeof word - 1);
    if (strncmp(question, word, sizeof word - 1) != 0 || !text_is_image_name(name))
        return error_set(error, EINVAL, "that is no name of an image");
    for (unsigned i = 0; i < h->place.limits.machines; i++)
        if (try_machine_is_free(&h->machines[i]))
            return try_machine_start(&h->machines[i], &h->place, name.at, error);
    return error_set(error, EBUSY, "as many machines run as may");
}

static void answer(struct host *h)
{
    char text[SOCKET_LINE_MAXIMUM];
    struct error error = {.text = ""};
    int r = socket_receive(h->fd, 0, text, NULL, NULL);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r <= 0) {
        close(TAKE_FD(h->fd));
        return;
    }
    int stream CLEANUP_CLOSE = start(h, text, &error);
    if (stream < 0 && stream != -EBUSY)
        log_error("no machine: %s", error.text);
    if (stream >= 0)
        r = socket_send(h->fd, "ok", &stream, 1);
    else if (snprintf(text, sizeof text, "error %d %s", -stream, error.text) > 0)
        r = socket_send(h->fd, text, NULL, 0);
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
    int r = socket_pair(SOCK_SEQPACKET, &ours, &theirs, error);
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

// What answers a question whose asker has given up.
static void drop_late_answers(int fd)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    while (socket_receive(fd, 0, text, fds, &count) > 0)
        while (count > 0)
            close(fds[--count]);
}

int try_host_ask(const struct try_host *h, const char *name)
{
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM] = {-1};
    unsigned count = 0;
    uint64_t code;
    drop_late_answers(h->fd);
    snprintf(text, sizeof text, "start %s", name);
    int r = socket_send(h->fd, text, NULL, 0);
    if (r == 0)
        r = socket_receive(h->fd, ANSWER_MS, text, fds, &count);
    if (r <= 0)
        return r == 0 ? -EPIPE : r;
    if (count == 1 && strcmp(text, "ok") == 0)
        return fds[0];
    while (count > 0)
        close(fds[--count]);
    struct slice rest = slice_of(text), word = slice_cut_word(&rest);
    const bool told = slice_equal(word, "error") && text_parse_u64(slice_cut_word(&rest), 4095, &code) && code > 0;
    return told ? -(int)code : -EPROTO;
}

void try_host_end(struct try_host *h)
{
    if (h->fd < 0)
        return;
    close(TAKE_FD(h->fd));
    while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
