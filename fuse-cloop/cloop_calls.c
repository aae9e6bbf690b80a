// Found by reading what we, libfuse, libcurl, OpenSSL and the C library's resolver call, and by strace under the tests.
// Where libraries differ in the call that they use for something, all of them are here: name services are libraries of
// the host's own (nsswitch.conf(5)), and ask and read in ways of their own. Where files may be opened, and for what, is
// Landlock's.
#include "fuse-cloop/cloop_calls.h"

#include "base/cleanup.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/banned.h"

const struct confine_call cloop_calls[] = {
    // Requests of the kernel.
    CONFINE_CALL(read, "a request; files, signals, eventfds"),
    CONFINE_CALL(writev, "its answer"),
    CONFINE_CALL(write, "an answer without data; eventfds, messages, whole objects"),
    CONFINE_CALL(geteuid, "the owner that files show"),
    CONFINE_CALL(getegid, "their group"),

    // The cache, and sources that are folders.
    CONFINE_CALL(openat, "a file"),
    CONFINE_CALL(openat2, "a file that is not outside a source's folder"),
    CONFINE_CALL(close, "a file, a connection"),
    CONFINE_CALL(pread64, "its bytes"),
    CONFINE_CALL(pwrite64, "a chunk comes to stand in the cache"),
    CONFINE_CALL(pwritev, "the same, from several pieces"),
    CONFINE_CALL(ftruncate, "the size of a pack that is not whole"),
    CONFINE_CALL(newfstatat, "what a file is"),
    CONFINE_CALL(fstat, "the same"),
    CONFINE_CALL(statx, "the same"),
    CONFINE_CALL(statfs, "how much space is free"),
    CONFINE_CALL(fstatfs, "the same"),
    CONFINE_CALL(utimensat, "a pack was used"),
    CONFINE_CALL(flock, "who else uses a file of the cache"),
    CONFINE_CALL(fsync, "a pin is to last"),
    CONFINE_CALL(fdatasync, "the same"),
    CONFINE_CALL(renameat, "a pack is whole; a pin is written anew"),
    CONFINE_CALL(unlinkat, "what is evicted, or was wrong"),
    CONFINE_CALL(mkdirat, "a folder of the cache"),
    CONFINE_CALL(getdents64, "what is in the cache"),
    CONFINE_CALL(lseek, "a file is read by the C library; where it has holes"),

    // The network: servers, who knows their addresses, what the kernel knows of its own.
    CONFINE_CALL1(socket, CONFINE_IS(0, AF_INET), "to a server"),
    CONFINE_CALL1(socket, CONFINE_IS(0, AF_INET6), "the same"),
    CONFINE_CALL1(socket, CONFINE_IS(0, AF_UNIX), "to a name service of this host"),
    CONFINE_CALL2(socket, CONFINE_IS(0, AF_NETLINK), CONFINE_IS(2, NETLINK_ROUTE), "which addresses this host has"),
    CONFINE_CALL1(socketpair, CONFINE_IS(0, AF_UNIX), "libcurl wakes its threads"),
    CONFINE_CALL(pipe2, "the same, of another libcurl"),
    CONFINE_CALL(eventfd2, "the same"),
    CONFINE_CALL(connect, "to a server, or a name service"),
    CONFINE_CALL(bind, "the resolver's socket of NETLINK_ROUTE; none can listen"),
    CONFINE_CALL(getsockname, "from which of our addresses a server is reached"),
    CONFINE_CALL(getpeername, "which of its addresses a server has"),
    CONFINE_CALL(setsockopt, "packets leave at once, dead connections are noticed"),
    CONFINE_CALL(getsockopt, "whether a connection came about, and whose it is"),
    CONFINE_CALL(shutdown, "a connection ends"),
    CONFINE_CALL(sendto, "requests, questions for addresses"),
    CONFINE_CALL(sendmsg, "the same; words to clients, and to the process that unmounts"),
    CONFINE_CALL(sendmmsg, "two questions at once"),
    CONFINE_CALL(recvfrom, "answers"),
    CONFINE_CALL(recvmsg, "the same; words of clients"),
    CONFINE_CALL(recvmmsg, "two answers at once"),
    CONFINE_CALL1(ioctl, CONFINE_IS(1, FIONREAD), "how long an answer is"),
    CONFINE_CALL1(ioctl, CONFINE_IS(1, FIONBIO), "a socket does not wait"),
    CONFINE_CALL1(ioctl, CONFINE_IS(1, TCGETS), "whether a file is a terminal"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_GETFL), "a socket is made not to wait"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_SETFL), "the same"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_GETFD), "a descriptor is not passed on"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_SETFD), "the same"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_DUPFD_CLOEXEC), "a folder is listed by a descriptor of its own"),

    // Clients, and the main thread.
    CONFINE_CALL(accept4, "a client comes"),
    CONFINE_CALL(poll, "a wait for descriptors"),
    CONFINE_CALL(ppoll, "the same"),
    CONFINE_CALL(epoll_create1, "the same, of another libcurl or name service"),
    CONFINE_CALL(epoll_ctl, "the same"),
    CONFINE_CALL(epoll_wait, "the same"),
    CONFINE_CALL(epoll_pwait, "the same"),
    CONFINE_CALL(rename, "the socket is moved aside at the end"),
    CONFINE_CALL(unlink, "and removed"),
    CONFINE_CALL(exit_group, "the end of the process"),

    // Threads. clone's flags leave nothing but a thread of this process to be made.
    CONFINE_CALL1(clone, CONFINE_IS(0, CONFINE_THREAD_OF_OURS), "a reader, a client, libcurl looks a name up"),
    CONFINE_CALL(set_robust_list, "it begins"),
    CONFINE_CALL(rseq, "it begins"),
    CONFINE_CALL1(prctl, CONFINE_IS(0, PR_SET_NAME), "it gets a name"),
    CONFINE_CALL(exit, "it ends"),
    CONFINE_CALL1(tgkill, {.check = CONFINE_OURSELVES}, "it is cancelled"),
    CONFINE_CALL(getpid, "the C library asks before it does that; OpenSSL, whether it was forked"),
    CONFINE_CALL(gettid, "the same, of itself"),
    CONFINE_CALL(rt_sigaction, "libcurl ignores SIGPIPE for a while"),
    CONFINE_CALL(sched_getaffinity, "how many processors there are"),
    CONFINE_CALL(sched_yield, "another thread may go first"),
    CONFINE_CALL(setpriority, "a thread that reads ahead goes last"),

    // What libraries look at.
    CONFINE_CALL(getuid, "whose files they are"),
    CONFINE_CALL(getgid, "the same"),
    CONFINE_CALL(uname, "the host's name"),
    CONFINE_CALL(sysinfo, "how much memory there is"),
    CONFINE_CALL(getrlimit, "limits"),
    CONFINE_CALL2(prlimit64, CONFINE_IS(0, 0), CONFINE_IS(2, 0), "the same; none is set"),
    CONFINE_CALL(getcwd, "where it runs"),
    CONFINE_CALL(readlink, "where a link leads"),
    CONFINE_CALL(readlinkat, "the same"),
    CONFINE_CALL(access, "whether a file is there"),
    CONFINE_CALL(faccessat, "the same"),
    CONFINE_CALL(faccessat2, "the same"),

    // What the C library does by itself.
    CONFINE_CALL(futex, "locks, conditions, a thread's end"),
    CONFINE_CALL(rt_sigprocmask, "signals are blocked while a thread is made or ends"),
    CONFINE_CALL(rt_sigreturn, "the end of a signal's handler"),
    CONFINE_CALL(restart_syscall, "a wait goes on after the process was stopped and continued"),
    CONFINE_CALL(clock_gettime, "the time, where it cannot be told without a call"),
    CONFINE_CALL(gettimeofday, "the same"),
    CONFINE_CALL(time, "the same"),
    CONFINE_CALL(clock_nanosleep, "a pause"),
    CONFINE_CALL(nanosleep, "the same, of another C library"),
    CONFINE_CALL(getrandom, "keys of connections, a query's number, the heap's own secret"),
    CONFINE_CALL1(mmap, CONFINE_WITHOUT(2, PROT_EXEC), "memory; a file that a library reads"),
    CONFINE_REFUSE(mmap, EPERM, CONFINE_WITH(2, PROT_EXEC), "a library that was not loaded at the start is not loaded"),
    CONFINE_CALL1(mprotect, CONFINE_WITHOUT(2, PROT_EXEC), "a heap grows in its room; a stack but for the guard page"),
    CONFINE_CALL(mremap, "a large piece of memory grows"),
    CONFINE_CALL(munmap, "memory is given back"),
    CONFINE_CALL(brk, "memory"),
    CONFINE_CALL(madvise, "memory, an ended thread's stack are given back"),
};

const size_t cloop_call_count = ARRAY_SIZE(cloop_calls);
