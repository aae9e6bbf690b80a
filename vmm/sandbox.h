// What rondo-vmm may still do once the guest runs. A guest that breaks out of a device into this process finds: no
// privileges to gain (no_new_privs), no file system (Landlock, where the kernel has it: nothing may be opened), and a
// seccomp filter for the thread it is in, which kills the process at any call but those that the thread's work needs.
// The table in sandbox.c gives each call with its reason. Every descriptor was opened before.
//
// Order: sandbox_new (filters are made; while there is one thread, before any other is made: it takes the file system
// away from all of them), then each thread calls sandbox_enter first thing, the main thread when all others are made.
#pragma once

#include "base/buf.h"
#include "base/error.h"

enum sandbox_kind {
    SANDBOX_VCPU,   // runs the guest, and the devices' answers to its accesses
    SANDBOX_WORKER, // disk requests
    SANDBOX_MAIN,   // the loop, and the end
    SANDBOX_KINDS
};

struct sandbox;

int sandbox_new(struct sandbox **ret, struct error *error);
void sandbox_free(struct sandbox *s);
// The calling thread has the filter from here on, or the process ends: a thread without it must not exist.
void sandbox_enter(const struct sandbox *s, enum sandbox_kind kind);

// The table as text: a line "kind call condition" for each, in the order of the table.
int sandbox_describe(struct buf *to);
// Tries forbidden calls in children of this process, for each kind of thread: each must die of SIGSYS, and an allowed
// one must not. A line for each goes to *report. -EPERM if one was not stopped.
int sandbox_selftest(struct buf *report, struct error *error);
