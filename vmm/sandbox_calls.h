// What each kind of thread may call: one table, and the table as libseccomp's rules.
#pragma once

#include "base/confine.h"
#include "vmm/sandbox.h"

struct sandbox_call {
    unsigned kinds; // bits, by enum sandbox_thread
    struct confine_call call;
};

extern const struct sandbox_call sandbox_calls[];
extern const size_t sandbox_call_count;

// Adds the rules of this kind; 0 or libseccomp's -errno.
int sandbox_add_calls(scmp_filter_ctx filter, enum sandbox_thread kind);
