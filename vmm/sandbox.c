// The sandbox: see sandbox.h for its stages and rules. The filters are compiled once, to BPF; each thread loads its
// kind's program itself, since a thread inherits the filters of whoever makes it, and here all are made by the main
// thread, which needs another one.
//
// What the first stage gives up is defence behind the filters, against what a call that is allowed might be made to do:
//
//   new namespaces, whose root is an empty read-only file system    where the host lets a user make namespaces
//   Landlock: no access to any file                                 elsewhere, where its kernel has it
//   every capability, new privileges, core dumps, being traced by the same user's other processes
#include "vmm/sandbox.h"

#include "base/cleanup.h"
#include "base/confine.h"
#include "base/log.h"
#include "vmm/sandbox_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/banned.h"

struct sandbox {
    struct sock_fprog programs[SANDBOX_THREADS];
    pthread_mutex_t lock; // of what follows
    pthread_cond_t changed;
    unsigned inside, awaited;
    int failure;
};

// --- compiling -----------------------------------------------------------------------------------------------------

static int export_program(scmp_filter_ctx filter, struct sock_fprog *ret)
{
    struct stat st;
    int fd CLEANUP_CLOSE = memfd_create("filter", MFD_CLOEXEC); // libseccomp 2.5 writes programs to files only
    if (fd < 0)
        return -errno;
    int r = seccomp_export_bpf(filter, fd);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return -errno;
    struct sock_filter *code CLEANUP_FREE = malloc((size_t)st.st_size);
    if (!code)
        return -ENOMEM;
    if (pread(fd, code, (size_t)st.st_size, 0) != st.st_size)
        return -EIO;
    *ret = (struct sock_fprog){.len = (unsigned short)((size_t)st.st_size / sizeof *code), .filter = TAKE_PTR(code)};
    return 0;
}

static int compile(enum sandbox_thread kind, struct sock_fprog *ret)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return -ENOMEM;
    int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS); // 32-bit calls
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE,
                             2); // a search tree: what runs at every exit of the guest
    if (r == 0)
        r = sandbox_add_calls(filter, kind);
    if (r == 0)
        r = export_program(filter, ret);
    seccomp_release(filter);
    return r;
}

int sandbox_new(struct sandbox **ret, struct error *error)
{
    const uint32_t kill_process = SECCOMP_RET_KILL_PROCESS;
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &kill_process) < 0)
        return error_set(error, EOPNOTSUPP,
                         "this host's kernel has no system call filters (seccomp); --no-sandbox does without");
    struct sandbox *s = calloc(1, sizeof *s);
    int r = s ? 0 : -ENOMEM;
    for (unsigned kind = 0; r == 0 && kind < SANDBOX_THREADS; kind++)
        r = compile((enum sandbox_thread)kind, &s->programs[kind]);
    if (r < 0) {
        sandbox_free(s);
        return error_set(error, -r, "cannot make the sandbox's filters: %s", strerror(-r));
    }
    pthread_mutex_init(&s->lock, NULL); // these two cannot fail with default attributes
    pthread_cond_init(&s->changed, NULL);
    *ret = s;
    return 0;
}

void sandbox_free(struct sandbox *s)
{
    for (unsigned kind = 0; s && kind < SANDBOX_THREADS; kind++)
        free(s->programs[kind].filter);
    free(s);
}

// --- the process ---------------------------------------------------------------------------------------------------

// An empty file system in place of the host's, no network, nothing shared with other processes. A descriptor of a
// folder would lead back: the machine has none when this is called.
static bool enter_empty_root(void)
{
    const char *stage = "/tmp"; // any folder will do
    return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", stage, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0555") == 0 &&
           chdir(stage) == 0 && syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 &&
           chdir("/") == 0;
}

// Not of processes: newer kernels count a thread of their own for the guest, made when it first runs.
static bool set_limits(void)
{
    const struct rlimit zero = {0, 0};
    int next CLEANUP_CLOSE = dup(STDERR_FILENO);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return false;
    // Descriptors are made until the guest runs: interrupts and doorbells, some 20 of a device.
    rlim_t enough = (rlim_t)(next < 0 ? 0 : next) + 512;
    if (enough < files.rlim_cur)
        files.rlim_cur = enough;
    files.rlim_max = files.rlim_cur;
    return setrlimit(RLIMIT_NOFILE, &files) == 0 && setrlimit(RLIMIT_CORE, &zero) == 0;
}

int sandbox_leave_host(struct error *error)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(error, errno, "cannot give up new privileges: %s", strerror(errno));
    if (!set_limits())
        log_debug("the sandbox cannot set limits: %s", strerror(errno));
    if (!enter_empty_root()) {
        log_debug("the sandbox has no empty root: %s", strerror(errno));
        if (confine_files(NULL, 0) < 0)
            log_debug("nor can it forbid files: this kernel has no Landlock");
    }
    int r = confine_capabilities(0);
    if (r < 0)
        log_debug("the sandbox cannot drop capabilities: %s", strerror(-r));
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) // last: a change of credentials may turn it on
        log_debug("the sandbox cannot forbid dumps: %s", strerror(errno));
    return 0;
}

// --- threads -------------------------------------------------------------------------------------------------------

void sandbox_enter(struct sandbox *s, enum sandbox_thread kind)
{
    if (!s)
        return;
    int r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &s->programs[kind]) < 0 ? -errno : 0;
    pthread_mutex_lock(&s->lock);
    s->inside++;
    if (r < 0)
        s->failure = r;
    if (s->inside == s->awaited)
        pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

int sandbox_wait_for(struct sandbox *s, unsigned threads, struct error *error)
{
    if (!s)
        return 0;
    pthread_mutex_lock(&s->lock);
    s->awaited = threads;
    while (s->inside < threads)
        pthread_cond_wait(&s->changed, &s->lock);
    int r = s->failure;
    pthread_mutex_unlock(&s->lock);
    return r < 0 ? error_set(error, -r, "cannot put a thread into the sandbox: %s; --no-sandbox does without",
                             strerror(-r))
                 : 0;
}
