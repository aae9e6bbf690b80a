// The sandbox: see sandbox.h. The filters are made by libseccomp once, while memory may be had, and are kept as the
// kernel wants them; entering is two system calls.
#include "vmm/sandbox.h"

#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/banned.h"

#define V (1u << SANDBOX_VCPU)
#define W (1u << SANDBOX_WORKER)
#define M (1u << SANDBOX_MAIN)

static const char *const kind_names[SANDBOX_KINDS] = {"vcpu", "worker", "main"};

// A condition on one argument: value & mask == wanted. mask 0: none.
struct condition {
    const char *name;
    unsigned argument;
    uint64_t mask, wanted;
};

#define ANY                                                                                                            \
    {                                                                                                                  \
        NULL, 0, 0, 0                                                                                                  \
    }
#define REQUEST(r)                                                                                                     \
    {                                                                                                                  \
#r, 1, UINT32_MAX, (uint32_t)(r)                                                                               \
    }
#define COMMAND(c)                                                                                                     \
    {                                                                                                                  \
#c, 1, UINT32_MAX, (c)                                                                                         \
    }
#define NOT_EXECUTABLE                                                                                                 \
    {                                                                                                                  \
        "!PROT_EXEC", 2, PROT_EXEC, 0                                                                                  \
    }
#define DESCRIPTOR_ONLY                                                                                                \
    {                                                                                                                  \
        "AT_EMPTY_PATH", 3, AT_EMPTY_PATH, AT_EMPTY_PATH                                                               \
    }

static const struct rule {
    const char *name;
    int number;
    unsigned kinds;
    struct condition condition;
    const char *why;
} rules[] = {
    // The guest.
    {"ioctl", SCMP_SYS(ioctl), V, REQUEST(KVM_RUN), "runs it"},
    {"ioctl", SCMP_SYS(ioctl), V, REQUEST(KVM_KVMCLOCK_CTRL), "tells it that it was paused"},
    {"ioctl", SCMP_SYS(ioctl), V, REQUEST(KVM_GET_REGS), "says where it failed"},
    {"ioctl", SCMP_SYS(ioctl), V, REQUEST(KVM_GET_SREGS), "says where it failed"},
    {"ioctl", SCMP_SYS(ioctl), V | M, REQUEST(KVM_SET_GSI_ROUTING), "it moves an MSI-X vector; a device is reset"},
    {"ioctl", SCMP_SYS(ioctl), V | M, REQUEST(KVM_IOEVENTFD), "it moves a BAR with doorbells"},
    {"ioctl", SCMP_SYS(ioctl), V | M, REQUEST(KVM_CHECK_EXTENSION), "whether writes to a port can be collected"},
    {"ioctl", SCMP_SYS(ioctl), V | M, REQUEST(KVM_REGISTER_COALESCED_MMIO), "the serial port's FIFO goes on"},
    {"ioctl", SCMP_SYS(ioctl), V | M, REQUEST(KVM_UNREGISTER_COALESCED_MMIO), "and off"},

    // Between threads.
    {"futex", SCMP_SYS(futex), V | W | M, ANY, "locks and conditions"},
    {"read", SCMP_SYS(read), V | W | M, ANY, "eventfds; in the loop the console, signals, timers, a tap interface"},
    {"write", SCMP_SYS(write), V | W | M, ANY, "eventfds: interrupts and doorbells; the console; the log"},
    {"writev", SCMP_SYS(writev), V | W | M, ANY, "the console, the log; a tap interface"},
    {"timerfd_settime", SCMP_SYS(timerfd_settime), V | W | M, ANY, "the loop shall look again in a while"},
    {"epoll_ctl", SCMP_SYS(epoll_ctl), V | W | M, ANY, "what the loop waits for changes"},
    {"sendmsg", SCMP_SYS(sendmsg), W | M, ANY, "tells the supervisor of an outage; passt's frames"},
    {"rt_sigreturn", SCMP_SYS(rt_sigreturn), V | W | M, ANY, "a kick has arrived"},
    {"rt_sigprocmask", SCMP_SYS(rt_sigprocmask), V | W | M, ANY, "the C library, when a thread is kicked or ends"},
    {"restart_syscall", SCMP_SYS(restart_syscall), V | W | M, ANY, "the process was stopped and continued"},
    {"clock_gettime", SCMP_SYS(clock_gettime), V | W | M, ANY, "the clock, where the vDSO cannot read it"},
    {"exit", SCMP_SYS(exit), V | W, ANY, "the end of the thread"},

    // Memory for small things; the C library's allocator. None of it can be made executable.
    {"mmap", SCMP_SYS(mmap), V | W | M, NOT_EXECUTABLE, "malloc"},
    {"mprotect", SCMP_SYS(mprotect), V | W | M, NOT_EXECUTABLE, "malloc grows a thread's heap"},
    {"mremap", SCMP_SYS(mremap), V | W | M, ANY, "realloc"},
    {"munmap", SCMP_SYS(munmap), V | W | M, ANY, "free; the end"},
    {"brk", SCMP_SYS(brk), V | W | M, ANY, "malloc"},
    {"madvise", SCMP_SYS(madvise), V | W | M, ANY, "free; a thread's stack at its end"},

    // Disks. The main thread flushes at the end.
    {"pread64", SCMP_SYS(pread64), W | M, ANY, "a disk is read"},
    {"preadv", SCMP_SYS(preadv), W | M, ANY, "a disk is read"},
    {"pwrite64", SCMP_SYS(pwrite64), W | M, ANY, "a disk is written; an overlay's map"},
    {"pwritev", SCMP_SYS(pwritev), W | M, ANY, "a disk is written"},
    {"fdatasync", SCMP_SYS(fdatasync), W | M, ANY, "a flush"},
    {"fsync", SCMP_SYS(fsync), W | M, ANY, "a flush"},
    {"fallocate", SCMP_SYS(fallocate), W | M, ANY, "a discard; memory that the balloon gives back"},

    // The loop.
    {"epoll_wait", SCMP_SYS(epoll_wait), M, ANY, "waits"},
    {"readv", SCMP_SYS(readv), M, ANY, "a tap interface"},
    {"recvfrom", SCMP_SYS(recvfrom), M, ANY, "passt's frames"},
    {"recvmsg", SCMP_SYS(recvmsg), M, ANY, "the supervisor's messages"},
    {"poll", SCMP_SYS(poll), M, ANY, "whether the supervisor has said something"},
    {"getrandom", SCMP_SYS(getrandom), M, ANY, "the entropy device"},
    {"fstat", SCMP_SYS(fstat), M, ANY, "a base that the supervisor hands in anew"},
    {"newfstatat", SCMP_SYS(newfstatat), M, DESCRIPTOR_ONLY, "the same, as the C library makes it"},
    {"fcntl", SCMP_SYS(fcntl), M, COMMAND(F_GETFL), "the same"},
    {"getpid", SCMP_SYS(getpid), M, ANY, "kicks a vCPU"},
    {"gettid", SCMP_SYS(gettid), M, ANY, "kicks a vCPU"},
    {"tgkill", SCMP_SYS(tgkill), M, ANY, "kicks a vCPU; the kernel allows it within the user's own processes"},

    // The end.
    {"fcntl", SCMP_SYS(fcntl), M, COMMAND(F_SETFL), "the console's descriptors are as they were"},
    {"ioctl", SCMP_SYS(ioctl), M, REQUEST(TCGETS), "and its terminal"},
    {"ioctl", SCMP_SYS(ioctl), M, REQUEST(TCSETS), "and its terminal"},
    {"close", SCMP_SYS(close), M, ANY, "descriptors are closed; a base that was replaced, earlier"},
    {"flock", SCMP_SYS(flock), M, ANY, "the overlay is unlocked"},
    {"exit_group", SCMP_SYS(exit_group), M, ANY, "the end of the process"},
};

struct sandbox {
    struct sock_fprog filters[SANDBOX_KINDS];
};

static int add_rule(scmp_filter_ctx context, const struct rule *rule)
{
    const struct condition *c = &rule->condition;
    if (c->mask == 0)
        return seccomp_rule_add(context, SCMP_ACT_ALLOW, rule->number, 0);
    return seccomp_rule_add(context, SCMP_ACT_ALLOW, rule->number, 1,
                            SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->mask, c->wanted));
}

static int add_rules(scmp_filter_ctx context, enum sandbox_kind kind)
{
    int r = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    for (size_t i = 0; i < ARRAY_SIZE(rules) && r == 0; i++)
        if (rules[i].kinds & 1u << kind)
            r = add_rule(context, &rules[i]);
    return r;
}

// libseccomp writes a filter to a file only: one of memory.
static int export(scmp_filter_ctx context, struct sock_fprog *ret)
{
    struct stat status;
    int fd CLEANUP_CLOSE = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = seccomp_export_bpf(context, fd);
    if (r < 0)
        return r;
    if (fstat(fd, &status) < 0)
        return -errno;
    size_t size = (size_t)status.st_size;
    struct sock_filter *code = malloc(size);
    if (!code)
        return -ENOMEM;
    r = io_read_full(fd, code, size, 0);
    if (r < 0) {
        free(code);
        return r;
    }
    *ret = (struct sock_fprog){.len = (unsigned short)(size / sizeof *code), .filter = code};
    return 0;
}

static int make_filter(enum sandbox_kind kind, struct sock_fprog *ret)
{
    scmp_filter_ctx context = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!context)
        return -ENOMEM;
    int r = add_rules(context, kind);
    if (r == 0)
        r = export(context, ret);
    seccomp_release(context);
    return r;
}

// Landlock (Linux Documentation/userspace-api/landlock.rst): a rule set that handles every access and allows none.
// Older kernels know fewer accesses, or nothing of it; then the filters alone forbid opening.
static void drop_files(void)
{
    static const uint64_t accesses[] = {0, (1u << 13) - 1, (1u << 14) - 1, (1u << 15) - 1}; // ABI 1, 2, 3
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi <= 0)
        return;
    if (abi >= (long)ARRAY_SIZE(accesses))
        abi = (long)ARRAY_SIZE(accesses) - 1;
    struct landlock_ruleset_attr attributes = {.handled_access_fs = accesses[abi]};
    int fd CLEANUP_CLOSE = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
    if (fd >= 0)
        syscall(SYS_landlock_restrict_self, fd, 0);
}

int sandbox_new(struct sandbox **ret, struct error *error)
{
    struct sandbox *s = calloc(1, sizeof *s);
    int r = s ? 0 : -ENOMEM;
    for (unsigned kind = 0; kind < SANDBOX_KINDS && r == 0; kind++)
        r = make_filter((enum sandbox_kind)kind, &s->filters[kind]);
    if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = -errno;
    if (r < 0) {
        sandbox_free(s);
        return error_set(error, -r, "cannot make the sandbox (--no-sandbox does without): %s", strerror(-r));
    }
    drop_files();
    *ret = s;
    return 0;
}

void sandbox_free(struct sandbox *s)
{
    for (unsigned kind = 0; s && kind < SANDBOX_KINDS; kind++)
        free(s->filters[kind].filter);
    free(s);
}

void sandbox_enter(const struct sandbox *s, enum sandbox_kind kind)
{
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &s->filters[kind]) < 0)
        abort();
}

int sandbox_describe(struct buf *to)
{
    int r = 0;
    for (unsigned kind = 0; kind < SANDBOX_KINDS; kind++)
        for (size_t i = 0; i < ARRAY_SIZE(rules) && r == 0; i++)
            if (rules[i].kinds & 1u << kind)
                r = buf_append_format(to, "%s %s%s%s\n", kind_names[kind], rules[i].name,
                                      rules[i].condition.name ? " " : "",
                                      rules[i].condition.name ? rules[i].condition.name : "");
    return r;
}
