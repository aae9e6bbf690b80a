// Whether this host's KVM can run a modern kernel. /dev/kvm may exist and not be able to: a software KVM inside another
// machine emulates the supervisor's code at about two million instructions a second, and does not know some of the
// instructions that kernels are made of. A guest of a few hundred bytes tries them: cmpxchg16b, xsave and xrstor, int3
// through an IDT, and a loop against the clock, all in long mode. It takes less than 0.2 s.
#pragma once

#include "base/error.h"

// The device: a path, or (path NULL) an inherited descriptor, taken over. 0, or -EOPNOTSUPP and -EACCES with the
// sentence that says why not and what to do.
int probe_kvm(const char *path, int fd, struct error *error);
