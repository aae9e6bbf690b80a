// What each kind of thread may call: see sandbox_calls.h. M: main, V: vCPU, W: block worker.
//
// A vCPU's thread answers the guest's accesses to registers, so it does what the devices do under their locks: it rings
// eventfds, routes interrupts, moves doorbells, changes what the loop watches, resets a device. It never does I/O.
//
// A number is checked where it decides what a call does: ioctl and fcntl by request, memory by its protection. A
// pointer cannot be checked by a filter, so no call is allowed whose harm would lie in what its pointer names.
#include "vmm/sandbox_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
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

#define IS CONFINE_IS
#define WITHOUT CONFINE_WITHOUT
// clang-format off
#define CALL(kinds, name, why) {kinds, {SCMP_SYS(name), 0, {.check = CONFINE_ANY}, {.check = CONFINE_ANY}, why}}
#define CALL1(kinds, name, first, why) {kinds, {SCMP_SYS(name), 0, first, {.check = CONFINE_ANY}, why}}
#define CALL2(kinds, name, first, second, why) {kinds, {SCMP_SYS(name), 0, first, second, why}}
#define IOCTL(kinds, request, why) {kinds, {SCMP_SYS(ioctl), 0, {CONFINE_EQUAL, 1, request, #request}, {.check = CONFINE_ANY}, why}}
// clang-format on

const struct sandbox_call sandbox_calls[] = {
    // The guest, and its devices' registers.
    IOCTL(V, KVM_RUN, "the guest runs"),
    IOCTL(V, KVM_KVMCLOCK_CTRL, "after a pause: the guest's watchdogs forgive it"),
    IOCTL(V, KVM_GET_REGS, "where the guest was, when it cannot go on: for the log"),
    IOCTL(V, KVM_GET_SREGS, "the same"),
    IOCTL(ALL, KVM_SET_GSI_ROUTING, "a guest routes an interrupt message; a masked one may be routed when it is due"),
    IOCTL(M | V, KVM_IOEVENTFD, "a guest moves a BAR, and its doorbells with it; they go with the device"),
    IOCTL(M | V, KVM_REGISTER_COALESCED_MMIO, "writes to the serial port are collected"),
    IOCTL(M | V, KVM_UNREGISTER_COALESCED_MMIO, "and not while their interrupt is wanted"),
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
    CALL1(M, newfstatat, IS(3, AT_EMPTY_PATH), "the size of a new base disk or layer (the C library's fstat)"),
    CALL(M, fstat, "the same, of a newer C library"),
    CALL(M, getpid, "the C library asks before it sends a signal to a thread"),
    CALL2(M, tgkill, {.check = CONFINE_OURSELVES}, {.check = CONFINE_KICK}, "calls a vCPU out of the guest"),

    // The disk.
    CALL(M | W, pread64, "the base, the overlay, a raw disk; the main thread, for a snapshot: the new layer's header"),
    CALL(W, preadv, "the same, into several pieces"),
    CALL(M | W, pwrite64, "the overlay, a raw disk; the overlay's map when it is closed"),
    CALL(W, pwritev, "the same, from several pieces"),
    CALL(M | W, fallocate, "space is reserved or given back, the balloon's too"),
    CALL(M | W, fdatasync, "a flush; the last one is the main thread's"),
    CALL(M | W, close, "a base that was replaced, when its last read is done; everything at the end"),

    // A disk whose workers are all held up makes another one (virtio_block.c), which inherits its maker's filter. These
    // are the C library's steps; the flags of `clone` leave nothing but a thread of this process to be made.
    CALL1(W, clone, IS(0, CONFINE_THREAD_OF_OURS), "another worker"),
    CALL2(W, mmap, IS(2, PROT_NONE), IS(3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK), "its stack"),
    CALL1(W, mprotect, WITHOUT(2, PROT_EXEC), "its stack but for the guard page"),
    CALL(W, rseq, "it begins"),
    CALL(W, set_robust_list, "it begins"),

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

const size_t sandbox_call_count = ARRAY_SIZE(sandbox_calls);

int sandbox_add_calls(scmp_filter_ctx filter, enum sandbox_thread kind)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < sandbox_call_count; i++)
        if (sandbox_calls[i].kinds >> kind & 1)
            r = confine_allow(filter, &sandbox_calls[i].call);
    return r == 0 && kind == SANDBOX_WORKER ? confine_hide_clone3(filter) : r;
}
