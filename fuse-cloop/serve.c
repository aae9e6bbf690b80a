// The two ways in which rondo-cloop runs (see serve.h). All of this is the main thread's.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "fuse-cloop/control.h"
#include "fuse-cloop/control_source.h"
#include "fuse-cloop/mount.h"
#include "fuse-cloop/serve_private.h"
#include "fuse-cloop/workers.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "base/banned.h"

#define WORKERS_END_MS 2000
#define RETRY_END_MS 1000 // quit was asked for, but something is in use
#define DETACH_MAXIMUM 16 // mounts on top of each other

int serve_start_others(struct program *p, struct error *error)
{
    if (chdir("/") < 0)
        log_warning("cannot leave the folder in which rondo-cloop was started: %s", strerror(errno));
    p->session.unmounter = &p->unmounter;
    int r = unmounter_start(p->session.mount_point, &p->unmounter, error);
    return r == 0 ? opener_start(&p->opener, error) : r;
}

void serve_say_ready(struct program *p)
{
    static const char ok[] = "ok\n";
    if (p->options->ready_fd < 0)
        return;
    if (write(p->options->ready_fd, ok, sizeof(ok) - 1) < 0)
        log_warning("whoever started rondo-cloop is gone");
    close(TAKE_FD(p->options->ready_fd));
}

int serve_take_descriptors(struct program *p, struct error *error)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL); // before any thread starts
    p->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->signals < 0 || p->wake < 0 || p->ended < 0)
        return error_set(error, errno, "cannot make the descriptors of the main loop: %m");
    return 0;
}

int serve_open_store(struct program *p, struct error *error)
{
    char cache[PATH_TEXT_SIZE];
    int r = path_find(PATH_CACHE, cache, error);
    if (r == 0)
        r = control_check_cache(p->session.mount_point, cache, error);
    if (r < 0)
        return r;
    struct store_options options = {.cache_folder = cache,
                                    .cache_limit = p->options->cache_limit,
                                    .wait_seconds = p->options->wait_seconds,
                                    .adaptive = true,
                                    .remember_failures = true};
    return store_new(&options, &p->store, error);
}

// --- finding a session ---------------------------------------------------------------------------------------------

static int adopt(struct program *p, int session_fd, int state_fd)
{
    struct error error = {.text = ""};
    int r = session_adopt(&p->session, session_fd, state_fd, &error);
    if (r < 0)
        log_warning("%s", error.text);
    return r;
}

// Waits for somebody who holds the session of the mount that we found.
static bool await_handover(struct program *p)
{
    uint64_t end = io_monotonic_ns() + SERVE_HANDOVER_SECONDS * 1000000000ull;
    int fds[2];
    bool taken = false;
    while (!taken && control_await_offer(p->control, end, fds)) {
        taken = adopt(p, fds[0], fds[1]) == 0;
        if (!taken) {
            close(fds[0]);
            close(fds[1]);
        }
        control_answer_offer(p->control, taken);
    }
    return taken;
}

static int detach_all(const char *path, struct error *error)
{
    struct mount_found found;
    int r = 0;
    for (int i = 0; i < DETACH_MAXIMUM; i++) {
        r = mount_find(path, &found, error);
        if (r <= 0)
            return r;
        log_info("taking away the mount that was left at %s", path);
        r = mount_remove(path, true, error);
        if (r < 0)
            return r;
    }
    return error_set(error, EBUSY, "too many mounts on %s; unmount them", path);
}

static int make_mount_point(const char *path, struct error *error)
{
    struct stat st;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set(error, errno, "cannot make %s: %m", path);
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return error_set(error, ENOTDIR, "%s is not a folder; move it away", path);
    return 0;
}

static int find_session(struct program *p, struct error *error)
{
    struct serve_options *o = p->options;
    struct mount_found found;
    int r = mount_find(p->session.mount_point, &found, error);
    if (r < 0)
        return r;
    if (r > 0 && o->session_fd >= 0 && adopt(p, o->session_fd, o->state_fd) == 0)
        return 0;
    // What is not gone on with must not be held either: whoever waits for its answers would wait for ever.
    if (o->session_fd >= 0) {
        close(TAKE_FD(o->session_fd));
        close(TAKE_FD(o->state_fd));
    }
    if (r > 0 && mount_lives(p->session.mount_point)) {
        log_info("%s is mounted, and its session was not given: waiting for somebody who holds it",
                 p->session.mount_point);
        if (await_handover(p))
            return 0;
    }
    r = detach_all(p->session.mount_point, error);
    if (r == 0)
        r = make_mount_point(p->session.mount_point, error);
    return r == 0 ? session_start(&p->session, error) : r;
}

static int take_lock(struct program *p, const char *runtime, struct error *error)
{
    char path[PATH_TEXT_SIZE];
    int r = path_format(path, sizeof(path), "%s/cloop.lock", runtime);
    if (r < 0)
        return error_set(error, -r, "the runtime folder's path is too long");
    p->lock = io_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
    if (p->lock < 0)
        return error_set(error, -p->lock, "cannot open %s: %s", path, strerror(-p->lock));
    if (flock(p->lock, LOCK_EX | LOCK_NB) < 0)
        return error_set(
            error, errno == EWOULDBLOCK ? EBUSY : errno,
            errno == EWOULDBLOCK ? "another rondo-cloop serves %s" : "cannot lock the runtime folder %s: %m", runtime);
    return 0;
}

static int start_shared(struct program *p, struct error *error)
{
    char runtime[PATH_TEXT_SIZE], resolved[PATH_TEXT_SIZE], socket_path[PATH_TEXT_SIZE];
    int r = path_make(PATH_RUNTIME, runtime, error);
    if (r < 0)
        return r;
    if (!realpath(runtime, resolved))
        return error_set(error, errno, "cannot find %s: %m", runtime);
    r = path_format(p->session.mount_point, sizeof(p->session.mount_point), "%s/mnt", resolved);
    if (r == 0)
        r = path_format(socket_path, sizeof(socket_path), "%s/cloop.sock", resolved);
    if (r < 0)
        return error_set(error, -r, "the runtime folder's path is too long");
    r = take_lock(p, resolved, error);
    if (r == 0)
        r = serve_start_others(p, error);
    if (r == 0)
        r = serve_open_store(p, error);
    if (r == 0)
        r = control_new(socket_path, p->wake, &p->control, error);
    if (r == 0)
        r = find_session(p, error);
    if (r == 0)
        r = serve_confine(p, resolved, error);
    if (r == 0)
        r = table_new(p->store, p->session.state, &p->session.table, error);
    if (r == 0)
        r = workers_start(&p->session, p->ended, &p->workers, error);
    if (r == 0)
        control_set_ready(p->control, &p->session, p->store);
    return r;
}

// --- ending --------------------------------------------------------------------------------------------------------

// Takes the mount away if nobody uses it: true if it is gone, and nobody can connect any more.
static bool leave(struct program *p)
{
    struct error error = {.text = ""};
    int r = control_withdraw(p->control);
    if (r < 0) {
        log_error("the socket could not be moved aside: %s", strerror(-r));
        return false;
    }
    struct control_counts n;
    control_count(p->control, &n);
    r = table_connections(p->session.table) > 0 || (n.connections > 0 && !n.quit) ? -EBUSY : 0;
    if (r == 0)
        r = unmounter_remove(&p->unmounter, false, &error);
    if (r < 0) {
        if (r != -EBUSY)
            log_error("%s", error.text);
        control_return(p->control);
        return false;
    }
    workers_wait(p->workers, WORKERS_END_MS);
    control_remove(p->control);
    return true;
}

// Returns true if the process is to end.
static bool end_by_signal(struct program *p)
{
    struct signalfd_siginfo info;
    struct error error = {.text = ""};
    struct control_counts n;
    if (read(p->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return false;
    if (leave(p))
        return true;
    control_count(p->control, &n);
    if (n.holders > 0)
        log_info("ending; the mount at %s is in use and waits for a successor", p->session.mount_point);
    else if (unmounter_remove(&p->unmounter, true, &error) < 0)
        log_error("%s", error.text);
    return true;
}

// When the main loop should look again whether it may end: milliseconds, or -1. 0: now.
static int next_look(struct program *p, uint64_t looked_ns)
{
    struct control_counts n;
    uint64_t now = io_monotonic_ns(), idle = p->options->idle_seconds * 1000000000ull;
    control_count(p->control, &n);
    if (n.quit && table_connections(p->session.table) == 0)
        return looked_ns == 0 || now - looked_ns >= RETRY_END_MS * 1000000ull ? 0 : RETRY_END_MS;
    if (n.connections > 0)
        return -1;
    uint64_t since = looked_ns, closed = table_last_file_closed_ns(p->session.table);
    if (n.last_end_ns > since)
        since = n.last_end_ns;
    if (closed > since)
        since = closed;
    return now - since >= idle ? 0 : (int)((idle - (now - since)) / 1000000) + 1;
}

int serve_shared(struct serve_options *o, struct error *error)
{
    struct program p = {.options = o, .session = {.fd = -1, .state_fd = -1}, .lock = -1};
    int r = serve_take_descriptors(&p, error);
    if (r == 0)
        r = start_shared(&p, error);
    if (r < 0)
        return r;
    serve_say_ready(&p);
    uint64_t looked = io_monotonic_ns();
    for (;;) {
        struct pollfd polls[] = {{.fd = control_listener(p.control), .events = POLLIN},
                                 {.fd = p.wake, .events = POLLIN},
                                 {.fd = p.signals, .events = POLLIN},
                                 {.fd = p.ended, .events = POLLIN}};
        int timeout = next_look(&p, looked);
        if (timeout == 0) {
            if (leave(&p))
                return 0;
            looked = io_monotonic_ns();
            continue;
        }
        if (poll(polls, ARRAY_SIZE(polls), timeout) < 0)
            continue;
        eventfd_t ignored;
        eventfd_read(p.wake, &ignored);
        if (polls[0].revents)
            control_accept(p.control);
        if (polls[2].revents && end_by_signal(&p))
            return 0;
        if (polls[3].revents) {
            log_warning("the mount at %s was taken away; ending", p.session.mount_point);
            return 0;
        }
    }
}
