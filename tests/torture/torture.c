// The driver of torture.h: torture [--all] [--list] [SCENARIO…], in TAP; RONDO_TEST_LONG means --all.
//
// Without --all each scenario has SHORT_RUNS runs of each mode, evenly spread over its calls. To look at one run:
// torture SCENARIO --mode MODE --at N, with what it prints.
//
// Each run is a process that is forked from this one, which has no threads. It tells what it saw by a pipe; a report of
// a sanitizer goes to our own standard error, and everything else that it prints is thrown away.
#include "tests/torture/torture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>

#define SHORT_RUNS 1ul
#define LIBRARY_RUNS 100ul  // of a scenario, with --all: libraries do the same again and again
#define PERSISTENT_STEP 3ul // with --all: from every so manieth call on
#define FINDINGS_SHOWN 20u  // of one scenario
#define MESSAGE_SIZE 600u
#define SLOTS 4u // runs at once: many wait
#define FOLDER_SIZE (sizeof(root) + 16)

static const struct mode {
    const char *name;
    enum torture_kind kind;
    bool persistent;
} modes[] = {
    {"memory", TORTURE_MEMORY, false},   {"memory-from", TORTURE_MEMORY, true},
    {"library", TORTURE_LIBRARY, false}, {"library-from", TORTURE_LIBRARY, true},
    {"io", TORTURE_IO, false},           {"io-from", TORTURE_IO, true},
    {"cut", TORTURE_TRANSFER, false},
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static const struct torture_scenario *const groups[] = {
    torture_store, torture_writer,  torture_overlay, torture_catalog, torture_client,
    torture_verbs, torture_machine, torture_server,  torture_site,    torture_publish};

// What a run tells.
struct report {
    unsigned long calls[TORTURE_KINDS];
    bool fired, failed; // the fault happened; act said so
    bool found;         // something is wrong: `message`
    char message[MESSAGE_SIZE];
};

static char root[200];                      // all folders of this program are below it
static int terminal = -1;                   // where reports go
static bool show;                           // what runs print
static unsigned long failures[MODES], runs; // injected, by mode
static unsigned findings;

// --- within a run ----------------------------------------------------------------------------------------------------

static struct report current;
const struct torture_scenario *torture_current;
bool torture_disk_is_broken;

int torture_wrong(const char *format, ...)
{
    if (current.found)
        return TORTURE_WRONG;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(current.message, sizeof(current.message), format, arguments);
    va_end(arguments);
    current.found = true;
    return TORTURE_WRONG;
}

static int report_to = -1;

static _Noreturn void end_run(void)
{
    (void)!write(report_to, &current, sizeof(current));
    _exit(0);
}

void torture_must(int result, const char *what)
{
    if (result == 0)
        return;
    torture_wrong("a step of the test failed: %s: %d (%s)", what, result, strerror(abs(result)));
    if (report_to < 0) // in set_up
        dprintf(terminal, "torture: %s\n", current.message), exit(1);
    end_run();
}

static int compare_numbers(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

// The open descriptors, sorted; returns how many.
static unsigned list_descriptors(int *ret, unsigned maximum)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;
    for (const struct dirent *e; d && n < maximum && (e = readdir(d));) {
        int fd = (int)strtol(e->d_name, NULL, 10);
        if (e->d_name[0] != '.' && fd != dirfd(d))
            ret[n++] = fd;
    }
    if (d)
        closedir(d);
    qsort(ret, n, sizeof(*ret), compare_numbers);
    return n;
}

static void look_for_descriptors(const int *before, unsigned count)
{
    int now[256];
    unsigned n = list_descriptors(now, 256);
    for (unsigned i = 0, k = 0; i < n; i++) {
        while (k < count && before[k] < now[i])
            k++;
        if (k < count && before[k] == now[i])
            continue;
        char path[40], target[200] = "";
        snprintf(path, sizeof(path), "/proc/self/fd/%d", now[i]);
        (void)!readlink(path, target, sizeof(target) - 1);
        torture_wrong("descriptor %d is left open (%s)", now[i], target);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type;
    return at->level == 0 ? 0 : remove(path);
}

static void empty_folder(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void do_it(const struct torture_scenario *s, const struct mode *m, unsigned long at)
{
    torture_arm(m->kind, at, m->persistent);
    int r = s->act();
    current.fired = torture_disarm(current.calls);
    current.failed = r < 0;
    if (r < 0 && !current.fired)
        torture_wrong("it failed without a fault: %s", strerror(-r));
    if (r < 0 && m->kind == TORTURE_TRANSFER)
        torture_wrong("it failed, although the transfer was only cut short or interrupted: %s", strerror(-r));
    if (r < 0) {
        r = s->again ? s->again() : s->act();
        if (r < 0)
            torture_wrong("after the failure it does not work any more: %s", strerror(-r));
    }
    if (r > 0)
        torture_wrong("act found something wrong");
    if (r == 0 && s->check && s->check() != 0)
        torture_wrong("check found something wrong");
}

static _Noreturn void run_child(const struct torture_scenario *s, const struct mode *m, unsigned long at,
                                const char *folder)
{
    int before[256];

    alarm(TORTURE_HANG_SECONDS);
    torture_disk_is_broken = m->kind == TORTURE_IO && m->persistent && at > 0;
    unsigned count = list_descriptors(before, 256);
    if (s->prepare)
        s->prepare(folder);
    do_it(s, m, at);
    if (s->finish)
        s->finish();
    look_for_descriptors(before, count);
    if (current.found || __lsan_do_recoverable_leak_check()) {
        torture_wrong("memory is leaked");
        char where[300] = "";
        if (torture_failed_at())
            __sanitizer_symbolize_pc(torture_failed_at(), "%f %S", where, sizeof(where));
        size_t n = strlen(current.message);
        if (where[0])
            snprintf(current.message + n, sizeof(current.message) - n, "; the call that failed: %s", where);
    }
    end_run();
}

// --- runs ------------------------------------------------------------------------------------------------------------

static struct slot { // a run in progress
    pid_t child;     // 0: none
    int from;        // what it tells
    const struct mode *mode;
    unsigned long at;
} slots[SLOTS];

static void silence(void)
{
    int null = show ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    dup2(null, 1);
    dup2(null, 2);
    close(null);
}

static void slot_folder(unsigned slot, char ret[static FOLDER_SIZE])
{
    snprintf(ret, FOLDER_SIZE, "%s/run%u", root, slot);
}

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "torture: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void start(const struct torture_scenario *s, const struct mode *m, unsigned long at, unsigned slot)
{
    char folder[FOLDER_SIZE];
    int fds[2];

    slot_folder(slot, folder);
    if (pipe2(fds, O_CLOEXEC) < 0 || (mkdir(folder, 0700) < 0 && errno != EEXIST))
        give_up(folder);
    (void)fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        give_up("fork");
    if (child == 0) {
        for (unsigned i = 0; i < SLOTS; i++)
            if (slots[i].child)
                close(slots[i].from);
        close(fds[0]);
        report_to = fds[1];
        silence();
        run_child(s, m, at, folder);
    }
    close(fds[1]);
    slots[slot] = (struct slot){.child = child, .from = fds[0], .mode = m, .at = at};
    runs++;
}

// The next run that ends; *ret_slot is free then.
static struct report collect(unsigned *ret_slot)
{
    struct report r;
    char folder[FOLDER_SIZE];
    unsigned i = 0;
    int status;

    pid_t child = wait(&status);
    while (i < SLOTS && slots[i].child != child)
        i++;
    if (child < 0 || i == SLOTS)
        give_up("wait");
    ssize_t n = read(slots[i].from, &r, sizeof(r));
    close(slots[i].from);
    slots[i].child = 0;
    if (n != (ssize_t)sizeof(r)) {
        r = (struct report){.found = true, .fired = true};
        if (WIFSIGNALED(status))
            snprintf(r.message, sizeof(r.message), "ended by signal %d (%s)", WTERMSIG(status),
                     WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)));
        else
            snprintf(r.message, sizeof(r.message), "ended with code %d", WEXITSTATUS(status));
    }
    slot_folder(i, folder);
    empty_folder(folder);
    *ret_slot = i;
    return r;
}

static struct report run_alone(const struct torture_scenario *s, const struct mode *m, unsigned long at)
{
    unsigned slot;
    start(s, m, at, 0);
    return collect(&slot);
}

// Collects one run; its findings are shown.
static unsigned collect_and_show(const struct torture_scenario *s, unsigned long calls, bool *ret_end, unsigned *shown)
{
    unsigned slot;
    struct report r = collect(&slot);
    const struct slot *done = &slots[slot];
    if (r.found && (*shown)++ < FINDINGS_SHOWN)
        fprintf(stderr, "# %s --mode %s --at %lu: %s\n", s->name, done->mode->name, done->at, r.message);
    findings += r.found;
    failures[done->mode - modes] += r.fired;
    *ret_end = !r.fired && done->at > calls;
    return slot;
}

static unsigned torture_mode(const struct torture_scenario *s, const struct mode *m, unsigned long calls, bool all)
{
    unsigned long most = all ? calls : SHORT_RUNS;
    if (all && m->kind == TORTURE_LIBRARY && !s->library)
        most = LIBRARY_RUNS;
    unsigned long step = most == 0 ? 0 : (calls + most - 1) / most;
    if (all && m->persistent)
        step *= PERSISTENT_STEP;
    unsigned busy = 0, shown = 0;
    bool end = step == 0;
    // Threads make the number of calls vary: the end is where none failed.
    for (unsigned long at = step > 1 ? 1 + step / 2 : 1; !end && at <= 2 * calls; at += step) {
        unsigned slot = busy;
        if (busy == SLOTS)
            slot = collect_and_show(s, calls, &end, &shown);
        else
            busy++;
        start(s, m, at, slot);
    }
    for (; busy > 0; busy--)
        (void)collect_and_show(s, calls, &end, &shown);
    return shown;
}

// All runs of a scenario; returns how many findings.
static unsigned torture(const struct torture_scenario *s, bool all, unsigned long ret_calls[static TORTURE_KINDS])
{
    unsigned shown = 0;
    struct report first = run_alone(s, &modes[0], 0);
    if (first.found) {
        fprintf(stderr, "# %s, without a fault: %s\n", s->name, first.message);
        findings++;
        return 1;
    }
    memcpy(ret_calls, first.calls, sizeof(first.calls));
    for (size_t i = 0; i < MODES; i++)
        shown += torture_mode(s, &modes[i], first.calls[modes[i].kind], all);
    return shown;
}

// --- the program -----------------------------------------------------------------------------------------------------

static pid_t own_id;

static void remove_root(void)
{
    if (getpid() != own_id) // a run that ended by exit()
        return;
    empty_folder(root);
    rmdir(root);
}

static bool wanted(const char *name, char *const *names, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

static const struct mode *find_mode(const char *name)
{
    for (size_t i = 0; i < MODES; i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    fprintf(stderr, "torture: no mode %s\n", name);
    exit(2);
}

// What scenarios that follow each other have in common is made once.
static void set_up(const struct torture_scenario *s, const char *folder)
{
    static void (*last)(const char *folder);
    torture_current = s;
    if (!s->set_up || s->set_up == last)
        return;
    last = s->set_up;
    empty_folder(folder);
    int out = fcntl(1, F_DUPFD_CLOEXEC, 3), err = fcntl(2, F_DUPFD_CLOEXEC, 3);
    silence();
    s->set_up(folder);
    (void)fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    bool all = getenv("RONDO_TEST_LONG") != NULL, list = false;
    const struct mode *mode = NULL;
    unsigned long at = 0;
    char *names[64];
    unsigned name_count = 0, number = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--all") == 0)
            all = true;
        else if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strcmp(argv[i], "--mode") == 0 && i + 1 < argc)
            mode = find_mode(argv[++i]);
        else if (strcmp(argv[i], "--at") == 0 && i + 1 < argc)
            at = strtoul(argv[++i], NULL, 10);
        else if (name_count < 64)
            names[name_count++] = argv[i];
    }
    torture_calls_start();
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sha256_of("", 0); // what is made once for a process is made
    terminal = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
    __sanitizer_set_report_fd((void *)(uintptr_t)terminal);
    snprintf(root, sizeof(root), "/dev/shm/rondo-torture.XXXXXX"); // in memory: no run waits for a disk
    if (!mkdtemp(root)) {
        perror("torture");
        return 1;
    }
    own_id = getpid();
    (void)atexit(remove_root);
    char shared[sizeof(root) + 8];
    snprintf(shared, sizeof(shared), "%s/shared", root);
    (void)mkdir(shared, 0700);

    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
        for (const struct torture_scenario *s = groups[g]; s->name; s++) {
            if (list)
                puts(s->name);
            if (list || !wanted(s->name, names, name_count))
                continue;
            set_up(s, shared);
            if (mode) {
                show = true;
                struct report r = run_alone(s, mode, at);
                printf("# fired %d, failed %d: %s\n", r.fired, r.failed, r.found ? r.message : "nothing is wrong");
                continue;
            }
            unsigned long calls[TORTURE_KINDS] = {0};
            double began = seconds();
            unsigned wrong = torture(s, all, calls);
            printf("%s %u - %s\n# %lu allocations, %lu of libraries, %lu calls of the system; %.1f s\n",
                   wrong ? "not ok" : "ok", ++number, s->name, calls[TORTURE_MEMORY], calls[TORTURE_LIBRARY],
                   calls[TORTURE_IO], seconds() - began);
            (void)fflush(stdout);
        }
    if (list || mode)
        return 0;
    printf("1..%u\n# torture: %u scenarios, %lu runs\n", number, number, runs);
    for (size_t i = 0; i < MODES; i++)
        printf("# %-12s %lu\n", modes[i].name, failures[i]);
    printf("# findings     %u\n", findings);
    return findings ? 1 : 0;
}
