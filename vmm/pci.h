// The PCI root: one bus, one function a slot, configuration space through ports 0xcf8/0xcfc and through ECAM (PCI Local
// Bus 3.0, 3.2.2.3.2; PCI Express Base 3.0, 7.2.2). Slot 0 is the host bridge. BARs are 32-bit memory, placed at
// start-up (there may be no firmware), and may be moved by the guest.
//
// `lock` of a device guards its configuration space and its BARs; pci.c takes it around every access and around both
// callbacks. It is the lock of the device behind it (virtio_device.lock), so there is one lock a device.
#pragma once

#include "base/error.h"
#include "vmm/bus.h"
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
    struct pci_bar bars[PCI_BARS];
    void (*config_written)(struct pci_device *d, unsigned offset, unsigned width); // may be NULL
    void (*config_reading)(struct pci_device *d, unsigned offset, unsigned width); // may be NULL: refresh bytes
    void (*bar_changed)(struct pci_device *d, unsigned bar, uint32_t old_address, bool was_mapped); // may be NULL
    struct pci_root *root;
};

struct pci_root {
    struct bus *ports, *memory;
    struct pci_device *slots[PCI_SLOTS];
    struct pci_device bridge;
    pthread_mutex_t bridge_lock, address_lock;
    uint32_t address;      // the latch at 0xcf8
    uint32_t next_address; // of the next BAR to be placed
};

int pci_root_init(struct pci_root *r, struct bus *ports, struct bus *memory, struct error *error);
void pci_root_destroy(struct pci_root *r);
// Fills ids, class and header; the caller then adds capabilities and BARs, and attaches.
void pci_device_init(struct pci_device *d, pthread_mutex_t *lock, uint16_t vendor, uint16_t device, uint32_t class_code,
                     uint8_t revision, uint16_t subsystem_vendor, uint16_t subsystem);
// Room for a capability (bytes including its two-byte header) in the list: its offset. There is always enough for what
// this program makes; running out is a programming error (abort).
unsigned pci_add_capability(struct pci_device *d, uint8_t id, unsigned size);
int pci_attach(struct pci_root *r, struct pci_device *d, struct error *error); // -ENOSPC: no slot or no address
