// rondo-overlay: an instance's disk as one writable file, for a machine monitor that wants a file (qemu).
//
//   rondo-overlay --dir INSTANCE_DIR --mount MOUNTPOINT --manifest SHA256 --base-fd N --control-fd M
//                 [--on-outage pause|error] [--outage-after SECONDS] [--write-through] [--record-fd N]
//
// It knows no network and no other path. The base is a descriptor that it inherits; its supervisor talks to it through
// another (docs/protocol.md), and its life is that of this connection: at its end it flushes, unmounts and exits. Keys
// typed at a terminal (SIGINT, SIGHUP) do not concern it: the guest must be gone first, and the supervisor sees to
// that. Killed, it leaves a mount that answers "not connected"; the next start at the same place detaches it.
#include "base/cleanup.h"
#include "base/confine.h"
#include "base/io.h"
#include "base/log.h"
#include "base/output.h"
#include "base/socket.h"
#include "base/text.h"
#include "blockstore/overlay.h"
#include "blockstore/overlay_hold.h"
#include "blockstore/overlay_record.h"
#include "fuse-cloop/mount.h"
#include "fuse-cloop/overlay_calls.h"
#include "fuse-cloop/overlay_control.h"
#include "fuse-cloop/overlay_fuse.h"
#include "fuse-cloop/unmounter.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define OUTAGE_SECONDS_MAXIMUM 86400u
#define HEAPS 8 // for libfuse's threads

static const char usage[] =
    "usage: rondo-overlay --dir INSTANCE_DIR --mount MOUNTPOINT --manifest SHA256 --base-fd N --control-fd M\n"
    "                     [--on-outage pause|error] [--outage-after SECONDS] [--write-through] [--record-fd N]\n"
    "       rondo-overlay --help | --version\n";

struct options {
    const char *folder, *mountpoint;
    struct sha256 manifest;
    int base, control, record; // −1: not given
    bool has_manifest, pass_outage, write_through;
    unsigned outage_after;
};

static int parse_number(const char *name, const char *text, unsigned maximum, unsigned *ret, struct error *error)
{
    uint64_t value;
    if (!text_parse_u64(slice_of(text), maximum, &value))
        return error_set(error, EINVAL, "--%s wants a number up to %u, not \"%s\"", name, maximum, text);
    *ret = (unsigned)value;
    return 0;
}

static int parse_descriptor(const char *name, const char *text, int *ret, struct error *error)
{
    unsigned value = 0;
    int r = parse_number(name, text, 1u << 20, &value, error);
    if (r < 0)
        return r;
    if (value <= STDERR_FILENO || fcntl((int)value, F_SETFD, FD_CLOEXEC) < 0)
        return error_set(error, EINVAL, "--%s: there is no descriptor %u to inherit", name, value);
    *ret = (int)value;
    return 0;
}

enum { DIR_OPTION = 1, MOUNT, MANIFEST, BASE_FD, CONTROL_FD, ON_OUTAGE, OUTAGE_AFTER, WRITE_THROUGH, RECORD_FD };

static int parse_option(int option, const char *value, struct options *o, struct error *error)
{
    switch (option) {
    case DIR_OPTION:
        o->folder = value;
        return 0;
    case MOUNT:
        o->mountpoint = value;
        return 0;
    case MANIFEST:
        o->has_manifest = sha256_from_hex(value, strlen(value), &o->manifest);
        return o->has_manifest ? 0 : error_set(error, EINVAL, "--manifest wants 64 hexadecimal digits");
    case BASE_FD:
        return parse_descriptor("base-fd", value, &o->base, error);
    case CONTROL_FD:
        return parse_descriptor("control-fd", value, &o->control, error);
    case ON_OUTAGE:
        o->pass_outage = strcmp(value, "error") == 0;
        return o->pass_outage || strcmp(value, "pause") == 0
                   ? 0
                   : error_set(error, EINVAL, "--on-outage is pause or error");
    case OUTAGE_AFTER:
        return parse_number("outage-after", value, OUTAGE_SECONDS_MAXIMUM, &o->outage_after, error);
    case WRITE_THROUGH:
        o->write_through = true;
        return 0;
    case RECORD_FD:
        return parse_descriptor("record-fd", value, &o->record, error);
    default:
        return error_set(error, EINVAL, "an option is unknown, or lacks its value");
    }
}

static int parse_arguments(int argc, char **argv, struct options *ret, struct error *error)
{
    static const struct option table[] = {
        {"dir", required_argument, NULL, DIR_OPTION},
        {"mount", required_argument, NULL, MOUNT},
        {"manifest", required_argument, NULL, MANIFEST},
        {"base-fd", required_argument, NULL, BASE_FD},
        {"control-fd", required_argument, NULL, CONTROL_FD},
        {"on-outage", required_argument, NULL, ON_OUTAGE},
        {"outage-after", required_argument, NULL, OUTAGE_AFTER},
        {"write-through", no_argument, NULL, WRITE_THROUGH},
        {"record-fd", required_argument, NULL, RECORD_FD},
        {NULL, 0, NULL, 0},
    };
    struct options o = {.base = -1, .control = -1, .record = -1};
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        int r = parse_option(option, optarg, &o, error);
        if (r < 0)
            return r;
    }
    if (optind < argc)
        return error_set(error, EINVAL, "\"%s\" is not an option", argv[optind]);
    if (!o.folder || !o.mountpoint || !o.has_manifest || o.base < 0 || o.control < 0 || o.base == o.control)
        return error_set(error, EINVAL, "--dir, --mount, --manifest, --base-fd and --control-fd are needed");
    if (o.record == o.base || o.record == o.control)
        return error_set(error, EINVAL, "--record-fd is a descriptor of its own");
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(o.control, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_SEQPACKET)
        return error_set(error, EINVAL, "--control-fd is not a socket of the type SOCK_SEQPACKET");
    *ret = o;
    return 0;
}

static void ignore_nudge(int signal)
{
    (void)signal; // it only interrupts a wait
}

// SIGTERM goes to the control thread; SIGUSR1 interrupts the serving one; the terminal's signals are not for us.
static void set_signals(void)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    static const struct {
        int number;
        void (*handler)(int);
    } table[] = {
        {SIGUSR1, ignore_nudge}, {SIGINT, SIG_IGN},  {SIGHUP, SIG_IGN},
        {SIGPIPE, SIG_IGN},      {SIGXFSZ, SIG_IGN}, // a write beyond RLIMIT_FSIZE fails, like any other
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct sigaction action = {.sa_handler = table[i].handler};
        (void)sigaction(table[i].number, &action, NULL); // can only fail for a number that is no signal
    }
}

static int check_mountpoint(const char *mountpoint, struct error *error)
{
    struct stat st;
    int r = stat(mountpoint, &st);
    if (r < 0 && errno == ENOTCONN) {
        log_warning("detaching the mount at %s that a killed rondo-overlay left", mountpoint);
        (void)mount_remove(mountpoint, true, NULL); // the check that follows says what is wrong
        r = stat(mountpoint, &st);
    }
    if (r < 0)
        return error_set(error, errno, "cannot mount at %s: %m", mountpoint);
    if (!S_ISDIR(st.st_mode))
        return error_set(error, EINVAL, "cannot mount at %s: it is not a folder", mountpoint);
    return 0;
}

static void *wait_for_cancellation(void *context)
{
    (void)context;
    while (pause() < 0)
        continue;
    return NULL;
}

// What is left: the descriptors that are open. libfuse ends its threads by cancelling them; the C library loads what
// that needs when it is done first, which must be now.
static int give_up_rights(struct error *error)
{
    pthread_t thread;
    int r = -pthread_create(&thread, NULL, wait_for_cancellation, NULL);
    if (r < 0)
        return error_set(error, -r, "cannot start a thread: %s", strerror(-r));
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    return confine_rights(NULL, 0, 0, error);
}

// Serves until the end.
static int serve_mounted(const struct options *options, struct overlay *overlay, struct overlay_hold *hold,
                         struct overlay_fuse *fuse, struct error *error)
{
    int r = give_up_rights(error);
    if (r < 0)
        return r;
    struct overlay_control *control;
    const struct overlay_control_settings control_settings = {
        .control = options->control, .overlay = overlay, .hold = hold, .fuse = fuse};
    r = overlay_control_start(&control_settings, &control, error);
    if (r < 0)
        return r;
    r = confine_calls("rondo-overlay", overlay_calls, overlay_call_count, error);
    if (r == 0) {
        r = socket_send(options->control, "ready", NULL, 0);
        if (r < 0)
            error_set(error, -r, "cannot tell the supervisor that the disk is ready: %s", strerror(-r));
    }
    if (r == 0) {
        r = overlay_fuse_serve(fuse);
        if (r < 0)
            error_set(error, -r, "the disk could not be served: %s", strerror(-r));
    }
    if (!overlay_control_stop(control) && r == 0)
        r = error_set(error, ENOTCONN, "the disk at %s was unmounted while the machine ran", options->mountpoint);
    return r;
}

// Mounts and serves; the overlay is flushed and closed by the caller.
static int serve(const struct options *options, int folder, struct overlay *overlay, struct overlay_hold *hold,
                 struct error *error)
{
    struct beside unmounter;
    int r = check_mountpoint(options->mountpoint, error);
    if (r == 0)
        r = unmounter_start(options->mountpoint, &unmounter, error);
    if (r < 0)
        return r;
    const struct overlay_fuse_settings settings = {
        .overlay = overlay, .hold = hold, .folder = folder, .unmounter = &unmounter};
    struct overlay_fuse *fuse;
    r = overlay_fuse_mount(&settings, options->mountpoint, &fuse, error);
    if (r == 0) {
        r = serve_mounted(options, overlay, hold, fuse, error);
        overlay_fuse_unmount(fuse);
        overlay_fuse_free(fuse);
    }
    beside_end(&unmounter);
    return r;
}

static int run(struct options *options, struct error *error)
{
    int folder CLEANUP_CLOSE = io_open(AT_FDCWD, options->folder, O_RDONLY | O_DIRECTORY, 0);
    if (folder < 0)
        return error_set(error, -folder, "cannot open the instance's folder %s: %s", options->folder,
                         strerror(-folder));
    const struct overlay_hold_settings settings = {.control = options->control,
                                                   .folder = options->folder,
                                                   .pass_outage = options->pass_outage,
                                                   .outage_after_seconds = options->outage_after};
    struct overlay_hold *hold;
    int r = overlay_hold_new(&settings, TAKE_FD(options->base), &hold, error);
    if (r < 0)
        return r;
    const struct overlay_base held = {
        .read = overlay_hold_read_base, .context = hold, .size = overlay_hold_base_size(hold)};
    struct overlay_record record = {.fd = -1};
    struct overlay_base base;
    struct overlay *overlay;
    r = overlay_record_open(&record, options->record, &held, &base, error);
    if (r == 0)
        r = overlay_open(folder, &options->manifest, &base, &overlay, error);
    if (r != 0) {
        error_prefix(error, r, "cannot use the disk in %s", options->folder);
    } else {
        overlay_set_write_through(overlay, options->write_through);
        r = serve(options, folder, overlay, hold, error);
        struct error closing = {0};
        int closed = overlay_close(overlay, &closing);
        if (closed < 0) {
            overlay_hold_say_failed(hold, closing.text);
            r = closed;
            *error = closing;
        }
    }
    overlay_record_close(&record);
    overlay_hold_free(hold);
    return r;
}

static int end_output(void)
{
    struct error error;
    int r = output_end(&error);
    if (r < 0)
        log_error("%s", error.text);
    return (int)error_exit_code(r);
}

int main(int argc, char **argv)
{
    struct error error = {0};
    struct options options = {.base = -1, .control = -1, .record = -1};
    log_start("rondo-overlay");
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "--version") == 0)) {
        fputs(strcmp(argv[1], "--help") == 0 ? usage : "rondo-overlay " RONDO_VERSION "\n", stdout);
        return end_output();
    }
    int r = parse_arguments(argc, argv, &options, &error);
    if (r < 0) {
        fputs(usage, stderr);
    } else {
        set_signals();
        mallopt(M_ARENA_MAX, HEAPS); // or else the C library looks into /sys for how many are worth it
        r = run(&options, &error);
    }
    if (r < 0)
        log_error("%s", error.text);
    return (int)error_exit_code(r);
}
