// A virtual processor: a thread around KVM_RUN.
//
//   made ──vcpu_start──▶ running ◀──pause/go──▶ paused ──vcpu_stop──▶ stopped (thread joined)
//
// An exit is answered here: port and memory accesses go to the buses, everything else ends the machine or is counted.
// To get a vCPU out of the guest: set its immediate_exit, send its thread a signal (KVM_CAP_IMMEDIATE_EXIT).
#pragma once

#include "base/error.h"
#include "vmm/bus.h"
#include "vmm/kvm.h"
#include "vmm/load.h"
#include "vmm/port_ring.h"
#include "vmm/sandbox.h"
#include <stdbool.h>
#include <stdint.h>

enum vcpu_exit { // what is counted
    VCPU_EXIT_PORT,
    VCPU_EXIT_MEMORY,
    VCPU_EXIT_INTERRUPTED,
    VCPU_EXIT_OTHER,
    VCPU_EXITS
};

enum vcpu_end { VCPU_TRIPLE_FAULT, VCPU_ENTRY_FAILED, VCPU_INTERNAL_ERROR, VCPU_RUN_FAILED };

struct vcpu;

struct vcpu_settings {
    struct kvm *kvm;
    struct bus *ports, *memory;
    struct port_ring *ring; // may be NULL; the first vCPU's mapping holds it
    unsigned index, count;  // APIC id = index
    // The vCPU cannot go on. Called once, from its thread; `what` says why in words. The machine ends or restarts.
    void (*ended)(void *context, unsigned index, enum vcpu_end end, const char *what, const char *registers);
    void *context;
    struct sandbox *sandbox; // whose filter its thread enters first; NULL: none
};

int vcpu_new(const struct vcpu_settings *settings, struct vcpu **ret, struct error *error);
// The first begins at the entry; the others wait for it to start them (INIT, SIPI).
int vcpu_set_entry(struct vcpu *v, const struct load_entry *entry, struct error *error);
int vcpu_start(struct vcpu *v, bool paused, struct error *error);
void vcpu_pause(struct vcpu *v); // returns when it is out of the guest
void vcpu_resume(struct vcpu *v);
void vcpu_stop(struct vcpu *v); // not from its own thread
void vcpu_free(struct vcpu *v);
void vcpu_count(const struct vcpu *v, uint64_t ret[VCPU_EXITS]);

// cpuid.c: what the guest sees of the processor: what KVM supports, with topology, APIC ids, and the hypervisor's
// leaves. Before any MSR is set.
int vcpu_set_cpuid(const struct kvm *k, int vcpu_fd, unsigned index, unsigned count, struct error *error);
