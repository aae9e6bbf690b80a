// The registers with which a virtual processor begins, and their description when it ends badly.
#pragma once

#include "base/error.h"
#include "vmm/load.h"
#include <stddef.h>

// After CPUID was set: MSRs, local APIC, multiprocessing state. A host that refuses an MSR is no error.
int vcpu_state_reset(int vcpu_fd, unsigned index, struct error *error);
// The first vCPU's registers at the kernel's entry: flat segments; for 64-bit, paging with LAYOUT_PAGE_TABLES.
int vcpu_state_enter(int vcpu_fd, const struct load_entry *entry, struct error *error);
// "rip … rsp … cr0 …", for the log; the text is always NUL-terminated.
void vcpu_state_describe(int vcpu_fd, char *text, size_t capacity);
