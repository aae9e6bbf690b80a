// rondo doctor: what this host can do, one line for each thing, and the next step for whatever is missing. Exit code 9
// if rondo run cannot work here.
#include "base/cleanup.h"
#include "base/spawn.h"
#include "client/cli.h"
#include "client/engine.h"
#include "client/report.h"
#include "client/resolve.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include "base/banned.h"

enum verdict { FINE, LIMITED, MISSING }; // missing: rondo run cannot work

struct doctor {
    struct report report;
    enum verdict worst;
};

static void find(struct doctor *d, const char *what, enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void find(struct doctor *d, const char *what, enum verdict verdict, const char *format, ...)
{
    static const char *const words[] = {"ok", "limited", "missing"};
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (verdict > d->worst)
        d->worst = verdict;
    if (d->report.json) {
        report_text(&d->report, "what", what);
        report_text(&d->report, "verdict", words[verdict]);
        report_text(&d->report, "text", text);
        report_end_row(&d->report);
    } else {
        printf("%-8s %-8s %s\n", words[verdict], what, text);
    }
}

static void check_fuse(struct doctor *d)
{
    CLEANUP_CLOSE int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        find(d, "fuse", MISSING, "there is no /dev/fuse: modprobe fuse, or use a kernel with FUSE");
    else if (fd < 0)
        find(d, "fuse", MISSING, "/dev/fuse cannot be opened: %s", strerror(errno));
    else if (geteuid() != 0 && access("/usr/bin/fusermount3", X_OK) < 0)
        find(d, "fuse", MISSING, "fusermount3 is not installed (apt-get install fuse3)");
    else
        find(d, "fuse", FINE, "/dev/fuse can be used");
    struct utsname name;
    unsigned major = 0, minor = 0;
    if (uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2) {
        bool resend = major > 6 || (major == 6 && minor >= 9);
        find(d, "kernel", FINE, "Linux %s%s", name.release, resend ? ": can resend FUSE requests to a successor" : "");
    }
}

static void check_program(struct doctor *d, const char *name)
{
    struct error error = {.text = ""};
    char path[PATH_TEXT_SIZE];
    if (path_find_program(name, path, &error) < 0)
        find(d, name, MISSING, "%s", error.text);
}

static void check_engines(struct doctor *d)
{
    struct error error = {.text = ""};
    if (engine_qemu.probe(&error) == 0)
        find(d, "qemu", FINE, "qemu-system-x86_64 is installed: software emulation works");
    else
        find(d, "qemu", MISSING, "%s", error.text);
    if (engine_kvm.probe(&error) == 0)
        find(d, "kvm", FINE, "/dev/kvm runs modern kernels: guests run at full speed");
    else
        find(d, "kvm", LIMITED, "guests run in software emulation: %s", error.text);
    bool passt = spawn_finds_program("passt");
    find(d, "network", passt ? FINE : LIMITED, "%s",
         passt ? "passt is installed: guests have a network"
               : "passt is not installed, or not in PATH (apt-get install passt): guests have no network");
}

static void check_folder(struct doctor *d, const char *what, enum path_kind kind)
{
    struct error error = {.text = ""};
    struct statvfs space;
    char path[PATH_TEXT_SIZE], size[32];
    if (path_make(kind, path, &error) < 0)
        find(d, what, MISSING, "%s", error.text);
    else if (access(path, W_OK) < 0)
        find(d, what, MISSING, "%s cannot be written: %s", path, strerror(errno));
    else if (statvfs(path, &space) < 0)
        find(d, what, LIMITED, "%s: %s", path, strerror(errno));
    else
        find(d, what, FINE, "%s, %s free", path, text_format_size((uint64_t)space.f_bavail * space.f_frsize, size));
}

static void check_cache(struct doctor *d)
{
    struct error error = {.text = ""};
    struct configuration configuration;
    struct store *store;
    struct cache_usage usage;
    char used[32], pinned[32];
    int r = configuration_read(&configuration, &error);
    if (r < 0) {
        find(d, "config", MISSING, "%s", error.text);
        return;
    }
    find(d, "config", FINE, "%s", configuration.site[0] ? configuration.site : "no default site");
    r = resolve_open_store(&configuration, &store, &error);
    if (r < 0) {
        find(d, "cache", LIMITED, "%s", error.text);
        return;
    }
    if (cache_measure(store_cache(store), &usage) == 0)
        find(d, "cache", FINE, "holds %s, %s of it pulled, in %s", text_format_size(usage.bytes, used),
             text_format_size(usage.pinned_bytes, pinned), TEXT_COUNT(usage.files, "file"));
    store_free(store);
}

int verb_doctor(int argc, char **argv)
{
    struct doctor d = {.report = REPORT_EMPTY};
    const struct option options[] = {{"json", OPTION_FLAG, &d.report.json}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 0, 0, &operands);
    if (r != 0)
        return cli_parsed(r);
    report_begin_list(&d.report);
    check_fuse(&d);
    check_engines(&d);
    check_program(&d, "rondo-cloop");
    check_program(&d, "rondo-overlay");
    check_program(&d, "rondo-server");
    check_folder(&d, "home", PATH_HOME);
    check_folder(&d, "cache", PATH_CACHE);
    check_folder(&d, "runtime", PATH_RUNTIME);
    check_cache(&d);
    struct error error = {.text = ""};
    r = report_end_list(&d.report, 0, &error);
    if (r < 0)
        return cli_fail(r, &error);
    return cli_finish_output(d.worst == MISSING ? EXIT_CODE_HOST_CANNOT : EXIT_CODE_OK);
}
