// The sandbox's test of itself: `rondo-vmm --selftest=sandbox`. Each attempt is made in a child, which enters the
// filter and makes the call; a page that both share tells how far it came, so that a child that dies of something else,
// or of its own exit, is not taken for one that was stopped.
#include "vmm/sandbox.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/banned.h"

enum progress { NOT_BEGUN, IN_THE_CALL, RETURNED };

#define M (1u << SANDBOX_MAIN)
#define V (1u << SANDBOX_VCPU)
#define W (1u << SANDBOX_WORKER)
#define ALL (M | V | W)
#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
#define X32_CALL 0x40000000L // the other numbers that this processor's kernel may know

// Forbidden to these kinds of thread; most, to make nothing but an error where the filter lets them through.
static const struct attempt {
    unsigned kinds;
    const char *name;
    long number;
    unsigned long arguments[4];
} attempts[] = {
    {ALL, "open", SYS_open, {0, O_RDONLY}},
    {ALL, "openat", SYS_openat, {0, 0, O_RDONLY}},
    {ALL, "openat2", SYS_openat2, {0}},
    {ALL, "open_by_handle_at", SYS_open_by_handle_at, {0}},
    {ALL, "creat", SYS_creat, {0}},
    {ALL, "memfd_create", SYS_memfd_create, {0}},
    {ALL, "stat", SYS_stat, {0}},
    {ALL, "newfstatat of a name", SYS_newfstatat, {0, 0, 0, 0}},
    {ALL, "readlinkat", SYS_readlinkat, {0}},
    {ALL, "getdents64", SYS_getdents64, {0}},
    {ALL, "unlinkat", SYS_unlinkat, {0}},
    {ALL, "renameat2", SYS_renameat2, {0}},
    {ALL, "linkat", SYS_linkat, {0}},
    {ALL, "symlinkat", SYS_symlinkat, {0}},
    {ALL, "fchmod", SYS_fchmod, {0}},
    {ALL, "ftruncate", SYS_ftruncate, {UINT32_MAX}},
    {ALL, "chdir", SYS_chdir, {0}},
    {ALL, "chroot", SYS_chroot, {0}},
    {ALL, "dup2", SYS_dup2, {UINT32_MAX}},
    {ALL, "fcntl F_DUPFD", SYS_fcntl, {UINT32_MAX, F_DUPFD}},
    {ALL, "socket", SYS_socket, {AF_INET, SOCK_STREAM}},
    {ALL, "socketpair", SYS_socketpair, {0}},
    {ALL, "connect", SYS_connect, {0}},
    {ALL, "bind", SYS_bind, {0}},
    {ALL, "listen", SYS_listen, {UINT32_MAX}},
    {ALL, "accept4", SYS_accept4, {0}},
    {ALL, "sendto", SYS_sendto, {UINT32_MAX}},
    {V, "sendmsg", SYS_sendmsg, {UINT32_MAX}},
    {V | W, "recvmsg", SYS_recvmsg, {UINT32_MAX}},
    {ALL, "execve", SYS_execve, {0}},
    {ALL, "execveat", SYS_execveat, {0}},
    {ALL, "fork", SYS_fork, {0}},
    {ALL, "vfork by clone", SYS_clone, {CLONE_VFORK | SIGCHLD}},
    {ALL, "a thread by clone", SYS_clone, {THREAD & ~CLONE_VM}}, // the kernel refuses it, should it come so far
    {ALL, "clone3", SYS_clone3, {0}},
    {ALL, "kill", SYS_kill, {0, 0}},
    {ALL, "tkill", SYS_tkill, {0}},
    {ALL, "tgkill of another process", SYS_tgkill, {1, 1, 0}},
    {ALL, "pidfd_open", SYS_pidfd_open, {0}},
    {ALL, "pidfd_getfd", SYS_pidfd_getfd, {UINT32_MAX}},
    {ALL, "ptrace", SYS_ptrace, {PTRACE_TRACEME}},
    {ALL, "process_vm_writev", SYS_process_vm_writev, {0}},
    {ALL, "mmap of executable memory", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS}},
    {ALL, "mmap of a file", SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE}},
    {ALL, "mprotect to executable", SYS_mprotect, {0, 0, PROT_EXEC}},
    {ALL, "pkey_mprotect", SYS_pkey_mprotect, {0, 0, PROT_EXEC}},
    {ALL, "shmat", SYS_shmat, {0}},
    {ALL, "madvise MADV_REMOVE", SYS_madvise, {0, 0, MADV_REMOVE}},
    {ALL, "userfaultfd", SYS_userfaultfd, {0}},
    {ALL, "io_uring_setup", SYS_io_uring_setup, {0}},
    {ALL, "bpf", SYS_bpf, {0}},
    {ALL, "perf_event_open", SYS_perf_event_open, {0}},
    {ALL, "mount", SYS_mount, {0}},
    {ALL, "umount2", SYS_umount2, {0}},
    {ALL, "pivot_root", SYS_pivot_root, {0}},
    {ALL, "unshare", SYS_unshare, {0}},
    {ALL, "setns", SYS_setns, {UINT32_MAX}},
    {ALL, "init_module", SYS_init_module, {0}},
    {ALL, "keyctl", SYS_keyctl, {UINT32_MAX}},
    {ALL, "prctl", SYS_prctl, {0}},
    {ALL, "seccomp", SYS_seccomp, {SECCOMP_GET_ACTION_AVAIL}},
    {ALL, "setuid", SYS_setuid, {UINT32_MAX}},
    {ALL, "capset", SYS_capset, {0}},
    {ALL, "prlimit64", SYS_prlimit64, {0}},
    {ALL, "personality", SYS_personality, {UINT32_MAX}},
    {ALL, "ioctl TIOCSTI", SYS_ioctl, {UINT32_MAX, TIOCSTI}},
    {ALL, "ioctl KVM_CREATE_VM", SYS_ioctl, {UINT32_MAX, KVM_CREATE_VM}},
    {ALL, "ioctl KVM_SET_USER_MEMORY_REGION", SYS_ioctl, {UINT32_MAX, KVM_SET_USER_MEMORY_REGION}},
    {M | W, "ioctl KVM_RUN", SYS_ioctl, {UINT32_MAX, KVM_RUN}},
    {W, "ioctl KVM_IOEVENTFD", SYS_ioctl, {UINT32_MAX, KVM_IOEVENTFD}},
    {V, "pread64", SYS_pread64, {UINT32_MAX}},
    {V | M, "pwritev", SYS_pwritev, {UINT32_MAX}},
    {V | W, "exit_group", SYS_exit_group, {0}},
    {ALL, "a call of another table", X32_CALL | SYS_write, {UINT32_MAX}},
};

// Allowed to all: what comes back shows that the filter, and not its mere presence, ends the others.
static const struct attempt allowed = {ALL, "clock_gettime", SYS_clock_gettime, {CLOCK_MONOTONIC}};

static void try_in_child(struct sandbox *s, enum sandbox_thread kind, const struct attempt *a,
                         volatile enum progress *progress)
{
    sandbox_enter(s, kind);
    *progress = IN_THE_CALL;
    syscall(a->number, a->arguments[0], a->arguments[1], a->arguments[2], a->arguments[3], 0, 0);
    *progress = RETURNED;
    syscall(kind == SANDBOX_MAIN ? SYS_exit_group : SYS_exit, 0);
    __builtin_trap();
}

static int wait_for(pid_t child, int *ret_status)
{
    while (waitpid(child, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

// 1 as it should be, 0 not, or -errno.
static int attempt(struct sandbox *s, enum sandbox_thread kind, const struct attempt *a,
                   volatile enum progress *progress)
{
    int status = 0;
    *progress = NOT_BEGUN;
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0)
        try_in_child(s, kind, a, progress);
    int r = wait_for(child, &status);
    if (r < 0)
        return r;
    bool stopped = *progress == IN_THE_CALL && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
    return a == &allowed ? *progress == RETURNED && status == 0 : stopped;
}

static int try_kind(struct sandbox *s, enum sandbox_thread kind, volatile enum progress *progress, struct buf *report)
{
    bool good = true;
    for (size_t i = 0; i <= ARRAY_SIZE(attempts); i++) {
        const struct attempt *a = i < ARRAY_SIZE(attempts) ? &attempts[i] : &allowed;
        if (!(a->kinds >> kind & 1))
            continue;
        int r = attempt(s, kind, a, progress);
        if (r < 0)
            return r;
        good &= r == 1;
        r = buf_append_format(report, "%s: a %s thread's %s is %s\n", r == 1 ? "ok" : "not ok",
                              sandbox_thread_name(kind), a->name, a == &allowed ? "allowed" : "stopped");
        if (r < 0)
            return r;
    }
    return good;
}

// --- the first stage -----------------------------------------------------------------------------------------------

static bool has_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2];
    return syscall(SYS_capget, &head, now) < 0 || now[0].permitted || now[1].permitted || now[0].effective ||
           now[1].effective;
}

static bool no_file_opens(void)
{
    static const char *const names[] = {"/etc/passwd", "/proc/self/mem", "/dev/null", "/tmp", "/"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        int fd CLEANUP_CLOSE = open(names[i], O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && strcmp(names[i], "/") != 0)
            return false;
        if (fd >= 0 && openat(fd, "etc", O_PATH | O_CLOEXEC) >= 0)
            return false;
    }
    return true;
}

static bool has_rights(void)
{
    struct rlimit core;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 ||
           has_capabilities() || getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0;
}

// In a child: it cannot be undone. Where the kernel gives neither namespaces nor Landlock, the line says so and it is
// no failure: the filters do not depend on it.
static int try_leaving(struct buf *report)
{
    enum { NO_RIGHTS = 1, NO_FILES = 2 };
    int status = 0;
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0) {
        int left = sandbox_leave_host(NULL);
        _exit(left < 0 ? 0 : (has_rights() ? 0 : NO_RIGHTS) | (no_file_opens() ? NO_FILES : 0));
    }
    int r = wait_for(child, &status);
    if (r < 0)
        return r;
    int found = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    r = buf_append_format(report, "%s: no privilege, no capability and no core dump is left\n%s\n",
                          found & NO_RIGHTS ? "ok" : "not ok",
                          found & NO_FILES ? "ok: no file can be seen"
                                           : "note: this host gives no means to hide its files; the filters remain");
    return r < 0 ? r : (found & NO_RIGHTS) != 0;
}

static int try_all(struct sandbox *s, volatile enum progress *progress, struct buf *report)
{
    int r = try_leaving(report);
    bool good = r == 1;
    for (unsigned kind = 0; r >= 0 && kind < SANDBOX_THREADS; kind++) {
        r = try_kind(s, (enum sandbox_thread)kind, progress, report);
        good &= r == 1;
    }
    return r < 0 ? r : good;
}

int sandbox_selftest(struct buf *report, struct error *error)
{
    struct sandbox *s;
    int r = sandbox_new(&s, error);
    if (r < 0)
        return r;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) // as the first stage does; without it there are no filters
        r = -errno;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r == 0 && page == MAP_FAILED)
        r = -errno;
    if (r == 0)
        r = try_all(s, page, report);
    if (page != MAP_FAILED)
        munmap(page, 4096);
    sandbox_free(s);
    if (r < 0)
        return error_set(error, -r, "cannot try the sandbox: %s", strerror(-r));
    return r == 1 ? 0 : error_set(error, EPROTO, "the sandbox does not stop every forbidden call");
}
