// The PCI transport of virtio (virtio 1.2, 4.1), modern only: one function; a vector for each queue and, the last, one
// for the configuration.
//
//   BAR 0  0x0000 common configuration · 0x0100 interrupt status · 0x0200 device configuration · 0x1000 doorbells
//   BAR 1  0x0000 MSI-X table · 0x0800 pending bits
//
// A queue's doorbell is four bytes; its number is its place. While BAR 0 is mapped, KVM turns a write there into an
// eventfd (irq.h, add_doorbell) that the loop waits for. Where that cannot be had, the write exits, and the handler
// writes the eventfd. Either way the device's `kicked` runs in the loop's thread, under the device's lock.
#pragma once

#include "base/error.h"
#include "vmm/irq.h"
#include "vmm/loop.h"
#include "vmm/pci.h"
#include "vmm/virtio.h"

// Puts the device into the next free slot of the root. Its kicks arrive through the loop. The transport is the device's
// until virtio_pci_free, after the machine has stopped and before the device is freed.
int virtio_pci_new(struct virtio_device *device, struct pci_root *root, const struct irq_controller *irq,
                   struct loop *loop, struct error *error);
void virtio_pci_free(struct virtio_device *device); // nothing if it has no transport
