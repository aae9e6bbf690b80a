// What the files of the machine itself share: vm_make.c (its parts), vm_devices.c (which virtio devices there are),
// vm.c (its life), vm_control.c (what may be asked of it).
//
// All of it belongs to the main thread, but: `end` (atomic), `why` (guarded by `end_lock`), and what the devices guard
// themselves.
#pragma once

#include "vmm/block_backend.h"
#include "vmm/bus.h"
#include "vmm/guest_memory.h"
#include "vmm/irq.h"
#include "vmm/kvm.h"
#include "vmm/layout.h"
#include "vmm/loop.h"
#include "vmm/pci.h"
#include "vmm/platform.h"
#include "vmm/port_ring.h"
#include "vmm/sandbox.h"
#include "vmm/serial.h"
#include "vmm/stream.h"
#include "vmm/vcpu.h"
#include "vmm/virtio.h"
#include "vmm/virtio_pci.h"
#include "vmm/vm.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define VM_DEVICES_MAXIMUM (VM_DISKS_MAXIMUM + 8u)

struct vm {
    struct vm_options *options;
    struct sandbox *sandbox;       // NULL: --no-sandbox
    struct block_backend *overlay; // until its device has it
    struct kvm kvm;
    struct guest_memory memory;
    struct bus ports, memory_bus;
    struct loop loop;
    struct port_ring *ring;
    struct irq_controller irq;
    int serial_interrupt, power_interrupt; // eventfds
    struct stream *stream;
    struct serial *serial;
    struct platform *platform;
    struct pci_root root;
    struct virtio_device *devices[VM_DEVICES_MAXIMUM];
    unsigned device_count;
    unsigned workers; // threads that the block devices begin with
    struct vcpu *vcpus[LAYOUT_CPUS_MAXIMUM];
    struct loop_source *control; // NULL: nobody supervises, or not any more
    int wake;                    // eventfd: the machine is to end
    int signals;                 // signalfd
    unsigned terminations;       // how many signals asked for the end
    bool paused;
    bool stuck;      // a thread does not come back: nothing may be freed any more
    _Atomic int end; // enum vm_end once it is to end, VM_GOES_ON before
    pthread_mutex_t end_lock;
    struct error why; // for VM_BROKEN
};

#define VM_GOES_ON (-1)

// The machine is to end; the first reason stands. Any thread. `why` for VM_BROKEN, else NULL.
void vm_ask_end(struct vm *m, enum vm_end end, const char *why);

// vm_control.c. Nothing to listen to is no error; and a supervisor that is gone hears nothing, which is none either:
// the loop learns of it.
int vm_control_listen(struct vm *m, struct error *error);
void vm_control_say(struct vm *m, const char *message); // one message
void vm_resume(struct vm *m);

// vm_devices.c. What is opened by name is opened first: in the sandbox nothing can be.
int vm_devices_open(struct vm *m, struct error *error);
// One function for each kind of device; the order is that of the PCI slots.
int vm_devices_new(struct vm *m, struct error *error);
// When the vCPUs have stopped: what the devices do is finished, and what they hold is flushed. The first failure.
int vm_devices_end(struct vm *m, struct error *error);
void vm_devices_free(struct vm *m);
bool vm_devices_hear(struct vm *m, const char *text, int *fds, unsigned count, char *ret_answer); // of the overlay
