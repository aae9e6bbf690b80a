// What the keeper calls (keeper.h), and why: files of the site and of its state, which Landlock keeps it to, and the
// socket to the web process. Nothing makes a process or a socket, or executes.
#include "server/keeper.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "base/banned.h"

const struct confine_call keeper_calls[] = {
    // Questions.
    CONFINE_CALL(poll, "a wait for questions"),
    CONFINE_CALL(recvmsg, "a question"),
    CONFINE_CALL(sendmsg, "its answer"),

    // Files.
    CONFINE_CALL(openat, "objects, catalogs, what is staged"),
    CONFINE_CALL(close, "them"),
    CONFINE_CALL(newfstatat, "their sizes"),
    CONFINE_CALL(fstat, "the same, of a newer C library"),
    CONFINE_CALL(lseek, "a folder is read from its beginning"),
    CONFINE_CALL(getdents64, "folders are swept"),
    CONFINE_CALL(pread64, "bytes"),
    CONFINE_CALL(read, "the same"),
    CONFINE_CALL(pwrite64, "bytes"),
    CONFINE_CALL(write, "the audit log; messages"),
    CONFINE_CALL(fsync, "before a file gets its name; folders"),
    CONFINE_CALL(ftruncate, "a file is made shorter"),
    CONFINE_CALL(flock, "the site's lock"),
    CONFINE_CALL(mkdir, "folders of the site and of its state"),
    CONFINE_CALL(mkdirat, "the same"),
    CONFINE_CALL(renameat, "files get their names"),
    CONFINE_CALL(unlinkat, "temporaries, and what was staged"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_GETFL), "the C library looks at a folder that it is to list"),
    CONFINE_CALL1(fcntl, CONFINE_IS(1, F_SETFD), "the same"),
    CONFINE_CALL(access, "is there a catalog?"),

    // What the C library does by itself.
    CONFINE_CALL(futex, "locks"),
    CONFINE_CALL(clock_gettime, "the time, where it cannot be told without a call"),
    CONFINE_CALL(clock_nanosleep, "a wait for the site's lock"),
    CONFINE_CALL(restart_syscall, "a wait goes on after the process was stopped and continued"),
    CONFINE_CALL(rt_sigprocmask, "signals are blocked"),
    CONFINE_CALL(rt_sigreturn, "the end of a signal's handler"),
    CONFINE_CALL(getrandom, "names of temporaries, ids, the heap's own secret"),
    CONFINE_CALL(sysinfo, "how much memory a large sort may take"),
    CONFINE_HEAP,
    CONFINE_CALL(exit_group, "the end"),
};

const size_t keeper_call_count = ARRAY_SIZE(keeper_calls);
