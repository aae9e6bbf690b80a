// The machine: puts the parts together, starts and ends them.
//
//   vm_new ─▶ made ─▶ vm_run: running ◀─pause/resume─▶ paused ─▶ ended: why
//
// Threads: the main thread runs the loop; one for each vCPU; the block devices' workers, which make more of themselves
// when they need them (virtio_block.c). All others are made before the guest's first instruction, since no other thread
// in the sandbox can make one. Any thread may ask for the end; the main thread then stops the vCPUs, waits for what is
// in flight, flushes, and returns.
#pragma once

#include "base/error.h"
#include "vmm/vm_options.h"

enum vm_end {
    VM_POWERED_OFF,
    VM_RESET,        // the guest restarted itself; who started us starts us again
    VM_PANICKED,     // the guest's kernel said so
    VM_TRIPLE_FAULT, // a reset of the processor: as VM_RESET, but told apart
    VM_STOPPED,      // we were asked to, by the control connection or a signal
    VM_BROKEN,       // KVM or the host failed
};

// rondo-vmm's exit code: 0 powered off or stopped; for the others see vmm_main.c, docs/man/rondo-vmm.1.
struct vm;
// The options must outlive the machine, which takes descriptors out of them.
int vm_new(struct vm_options *o, struct vm **ret, struct error *error);
// Returns when the machine has ended and everything is flushed: 0 and *ret. A failure is one of the host: the sentence
// says which.
int vm_run(struct vm *m, enum vm_end *ret, struct error *error);
void vm_free(struct vm *m);
