// What each kind of thread may call: the table of sandbox_calls.c as libseccomp's rules.
#pragma once

#include "vmm/sandbox.h"
#include <seccomp.h>

// Adds the rules of this kind; 0 or libseccomp's -errno.
int sandbox_add_calls(scmp_filter_ctx filter, enum sandbox_thread kind);
