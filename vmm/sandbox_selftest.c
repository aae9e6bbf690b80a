// The sandbox's test of itself: `rondo-vmm --selftest=sandbox`. Each attempt is made in a child, which enters the
// filter and makes the call; a page that both share tells how far it came, so that a child that dies of something else,
// or of its own exit, is not taken for one that was stopped.
#include "vmm/sandbox.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/banned.h"

enum progress { NOT_BEGUN, IN_THE_CALL, RETURNED };

static const struct attempt {
    const char *name;
    long number;
    unsigned long arguments[4];
    bool allowed;
} attempts[] = {
    {"clock_gettime", SYS_clock_gettime, {CLOCK_MONOTONIC, 0, 0, 0}, true}, // EFAULT, but it comes back
    {"open", SYS_open, {0, O_RDONLY, 0, 0}, false},
    {"openat", SYS_openat, {0, 0, O_RDONLY, 0}, false},
    {"openat2", SYS_openat2, {0, 0, 0, 0}, false},
    {"unlinkat", SYS_unlinkat, {0, 0, 0, 0}, false},
    {"socket", SYS_socket, {AF_INET, SOCK_STREAM, 0, 0}, false},
    {"connect", SYS_connect, {0, 0, 0, 0}, false},
    {"bind", SYS_bind, {0, 0, 0, 0}, false},
    {"accept4", SYS_accept4, {0, 0, 0, 0}, false},
    {"execve", SYS_execve, {0, 0, 0, 0}, false},
    {"execveat", SYS_execveat, {0, 0, 0, 0}, false},
    {"clone", SYS_clone, {SIGCHLD, 0, 0, 0}, false},
    {"clone3", SYS_clone3, {0, 0, 0, 0}, false},
    {"fork", SYS_fork, {0, 0, 0, 0}, false},
    {"ptrace", SYS_ptrace, {PTRACE_TRACEME, 0, 0, 0}, false},
    {"process_vm_writev", SYS_process_vm_writev, {0, 0, 0, 0}, false},
    {"kill", SYS_kill, {0, 0, 0, 0}, false},
    {"setuid", SYS_setuid, {0, 0, 0, 0}, false},
    {"prctl", SYS_prctl, {0, 0, 0, 0}, false},
    {"bpf", SYS_bpf, {0, 0, 0, 0}, false},
    {"io_uring_setup", SYS_io_uring_setup, {0, 0, 0, 0}, false},
    {"userfaultfd", SYS_userfaultfd, {0, 0, 0, 0}, false},
    {"unshare", SYS_unshare, {0, 0, 0, 0}, false},
    {"mount", SYS_mount, {0, 0, 0, 0}, false},
    {"memfd_create", SYS_memfd_create, {0, 0, 0, 0}, false},
    {"mmap of executable memory", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE}, false},
    {"mprotect to executable", SYS_mprotect, {0, 0, PROT_EXEC, 0}, false},
    {"ioctl KVM_CREATE_VM", SYS_ioctl, {0, KVM_CREATE_VM, 0, 0}, false},
    {"ioctl KVM_SET_USER_MEMORY_REGION", SYS_ioctl, {0, KVM_SET_USER_MEMORY_REGION, 0, 0}, false},
    {"ioctl TIOCSTI", SYS_ioctl, {0, TIOCSTI, 0, 0}, false},
};

static void try_in_child(const struct sandbox *s, enum sandbox_kind kind, const struct attempt *a,
                         volatile enum progress *progress)
{
    sandbox_enter(s, kind);
    *progress = IN_THE_CALL;
    syscall(a->number, a->arguments[0], a->arguments[1], a->arguments[2], a->arguments[3], 0, 0);
    *progress = RETURNED;
    syscall(SYS_exit, 0);
}

// 1 as it should be, 0 not, or -errno.
static int attempt(const struct sandbox *s, enum sandbox_kind kind, const struct attempt *a,
                   volatile enum progress *progress)
{
    int status = 0;
    *progress = NOT_BEGUN;
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0)
        try_in_child(s, kind, a, progress);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    bool stopped = *progress == IN_THE_CALL && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
    return a->allowed ? *progress == RETURNED : stopped;
}

static int try_all(const struct sandbox *s, volatile enum progress *progress, struct buf *report, struct error *error)
{
    static const char *const names[SANDBOX_KINDS] = {"vcpu", "worker", "main"};
    bool good = true;
    for (unsigned kind = 0; kind < SANDBOX_KINDS; kind++) {
        for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
            int r = attempt(s, (enum sandbox_kind)kind, &attempts[i], progress);
            if (r < 0)
                return error_set(error, -r, "cannot try the sandbox: %s", strerror(-r));
            good &= r == 1;
            r = buf_append_format(report, "%s: a %s thread's %s is %s\n", r == 1 ? "ok" : "not ok", names[kind],
                                  attempts[i].name, attempts[i].allowed ? "allowed" : "stopped");
            if (r < 0)
                return error_set(error, -r, "no memory for the report");
        }
    }
    return good ? 0 : error_set(error, EPERM, "the sandbox does not stop every forbidden call");
}

int sandbox_selftest(struct buf *report, struct error *error)
{
    struct sandbox *s;
    int r = sandbox_new(&s, error);
    if (r < 0)
        return r;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        r = error_set(error, errno, "no memory to try the sandbox with");
    } else {
        r = try_all(s, page, report, error);
        munmap(page, 4096);
    }
    sandbox_free(s);
    return r;
}
