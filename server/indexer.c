// See indexer.h. One question: "look", answered when the index is as the site is, or with why it cannot be. "damaged"
// comes from whoever found by reading that the index cannot be right: it is made anew, once in AGAIN_NS at most.
//
// The catalog is known to be another one by its inode, size and time: it is replaced by rename. A version that cannot
// be read is tried again when the catalog changes; sooner if that is the disk's fault, or our limits', not its own.
#include "server/indexer.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "catalog/index.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "base/banned.h"

#define LOOK_SECONDS 2
#define AGAIN_NS (UINT64_C(60) * 1000000000) // after a failure

struct indexer {
    const struct state *state;
    const char *site;
    struct index *index; // NULL: not open
    struct stat seen;    // of the catalog, when the index was last brought up to date, or could not be
    uint64_t failed;     // io_monotonic_ns() then; 0: it could
    bool waits;          // for a catalog, and said so
    unsigned unread;     // versions that could not be read then
    bool damaged;        // somebody says so
    uint64_t made_anew;  // io_monotonic_ns(); 0: never
    int result;          // of that
    struct error error;
};

static int confine(const struct indexer *x, struct error *error)
{
    int site CLEANUP_CLOSE = open(x->site, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int index CLEANUP_CLOSE = io_open(AT_FDCWD, x->state->index_folder, O_PATH | O_DIRECTORY, 0);
    if (site < 0 || index < 0)
        return error_set(error, site < 0 ? errno : -index, "cannot open the site %s, or the index's folder", x->site);
    const struct confine_folder folders[] = {{.fd = site}, {.fd = index, .writable = true}};
    tzset(); // the C library reads the time zone once, from a file outside
    int r = confine_rights(folders, ARRAY_SIZE(folders), UINT64_C(1) << CAP_DAC_READ_SEARCH, error);
    return r < 0 ? r : confine_calls("rondo-index", indexer_calls, indexer_call_count, error);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int open_index(struct indexer *x, struct error *error)
{
    const uint64_t now = io_monotonic_ns();
    if (!x->damaged || (x->made_anew && now - x->made_anew < AGAIN_NS))
        return x->index ? 0 : index_open(x->state->index, true, &x->index, error);
    index_close(&x->index);
    x->damaged = false;
    x->made_anew = now;
    return index_open_anew(x->state->index, &x->index, error);
}

static int update(struct indexer *x, struct error *error)
{
    struct index_counts counts;
    int r = open_index(x, error);
    if (r == 0)
        r = index_update(x->index, x->site, false, &counts, error);
    x->unread = r == 0 ? counts.unread : 0;
    if (r == 0 && counts.added + counts.removed > 0)
        log_info("%u versions are in the index: %u came, %u went", counts.versions, counts.added, counts.removed);
    return r;
}

static void look(struct indexer *x)
{
    char path[PATH_TEXT_SIZE];
    struct stat now = {.st_ino = 0};
    if (path_format(path, sizeof path, "%s/catalog.rondo", x->site) == 0 && stat(path, &now) < 0)
        now = (struct stat){.st_ino = 0}; // there is none yet
    const bool current = x->index && index_is_current(x->index);
    const bool waits = x->failed && io_monotonic_ns() - x->failed < AGAIN_NS;
    const bool mended = x->made_anew && io_monotonic_ns() - x->made_anew < AGAIN_NS;
    if (is_same(&now, &x->seen) && (x->failed ? waits : current) && (!x->damaged || mended))
        return;
    if (!current)
        index_close(&x->index);
    x->seen = now;
    x->error.text[0] = '\0';
    x->result = update(x, &x->error);
    if (x->result == -EUCLEAN) {
        log_warning("%s", x->error.text);
        x->damaged = true;
        x->result = update(x, &x->error);
    }
    if (x->result == -ENOENT && !x->waits)
        log_info("%s has no catalog yet: its pages and searches come when something is published there", x->site);
    x->waits = x->result == -ENOENT;
    x->failed = (x->result < 0 && x->result != -ENOENT) || x->unread ? io_monotonic_ns() : 0;
    if (x->result < 0 && x->failed)
        log_warning("the index is not brought up to date: %s", x->error.text);
    if (x->failed)
        index_close(&x->index); // the next look checks it as it is opened
}

static void idle(const void *context)
{
    look(*(struct indexer *const *)context);
}

static void prepare(const void *context)
{
    struct indexer *x = *(struct indexer *const *)context;
    struct error error = {.text = ""};
    if (confine(x, &error) < 0) {
        log_error("%s", error.text);
        _exit(EXIT_CODE_OTHER);
    }
}

static int answer(const void *context, const char *question, int given, char ret_text[static SOCKET_LINE_MAXIMUM])
{
    struct indexer *x = *(struct indexer *const *)context;
    // What the site has to do with it was told, and may be mended while the server runs.
    const bool fatal = x->failed && x->result != -EBADMSG && x->result != -EKEYREJECTED;
    x->damaged = x->damaged || strcmp(question, "damaged") == 0;
    (void)given;
    (void)snprintf(ret_text, SOCKET_LINE_MAXIMUM, "%d %s", fatal ? -x->result : 0, x->error.text);
    return -1;
}

int indexer_start(const struct state *state, const char *site, struct beside *ret, struct error *error)
{
    static struct indexer indexer; // of the process that is made
    static struct indexer *const context = &indexer;
    const struct beside_work work = {.name = "rondo-index",
                                     .prepare = prepare,
                                     .answer = answer,
                                     .idle = idle,
                                     .idle_seconds = LOOK_SECONDS,
                                     .context = &context};
    char text[SOCKET_LINE_MAXIMUM], *rest;
    indexer = (struct indexer){.state = state, .site = site};
    int r = beside_start(&work, ret, error);
    return r < 0 ? r : beside_ask(ret, "look", -1, text, &rest, NULL, error);
}

const struct confine_call indexer_calls[] = {
    // Questions.
    CONFINE_CALL(poll, "a wait for questions"),
    CONFINE_CALL(recvmsg, "a question"),
    CONFINE_CALL(sendmsg, "its answer"),

    // Files: the site's, and SQLite's. Landlock says which.
    CONFINE_CALL(openat, "the catalog, objects, the index and the files beside it"),
    CONFINE_CALL(close, "them"),
    CONFINE_CALL(newfstatat, "their sizes; whether the catalog, or the index, is another"),
    CONFINE_CALL(fstat, "the same, of a newer C library"),
    CONFINE_CALL(pread64, "bytes"),
    CONFINE_CALL(pwrite64, "the index"),
    CONFINE_CALL(write, "messages"),
    CONFINE_CALL(ftruncate, "the index's log and shared memory"),
    CONFINE_CALL(fsync, "the index, before its log is used again"),
    CONFINE_CALL(fdatasync, "the same"),
    CONFINE_CALL(unlink, "the log and shared memory, when nobody uses them any more"),
    CONFINE_CALL(unlinkat, "a damaged index"),
    CONFINE_CALL(fchown, "the files beside it, made by root for whom it belongs to"),
    CONFINE_CALL(flock, "opening it, alone"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_SETLK), "readers and writers of the index"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_GETLK), "the same"),
    CONFINE_CALL2(mmap, CONFINE_WITHOUT(2, PROT_EXEC), CONFINE_IS(3, MAP_SHARED), "their shared memory"),
    CONFINE_CALL(getpid, "locks are forgotten in a process that was forked"),
    CONFINE_CALL(geteuid, "whose the files beside it are to be"),

    // What the C library does by itself.
    CONFINE_CALL(futex, "locks"),
    CONFINE_CALL(clock_gettime, "the time, where it cannot be told without a call"),
    CONFINE_CALL(clock_nanosleep, "a wait for another writer"),
    CONFINE_CALL(restart_syscall, "a wait goes on after the process was stopped and continued"),
    CONFINE_CALL(rt_sigprocmask, "signals are blocked"),
    CONFINE_CALL(rt_sigreturn, "the end of a signal's handler"),
    CONFINE_CALL(getrandom, "keys that tell pieces apart; the heap's own secret"),
    CONFINE_CALL(sysinfo, "how much memory a large sort may take"),
    CONFINE_HEAP,
    CONFINE_CALL(exit_group, "the end"),
};

const size_t indexer_call_count = ARRAY_SIZE(indexer_calls);
