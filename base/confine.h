// What a program takes from itself before it meets what is hostile, so that a fault in it is worth little:
//
//   files are open ─▶ confine_rights: no new privileges, no tracing, few capabilities, files below some folders only
//                  ─▶ threads ─▶ confine_calls: no dumps, no more descriptors than now, a system call filter for all
//                                threads at once
//
// 1. All of it is for good, and passes to threads and processes made later.
// 2. What the host's kernel does not have is left out and said, but for no_new_privs and the filter, without which the
//    program does not go on.
// 3. A filter is a table of calls, each with its reason. What it does not list is not done: the process says which
//    call it was and dies by SIGSYS, in whatever thread.
#pragma once

#include "base/error.h"
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct confine_condition {
    enum {
        CONFINE_ANY,
        CONFINE_EQUAL,     // the argument is this value
        CONFINE_CLEAR,     // none of these bits is set in it
        CONFINE_SET,       // all of these bits are set in it
        CONFINE_OURSELVES, // the first argument is our process id
        CONFINE_KICK       // the third argument is SIGRTMIN, which the C library numbers when it runs
    } check;
    unsigned argument;
    uint64_t value;
    const char *text; // of the first three checks
};

struct confine_call {
    int number;  // SCMP_SYS(name)
    int refusal; // the errno with which it fails instead of being made: libraries try it, and do without; 0: it is made
    struct confine_condition first, second;
    const char *why;
};

// clang-format off
#define CONFINE_IS(argument, value) {CONFINE_EQUAL, argument, value, #value}
#define CONFINE_WITHOUT(argument, bits) {CONFINE_CLEAR, argument, bits, "without " #bits}
#define CONFINE_WITH(argument, bits) {CONFINE_SET, argument, bits, "with " #bits}
#define CONFINE_CALL(name, why) {SCMP_SYS(name), 0, {.check = CONFINE_ANY}, {.check = CONFINE_ANY}, why}
#define CONFINE_CALL1(name, first, why) {SCMP_SYS(name), 0, first, {.check = CONFINE_ANY}, why}
#define CONFINE_CALL2(name, first, second, why) {SCMP_SYS(name), 0, first, second, why}
#define CONFINE_REFUSE(name, refusal, first, why) {SCMP_SYS(name), refusal, first, {.check = CONFINE_ANY}, why}
// What the C library's heap makes, and its threads' stacks; none of it can be executed. Needs <sys/mman.h>.
#define CONFINE_HEAP \
    CONFINE_CALL2(mmap, CONFINE_WITHOUT(2, PROT_EXEC), CONFINE_IS(3, MAP_PRIVATE | MAP_ANONYMOUS), "memory"), \
    CONFINE_CALL2(mmap, CONFINE_IS(2, PROT_NONE), CONFINE_IS(3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE), "a heap's room"), \
    CONFINE_CALL1(mprotect, CONFINE_WITHOUT(2, PROT_EXEC), "a heap grows in its room; a stack but for the guard page"), \
    CONFINE_CALL(mremap, "a large piece of memory grows"), \
    CONFINE_CALL(munmap, "memory is given back"), \
    CONFINE_CALL(brk, "memory"), \
    CONFINE_CALL1(madvise, CONFINE_IS(2, MADV_DONTNEED), "memory is given back, an ended thread's stack")
// clang-format on

// The flags of clone(2) with which the C library makes a thread. clone3's lie behind a pointer, where no filter sees
// them: so it fails as if the kernel had none, and the library uses clone.
#define CONFINE_THREAD_OF_OURS                                                                                         \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS |                 \
     CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

// A limit of this process (RLIMIT_…), for good; 0 or -errno.
int confine_limit(int what, uint64_t maximum);

// Rules of libseccomp's; 0 or its -errno.
int confine_allow(scmp_filter_ctx filter, const struct confine_call *call);
int confine_hide_clone3(scmp_filter_ctx filter);

// The steps of confine_rights, for a program with stages of its own.
struct confine_folder {
    int fd;
    bool writable; // else files and folders in it are read
};
int confine_files(const struct confine_folder *folders, unsigned count); // by Landlock; -EOPNOTSUPP: none here
int confine_capabilities(uint64_t kept);                                 // bits, 1 << CAP_…

// Both: 0, or a failure without which the program must not go on.
int confine_rights(const struct confine_folder *folders, unsigned count, uint64_t capabilities, struct error *error);
int confine_calls(const char *program, const struct confine_call *calls, size_t count, struct error *error);
