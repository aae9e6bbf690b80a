// The sandbox: what is left of our rights while a guest runs. On by default (--no-sandbox turns it off). In stages:
//
//   every file is open ─▶ sandbox_leave_host: no new privileges, no dumps, no capability, no file to be seen, limits
//                                    ─▶ threads are made; each calls sandbox_enter first: its kind's filter
//                                                ─▶ sandbox_wait_for: all are in it ─▶ the guest's first instruction
//
// 1. A call that a filter does not name ends the process (SIGSYS): whoever tries it is not us any more.
// 2. No filter names a call that opens, connects, executes, makes a process, or maps executable memory. Only a worker
// can
//    make a thread, and that is a worker: it inherits the filter.
// 3. What a kind of thread may call, and why, is one table (sandbox_calls.c); tests/hostile/vmm_sandbox.calls is what
// it
//    said when somebody last looked.
#pragma once

#include "base/error.h"

enum sandbox_thread {
    SANDBOX_MAIN,   // the event loop, and the end of the machine
    SANDBOX_VCPU,   // a virtual processor
    SANDBOX_WORKER, // a block device's
    SANDBOX_THREADS
};

struct sandbox;

// Compiles the filters. -EOPNOTSUPP if the host's kernel has none.
int sandbox_new(struct sandbox **ret, struct error *error);
void sandbox_free(struct sandbox *s); // NULL: none
// The first stage, for the whole process: while there is one thread, and every file is open. What the host's kernel
// does not allow is left out, said at debug level, but for no_new_privs, without which there are no filters.
int sandbox_leave_host(struct error *error);
// Puts the calling thread into its filter, for good. With NULL, nothing: there is no sandbox.
void sandbox_enter(struct sandbox *s, enum sandbox_thread kind);
// Returns when that many threads have entered; a failure of any is the result.
int sandbox_wait_for(struct sandbox *s, unsigned threads, struct error *error);
