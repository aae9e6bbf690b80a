// The VM as KVM has it: one descriptor, the memory slots, the in-kernel interrupt chips, and the ways in which events
// pass between us and the guest without an exit to user space. Nothing else of the program makes an ioctl on the VM.
//
//   guest ── write to a doorbell ──▶ ioeventfd ──▶ the loop        our thread ── write ──▶ irqfd ──▶ guest's vector
//
// Source for all: Linux Documentation/virt/kvm/api.rst; the section is named beside each call in kvm.c.
#pragma once

#include "base/error.h"
#include "vmm/guest_memory.h"
#include "vmm/irq.h"
#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define KVM_MESSAGES_MAXIMUM 256u // MSI-X vectors of all devices together

struct kvm {
    int dev, vm; // /dev/kvm and the VM
    unsigned run_size;
    pthread_mutex_t lock; // of the routes
    struct kvm_irq_routing *routes;
    unsigned messages;
};

// Opens the device (path or an inherited descriptor, taken over; path NULL: use fd). The message names the group that
// may open it. -EOPNOTSUPP if it is missing, no KVM, or lacks a capability, which the message names; -EACCES.
int kvm_open(const char *path, int fd, struct kvm *ret, struct error *error);
// Makes the VM: TSS and identity map addresses, in-kernel irqchip, PIT2 (with a dummy speaker), default routes.
int kvm_create_vm(struct kvm *k, struct error *error);
void kvm_close(struct kvm *k);
int kvm_map_memory(struct kvm *k, const struct guest_memory *m, struct error *error);

// Interrupts by message (MSI-X) and doorbells, with a struct kvm as context. Any thread may route and move them.
extern const struct irq_operations kvm_irq_operations;
// An interrupt of the I/O APIC, edge-triggered: an eventfd, the caller's.
int kvm_add_line(struct kvm *k, unsigned gsi, int *ret_eventfd, struct error *error);

// Writes to this port are collected in a ring that vcpu.c drains before it handles any exit (4.116). Only where
// the host has such a ring (port_ring_new). Any thread.
int kvm_collect_port(struct kvm *k, uint16_t port, bool on);
