// What each kind of thread may call: see sandbox_calls.h. M: main, V: vCPU, W: block worker.
//
// A vCPU's thread answers the guest's accesses to registers, so it does what the devices do under their locks: it rings
// eventfds, routes interrupts, moves doorbells, changes what the loop watches, resets a device. It never does I/O.
//
// A number is checked where it decides what a call does: ioctl and fcntl by request, memory by its protection. A
// pointer cannot be checked by a filter, so no call is allowed whose harm would lie in what its pointer names.
#include "vmm/sandbox_calls.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "base/banned.h"

#define M (1u << SANDBOX_MAIN)
#define V (1u << SANDBOX_VCPU)
#define W (1u << SANDBOX_WORKER)
#define ALL (M | V | W)

enum check { NONE, EQUAL, CLEAR, OURSELVES, KICK }; // the last two are known only at run time

struct condition {
    enum check check;
    unsigned argument;
    uint64_t value; // EQUAL: it is this; CLEAR: none of these bits is set
    const char *text;
};

// clang-format off
#define IS(argument, value) {EQUAL, argument, value, #value}
#define WITHOUT(argument, bits) {CLEAR, argument, bits, "without " #bits}
// clang-format on

struct call {
    unsigned kinds;
    int number;
    struct condition first, second;
    const char *why;
};

// clang-format off
#define CALL(kinds, name, why) {kinds, SCMP_SYS(name), {.check = NONE}, {.check = NONE}, why}
#define CALL1(kinds, name, first, why) {kinds, SCMP_SYS(name), first, {.check = NONE}, why}
#define CALL2(kinds, name, first, second, why) {kinds, SCMP_SYS(name), first, second, why}
#define IOCTL(kinds, request, why) {kinds, SCMP_SYS(ioctl), {EQUAL, 1, request, #request}, {.check = NONE}, why}
// clang-format on

static const struct call calls[] = {
    // The guest, and its devices' registers.
    IOCTL(V, KVM_RUN, "the guest runs"),
    IOCTL(V, KVM_KVMCLOCK_CTRL, "after a pause: the guest's watchdogs forgive it"),
    IOCTL(V, KVM_GET_REGS, "where the guest was, when it cannot go on: for the log"),
    IOCTL(V, KVM_GET_SREGS, "the same"),
    IOCTL(ALL, KVM_SET_GSI_ROUTING, "a guest routes an interrupt message; a masked one may be routed when it is due"),
    IOCTL(M | V, KVM_IOEVENTFD, "a guest moves a BAR, and its doorbells with it; they go with the device"),
    IOCTL(M | V, KVM_REGISTER_COALESCED_MMIO, "writes to the serial port are collected"),
    IOCTL(M | V, KVM_UNREGISTER_COALESCED_MMIO, "and not while their interrupt is wanted"),
    IOCTL(M | V, KVM_CHECK_EXTENSION, "whether they can be collected"),
    CALL(ALL, write, "eventfds: interrupts, doorbells; the console; the log"),
    CALL(ALL, timerfd_settime, "the disk's and the serial port's timers"),
    CALL(M | V, epoll_ctl, "a device wants its descriptor watched for something else"),

    // The event loop.
    CALL(M, epoll_wait, "the loop"),
    CALL(M, read, "eventfds, timers, signals, the console, the network"),
    CALL(M, writev, "a frame to a tap"),
    CALL(M | W, sendmsg, "a frame to passt; words to the supervisor, of an outage from whoever noticed it"),
    CALL(M, recvmsg, "words from the supervisor"),
    CALL(M, poll, "whether there are any"),
    CALL(M, getrandom, "the entropy device"),
    CALL1(M, newfstatat, IS(3, AT_EMPTY_PATH), "a new base disk's size (the C library's fstat)"),
    CALL(M, fstat, "the same, of a newer C library"),
    CALL(M, getpid, "the C library asks before it sends a signal to a thread"),
    CALL2(M, tgkill, {.check = OURSELVES}, {.check = KICK}, "calls a vCPU out of the guest"),

    // The disk.
    CALL(W, pread64, "the base, the overlay, a raw disk"),
    CALL(W, preadv, "the same, into several pieces"),
    CALL(M | W, pwrite64, "the overlay, a raw disk; the overlay's map when it is closed"),
    CALL(W, pwritev, "the same, from several pieces"),
    CALL(M | W, fallocate, "space is reserved or given back, the balloon's too"),
    CALL(M | W, fdatasync, "a flush; the last one is the main thread's"),
    CALL(M | W, close, "a base that was replaced, when its last read is done; everything at the end"),

    // The end.
    IOCTL(M, TCSETS, "the terminal is put back as it was"),
    CALL1(M, fcntl, IS(1, F_SETFL), "and the console's descriptors blocking"),
    CALL(M, exit_group, "the end of the process"),
    CALL(V | W, exit, "the end of the thread"),

    // What the C library does by itself.
    CALL(ALL, futex, "locks, conditions, a thread's end"),
    CALL(ALL, rt_sigreturn, "the end of a signal's handler"),
    CALL(ALL, rt_sigprocmask, "signals are blocked while a thread is called or ends"),
    CALL(ALL, restart_syscall, "a wait goes on after the process was stopped and continued"),
    CALL(ALL, clock_gettime, "the time, where it cannot be told without a call"),
    CALL2(ALL, mmap, WITHOUT(2, PROT_EXEC), IS(3, MAP_PRIVATE | MAP_ANONYMOUS), "memory"),
    CALL(ALL, munmap, "memory is given back"),
    CALL(ALL, brk, "memory"),
    CALL1(ALL, madvise, IS(2, MADV_DONTNEED), "an ended thread's stack is given back"),
};

// How many there are: one or none.
static unsigned make_comparison(const struct condition *c, struct scmp_arg_cmp *ret)
{
    switch (c->check) {
    case NONE:
        return 0;
    case EQUAL:
        *ret = SCMP_CMP(c->argument, SCMP_CMP_EQ, c->value);
        return 1;
    case CLEAR:
        *ret = SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->value, 0);
        return 1;
    case OURSELVES:
        *ret = SCMP_CMP(0, SCMP_CMP_EQ, (uint64_t)getpid());
        return 1;
    case KICK:
        *ret = SCMP_CMP(2, SCMP_CMP_EQ, (uint64_t)SIGRTMIN);
        return 1;
    }
    return 0;
}

int sandbox_add_calls(scmp_filter_ctx filter, enum sandbox_thread kind)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(calls); i++) {
        const struct call *c = &calls[i];
        struct scmp_arg_cmp comparisons[2];
        unsigned n = 0;
        if (!(c->kinds >> kind & 1))
            continue;
        n += make_comparison(&c->first, &comparisons[n]);
        n += make_comparison(&c->second, &comparisons[n]);
        r = seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, c->number, n, comparisons);
    }
    return r;
}

const char *sandbox_thread_name(enum sandbox_thread kind)
{
    static const char *const names[] = {[SANDBOX_MAIN] = "main", [SANDBOX_VCPU] = "vcpu", [SANDBOX_WORKER] = "worker"};
    return names[kind];
}

static int describe_condition(const struct condition *c, struct buf *to)
{
    static const char *const texts[] = {[OURSELVES] = "this process", [KICK] = "SIGRTMIN"};
    return c->check == NONE ? 0 : buf_append_format(to, " [%s]", c->text ? c->text : texts[c->check]);
}

static int describe_call(const struct call *c, enum sandbox_thread kind, struct buf *to)
{
    char *name CLEANUP_FREE = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, c->number);
    int r = buf_append_format(to, "%s %s", sandbox_thread_name(kind), name ? name : "?");
    if (r >= 0)
        r = describe_condition(&c->first, to);
    if (r >= 0)
        r = describe_condition(&c->second, to);
    return r < 0 ? r : buf_append_format(to, ": %s\n", c->why);
}

int sandbox_describe(struct buf *to)
{
    int r = 0;
    for (unsigned kind = 0; kind < SANDBOX_THREADS; kind++)
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(calls); i++)
            if (calls[i].kinds >> kind & 1)
                r = describe_call(&calls[i], (enum sandbox_thread)kind, to);
    return r < 0 ? r : 0;
}
