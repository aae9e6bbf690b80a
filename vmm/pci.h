// The PCI root: one bus, one function a slot, configuration space through ports 0xcf8/0xcfc and through ECAM (PCI Local
// Bus 3.0, 3.2.2.3.2; PCI Express Base 3.0, 7.2.2). Slot 0 is the host bridge. BARs are 32-bit memory, placed at
// start-up (there may be no firmware), and may be moved by the guest.
//
// 1. What is not there (other buses, slots without a device, functions above 0, registers from 256 on) reads all-ones.
// 2. A BAR is mapped while memory decoding is on in the command register and it lies wholly in the PCI memory window
//    (layout.h) without touching another BAR: so it can shadow neither RAM nor ECAM nor an interrupt controller. One
//    that does not is kept, and answers nowhere, until it, or another register of its device, is written again.
// 3. Decoding is off at first, as after a power-on.
//
// The bus master bit is kept for the guest and has no effect: a virtio device is made quiet by its reset.
//
// `lock` of a device guards its configuration space and its BARs; pci.c takes it around every access and around both
// callbacks. It is the lock of the device behind it (virtio_device.lock), so there is one lock a device. Handlers of
// BARs are called by the bus, without it.
#pragma once

#include "base/error.h"
#include "vmm/bus.h"
#include <linux/pci_regs.h> // names of the header's registers (PCI Local Bus 3.0, 6.1, 6.2)
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PCI_SLOTS 32u
#define PCI_BARS 6u
#define PCI_CONFIG_SIZE 256u

struct pci_bar {
    uint32_t size; // bytes, a power of two from 4096 on; 0: none
    struct bus_handler handler;
    uint32_t address; // where it is mapped; meaningful if mapped
    bool mapped;
};

struct pci_device {
    pthread_mutex_t *lock;
    unsigned char config[PCI_CONFIG_SIZE];   // as the guest reads it
    unsigned char writable[PCI_CONFIG_SIZE]; // the bits that it may change
    unsigned capabilities_end;               // where the next capability goes
    unsigned last_capability;                // 0: none yet
    struct pci_bar bars[PCI_BARS];
    // An access of `width` bytes, 1 to 8, any alignment; written: after it; reading: before it. May be NULL.
    void (*config_written)(struct pci_device *d, unsigned offset, unsigned width);
    void (*config_reading)(struct pci_device *d, unsigned offset, unsigned width);
    // A BAR was mapped, moved or unmapped (bars[bar] says what it is, the arguments what it was). May be NULL.
    void (*bar_changed)(struct pci_device *d, unsigned bar, uint32_t old_address, bool was_mapped);
    struct pci_root *root;
};

struct pci_root {
    struct bus *ports, *memory;
    struct pci_device *slots[PCI_SLOTS]; // stands before the guest runs
    struct pci_device bridge;
    pthread_mutex_t bridge_lock;
    _Atomic uint32_t address; // the latch at 0xcf8
    uint64_t next_address;    // of the next BAR to be placed
};

int pci_root_init(struct pci_root *r, struct bus *ports, struct bus *memory, struct error *error);
void pci_root_destroy(struct pci_root *r);
// Fills ids, class and header; the caller then adds capabilities, BARs and callbacks, and attaches. class_code: class,
// subclass, interface.
void pci_device_init(struct pci_device *d, pthread_mutex_t *lock, uint16_t vendor, uint16_t device, uint32_t class_code,
                     uint8_t revision, uint16_t subsystem_vendor, uint16_t subsystem);
// Room for a capability (bytes including its two-byte header) in the list: its offset. There is always enough for what
// this program makes; running out is a programming error (abort).
unsigned pci_add_capability(struct pci_device *d, uint8_t id, unsigned size);
// Before the guest runs, or after it has stopped.
int pci_attach(struct pci_root *r, struct pci_device *d, struct error *error); // -ENOSPC: no slot or no address
void pci_detach(struct pci_device *d);                                         // unmaps its BARs
