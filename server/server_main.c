// rondo-server [--listen HOST:PORT] [--log FILE] [--stall SECONDS] [--state DIR [--site-key FILE | --queue]] DIR
// rondo-server reindex --state DIR DIR
//
// Order: options → site's folder → log → who opens it anew → the index → the keeper → socket → rights are given up →
// threads → the filter → the line on stdout → wait for a signal → wind down. Every file is opened for reading only, but
// for the access log, which is open before the first client comes, and what publishers send, in the state folder.
//
// SIGTERM and SIGINT: no new connections; answers under way have WIND_DOWN_SECONDS to end; a second signal does not
// wait for them. SIGHUP: the access log is opened anew, under its name, by the process beside us (server/log_opener.h).
// Without a log there is nothing to open: it then means the end where there is a terminal that can hang up, and nothing
// under a supervisor. SIGCHLD: if the keeper (server/keeper.h) has ended, so do we. The signals are blocked in all
// threads, and taken by this one with sigwait.

#include "base/cleanup.h"
#include "base/confine.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "server/http_server.h"
#include "server/keeper.h"
#include "server/listener.h"
#include "server/log_opener.h"
#include "server/placed.h"
#include "server/server_calls.h"
#include "server/site_index.h"
#include "server/staging.h"
#include "server/try_api.h"

#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/banned.h"

#define LISTEN_DEFAULT "127.0.0.1:8080"
#define WIND_DOWN_SECONDS 5
#define MEMORY_MAXIMUM (UINT64_C(1) << 30) // all of its connections take less than a tenth

static const char usage[] = "usage: rondo-server [OPTION…] DIR\n"
                            "       rondo-server reindex --state FOLDER DIR\n"
                            "Serves the site in DIR over HTTP. See rondo-server(1).\n"
                            "  --listen HOST:PORT  where to listen (" LISTEN_DEFAULT "; port 0: any free port)\n"
                            "  --log FILE          append a line for each request to FILE (SIGHUP: opened anew)\n"
                            "  --stall SECONDS     close connections that make no progress for so long (15)\n"
                            "  --state FOLDER      of the server's own: answer searches, with an index kept there\n"
                            "  --site-key FILE     take publications, and sign the catalog with this key\n"
                            "  --queue             take publications; FOLDER/pending/catalog waits for the site's key\n"
                            "  --quota SIZE        bytes that a publisher may have here (64G)\n"
                            "  --try N[,LIMIT…]    let visitors try images in the browser, N at once\n"
                            "  reindex             make the index anew, also while a server uses it\n"
                            "  --help, --version\n";

struct options {
    const char *folder;
    const char *listen; // NULL: what is handed over, or LISTEN_DEFAULT
    const char *log;
    struct try_limits machines; // to try; 0: none
    unsigned stall;
    const char *state, *site_key; // or NULL
    bool queue;
    uint64_t quota; // bytes
};

static int usage_error(struct error *error, const char *text, const char *what)
{
    char shown[128];

    return error_set(error, EINVAL, "%s%s (rondo-server --help lists the options)", text,
                     text_escape(slice_of(what), shown, sizeof shown));
}

// Returns 1 if --help or --version was answered.
static int parse_options(int argc, char **argv, struct options *ret, struct error *error)
{
    static const struct option known[] = {
        {"listen", required_argument, NULL, 'l'},
        {"log", required_argument, NULL, 'o'},
        {"stall", required_argument, NULL, 's'},
        {"state", required_argument, NULL, 'd'},
        {"queue", no_argument, NULL, 'q'},
        {"site-key", required_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {"quota", required_argument, NULL, 'u'},
        {"try", required_argument, NULL, 't'},
        {"version", no_argument, NULL, 'v'},
        {0},
    };
    struct options options = {.stall = HTTP_SERVER_STALL_SECONDS, .quota = PUBLISH_QUOTA_DEFAULT};
    uint64_t number;
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", known, NULL)) != -1) {
        switch (c) {
        case 'l':
            options.listen = optarg;
            break;
        case 'o':
            options.log = optarg;
            break;
        case 's':
            if (!text_parse_u64(slice_of(optarg), 3600, &number) || number == 0)
                return usage_error(error, "--stall takes seconds from 1 to 3600, not ", optarg);
            options.stall = (unsigned)number;
            break;
        case 'd':
            options.state = optarg;
            break;
        case 'k':
            options.site_key = optarg;
            break;
        case 'q':
            options.queue = true;
            break;
        case 'u':
            if (!text_parse_size(optarg, &options.quota))
                return usage_error(error, "--quota takes a size as 64G, not ", optarg);
            break;
        case 't':
            if (!try_limits_parse(optarg, &options.machines))
                return usage_error(error, "--try takes N[,idle=SECONDS][,life=SECONDS][,memory=SIZE][,disk=SIZE], not ",
                                   optarg);
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 1;
        case 'v':
            (void)puts("rondo-server " RONDO_VERSION);
            return 1;
        case ':':
            return usage_error(error, "a value is missing behind ", argv[optind - 1]);
        default:
            return usage_error(error, "unknown option ", argv[optind - 1]);
        }
    }
    if (optind >= argc)
        return usage_error(error, "the site's folder is missing", "");
    if (optind + 1 < argc)
        return usage_error(error, "one folder is served, not also ", argv[optind + 1]);
    if (options.site_key && options.queue)
        return usage_error(error, "--site-key signs catalogs here, --queue elsewhere: give one of them", "");
    if ((options.site_key || options.queue) && !options.state)
        return usage_error(error, "to take publications needs --state FOLDER, where they wait", "");
    options.folder = argv[optind];
    if (options.machines.machines && !options.state)
        return usage_error(error, "--try needs --state FOLDER, where machines write", "");
    *ret = options;
    return 0;
}

static int find_listener(const char *address, char ret_url[static LISTENER_URL_SIZE], struct error *error)
{
    int fd = listener_inherit(ret_url, error);

    if (fd == -ENOENT)
        return listener_open(address ? address : LISTEN_DEFAULT, ret_url, error);
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

// -EPIPE if the keeper has ended.
static int wait_for_signal(struct http_server *server, struct access_log *log, struct beside *opener,
                           const struct site_index *index, const struct publishing *publishing,
                           struct try_api *machines, const sigset_t *signals, struct error *error)
{
    int taken;

    while (sigwait(signals, &taken) == 0 && (taken == SIGHUP || taken == SIGCHLD)) {
        if (taken == SIGCHLD)
            site_index_reap(index);
        if (taken == SIGCHLD && has_keeper_ended(publishing))
            return error_set(error, EPIPE, "the keeper, which changes the site, has ended: so does the server");
        if (taken == SIGHUP && log->fd >= 0)
            reopen_log(log, opener);
    }
    http_server_wind_down(server);
    try_api_wind_down(machines);
    uint64_t until = io_monotonic_ns() + WIND_DOWN_SECONDS * 1000000000ULL;
    while (http_server_count_answers(server) > 0 && io_monotonic_ns() < until) {
        const struct timespec step = {.tv_nsec = 20000000};
        const int again = sigtimedwait(signals, NULL, &step);
        if (again == SIGTERM || again == SIGINT)
            break;
    }
    return 0;
}

static bool takes_publications(const struct options *options)
{
    return options->site_key || options->queue;
}

// Makes the keeper, while there is one thread and all rights.
static int start_keeper(const struct options *options, struct publishing *p, struct error *error)
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

static int start_publishing(const struct options *options, struct access_log *log, struct index_pool *index,
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

static int serve(const struct options *options, struct error *error)
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
    if (r == 0 && takes_publications(options))
        r = start_keeper(options, &publishing, error);
    if (r == 0 && options->machines.machines)
        r = try_api_start_host(options->folder, options->state, &options->machines, &host, error);
    if (r < 0)
        return r;
    int listener CLEANUP_CLOSE = find_listener(options->listen, url, error);
    if (listener < 0)
        return listener;
    r = give_up_rights(&files, &index, &publishing, error);
    if (r == 0 && takes_publications(options))
        r = start_publishing(options, &log, index.pool, &publishing, error);
    if (r < 0)
        return r;

    const struct static_site site = {.files = &files, .log = &log};
    if (host.fd >= 0)
        r = try_api_start(&host, &options->machines, &machines, error);
    if (r < 0)
        return r;
    const struct router router = {.site = &site, .index = index.pool, .machines = machines};
    r = http_server_start(TAKE_FD(listener), &router, publishing.api, options->stall, &server, error);
    if (r == 0)
        r = server_calls_confine(index.pool != NULL, publishing.api != NULL, machines != NULL, error);
    if (r == 0)
        r = announce(url, error);
    if (r == 0)
        r = wait_for_signal(server, &log, &opener, &index, &publishing, machines, &signals, error);
    try_api_wind_down(machines); // whatever ended us: its connections are the library's, which is stopped now
    return r;
}

static int reindex(const struct options *options, struct error *error)
{
    struct index_counts counts;
    int r = site_index_renew(options->state, options->folder, &counts, error);

    if (r < 0)
        return r;
    if (printf("%u versions are in the index\n", counts.versions) < 0 || fflush(stdout) < 0)
        return error_set(error, errno, "cannot write to standard output: %m");
    return 0;
}

int main(int argc, char **argv)
{
    const bool renew = argc > 1 && strcmp(argv[1], "reindex") == 0;
    struct options options = {0};
    struct error error = {0};

    log_start("rondo-server");
    int r = parse_options(argc - renew, argv + renew, &options, &error);
    if (r > 0)
        return EXIT_CODE_OK;
    if (r == 0 && renew)
        r = options.state ? reindex(&options, &error)
                          : usage_error(&error, "reindex needs --state FOLDER, where the index is", "");
    else if (r == 0)
        r = serve(&options, &error);
    if (r < 0)
        log_error("%s", error.text);
    return (int)error_exit_code(r);
}
