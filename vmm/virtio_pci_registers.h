// The registers of a virtio device on PCI (virtio 1.2, 4.1.4.3 to 4.1.4.6), without the PCI function around them: the
// common configuration, the interrupt status and the device configuration, at these offsets of BAR 0. All calls with
// the device's lock held.
//
// Each register answers to its own width (and a 64-bit queue address to 8 bytes as well); anything else reads all-ones
// and writes nothing (TRUST T24).
#pragma once

#include "vmm/virtio.h"
#include <stdint.h>

#define VIRTIO_PCI_COMMON 0x000u
#define VIRTIO_PCI_COMMON_SIZE 0x3cu
#define VIRTIO_PCI_INTERRUPT 0x100u
#define VIRTIO_PCI_INTERRUPT_SIZE 1u
#define VIRTIO_PCI_DEVICE 0x200u // to 0x1000
#define VIRTIO_PCI_NO_VECTOR 0xffffu
#define VIRTIO_PCI_INTERRUPT_QUEUE 1u // bits of the interrupt status
#define VIRTIO_PCI_INTERRUPT_CONFIG 2u

struct virtio_pci_registers {
    struct virtio_device *device;
    unsigned vectors; // how many there are
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select;
    uint16_t config_vector, queue_vectors[VIRTIO_QUEUES_MAXIMUM]; // or VIRTIO_PCI_NO_VECTOR
    uint8_t interrupt_status;                                     // cleared by being read
};

void virtio_pci_registers_reset(struct virtio_pci_registers *r); // all but device and vectors
uint64_t virtio_pci_registers_read(struct virtio_pci_registers *r, uint64_t offset, unsigned width);
void virtio_pci_registers_write(struct virtio_pci_registers *r, uint64_t offset, unsigned width, uint64_t value);
