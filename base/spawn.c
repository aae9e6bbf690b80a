// fork and exec. posix_spawn cannot set the parent-death signal or start a session in Debian 12's libc, and a failure
// of exec must come back as an error: a close-on-exec pipe carries it.
#include "base/spawn.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/banned.h"

void spawn_close_all_but(const int *kept, unsigned count)
{
    unsigned from = 3;
    for (;;) {
        unsigned next = UINT_MAX; // the least of the kept ones from `from` on
        for (unsigned i = 0; i < count; i++)
            if (kept[i] >= (int)from && (unsigned)kept[i] < next)
                next = (unsigned)kept[i];
        if (next > from)
            close_range(from, next - 1, 0);
        if (next == UINT_MAX)
            return;
        from = next + 1;
    }
}

static bool place(int fd, int as)
{
    int null = -1;
    if (fd < 0)
        fd = null = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool placed = fd >= 0 && (fd == as ? fcntl(fd, F_SETFD, 0) : dup2(fd, as)) >= 0;
    if (null >= 0 && null != as)
        close(null);
    return placed;
}

// Tells the parent why, and ends.
static _Noreturn void fail(int report)
{
    int code = errno;
    ssize_t ignored = write(report, &code, sizeof(code));
    (void)ignored;
    _exit(127);
}

// Runs in the child, between fork and exec: only async-signal-safe calls.
static void become(const struct spawn *s, int report, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    static const int signals[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)signal(signals[i], SIG_DFL);
    if (s->die_with_us) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent) // it ended before the call above
            _exit(1);
    }
    // Descriptors 0 to 2 may be among those to be placed: take copies above them first.
    int standard[3] = {s->input, s->output, s->errors};
    for (int i = 0; i < 3; i++)
        if (standard[i] >= 0 && standard[i] < 3 && (standard[i] = fcntl(standard[i], F_DUPFD_CLOEXEC, 3)) < 0)
            fail(report);
    for (int i = 0; i < 3; i++)
        if (!place(standard[i], i))
            fail(report);
    close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    for (unsigned i = 0; i < s->kept_count; i++)
        if (s->kept[i] >= 0)
            fcntl(s->kept[i], F_SETFD, 0);
    execvp(s->path, s->arguments);
    fail(report);
}

pid_t spawn_program(const struct spawn *s, struct error *error)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return error_set(error, errno, "cannot start %s: %s", s->path, strerror(errno));
    CLEANUP_CLOSE int reader = report[0];
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) {
        int code = errno;
        close(report[1]);
        return error_set(error, code, "cannot start %s: %s", s->path, strerror(code));
    }
    if (child == 0) {
        if (s->new_session) {
            setsid();
            pid_t daemon = fork();
            if (daemon < 0)
                fail(report[1]);
            if (daemon > 0)
                _exit(0);
        }
        become(s, report[1], parent);
    }
    close(report[1]);
    int code = 0;
    ssize_t n;
    do
        n = read(reader, &code, sizeof(code));
    while (n < 0 && errno == EINTR);
    bool failed = n == (ssize_t)sizeof(code);
    if (s->new_session || failed)
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    if (failed)
        return error_set(error, code, "cannot start %s: %s", s->path, strerror(code));
    return s->new_session ? 0 : child;
}

bool spawn_finds_program(const char *name)
{
    const char *folder = getenv("PATH");
    if (!folder)
        folder = "/bin:/usr/bin"; // execvp's choice
    for (;;) {
        size_t n = strcspn(folder, ":"); // 0: the current folder
        char path[PATH_TEXT_SIZE];
        struct stat st;
        if (path_format(path, sizeof(path), "%.*s%s%s", (int)n, folder, n ? "/" : "", name) == 0 &&
            stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
            return true;
        if (!folder[n])
            return false;
        folder += n + 1;
    }
}

void spawn_argument(struct spawn_arguments *a, const char *format, ...)
{
    unsigned char *at;
    if (a->result == 0 && !a->texts.data)
        a->result = buf_reserve(&a->texts, SPAWN_TEXTS_MAXIMUM, &at);
    if (a->result == 0 && a->count == SPAWN_ARGUMENTS_MAXIMUM)
        a->result = -E2BIG;
    if (a->result < 0)
        return;
    size_t begin = a->texts.size;
    va_list values;
    va_start(values, format);
    a->result = buf_append_format_va(&a->texts, format, values);
    va_end(values);
    if (a->result == 0)
        a->result = buf_append(&a->texts, "", 1);
    if (a->result == 0)
        a->list[a->count++] = (char *)a->texts.data + begin;
}

void spawn_arguments_free(struct spawn_arguments *a)
{
    buf_free(&a->texts);
}
