// rondo-cloop: verified members of images as files, through FUSE. What it does is in serve.h; docs/man/rondo-cloop.1
// has the options.
#include "base/cleanup.h"
#include "base/log.h"
#include "base/output.h"
#include "base/text.h"
#include "fuse-cloop/serve.h"
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/banned.h"

#define SECONDS_MAXIMUM 86400u
#define FILES_WANTED 4096u // connections, cached packs, descriptors in flight

static const char usage[] =
    "usage: rondo-cloop [--cache-limit BYTES] [--wait SECONDS] [--idle SECONDS] [--ready-fd N]\n"
    "                   [--session-fd N --state-fd N]\n"
    "       rondo-cloop --mount DIR --manifest SHA256 [--source ADDRESS]... [--connection N]...\n"
    "                   [--cache-limit BYTES] [--wait SECONDS] [--ready-fd N]\n"
    "       rondo-cloop --help | --version\n";

// A number of a descriptor that was inherited; it is not passed on.
static int parse_descriptor(const char *name, const char *text, int *ret, struct error *error)
{
    uint64_t n;
    if (!text_parse_u64(slice_of(text), 1u << 20, &n) || fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0)
        return error_set(error, EINVAL, "--%s %s is not an open descriptor", name, text);
    *ret = (int)n;
    return 0;
}

static int parse_number(const char *name, const char *text, uint64_t maximum, uint64_t *ret, struct error *error)
{
    if (!text_parse_u64(slice_of(text), maximum, ret) || *ret == 0)
        return error_set(error, EINVAL, "--%s wants a number from 1 to %llu", name, (unsigned long long)maximum);
    return 0;
}

static int parse_seconds(const char *name, const char *text, unsigned *ret, struct error *error)
{
    uint64_t n;
    int r = parse_number(name, text, SECONDS_MAXIMUM, &n, error);
    if (r == 0)
        *ret = (unsigned)n;
    return r;
}

enum option_code { READY = 1, SESSION, STATE, LIMIT, WAIT, IDLE, MOUNT, MANIFEST, SOURCE, CONNECTION };

struct given {
    bool manifest, idle;
};

static int parse_one(enum option_code which, const char *name, char *value, struct serve_options *o,
                     struct given *given, struct error *error)
{
    int r;
    switch (which) {
    case READY:
        return parse_descriptor(name, value, &o->ready_fd, error);
    case SESSION:
        return parse_descriptor(name, value, &o->session_fd, error);
    case STATE:
        return parse_descriptor(name, value, &o->state_fd, error);
    case LIMIT:
        return parse_number(name, value, INT64_MAX, &o->cache_limit, error);
    case WAIT:
        return parse_seconds(name, value, &o->wait_seconds, error);
    case IDLE:
        given->idle = true;
        return parse_seconds(name, value, &o->idle_seconds, error);
    case MOUNT:
        o->folder = value;
        return 0;
    case MANIFEST:
        given->manifest = true;
        return sha256_from_hex(value, strlen(value), &o->manifest)
                   ? 0
                   : error_set(error, EINVAL, "--manifest wants the SHA-256 of a manifest, 64 hexadecimal digits");
    case SOURCE:
        if (o->source_count == MIRRORS_MAXIMUM)
            return error_set(error, EINVAL, "there are more than %u sources", MIRRORS_MAXIMUM);
        o->sources[o->source_count++] = value;
        return 0;
    case CONNECTION:
        if (o->connections.count == TRANSPORT_AHEAD_MAXIMUM)
            return error_set(error, EINVAL, "there are more than %d connections", TRANSPORT_AHEAD_MAXIMUM);
        r = parse_descriptor(name, value, &o->connections.fds[o->connections.count], error);
        o->connections.count += r == 0;
        return r;
    }
    return error_set(error, EINVAL, "unknown option");
}

static int parse_options(int argc, char **argv, struct serve_options *o, struct error *error)
{
    static const struct option_names {
        const char *name;
        enum option_code which;
    } names[] = {{"ready-fd", READY},       {"session-fd", SESSION}, {"state-fd", STATE},
                 {"cache-limit", LIMIT},    {"wait", WAIT},          {"idle", IDLE},
                 {"mount", MOUNT},          {"manifest", MANIFEST},  {"source", SOURCE},
                 {"connection", CONNECTION}};
    struct option long_options[ARRAY_SIZE(names) + 3] = {{.name = NULL}};
    struct given given = {.manifest = false};
    int r = 0, which, index = 0;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        long_options[i] =
            (struct option){.name = names[i].name, .has_arg = required_argument, .val = (int)names[i].which};
    long_options[ARRAY_SIZE(names)] = (struct option){.name = "help", .val = 'h'};
    long_options[ARRAY_SIZE(names) + 1] = (struct option){.name = "version", .val = 'v'};
    opterr = 0;
    while (r == 0 && (which = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (which == 'h' || which == 'v') {
            fputs(which == 'h' ? usage : "rondo-cloop " RONDO_VERSION "\n", stdout);
            r = output_end(error);
            if (r == 0)
                exit(EXIT_CODE_OK);
            return r;
        }
        r = which == '?' ? error_set(error, EINVAL, "unknown option, or one without its value; --help lists them")
                         : parse_one((enum option_code)which, long_options[index].name, optarg, o, &given, error);
    }
    if (r < 0)
        return r;
    if (optind != argc)
        return error_set(error, EINVAL, "rondo-cloop takes no arguments besides options");
    if ((o->session_fd < 0) != (o->state_fd < 0))
        return error_set(error, EINVAL, "--session-fd and --state-fd go together");
    if ((o->folder != NULL) != given.manifest || (!o->folder && o->source_count + o->connections.count > 0))
        return error_set(error, EINVAL, "--mount, --manifest, --source and --connection go together");
    if (o->folder && (given.idle || o->session_fd >= 0))
        return error_set(error, EINVAL, "--idle and --session-fd are not for --mount");
    return 0;
}

static void set_up_process(void)
{
    const struct rlimit none = {0, 0};
    struct rlimit files;
    umask(077);
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        log_warning("core dumps cannot be forbidden: %s", strerror(errno));
    (void)signal(SIGPIPE, SIG_IGN);
    // Many threads that now and then allocate much: one arena and a fixed limit keep what they free from piling up.
    // (With two, four readers of 512 MiB took as long, and 2 MiB more.)
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_WANTED) {
        files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
            log_warning("cannot raise the number of open files: %s", strerror(errno));
    }
}

static int fail(struct serve_options *o, int result, const struct error *error)
{
    char escaped[ERROR_TEXT_SIZE];
    text_escape(slice_of(error->text), escaped, sizeof(escaped));
    log_error("%s", escaped);
    if (o->ready_fd >= 0 && dprintf(o->ready_fd, "error %d %s\n", -result, escaped) < 0)
        log_warning("whoever started rondo-cloop is gone");
    return (int)error_exit_code(result);
}

int main(int argc, char **argv)
{
    struct serve_options o = {.ready_fd = -1, .session_fd = -1, .state_fd = -1, .idle_seconds = SERVE_IDLE_SECONDS};
    struct error error = {.text = ""};
    log_start("rondo-cloop");
    int r = parse_options(argc, argv, &o, &error);
    if (r < 0)
        return fail(&o, r, &error);
    set_up_process();
    r = o.folder ? serve_single(&o, &error) : serve_shared(&o, &error);
    _exit(r < 0 ? fail(&o, r, &error) : EXIT_CODE_OK); // threads still run: no exit handlers
}
