// What each kind of thread may call: one table, and the table as libseccomp's rules.
#pragma once

#include "vmm/sandbox.h"
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>

struct sandbox_condition {
    enum { SANDBOX_ANY, SANDBOX_EQUAL, SANDBOX_CLEAR, SANDBOX_OURSELVES, SANDBOX_KICK } check; // see sandbox_calls.c
    unsigned argument;
    uint64_t value; // EQUAL: it is this; CLEAR: none of these bits is set
    const char *text;
};

struct sandbox_call {
    unsigned kinds; // bits, by enum sandbox_thread
    int number;
    struct sandbox_condition first, second;
    const char *why;
};

extern const struct sandbox_call sandbox_calls[];
extern const size_t sandbox_call_count;

// Adds the rules of this kind; 0 or libseccomp's -errno.
int sandbox_add_calls(scmp_filter_ctx filter, enum sandbox_thread kind);
