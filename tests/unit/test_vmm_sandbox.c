// Whoever takes rondo-vmm over from inside its guest can do nothing with it (TRUST T26): each forbidden call, from each
// kind of thread, ends the process; and what is allowed is what tests/hostile/vmm_sandbox.calls lists, so that a wider
// sandbox is a change somebody looks at.
//
// Each attempt is made in a child, which enters the filter and makes the call; a page that both share tells how far it
// came, so that a child that dies of something else, or of its own exit, is not taken for one that was stopped.
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmm/sandbox_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
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

#include <cmocka.h>

#include "confine_list.h"
#include "skip.h"

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
    {M | V, "a thread by its proper flags", SYS_clone, {THREAD & ~CLONE_VM}},
    {M | V, "clone3", SYS_clone3, {0}},
    {ALL, "kill", SYS_kill, {0, 0}},
    {ALL, "tkill", SYS_tkill, {0}},
    {ALL, "tgkill of another process", SYS_tgkill, {1, 1, 0}},
    {ALL, "pidfd_open", SYS_pidfd_open, {0}},
    {ALL, "pidfd_getfd", SYS_pidfd_getfd, {UINT32_MAX}},
    {ALL, "ptrace", SYS_ptrace, {PTRACE_TRACEME}},
    {ALL, "process_vm_writev", SYS_process_vm_writev, {0}},
    {ALL, "mmap of executable memory", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS}},
    {ALL, "mmap of a file", SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE}},
    {M | V, "mprotect", SYS_mprotect, {0}},
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
    {ALL, "ioctl KVM_CHECK_EXTENSION", SYS_ioctl, {UINT32_MAX, KVM_CHECK_EXTENSION}},
    {M | W, "ioctl KVM_RUN", SYS_ioctl, {UINT32_MAX, KVM_RUN}},
    {W, "ioctl KVM_IOEVENTFD", SYS_ioctl, {UINT32_MAX, KVM_IOEVENTFD}},
    {V, "pread64", SYS_pread64, {UINT32_MAX}},
    {V | M, "pwritev", SYS_pwritev, {UINT32_MAX}},
    {V | W, "exit_group", SYS_exit_group, {0}},
    {ALL, "a call of another table", X32_CALL | SYS_write, {UINT32_MAX}},
};

// Allowed to all: what comes back shows that the filter, and not its mere presence, ends the others.
static const struct attempt allowed = {ALL, "clock_gettime", SYS_clock_gettime, {CLOCK_MONOTONIC}};

#if defined(__SANITIZE_ADDRESS__)
#define NEEDS_A_FILTER() SKIP("a sanitizer makes calls of its own")
#else
#define NEEDS_A_FILTER() ((void)0)
#endif

static const char *const names[] = {[SANDBOX_MAIN] = "main", [SANDBOX_VCPU] = "vcpu", [SANDBOX_WORKER] = "worker"};
static struct sandbox *sandbox;
static volatile enum progress *progress;

static int wait_for(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return status;
}

// The status of a child that entered the filter and called the function.
static int in_child(enum sandbox_thread kind, void (*function)(const struct attempt *a), const struct attempt *a)
{
    *progress = NOT_BEGUN;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sandbox_enter(sandbox, kind);
        *progress = IN_THE_CALL;
        function(a);
        *progress = RETURNED;
        syscall(kind == SANDBOX_MAIN ? SYS_exit_group : SYS_exit, 0);
        __builtin_trap();
    }
    return wait_for(child);
}

static void make_attempt(const struct attempt *a)
{
    syscall(a->number, a->arguments[0], a->arguments[1], a->arguments[2], a->arguments[3], 0, 0);
}

static void every_forbidden_call_ends_the_process(void **state)
{
    (void)state;
    NEEDS_A_FILTER();
    for (unsigned kind = 0; kind < SANDBOX_THREADS; kind++) {
        for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
            const struct attempt *a = &attempts[i];
            if (!(a->kinds >> kind & 1))
                continue;
            int status = in_child((enum sandbox_thread)kind, make_attempt, a);
            if (*progress != IN_THE_CALL || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
                fail_msg("a %s thread's %s is not stopped", names[kind], a->name);
        }
    }
}

static void an_allowed_call_comes_back(void **state)
{
    (void)state;
    NEEDS_A_FILTER();
    for (unsigned kind = 0; kind < SANDBOX_THREADS; kind++) {
        assert_int_equal(in_child((enum sandbox_thread)kind, make_attempt, &allowed), 0);
        assert_int_equal(*progress, RETURNED);
    }
}

static void *run_thread(void *context)
{
    (void)context;
    return (void *)1;
}

static void make_thread(const struct attempt *a)
{
    pthread_t thread;
    void *result = NULL;
    (void)a;
    if (pthread_create(&thread, NULL, run_thread, NULL) != 0)
        __builtin_trap();
    if (pthread_join(thread, &result) != 0 || !result)
        __builtin_trap();
}

static void *fork_in_thread(void *context)
{
    return fork() < 0 ? NULL : context;
}

static void ask_for_clone3(const struct attempt *a)
{
    (void)a;
    if (syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS)
        __builtin_trap();
}

static void try_in_thread(const struct attempt *a)
{
    pthread_t thread;
    (void)a;
    if (pthread_create(&thread, NULL, fork_in_thread, NULL) != 0 || pthread_join(thread, NULL) != 0)
        __builtin_trap();
}

static void a_worker_makes_another_which_is_in_its_filter(void **state)
{
    (void)state;
    NEEDS_A_FILTER();
    assert_int_equal(in_child(SANDBOX_WORKER, ask_for_clone3, NULL), 0);
    assert_int_equal(in_child(SANDBOX_WORKER, make_thread, NULL), 0);
    assert_int_equal(*progress, RETURNED);
    int status = in_child(SANDBOX_WORKER, try_in_thread, NULL);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

// --- the list ------------------------------------------------------------------------------------------------------

static void the_allowed_calls_are_those_of_the_list(void **state)
{
    struct buf list CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64 << 10);
    (void)state;
    for (unsigned kind = 0; kind < SANDBOX_THREADS; kind++)
        for (size_t i = 0; i < sandbox_call_count; i++)
            if (sandbox_calls[i].kinds >> kind & 1)
                confine_list_add(names[kind], &sandbox_calls[i].call, &list);
    confine_list_compare("tests/hostile/vmm_sandbox.calls", &list);
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
    static const char *const paths[] = {"/etc/passwd", "/proc/self/mem", "/dev/null", "/tmp", "/"};
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        int fd CLEANUP_CLOSE = open(paths[i], O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && strcmp(paths[i], "/") != 0)
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

// In a child: it cannot be undone. Where the kernel gives neither namespaces nor Landlock, files can be seen, and it is
// no failure: the filters do not depend on it.
static void no_right_and_no_file_is_left(void **state)
{
    enum { NO_RIGHTS = 1, NO_FILES = 2 };
    (void)state;
    NEEDS_A_FILTER();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int left = sandbox_leave_host(NULL);
        _exit(left < 0 ? 0 : (has_rights() ? 0 : NO_RIGHTS) | (no_file_opens() ? NO_FILES : 0));
    }
    int status = wait_for(child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) & NO_RIGHTS);
    if (!(WEXITSTATUS(status) & NO_FILES))
        print_message("# this host gives no means to hide its files; the filters remain\n");
}

static int begin(void **state)
{
    (void)state;
    mallopt(M_ARENA_MAX, 1); // as main() does
    make_thread(NULL);       // the first of a process costs calls of its own; rondo-vmm's is made outside its sandbox
    assert_int_equal(sandbox_new(&sandbox, NULL), 0);
    assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                     0); // as the first stage does; there are no filters without
    progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(progress, MAP_FAILED);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    munmap((void *)progress, 4096);
    sandbox_free(sandbox);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_forbidden_call_ends_the_process),
        cmocka_unit_test(an_allowed_call_comes_back),
        cmocka_unit_test(a_worker_makes_another_which_is_in_its_filter),
        cmocka_unit_test(the_allowed_calls_are_those_of_the_list),
        cmocka_unit_test(no_right_and_no_file_is_left),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
