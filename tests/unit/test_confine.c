// Whoever takes over one of our programs gets little (TRUST T12, T26, T31): each forbidden call ends the process and is
// named on stderr; files outside are out of reach; and what is allowed is what tests/hostile/*.calls list, so that a
// wider filter is a change somebody looks at.
//
// Each attempt is made in a child, which confines itself and makes the call; a page that both share tells how far it
// came, so that a child that dies of something else is not taken for one that was stopped.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/clone_private.h"
#include "confine_list.h"
#include "fuse-cloop/cloop_calls.h"
#include "fuse-cloop/opener.h"
#include "fuse-cloop/overlay_calls.h"
#include "server/indexer.h"
#include "server/keeper.h"
#include "server/log_opener.h"
#include "server/server_calls.h"
#include "skip.h"

#include <errno.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

enum progress { NOT_BEGUN, IN_THE_CALL, RETURNED };

static const struct program {
    const char *name, *golden;
    const struct confine_call *calls;
    const size_t *count;
    bool changes_files; // as far as Landlock lets it
    bool is_part;       // comes to another program's list
} programs[] = {
    {"rondo-server", "tests/hostile/server.calls", server_calls, &server_call_count, .changes_files = false},
    {"rondo-server", "tests/hostile/publishing.calls", publish_server_calls, &publish_server_call_count,
     .is_part = true},
    {"rondo-server", "tests/hostile/server_try.calls", server_try_calls, &server_try_call_count, .is_part = true},
    {"rondo-keeper", "tests/hostile/keeper.calls", keeper_calls, &keeper_call_count, .changes_files = true},
    {"rondo-log", "tests/hostile/log_opener.calls", log_opener_calls, &log_opener_call_count, .changes_files = false},
    {"rondo-index", "tests/hostile/indexer.calls", indexer_calls, &indexer_call_count, .changes_files = true},
    {"rondo-overlay", "tests/hostile/overlay.calls", overlay_calls, &overlay_call_count, .changes_files = false},
    {"rondo-cloop", "tests/hostile/cloop.calls", cloop_calls, &cloop_call_count, .changes_files = true},
    {"rondo-open", "tests/hostile/opener.calls", opener_calls, &opener_call_count, .changes_files = false},
    {"rondo-reader", "tests/hostile/reader.calls", clone_reader_calls, &clone_reader_call_count,
     .changes_files = false},
};

// Most, to make nothing but an error where the filter lets them through.
struct attempt {
    const char *name;
    long number;
    unsigned long arguments[4];
};

static const struct attempt attempts[] = {
    {"execve", SYS_execve, {0}},
    {"execveat", SYS_execveat, {0}},
    {"fork", SYS_fork, {0}},
    {"vfork by clone", SYS_clone, {CLONE_VFORK | SIGCHLD}},
    {"socket of packets", SYS_socket, {AF_PACKET, SOCK_RAW}},
    {"socket of the kernel's audit", SYS_socket, {AF_NETLINK, SOCK_RAW, NETLINK_AUDIT}},
    {"socket of a VM's host", SYS_socket, {AF_VSOCK, SOCK_STREAM}},
    {"listen", SYS_listen, {UINT32_MAX}},
    {"open", SYS_open, {0}},
    {"creat", SYS_creat, {0}},
    {"linkat", SYS_linkat, {UINT32_MAX}},
    {"symlinkat", SYS_symlinkat, {0}},
    {"fchmod", SYS_fchmod, {UINT32_MAX}},
    {"truncate", SYS_truncate, {0}},
    {"ptrace", SYS_ptrace, {UINT32_MAX}},
    {"process_vm_writev", SYS_process_vm_writev, {0}},
    {"kill", SYS_kill, {1, 0}},
    {"pidfd_open", SYS_pidfd_open, {0}},
    {"mprotect to executable", SYS_mprotect, {0, 0, PROT_EXEC}},
    {"memfd_create", SYS_memfd_create, {0}},
    {"io_uring_setup", SYS_io_uring_setup, {0}},
    {"bpf", SYS_bpf, {UINT32_MAX}},
    {"perf_event_open", SYS_perf_event_open, {0}},
    {"userfaultfd", SYS_userfaultfd, {UINT32_MAX}},
    {"keyctl", SYS_keyctl, {UINT32_MAX}},
    {"mount", SYS_mount, {0}},
    {"unshare", SYS_unshare, {0}},
    {"setns", SYS_setns, {UINT32_MAX}},
    {"init_module", SYS_init_module, {0}},
    {"setuid", SYS_setuid, {UINT32_MAX}},
    {"prctl PR_SET_DUMPABLE", SYS_prctl, {PR_SET_DUMPABLE}},
    {"ioctl TIOCSTI", SYS_ioctl, {UINT32_MAX, 0x5412}},
};

// These, rondo-cloop may make: it meets servers and has a cache. There Landlock is the fence (below). It is for the
// keeper, too, which changes files.
static const struct attempt attempts_of_others[] = {
    {"mmap of executable memory", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS}},
    {"socket", SYS_socket, {AF_INET, SOCK_STREAM}},
    {"connect", SYS_connect, {UINT32_MAX}},
    {"bind", SYS_bind, {UINT32_MAX}},
    {"mmap of a file", SYS_mmap, {0, 4096, PROT_READ, MAP_PRIVATE}},
};

static const struct attempt attempts_of_readers[] = {
    {"openat for writing", SYS_openat, {0, 0, O_WRONLY}},
    {"openat that truncates", SYS_openat, {0, 0, O_RDONLY | O_TRUNC}},
    {"mkdirat", SYS_mkdirat, {UINT32_MAX}},
};

#if defined(__SANITIZE_ADDRESS__)
#define NEEDS_A_FILTER() SKIP("a sanitizer makes calls of its own")
#else
#define NEEDS_A_FILTER() ((void)0)
#endif

static volatile enum progress *progress;
static char folder[] = "/tmp/rondo-confine-XXXXXX";

static int wait_for(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return status;
}

// In a child, whose status is returned; what it says on stderr goes to `said`.
static int try(const struct program *p, const struct attempt *a, char *said, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    *progress = NOT_BEGUN;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || confine_calls(p->name, p->calls, *p->count, NULL) < 0)
            _exit(1);
        *progress = IN_THE_CALL;
        syscall(a->number, a->arguments[0], a->arguments[1], a->arguments[2], a->arguments[3], 0, 0);
        *progress = RETURNED;
        syscall(SYS_exit_group, 0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], said, size - 1);
    said[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    return wait_for(child);
}

static void assert_stopped(const struct program *p, const struct attempt *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char said[256], wanted[256];
        int status = try(p, &list[i], said, sizeof said);
        snprintf(wanted, sizeof wanted, "%s: system call %ld is none that it ever makes: ending\n", p->name,
                 list[i].number);
        if (*progress != IN_THE_CALL || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("%s is not stopped at %s", p->name, list[i].name);
        assert_string_equal(said, wanted);
    }
}

static void every_forbidden_call_ends_the_process_and_is_named(void **state)
{
    (void)state;
    NEEDS_A_FILTER();
    for (size_t p = 0; p < ARRAY_SIZE(programs); p++) {
        if (programs[p].is_part)
            continue;
        assert_stopped(&programs[p], attempts, ARRAY_SIZE(attempts));
        if (programs[p].calls != cloop_calls)
            assert_stopped(&programs[p], attempts_of_others, ARRAY_SIZE(attempts_of_others));
        if (!programs[p].changes_files)
            assert_stopped(&programs[p], attempts_of_readers, ARRAY_SIZE(attempts_of_readers));
    }
}

static void an_allowed_call_comes_back(void **state)
{
    static const struct attempt allowed = {"write of nothing", SYS_write, {STDOUT_FILENO}};
    (void)state;
    NEEDS_A_FILTER();
    for (size_t p = 0; p < ARRAY_SIZE(programs); p++) {
        char said[256];
        if (programs[p].is_part)
            continue;
        assert_int_equal(try(&programs[p], &allowed, said, sizeof said), 0);
        assert_int_equal(*progress, RETURNED);
        assert_string_equal(said, "");
    }
}

static void no_file_becomes_code(void **state)
{
    (void)state;
    NEEDS_A_FILTER();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        if (fd < 0 || confine_calls("rondo-cloop", cloop_calls, cloop_call_count, NULL) < 0)
            _exit(1);
        bool none = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED;
        none &= mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EPERM;
        none &= mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EPERM;
        syscall(SYS_exit_group, none ? 0 : 2);
    }
    assert_int_equal(wait_for(child), 0);
}

static void *call_in_thread(void *context)
{
    pthread_barrier_t *barrier = context;
    pthread_barrier_wait(barrier); // the filter comes meanwhile
    pthread_barrier_wait(barrier);
    syscall(SYS_ptrace, UINT32_MAX, 0, 0, 0);
    return NULL;
}

static void the_filter_is_in_threads_that_ran_before_it(void **state)
{
    (void)state;
    NEEDS_A_FILTER();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pthread_barrier_t barrier;
        pthread_t thread;
        pthread_barrier_init(&barrier, NULL, 2);
        if (pthread_create(&thread, NULL, call_in_thread, &barrier) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
            _exit(1);
        pthread_barrier_wait(&barrier);
        if (confine_calls("rondo-server", server_calls, server_call_count, NULL) < 0)
            _exit(1);
        pthread_barrier_wait(&barrier);
        pthread_join(thread, NULL);
        syscall(SYS_exit_group, 0);
    }
    int status = wait_for(child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void the_allowed_calls_are_those_of_the_lists(void **state)
{
    (void)state;
    for (size_t p = 0; p < ARRAY_SIZE(programs); p++) {
        struct buf list CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64 << 10);
        for (size_t i = 0; i < *programs[p].count; i++)
            confine_list_add(programs[p].name, &programs[p].calls[i], &list);
        confine_list_compare(programs[p].golden, &list);
    }
    struct buf list CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64 << 10);
    for (size_t i = 0; i < server_index_call_count; i++)
        confine_list_add("rondo-server", &server_index_calls[i], &list);
    confine_list_compare("tests/hostile/server_index.calls", &list);
}

// --- rights --------------------------------------------------------------------------------------------------------

static bool opens(int dir, const char *name, int flags)
{
    int fd CLEANUP_CLOSE = openat(dir, name, flags | O_CLOEXEC, 0600);
    return fd >= 0;
}

// The number of the first thing that is not as it should be.
static int look_around(bool writable)
{
    int below CLEANUP_CLOSE = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct confine_folder only = {.fd = below, .writable = writable};
    if (below < 0 || !opens(below, "file", O_RDWR | O_CREAT))
        return 1;
    if (confine_rights(&only, 1, 0, NULL) < 0)
        return 2;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 3;
    if (prctl(PR_CAPBSET_READ, 0, 0, 0, 0) == 1 && geteuid() == 0)
        return 4;
    if (!opens(below, "file", O_RDONLY))
        return 5;
    if (opens(below, "file", O_WRONLY) != writable || opens(below, "new", O_WRONLY | O_CREAT) != writable)
        return 6;
    if (writable && (renameat(below, "new", below, "newer") < 0 || unlinkat(below, "newer", 0) < 0))
        return 7;
    if (opens(AT_FDCWD, "/etc/passwd", O_RDONLY) || opens(AT_FDCWD, "/tmp/rondo-confine-outside", O_WRONLY | O_CREAT))
        return 8;
    return umount2(folder, 0) == 0 || errno != EPERM ? 9 : 0;
}

static void only_the_folder_is_left(void **state)
{
    (void)state;
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1)
        SKIP("this kernel has no Landlock");
    for (int writable = 0; writable <= 1; writable++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(look_around(writable));
        assert_int_equal(wait_for(child), 0);
    }
}

static void no_dump_and_no_more_descriptors(void **state)
{
    (void)state;
    NEEDS_A_FILTER();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const struct confine_call calls[] = {CONFINE_CALL(prlimit64, "to look"),
                                                    CONFINE_CALL(exit_group, "end")};
        struct rlimit core, files;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || confine_calls("test", calls, ARRAY_SIZE(calls), NULL) < 0 ||
            getrlimit(RLIMIT_CORE, &core) < 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
            _exit(1);
        _exit(core.rlim_max != 0 || files.rlim_max != files.rlim_cur);
    }
    assert_int_equal(wait_for(child), 0);
}

static int begin(void **state)
{
    (void)state;
    progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return progress == MAP_FAILED || !mkdtemp(folder);
}

static int finish(void **state)
{
    char path[64];
    (void)state;
    snprintf(path, sizeof path, "%s/file", folder);
    unlink(path);
    rmdir(folder);
    munmap((void *)progress, 4096);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_forbidden_call_ends_the_process_and_is_named),
        cmocka_unit_test(an_allowed_call_comes_back),
        cmocka_unit_test(no_file_becomes_code),
        cmocka_unit_test(the_filter_is_in_threads_that_ran_before_it),
        cmocka_unit_test(the_allowed_calls_are_those_of_the_lists),
        cmocka_unit_test(only_the_folder_is_left),
        cmocka_unit_test(no_dump_and_no_more_descriptors),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
