// Found by reading what we and libmicrohttpd call, and by strace under the tests of the server. Where C libraries
// differ in the call that they use for a function (fstat; locks; the clock), both are here. All threads are there
// before the filter is: none is made any more.
//
// openat2's flags lie behind a pointer; that nothing is opened for writing, and nothing outside the site, is
// Landlock's.
#include "server/server_calls.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/banned.h"

const struct confine_call server_calls[] = {
    // Connections.
    CONFINE_CALL(accept4, "a client comes"),
    CONFINE_CALL(epoll_wait, "each thread's loop"),
    CONFINE_CALL(epoll_pwait, "the same, of another C library"),
    CONFINE_CALL(epoll_ctl, "a connection is watched, or not any more"),
    CONFINE_CALL(recvfrom, "a request"),
    CONFINE_CALL(sendto, "an answer's head"),
    CONFINE_CALL(sendmsg, "an answer's head with a body from memory"),
    CONFINE_CALL(sendfile, "an answer's body"),
    CONFINE_CALL(shutdown, "a connection ends"),
    CONFINE_CALL(close, "a connection, a file that went out; everything at the end"),
    CONFINE_CALL1(setsockopt, CONFINE_IS(1, IPPROTO_TCP), "packets are filled, or leave at once"),
    CONFINE_CALL2(setsockopt, CONFINE_IS(1, SOL_SOCKET), CONFINE_IS(2, SO_LINGER), "a stalled client is reset"),
    CONFINE_CALL1(getsockopt, CONFINE_IS(1, IPPROTO_TCP), "what a slow client has acknowledged"),
    CONFINE_CALL1(getsockopt, CONFINE_IS(1, SOL_SOCKET), "why a connection failed"),
    CONFINE_CALL1(ioctl, CONFINE_IS(1, SIOCOUTQ), "whether a client has yet to acknowledge something"),
    CONFINE_CALL(getsockname, "the library asks what kind of socket came"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_GETFL), "the library makes sockets non-blocking where accept4 did not"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_SETFL), "the same"),

    // Files.
    CONFINE_CALL(openat2, "a file below the site's folder"),
    CONFINE_CALL1(openat, CONFINE_WITHOUT(2, O_ACCMODE | O_CREAT | O_TRUNC), "the same, on kernels without openat2"),
    CONFINE_CALL1(newfstatat, CONFINE_IS(3, AT_EMPTY_PATH), "its size and times (the C library's fstat)"),
    CONFINE_CALL(fstat, "the same, of a newer C library"),
    CONFINE_CALL(pread64, "its bytes, where sendfile cannot send them"),
    CONFINE_CALL(write, "the access log; messages; an eventfd that wakes a thread"),
    CONFINE_CALL(read, "that eventfd"),
    CONFINE_CALL(recvmsg, "the access log, opened anew by the process beside us"),
    CONFINE_CALL(dup3, "it takes the old one's place; at the end, a socket to nobody that of the one that listens"),

    // The main thread, and who watches slow clients.
    CONFINE_CALL(rt_sigtimedwait, "for the signal that ends us"),
    CONFINE_CALL(set_robust_list, "a thread begins"),
    CONFINE_CALL(rseq, "the same"),
    CONFINE_CALL1(prctl, CONFINE_IS(0, PR_SET_NAME), "the library names its threads"),
    CONFINE_CALL(exit, "the end of a thread"),
    CONFINE_CALL(exit_group, "the end of the process"),

    // What the C library does by itself.
    CONFINE_CALL(futex, "locks, conditions, a thread's end"),
    CONFINE_CALL(rt_sigprocmask, "signals are blocked while a thread ends"),
    CONFINE_CALL(rt_sigreturn, "the end of a signal's handler"),
    CONFINE_CALL(restart_syscall, "a wait goes on after the process was stopped and continued"),
    CONFINE_CALL(clock_gettime, "the time, where it cannot be told without a call"),
    CONFINE_CALL(clock_nanosleep, "a pause"),
    CONFINE_CALL(poll, "a wait for one descriptor"),
    CONFINE_CALL(getrandom, "the heap's own secret"),
    CONFINE_CALL(sched_getaffinity, "how many heaps are worth it"),
    CONFINE_HEAP,
};

const size_t server_call_count = ARRAY_SIZE(server_calls);

const struct confine_call publish_server_calls[] = {
    CONFINE_CALL1(openat, CONFINE_WITH(2, O_RDWR | O_CREAT), "what a publisher sends is staged"),
    CONFINE_CALL1(openat, CONFINE_IS(2, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), "its folder"),
    CONFINE_CALL(mkdirat, "the same"),
    CONFINE_CALL1(newfstatat, CONFINE_IS(3, AT_SYMLINK_NOFOLLOW), "how much of an object is there"),
    CONFINE_CALL(pwrite64, "bytes that come"),
    CONFINE_CALL(ftruncate, "an upload begins anew"),
    CONFINE_CALL(renameat, "an upload is whole"),
    CONFINE_CALL(unlinkat, "it is not what it should be"),
    CONFINE_CALL(getdents64, "how much a publisher has staged"),
    CONFINE_CALL(lseek, "the same"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_SETFD), "the C library looks at a folder that it is to list"),
    CONFINE_CALL(recvmsg, "the keeper's answer"),
    CONFINE_CALL2(wait4, CONFINE_IS(2, WNOHANG), CONFINE_IS(3, 0), "whether the keeper has ended"),
    CONFINE_CALL(sysinfo, "how much memory a large sort, of a catalog's lines, may take"),
};

const size_t publish_server_call_count = ARRAY_SIZE(publish_server_calls);

// SQLite's. What it opens for writing lies in the state folder's index/, or Landlock refuses it: the memory that
// readers and the writer share (index.db-shm).
const struct confine_call server_index_calls[] = {
    CONFINE_CALL1(openat, CONFINE_WITH(2, O_NOFOLLOW | O_CLOEXEC), "the index, and the files beside it"),
    CONFINE_CALL1(newfstatat, CONFINE_IS(3, AT_SYMLINK_NOFOLLOW),
                  "whether the index is still the file that was opened"),
    CONFINE_CALL1(newfstatat, CONFINE_IS(3, 0), "whether there is a journal"),
    CONFINE_CALL(getpid, "locks are forgotten in a process that was forked"),
    CONFINE_CALL(geteuid, "whose the shared memory is to be"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_SETLK), "readers and the writer of the index"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_GETLK), "the same"),
    CONFINE_CALL2(mmap, CONFINE_WITHOUT(2, PROT_EXEC), CONFINE_IS(3, MAP_SHARED), "their shared memory"),
    CONFINE_CALL(ftruncate, "the same, while it grows"),
    CONFINE_CALL(pwrite64, "the same"),
    CONFINE_CALL(fchown, "the same, made by root for whom the index belongs to"),
    CONFINE_CALL2(wait4, CONFINE_IS(2, WNOHANG), CONFINE_IS(3, 0), "whether the indexer has ended"),
};

const size_t server_index_call_count = ARRAY_SIZE(server_index_calls);

const struct confine_call server_try_calls[] = {
    CONFINE_CALL(wait4, "the end of the host of machines"),
};

const size_t server_try_call_count = ARRAY_SIZE(server_try_calls);

int server_calls_confine(bool has_index, bool publishes, bool has_machines, struct error *error)
{
    struct confine_call calls[ARRAY_SIZE(server_calls) + ARRAY_SIZE(server_index_calls) +
                              ARRAY_SIZE(publish_server_calls) + ARRAY_SIZE(server_try_calls)];
    size_t n = ARRAY_SIZE(server_calls);

    memcpy(calls, server_calls, sizeof server_calls);
    if (has_index) {
        memcpy(calls + n, server_index_calls, sizeof server_index_calls);
        n += ARRAY_SIZE(server_index_calls);
    }
    if (publishes) {
        memcpy(calls + n, publish_server_calls, sizeof publish_server_calls);
        n += ARRAY_SIZE(publish_server_calls);
    }
    if (has_machines) {
        memcpy(calls + n, server_try_calls, sizeof server_try_calls);
        n += ARRAY_SIZE(server_try_calls);
    }
    return confine_calls("rondo-server", calls, n, error);
}
