// Found by reading what we and libfuse call, and by strace under the tests of the overlay. Where C libraries differ in
// the call that they use for a function (fstat; the clock), both are here. Nothing is opened: the overlay's files, the
// base and the connection to the kernel are, and what a snapshot needs is handed in. libfuse makes threads as it needs
// them.
#include "fuse-cloop/overlay_calls.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "base/banned.h"

const struct confine_call overlay_calls[] = {
    // Requests.
    CONFINE_CALL(read, "a request; signals, an eventfd"),
    CONFINE_CALL(writev, "its answer"),
    CONFINE_CALL(write, "an answer without data; an eventfd; messages"),
    CONFINE_CALL(fstatfs, "the free space that the disk's folder tells"),
    CONFINE_CALL(geteuid, "the owner that the disk shows"),
    CONFINE_CALL(getegid, "its group"),

    // The overlay's files, and the base.
    CONFINE_CALL(pread64, "the base, the overlay"),
    CONFINE_CALL(preadv, "the same, into several pieces"),
    CONFINE_CALL(pwrite64, "the overlay; the record of what was read"),
    CONFINE_CALL(pwritev, "the same, from several pieces"),
    CONFINE_CALL(fallocate, "space is reserved or given back"),
    CONFINE_CALL(fdatasync, "a flush"),
    CONFINE_CALL1(newfstatat, CONFINE_IS(3, AT_EMPTY_PATH), "the size of a new base or layer (the C library's fstat)"),
    CONFINE_CALL(fstat, "the same, of a newer C library"),
    CONFINE_CALL(close, "a base that was replaced; everything at the end"),

    // The supervisor, and who unmounts.
    CONFINE_CALL(sendmsg, "words to the supervisor, and to the process that unmounts"),
    CONFINE_CALL(recvmsg, "theirs"),
    CONFINE_CALL(poll, "a wait for them; whether the mount is still there"),
    CONFINE_CALL(wait4, "the process that unmounts ends"),

    // Threads. clone's flags leave nothing but a thread of this process to be made.
    CONFINE_CALL1(clone, CONFINE_IS(0, CONFINE_THREAD_OF_OURS), "libfuse makes a thread"),
    CONFINE_CALL2(mmap, CONFINE_IS(2, PROT_NONE), CONFINE_IS(3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK), "its stack"),
    CONFINE_CALL(set_robust_list, "it begins"),
    CONFINE_CALL(rseq, "it begins"),
    CONFINE_CALL1(prctl, CONFINE_IS(0, PR_SET_NAME), "newer libraries name it"),
    CONFINE_CALL(exit, "it ends"),
    CONFINE_CALL1(tgkill, {.check = CONFINE_OURSELVES}, "a thread is cancelled, or interrupted in its wait"),
    CONFINE_CALL(getpid, "the C library asks before it does that"),
    CONFINE_CALL(gettid, "the same, of itself"),
    CONFINE_CALL(rt_sigaction, "the handler of cancellations"),
    CONFINE_CALL(exit_group, "the end of the process"),

    // What the C library does by itself.
    CONFINE_CALL(futex, "locks, conditions, a thread's end"),
    CONFINE_CALL(rt_sigprocmask, "signals are blocked while a thread is made or ends"),
    CONFINE_CALL(rt_sigreturn, "the end of a signal's handler"),
    CONFINE_CALL(restart_syscall, "a wait goes on after the process was stopped and continued"),
    CONFINE_CALL(clock_gettime, "the time, where it cannot be told without a call"),
    CONFINE_CALL(getrandom, "the heap's own secret"),
    CONFINE_HEAP,
};

const size_t overlay_call_count = ARRAY_SIZE(overlay_calls);
