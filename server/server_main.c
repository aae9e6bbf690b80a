// rondo-server [OPTION…] DIR (server/server_options.h), or one of its operator's verbs (server/admin.h).
//
// Order: options → site's folder → log → who opens it anew → the index → the keeper → the host of machines → socket →
// rights are given up → threads → the filter → the line on stdout → wait for a signal → wind down. Every file is opened
// for reading only, but for the access log, which is open before the first client comes, and what publishers send, in
// the state folder.
//
// SIGTERM and SIGINT: no new connections; answers under way have WIND_DOWN_SECONDS to end; a second signal does not
// wait for them. SIGHUP: the access log is opened anew, under its name, by the process beside us (server/log_opener.h).
// Without a log there is nothing to open: it then means the end where there is a terminal that can hang up, and nothing
// under a supervisor. SIGCHLD: if the keeper (server/keeper.h) or the host of machines (server/try_host.h) has
// ended, so do we. The signals are blocked in all threads, and taken by this one with sigwait.

#include "base/cleanup.h"
#include "base/confine.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "server/admin.h"
#include "server/http_server.h"
#include "server/keeper.h"
#include "server/listener.h"
#include "server/log_opener.h"
#include "server/placed.h"
#include "server/server_calls.h"
#include "server/server_options.h"
#include "server/site_index.h"
#include "server/staging.h"
#include "server/try_api.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/banned.h"

#define WIND_DOWN_SECONDS 5
#define ASK_NS UINT64_C(100000000)         // for who was accepted just now to ask
#define MEMORY_MAXIMUM (UINT64_C(1) << 30) // all of its connections take less than a tenth

static int find_listener(const char *address, char ret_url[static LISTENER_URL_SIZE], struct error *error)
{
    int fd = listener_inherit(ret_url, error);

    if (fd == -ENOENT)
        return listener_open(address ? address : SERVER_LISTEN_DEFAULT, ret_url, error);
    if (fd >= 0 && address) {
        close(fd);
        return error_set(error, EINVAL, "a socket was handed over (LISTEN_FDS): leave --listen out");
    }
    return fd;
}

static int announce(const char *url, struct error *error)
{
    char line[LISTENER_URL_SIZE + 32];
    int n = snprintf(line, sizeof line, "listening on %s\n", url);

    if (write(STDOUT_FILENO, line, (size_t)n) != n) // a stream would ask whether it is a terminal: no call of ours
        return error_set(error, errno, "cannot write to standard output: %m");
    return 0;
}

static void reopen_log(struct access_log *log, struct beside *opener)
{
    struct error error;

    int fd = log_opener_open(opener, &error);
    if (fd < 0) {
        log_warning("the access log goes on in the old file: %s", error.text);
        return;
    }
    int r = access_log_replace(log, fd);
    if (r < 0)
        log_warning("the access log goes on in the old file: %s", strerror(-r));
    else
        log_info("the access log is opened anew");
}

static bool has_terminal(void)
{
    int fd CLEANUP_CLOSE = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd >= 0;
}

// What publishing takes beside the site's files.
struct publishing {
    struct beside keeper;
    int state, incoming; // folders; −1: no publications are taken
    struct publish_api *api;
};

static bool has_keeper_ended(const struct publishing *p)
{
    return p->incoming >= 0 && waitpid(p->keeper.pid, NULL, WNOHANG) == p->keeper.pid;
}

static bool has_host_ended(const struct try_host *h)
{
    return h->fd >= 0 && waitpid(h->pid, NULL, WNOHANG) == h->pid;
}

// -EPIPE if the keeper has ended, or the host of machines.
static int wait_for_signal(struct http_server *server, struct access_log *log, struct beside *opener,
                           const struct site_index *index, const struct publishing *publishing,
                           const struct try_host *host, struct try_api *machines, const sigset_t *signals,
                           struct error *error)
{
    int taken;

    while (sigwait(signals, &taken) == 0 && (taken == SIGHUP || taken == SIGCHLD)) {
        if (taken == SIGCHLD)
            site_index_reap(index);
        if (taken == SIGCHLD && has_keeper_ended(publishing))
            return error_set(error, EPIPE, "the keeper, which changes the site, has ended: so does the server");
        if (taken == SIGCHLD && has_host_ended(host))
            return error_set(error, EPIPE, "the host, which starts machines to try, has ended: so does the server");
        if (taken == SIGHUP && log->fd >= 0)
            reopen_log(log, opener);
    }
    http_server_wind_down(server);
    try_api_wind_down(machines);
    const uint64_t now = io_monotonic_ns(), asked = now + ASK_NS, until = now + WIND_DOWN_SECONDS * 1000000000ULL;
    while ((http_server_count_answers(server) > 0 || io_monotonic_ns() < asked) && io_monotonic_ns() < until) {
        const struct timespec step = {.tv_nsec = 20000000};
        const int again = sigtimedwait(signals, NULL, &step);
        if (again == SIGTERM || again == SIGINT)
            break;
    }
    return 0;
}

// Makes the keeper, while there is one thread and all rights.
static int start_keeper(const struct server_options *options, struct publishing *p, struct error *error)
{
    const struct keeper_options keeper = {
        .site = options->folder, .state = options->state, .site_key = options->site_key, .quota = options->quota};
    int r = keeper_start(&keeper, &p->keeper, error);
    if (r < 0)
        return r;
    p->state = io_open(AT_FDCWD, options->state, O_RDONLY | O_DIRECTORY, 0);
    p->incoming = p->state < 0 ? p->state : io_open(p->state, STAGING_FOLDER, O_RDONLY | O_DIRECTORY, 0);
    return p->incoming < 0 ? error_set(error, -p->incoming, "cannot open the state folder %s: %s", options->state,
                                       strerror(-p->incoming))
                           : 0;
}

static int start_publishing(const struct server_options *options, struct access_log *log, struct index_pool *index,
                            struct publishing *p, struct error *error)
{
    const struct publish_api_options api = {.site = options->folder,
                                            .state = p->state,
                                            .keeper = &p->keeper,
                                            .quota = options->quota,
                                            .index = index,
                                            .log = log};

    return publish_api_start(&api, &p->api, error);
}

static void end_publishing(struct publishing *p)
{
    publish_api_stop(&p->api);
    cleanup_close(&p->incoming);
    cleanup_close(&p->state);
}

// What is left: to read below the site's folder, root's right to read others' files included, and publishers' counts;
// to write what they send; and the index's folder, where readers share memory with the writer.
static int give_up_rights(const struct site_files *files, const struct site_index *index, const struct publishing *p,
                          struct error *error)
{
    struct confine_folder folders[4] = {{.fd = files->folder}};
    int placed CLEANUP_CLOSE = p->incoming < 0 ? -1 : io_open(p->state, PLACED_FOLDER, O_RDONLY | O_DIRECTORY, 0);
    unsigned count = 1;
    if (index->folder >= 0)
        folders[count++] = (struct confine_folder){.fd = index->folder, .writable = true};
    if (p->incoming >= 0)
        folders[count++] = (struct confine_folder){.fd = p->incoming, .writable = true};
    if (placed >= 0)
        folders[count++] = (struct confine_folder){.fd = placed};
    tzset(); // the C library reads the time zone once, from a file outside
    int r = confine_limit(RLIMIT_DATA, MEMORY_MAXIMUM);
    if (r < 0)
        log_debug("memory cannot be limited: %s", strerror(-r));
    return confine_rights(folders, count, UINT64_C(1) << CAP_DAC_READ_SEARCH, error);
}

static int serve(const struct server_options *options, struct error *error)
{
    struct site_files files CLEANUP(site_files_close) = {.folder = -1};
    struct access_log log CLEANUP(access_log_close) = {.fd = -1};
    struct beside opener = {.fd = -1}; // it ends with us
    struct site_index index CLEANUP(site_index_close) = {.folder = -1, .state = {.folder = -1}};
    struct publishing publishing CLEANUP(end_publishing) = {.state = -1, .incoming = -1};
    struct try_host host CLEANUP(try_host_end) = TRY_HOST_NONE;
    struct try_api *machines CLEANUP(try_api_stop) = NULL;
    struct http_server *server CLEANUP(http_server_stop) = NULL; // released first: its threads use the others
    char url[LISTENER_URL_SIZE];
    sigset_t signals;
    int r;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    if (options->log || !has_terminal())
        sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);

    r = site_files_open(options->folder, &files, error);
    if (r < 0)
        return r;
    if (!site_files_has_catalog(&files))
        log_warning("no " SITE_PATH_CATALOG " in %s yet: clients find nothing until something is published there",
                    options->folder);
    r = access_log_open(options->log, &log, error);
    if (r < 0)
        return r;
    if (options->log)
        r = log_opener_start(options->log, &opener, error);
    if (r == 0 && options->state)
        r = site_index_open(options->state, options->folder, &index, error);
    if (r == 0 && server_options_publish(options))
        r = start_keeper(options, &publishing, error);
    if (r == 0 && options->machines.machines)
        r = try_api_start_host(options->folder, options->state, &options->machines, &host, error);
    if (r < 0)
        return r;
    int listener CLEANUP_CLOSE = find_listener(options->listen, url, error);
    if (listener < 0)
        return listener;
    r = give_up_rights(&files, &index, &publishing, error);
    if (r == 0 && server_options_publish(options))
        r = start_publishing(options, &log, index.pool, &publishing, error);
    if (r < 0)
        return r;

    const struct static_site site = {.files = &files, .log = &log};
    if (host.fd >= 0)
        r = try_api_start(&host, &options->machines, index.pool, &machines, error);
    if (r < 0)
        return r;
    const struct router router = {
        .site = &site, .index = index.pool, .machines = machines, .try_memory = options->machines.memory};
    r = http_server_start(TAKE_FD(listener), &router, publishing.api, options->stall, &server, error);
    if (r == 0)
        r = server_calls_confine(index.pool != NULL, publishing.api != NULL, machines != NULL, error);
    if (r == 0)
        r = announce(url, error);
    if (r == 0)
        r = wait_for_signal(server, &log, &opener, &index, &publishing, &host, machines, &signals, error);
    try_api_wind_down(machines); // whatever ended us: its connections are the library's, which is stopped now
    return r;
}

int main(int argc, char **argv)
{
    struct server_options options;
    struct error error = {0};

    log_start("rondo-server");
    const struct admin_verb *verb = argc > 1 ? admin_find(argv[1]) : NULL;
    if (verb)
        return (int)admin_run(verb, argc - 1, argv + 1);
    int r = server_options_parse(argc, argv, &options, &error);
    if (r > 0)
        return EXIT_CODE_OK;
    if (r == -EINVAL) {
        log_error("%s (rondo-server --help lists the options)", error.text);
        return EXIT_CODE_USAGE;
    }
    if (r == 0)
        r = serve(&options, &error);
    if (r < 0)
        log_error("%s", error.text);
    return (int)error_exit_code(r);
}
